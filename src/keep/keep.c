/* SPDX-License-Identifier: MIT */
/* The operations on tokens. A look-up is answered from the cache only while the key's generation is the one noted
 * before Redis was asked; a change moves the generation after Redis has answered and before the client is. */
#include "keep/keep.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/pool.h"
#include "keep/invalidation.h"
#include "keep/surveys.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#define uthash_fatal(message) memory_exhausted()
#include <uthash.h>

/* One request that waits for a flight. */
struct waiter {
    STAILQ_ENTRY(waiter) next;
    bool has_secret;
    char secret[TOKEN_PART_SIZE];
    keep_get_callback *callback;
    void *argument;
};

/* A GET on its way to Redis, and all that wait for it. */
struct flight {
    struct keep *keep;
    char key[TOKEN_PART_SIZE];
    uint64_t hash;
    uint64_t generation; /* noted before it was sent: what it brings is as old as that */
    uint64_t epoch;      /* of the invalidation link, noted likewise */
    int64_t sent;        /* boot-time clock, ns: the time-to-live runs from here */
    bool overtaken;      /* its key was changed, or a newer flight took its place: it is neither joined nor kept */
    STAILQ_HEAD(, waiter) waiters;
    UT_hash_handle hh; /* in keep->flights, unless a newer flight took its place */
};

/* A change on its way. */
struct change {
    struct keep *keep;
    uint64_t hash;
    enum metric done; /* counted when it was made */
    keep_change_callback *callback;
    void *argument;
};

enum {
    FORESEEN_MAX = 256,
    FORESEEN_AHEAD = 16,  /* entries fetched before their turn: what the processor's nearest cache holds */
    FORESEEN_SKIPPED = 8, /* that never came, before one is no longer looked for */
};

/* A key that is likely to be looked up soon. */
struct foreseen {
    char key[TOKEN_PART_SIZE];
    uint64_t hash;
};

/* Keys in the order in which they will come: of the first `met` the turn is over, of the first `fetched` the entries
 * have been sent for. */
struct foresight {
    size_t n, met, fetched;
    struct foreseen keys[FORESEEN_MAX];
};

struct keep {
    struct keep_settings settings;
    struct shared_slot *slot;
    struct redis_link *link;
    struct store *store;
    struct invalidation *invalidation;
    struct invalidation_state state; /* of the invalidation link */
    struct cache *known, *unknown;
    struct flight *flights; /* by key: the newest of each */
    struct pool flight_pool, waiter_pool, change_pool;
    size_t waiting; /* requests that wait on Redis */
    struct surveys *surveys;
    struct foresight foresight;
    int64_t ttl, negative_ttl, stale_on_error; /* ns */
};

static void count(const struct keep *keep, enum metric metric)
{
    shared_count(keep->slot, metric, 1);
}

uint64_t keep_hash(const struct shared *shared, const char key[TOKEN_PART_SIZE])
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t value;
    crypto_shorthash(hash, (const unsigned char *)key, TOKEN_PART_SIZE, shared->hash_seed);
    memcpy(&value, hash, sizeof value);
    return value;
}

static uint64_t hash_key(const struct keep *keep, const char *key)
{
    return keep_hash(keep->settings.shared, key);
}

static void on_invalidated(void *argument, enum invalidation_change change, const char *key);

static void on_connected(void *argument)
{
    struct keep *keep = argument;
    invalidation_connected(keep->invalidation);
}

struct keep *keep_new(const struct keep_settings *settings)
{
    const struct config *config = settings->config;
    struct keep *keep = memory_zeroed(sizeof *keep);
    keep->settings = *settings;
    keep->flight_pool.size = sizeof(struct flight);
    keep->waiter_pool.size = sizeof(struct waiter);
    keep->change_pool.size = sizeof(struct change);
    keep->slot = &settings->shared->slots[settings->slot];
    keep->ttl = clock_from_seconds(config->cache_ttl);
    keep->negative_ttl = clock_from_seconds(config->cache_negative_ttl);
    keep->stale_on_error = clock_from_seconds(config->cache_stale_on_error);
    keep->known = cache_new(keep->ttl > 0 ? config->cache_bytes : 0, config->cache_entries);
    keep->unknown = cache_new(keep->negative_ttl > 0 ? SIZE_MAX : 0, config->cache_negative_entries);
    keep->link = redis_link_new(&(struct redis_link_settings){
        .base = settings->base,
        .config = &config->redis,
        .access = settings->access,
        .shared = settings->shared,
        .reports = settings->reports,
        .slot = settings->slot,
        .batch_done = settings->batch_done,
        .batch_argument = settings->batch_argument,
        .connected = on_connected,
        .connected_argument = keep,
    });
    if (keep->link != NULL)
        keep->invalidation = invalidation_new(&(struct invalidation_settings){
            .base = settings->base,
            .config = &config->redis,
            .access = settings->access,
            .shared = settings->shared,
            .reports = settings->reports,
            .slot = settings->slot,
            .commands = keep->link,
            .state = &keep->state,
            .changed = on_invalidated,
            .argument = keep,
        });
    if (keep->known == NULL || keep->unknown == NULL || keep->invalidation == NULL) {
        keep_free(&keep);
        return NULL;
    }
    keep->store = store_new(keep->link, settings->vault, config->redis.prefix, settings->reports);
    keep->surveys = surveys_new(&keep->settings, keep->store, &keep->waiting);
    return keep;
}

void keep_free(struct keep **keep)
{
    if (*keep == NULL)
        return;
    struct flight *flight, *next;
    HASH_ITER(hh, (*keep)->flights, flight, next)
        HASH_DEL((*keep)->flights, flight);
    redis_link_free(&(*keep)->link);
    invalidation_free(&(*keep)->invalidation);
    surveys_free(&(*keep)->surveys);
    store_free(&(*keep)->store);
    cache_free(&(*keep)->known);
    cache_free(&(*keep)->unknown);
    pool_empty(&(*keep)->flight_pool);
    pool_empty(&(*keep)->waiter_pool);
    pool_empty(&(*keep)->change_pool);
    free(*keep);
    *keep = NULL;
}

/* The look-ups. */

bool keep_foresee(struct keep *keep, const char key[TOKEN_PART_SIZE])
{
    const struct shared *shared = keep->settings.shared;
    struct foresight *foresight = &keep->foresight;
    if (foresight->met == foresight->n)
        keep_foresee_nothing(keep);
    if (foresight->n == FORESEEN_MAX)
        return false;
    struct foreseen *next = &foresight->keys[foresight->n++];
    memcpy(next->key, key, TOKEN_PART_SIZE);
    next->hash = hash_key(keep, key);
    cache_foresee_slot(keep->known, next->hash);
    __builtin_prefetch(&shared->generations[next->hash & (SHARED_GENERATIONS - 1)]);
    return true;
}

void keep_foresee_nothing(struct keep *keep)
{
    keep->foresight.n = keep->foresight.met = keep->foresight.fetched = 0;
}

/* The hash of a key that is looked up. When it was foreseen, the entries of those behind it are on their way. */
static uint64_t hash_foreseen(struct keep *keep, const char *key)
{
    struct foresight *foresight = &keep->foresight;
    for (size_t i = foresight->met; i < foresight->n && i < foresight->met + FORESEEN_SKIPPED; i++) {
        if (memcmp(foresight->keys[i].key, key, TOKEN_PART_SIZE) != 0)
            continue;
        foresight->met = i + 1;
        while (foresight->fetched < foresight->n && foresight->fetched < foresight->met + FORESEEN_AHEAD)
            cache_foresee_entry(keep->known, foresight->keys[foresight->fetched++].hash);
        return foresight->keys[i].hash;
    }
    return hash_key(keep, key);
}

/* In constant time, by two blocks that overlap: sodium_memcmp goes byte by byte, through memory. */
static bool same_secret(const char *presented, const char *own)
{
    const unsigned char *a = (const unsigned char *)presented, *b = (const unsigned char *)own;
    const size_t second = TOKEN_PART_SIZE - crypto_verify_16_BYTES;
    return (crypto_verify_16(a, b) | crypto_verify_16(a + second, b + second)) == 0;
}

/* The verdict on a known token: it must not have expired, and a secret, where one was presented, must be its own. */
static enum keep_result judge(struct keep *keep, const struct cache_entry *entry, const char *secret, int64_t wall)
{
    if (entry->expires != 0 && entry->expires <= wall) {
        count(keep, METRIC_TOKENS_EXPIRED);
        return KEEP_EXPIRED;
    }
    if (secret != NULL && !same_secret(secret, entry->secret)) {
        count(keep, METRIC_TOKENS_MISMATCHED);
        return KEEP_MISMATCH;
    }
    return KEEP_DONE;
}

/* Whether what is in memory may be answered at all: only while everything that was changed in Redis until shortly
 * before has been heard. */
static bool caches_alive(const struct keep *keep, int64_t now)
{
    return now < keep->state.lease_until;
}

/* The entry of a key that may be answered from now, while the caches are alive, or NULL. What is past its time alone
 * stays as long as an outage might still call for it. */
static const struct cache_entry *current_entry(struct keep *keep, struct cache *cache, uint64_t hash, const char *key,
                                               uint64_t generation, int64_t now)
{
    const struct cache_entry *entry = cache_lookup(cache, hash, key);
    if (entry == NULL || (entry->generation == generation && now < entry->fresh_until))
        return entry;
    if (entry->generation != generation)
        count(keep, METRIC_CACHE_STALE);
    else if (now < entry->fresh_until + keep->stale_on_error)
        return NULL;
    cache_remove(cache, hash, key);
    return NULL;
}

static void flight_landed(void *argument, enum store_result result, struct token_data *data);

/* By the seeded hash: with uthash's own, a client could choose keys that all meet in one bucket. */
static struct flight *flight_find(const struct keep *keep, uint64_t hash, const char *key)
{
    struct flight *flight;
    HASH_FIND_BYHASHVALUE(hh, keep->flights, key, TOKEN_PART_SIZE, (unsigned)hash, flight);
    return flight;
}

static struct flight *flight_start(struct keep *keep, uint64_t hash, const char *key, uint64_t generation, int64_t now)
{
    struct flight *flight = pool_take(&keep->flight_pool), *older;
    flight->keep = keep;
    flight->hash = hash;
    flight->generation = generation;
    flight->epoch = keep->state.epoch;
    flight->sent = now;
    memcpy(flight->key, key, TOKEN_PART_SIZE);
    STAILQ_INIT(&flight->waiters);
    older = flight_find(keep, hash, key);
    if (older != NULL) {
        older->overtaken = true; /* no invalidation finds it any more */
        HASH_DEL(keep->flights, older);
    }
    HASH_ADD_BYHASHVALUE(hh, keep->flights, key, TOKEN_PART_SIZE, (unsigned)hash, flight);
    store_read(keep->store, key, flight_landed, flight);
    return flight;
}

/* Whether nothing is known to have changed since it was sent. */
static bool flight_current(const struct flight *flight, uint64_t generation)
{
    return flight->generation == generation && flight->epoch == flight->keep->state.epoch && !flight->overtaken;
}

/* A flight may be joined only while nothing has changed since it was sent: what it brings may be from before a change
 * that the joining client has been told of. A change on another machine may have been announced to nobody but to an
 * older link of ours, so an old one is not joined either. */
static struct flight *flight_for(struct keep *keep, uint64_t hash, const char *key, uint64_t generation, int64_t now)
{
    struct flight *flight = flight_find(keep, hash, key);
    if (flight != NULL && flight_current(flight, generation) && now - flight->sent < INVALIDATION_LEASE) {
        count(keep, METRIC_CACHE_JOINED);
        return flight;
    }
    return flight_start(keep, hash, key, generation, now);
}

/* Answers a look-up from memory, if that can be. */
static bool answer_from_memory(struct keep *keep, const struct keep_time *now, uint64_t hash, uint64_t generation,
                               const char *key, const char *secret, keep_get_callback *callback, void *argument)
{
    const struct cache_entry *entry = current_entry(keep, keep->known, hash, key, generation, now->boot);
    if (entry != NULL) {
        count(keep, METRIC_CACHE_HITS);
        callback(argument, judge(keep, entry, secret, now->wall), entry);
        return true;
    }
    if (current_entry(keep, keep->unknown, hash, key, generation, now->boot) != NULL) {
        count(keep, METRIC_CACHE_NEGATIVE_HITS);
        callback(argument, KEEP_INVALID, NULL);
        return true;
    }
    return false;
}

bool keep_get(struct keep *keep, const struct keep_time *now, const char key[TOKEN_PART_SIZE], const char *secret,
              keep_get_callback *callback, void *argument)
{
    uint64_t hash = hash_foreseen(keep, key), generation = generation_now(keep->settings.shared, hash);
    if (!caches_alive(keep, now->boot))
        count(keep, METRIC_CACHE_BYPASSED);
    else if (answer_from_memory(keep, now, hash, generation, key, secret, callback, argument))
        return true;
    if (keep->state.refused || keep->waiting >= keep->settings.config->max_inflight) {
        callback(argument, keep->state.refused ? KEEP_UNAVAILABLE : KEEP_BUSY, NULL);
        return true;
    }
    count(keep, METRIC_CACHE_MISSES);
    struct waiter *waiter = pool_take(&keep->waiter_pool);
    waiter->callback = callback;
    waiter->argument = argument;
    waiter->has_secret = secret != NULL;
    if (secret != NULL)
        memcpy(waiter->secret, secret, TOKEN_PART_SIZE);
    struct flight *flight =
        flight_for(keep, hash, key, generation, now->boot); /* the macro evaluates its argument twice */
    STAILQ_INSERT_TAIL(&flight->waiters, waiter, next);
    keep->waiting++;
    return false;
}

const struct cache_entry *keep_known(struct keep *keep, const struct keep_time *now, const char key[TOKEN_PART_SIZE])
{
    const uint64_t hash = hash_key(keep, key);
    if (!caches_alive(keep, now->boot))
        return NULL;
    return current_entry(keep, keep->known, hash, key, generation_now(keep->settings.shared, hash), now->boot);
}

/* An outage is never a no: what is in memory may have been replaced meanwhile. */
static enum keep_result stale_result(struct keep *keep, const struct waiter *waiter, const struct cache_entry *entry,
                                     int64_t wall)
{
    if (entry == NULL || judge(keep, entry, waiter->has_secret ? waiter->secret : NULL, wall) != KEEP_DONE)
        return KEEP_UNAVAILABLE;
    count(keep, METRIC_CACHE_STALE_ANSWERS);
    return KEEP_DONE;
}

static enum keep_result waiter_result(struct keep *keep, const struct waiter *waiter, enum store_result result,
                                      const struct cache_entry *entry, int64_t wall)
{
    switch (result) {
    case STORE_DONE: return judge(keep, entry, waiter->has_secret ? waiter->secret : NULL, wall);
    case STORE_NOTHING: return KEEP_INVALID;
    case STORE_UNREADABLE: return KEEP_CORRUPT;
    case STORE_UNAVAILABLE: return stale_result(keep, waiter, entry, wall);
    case STORE_UNCERTAIN: return KEEP_UNAVAILABLE;
    }
    return KEEP_UNAVAILABLE;
}

/* What may be answered in an outage: an entry that is known to be outdated by nothing but its age, and that the
 * operator lets live so long. A copy, marked as what it is; NULL when there is none. */
static struct cache_entry *flight_stale_entry(const struct flight *flight)
{
    struct keep *keep = flight->keep;
    if (keep->stale_on_error == 0 || keep->state.refused)
        return NULL;
    const struct cache_entry *entry = cache_lookup(keep->known, flight->hash, flight->key);
    if (entry == NULL || entry->generation != generation_now(keep->settings.shared, flight->hash) ||
        clock_boot() >= entry->fresh_until + keep->stale_on_error)
        return NULL;
    struct cache_entry *copy = cache_entry_copy(entry);
    if (copy == NULL)
        memory_exhausted();
    copy->stale = true;
    return copy;
}

/* What a flight brought, as an entry that need not go into a cache; NULL when it brought neither data nor Redis' nil,
 * and nothing stands in for it. */
static struct cache_entry *flight_entry(const struct flight *flight, enum store_result result,
                                        const struct token_data *data)
{
    struct cache_entry *entry;
    if (result == STORE_DONE)
        entry = cache_entry_new(flight->hash, data, flight->generation, flight->sent + flight->keep->ttl);
    else if (result == STORE_NOTHING)
        entry = cache_entry_new_unknown(flight->hash, flight->key, flight->generation,
                                        flight->sent + flight->keep->negative_ttl);
    else
        return result == STORE_UNAVAILABLE ? flight_stale_entry(flight) : NULL;
    if (entry == NULL)
        memory_exhausted();
    return entry;
}

/* Only data and Redis' own nil are remembered: if a wrong secret or an unreadable value made a negative entry, anybody
 * could hide a valid token. Whatever Redis said, what it said before is history. What a change has overtaken, or what
 * was asked while nobody heard of changes, is not kept. */
static void flight_remember(const struct flight *flight, enum store_result result, struct cache_entry *entry)
{
    struct keep *keep = flight->keep;
    if (result == STORE_DONE || result == STORE_NOTHING || result == STORE_UNREADABLE)
        cache_remove(keep->known, flight->hash, flight->key);
    if (entry == NULL)
        return;
    const bool current = flight_current(flight, generation_now(keep->settings.shared, flight->hash));
    if (entry->stale || !current || !keep->state.up)
        cache_entry_free(&entry);
    else if (entry->known)
        shared_count(keep->slot, METRIC_CACHE_EVICTED, cache_insert(keep->known, entry));
    else
        cache_insert(keep->unknown, entry);
}

static void flight_answer(struct flight *flight, enum store_result result, const struct cache_entry *entry)
{
    struct keep *keep = flight->keep;
    struct waiter *waiter;
    const int64_t wall = clock_wall();
    while ((waiter = STAILQ_FIRST(&flight->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&flight->waiters, next);
        keep->waiting--;
        const enum keep_result verdict = waiter_result(keep, waiter, result, entry, wall);
        const bool about_entry = verdict == KEEP_DONE || verdict == KEEP_MISMATCH || verdict == KEEP_EXPIRED;
        waiter->callback(waiter->argument, verdict, about_entry ? entry : NULL);
        pool_give(&keep->waiter_pool, waiter);
    }
}

static void flight_landed(void *argument, enum store_result result, struct token_data *data)
{
    struct flight *flight = argument;
    struct keep *keep = flight->keep;
    if (flight_find(keep, flight->hash, flight->key) == flight)
        HASH_DEL(keep->flights, flight);
    if (result == STORE_UNREADABLE)
        count(keep, METRIC_TOKENS_CORRUPT);
    if (keep->state.refused)
        result = STORE_UNAVAILABLE;
    struct cache_entry *entry = flight_entry(flight, result, data);
    token_data_free(&data);
    flight_answer(flight, result, entry);
    flight_remember(flight, result, entry);
    pool_give(&keep->flight_pool, flight);
}

/* What others change. */

static void forget_all(struct keep *keep)
{
    shared_count(keep->slot, METRIC_CACHE_INVALIDATED, cache_clear(keep->known) + cache_clear(keep->unknown));
}

static void forget_key(struct keep *keep, const char *key)
{
    const uint64_t hash = hash_key(keep, key);
    struct flight *flight = flight_find(keep, hash, key);
    if (flight != NULL)
        flight->overtaken = true;
    shared_count(keep->slot, METRIC_CACHE_INVALIDATED,
                 (uint64_t)cache_remove(keep->known, hash, key) + cache_remove(keep->unknown, hash, key));
}

/* With a new epoch no flight of an older one is kept or joined any more, so these need no marks. */
static void on_invalidated(void *argument, enum invalidation_change change, const char *key)
{
    struct keep *keep = argument;
    switch (change) {
    case INVALIDATION_KEY: forget_key(keep, key); return;
    case INVALIDATION_LOST:
        if (keep->stale_on_error == 0)
            forget_all(keep);
        return;
    case INVALIDATION_ALL:
        for (struct flight *flight = keep->flights; flight != NULL; flight = flight->hh.next)
            flight->overtaken = true;
        forget_all(keep);
        return;
    case INVALIDATION_HEARING: forget_all(keep); return;
    }
}

/* The changes. */

enum keep_result keep_result_of(enum store_result result)
{
    switch (result) {
    case STORE_DONE: return KEEP_DONE;
    case STORE_NOTHING: return KEEP_INVALID;
    case STORE_UNCERTAIN: return KEEP_UNCERTAIN;
    case STORE_UNREADABLE:
    case STORE_UNAVAILABLE: return KEEP_UNAVAILABLE;
    }
    return KEEP_UNAVAILABLE;
}

/* The generation moves on every outcome: even "not there" may follow a delete that another worker has not heard the end
 * of. */
static void change_made(void *argument, enum store_result result)
{
    struct change *change = argument;
    struct keep *keep = change->keep;
    generation_move(keep->settings.shared, change->hash);
    keep->waiting--;
    if (result == STORE_DONE)
        count(keep, change->done);
    change->callback(change->argument, keep_result_of(result));
    pool_give(&keep->change_pool, change);
}

static struct change *change_new(struct keep *keep, const char *key, enum metric done, keep_change_callback *callback,
                                 void *argument)
{
    if (keep->waiting >= keep->settings.config->max_inflight) {
        callback(argument, KEEP_BUSY);
        return NULL;
    }
    struct change *change = pool_take(&keep->change_pool);
    *change = (struct change){keep, hash_key(keep, key), done, callback, argument};
    keep->waiting++;
    return change;
}

void keep_store(struct keep *keep, const struct token_data *data, bool replace, keep_change_callback *callback,
                void *argument)
{
    struct change *change = change_new(keep, data->token.key, METRIC_TOKENS_STORED, callback, argument);
    if (change != NULL)
        store_write(keep->store, data, replace, change_made, change);
}

void keep_delete(struct keep *keep, const char key[TOKEN_PART_SIZE], keep_change_callback *callback, void *argument)
{
    struct change *change = change_new(keep, key, METRIC_TOKENS_DELETED, callback, argument);
    if (change != NULL)
        store_delete(keep->store, key, change_made, change);
}

/* The requests over many tokens. */

void keep_scan(struct keep *keep, enum scan_work work, keep_scan_callback *callback, void *argument)
{
    surveys_scan(keep->surveys, work, callback, argument);
}

void keep_user(struct keep *keep, enum user_work work, const char *username, keep_scan_callback *callback,
               void *argument)
{
    surveys_user(keep->surveys, work, username, callback, argument);
}

void keep_scan_done(struct keep *keep, struct keyset **keys)
{
    surveys_done(keep->surveys, keys);
}

void keep_publish(struct keep *keep)
{
    atomic_store(&keep->slot->cache_entries, cache_entries(keep->known));
    atomic_store(&keep->slot->cache_bytes, cache_bytes(keep->known));
}
