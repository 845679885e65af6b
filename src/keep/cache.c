/* SPDX-License-Identifier: MIT */
/* The cache: a flat table with linear probing, its capacity fixed at the start, and a queue of the entries by age. A
 * look-up writes to the entry alone: moving it in a list by recency would fetch its two neighbours from memory, which
 * costs more than all the rest. Whoever comes to the end of the queue has as many second chances as it was looked up,
 * up to USES_MAX. With keys that are asked unevenly this keeps more of what is asked again than strict recency does. */
#include "keep/cache.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct cache_entry *entry; /* NULL: empty */
    uint32_t tag;              /* of its hash; chooses the home too */
};

TAILQ_HEAD(entry_list, cache_entry);

enum {
    USES_MAX = 3,
    CHANCES_MAX = 32,    /* given for one insertion: it takes no longer however much of the cache is in use */
    LINE_SIZE = 64,      /* of the processor's caches */
    FORESEEN_SIZE = 384, /* of an entry; by then the processor has seen where it goes, and goes on by itself */
};

struct cache {
    struct slot *slots;
    size_t mask;
    size_t max_bytes, max_entries;
    size_t bytes, entries;
    struct entry_list queue; /* youngest first */
};

static struct cache_entry *entry_allocate(size_t payload, uint64_t hash, const char *key, uint64_t generation,
                                          int64_t fresh_until)
{
    size_t size = sizeof(struct cache_entry) + payload;
    struct cache_entry *entry = malloc(size);
    if (entry == NULL)
        return NULL;
    memset(entry, 0, sizeof *entry);
    entry->size = (uint32_t)size;
    entry->hash = hash;
    entry->generation = generation;
    entry->fresh_until = fresh_until;
    memcpy(entry->key, key, TOKEN_PART_SIZE);
    return entry;
}

static size_t scopes_size(const struct token_data *data)
{
    size_t size = 0;
    for (size_t i = 0; i < data->n_scopes; i++)
        size += strlen(data->scopes[i]) + 1;
    return size;
}

static void fill_payload(struct cache_entry *entry, const struct token_data *data, const char *json, size_t json_size)
{
    char *end = entry->bytes;
    entry->json_size = (uint32_t)json_size;
    entry->username_size = (uint32_t)strlen(data->username);
    entry->n_scopes = (uint32_t)data->n_scopes;
    end = mempcpy(end, json, json_size);
    end = mempcpy(end, data->username, entry->username_size);
    for (size_t i = 0; i < data->n_scopes; i++)
        end = stpcpy(end, data->scopes[i]) + 1;
}

struct cache_entry *cache_entry_new(uint64_t hash, const struct token_data *data, uint64_t generation,
                                    int64_t fresh_until)
{
    size_t json_size;
    char *json = token_data_to_json(data, &json_size);
    if (json == NULL)
        return NULL;
    struct cache_entry *entry = entry_allocate(json_size + strlen(data->username) + scopes_size(data), hash,
                                               data->token.key, generation, fresh_until);
    if (entry != NULL) {
        entry->known = true;
        entry->type = (uint8_t)data->type;
        entry->expires = data->expires;
        memcpy(entry->secret, data->token.secret, TOKEN_PART_SIZE);
        fill_payload(entry, data, json, json_size);
    }
    sodium_memzero(json, json_size);
    free(json);
    return entry;
}

struct cache_entry *cache_entry_new_unknown(uint64_t hash, const char key[TOKEN_PART_SIZE], uint64_t generation,
                                            int64_t fresh_until)
{
    return entry_allocate(0, hash, key, generation, fresh_until);
}

struct cache_entry *cache_entry_copy(const struct cache_entry *entry)
{
    struct cache_entry *copy = malloc(entry->size);
    return copy == NULL ? NULL : memcpy(copy, entry, entry->size);
}

void cache_entry_free(struct cache_entry **entry)
{
    if (*entry == NULL)
        return;
    sodium_memzero(*entry, (*entry)->size);
    free(*entry);
    *entry = NULL;
}

const char *cache_entry_json(const struct cache_entry *entry)
{
    return entry->bytes;
}

const char *cache_entry_username(const struct cache_entry *entry)
{
    return entry->bytes + entry->json_size;
}

const char *cache_entry_scopes(const struct cache_entry *entry)
{
    return entry->bytes + entry->json_size + entry->username_size;
}

bool cache_entry_has_scope(const struct cache_entry *entry, const char *scope, size_t size)
{
    const char *own = cache_entry_scopes(entry);
    for (uint32_t i = 0; i < entry->n_scopes; i++) {
        size_t own_size = strlen(own);
        if (own_size == size && memcmp(own, scope, size) == 0)
            return true;
        own += own_size + 1;
    }
    return false;
}

struct cache *cache_new(size_t max_bytes, size_t max_entries)
{
    struct cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return NULL;
    TAILQ_INIT(&cache->queue);
    cache->max_bytes = max_bytes;
    cache->max_entries = max_entries;
    size_t capacity = 4;
    while (capacity / 4 * 3 < max_entries)
        capacity *= 2;
    cache->mask = capacity - 1;
    cache->slots = calloc(capacity, sizeof *cache->slots);
    if (cache->slots == NULL)
        cache_free(&cache);
    return cache;
}

/* The low bits of the hash choose the generation, so the table takes others. */
static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

/* The slot of a key, or the empty one where it would go. */
static size_t find(const struct cache *cache, uint64_t hash, const char *key)
{
    const uint32_t tag = tag_of(hash);
    size_t i = tag & cache->mask;
    for (; cache->slots[i].entry != NULL; i = (i + 1) & cache->mask)
        if (cache->slots[i].tag == tag && memcmp(cache->slots[i].entry->key, key, TOKEN_PART_SIZE) == 0)
            break;
    return i;
}

/* Empties a slot and moves up what probing would no longer find behind the hole. */
static void close_gap(struct cache *cache, size_t hole)
{
    for (size_t i = (hole + 1) & cache->mask; cache->slots[i].entry != NULL; i = (i + 1) & cache->mask) {
        size_t home = cache->slots[i].tag & cache->mask;
        if (((i - home) & cache->mask) < ((i - hole) & cache->mask))
            continue;
        cache->slots[hole] = cache->slots[i];
        hole = i;
    }
    cache->slots[hole].entry = NULL;
}

static void remove_slot(struct cache *cache, size_t i)
{
    struct cache_entry *entry = cache->slots[i].entry;
    close_gap(cache, i);
    TAILQ_REMOVE(&cache->queue, entry, queue);
    cache->bytes -= entry->size;
    cache->entries--;
    cache_entry_free(&entry);
}

const struct cache_entry *cache_lookup(struct cache *cache, uint64_t hash, const char key[TOKEN_PART_SIZE])
{
    struct cache_entry *entry = cache->slots[find(cache, hash, key)].entry;
    if (entry != NULL && entry->uses < USES_MAX)
        entry->uses++;
    return entry;
}

void cache_foresee_slot(const struct cache *cache, uint64_t hash)
{
    __builtin_prefetch(&cache->slots[tag_of(hash) & cache->mask]);
}

void cache_foresee_entry(const struct cache *cache, uint64_t hash)
{
    const uint32_t tag = tag_of(hash);
    size_t i = tag & cache->mask;
    while (cache->slots[i].entry != NULL && cache->slots[i].tag != tag)
        i = (i + 1) & cache->mask;
    const char *entry = (const char *)cache->slots[i].entry;
    for (size_t at = 0; entry != NULL && at < FORESEEN_SIZE; at += LINE_SIZE)
        __builtin_prefetch(entry + at);
}

/* The entry to let go of next, once those before it have had their chances. */
static const struct cache_entry *choose_victim(struct cache *cache)
{
    struct cache_entry *last = TAILQ_LAST(&cache->queue, entry_list);
    for (int chances = 0; chances < CHANCES_MAX && last->uses > 0; chances++) {
        last->uses--;
        TAILQ_REMOVE(&cache->queue, last, queue);
        TAILQ_INSERT_HEAD(&cache->queue, last, queue);
        last = TAILQ_LAST(&cache->queue, entry_list);
    }
    return last;
}

size_t cache_insert(struct cache *cache, struct cache_entry *entry)
{
    cache_remove(cache, entry->hash, entry->key);
    if (entry->size > cache->max_bytes || cache->max_entries == 0) {
        cache_entry_free(&entry);
        return 0;
    }
    size_t evicted = 0;
    while (cache->entries >= cache->max_entries || cache->bytes > cache->max_bytes - entry->size) {
        const struct cache_entry *victim = choose_victim(cache);
        remove_slot(cache, find(cache, victim->hash, victim->key));
        evicted++;
    }
    size_t i = find(cache, entry->hash, entry->key);
    cache->slots[i] = (struct slot){entry, tag_of(entry->hash)};
    TAILQ_INSERT_HEAD(&cache->queue, entry, queue);
    cache->bytes += entry->size;
    cache->entries++;
    return evicted;
}

bool cache_remove(struct cache *cache, uint64_t hash, const char key[TOKEN_PART_SIZE])
{
    size_t i = find(cache, hash, key);
    if (cache->slots[i].entry == NULL)
        return false;
    remove_slot(cache, i);
    return true;
}

size_t cache_clear(struct cache *cache)
{
    const size_t entries = cache->entries;
    for (size_t i = 0; entries > 0 && i <= cache->mask; i++)
        cache_entry_free(&cache->slots[i].entry);
    TAILQ_INIT(&cache->queue);
    cache->bytes = cache->entries = 0;
    return entries;
}

size_t cache_entries(const struct cache *cache)
{
    return cache->entries;
}

size_t cache_bytes(const struct cache *cache)
{
    return cache->bytes;
}

void cache_free(struct cache **cache)
{
    if (*cache == NULL)
        return;
    if ((*cache)->slots != NULL)
        cache_clear(*cache);
    free((*cache)->slots);
    free(*cache);
    *cache = NULL;
}
