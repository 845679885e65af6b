/* SPDX-License-Identifier: MIT */
/* A worker's memory of opened token data, bounded in bytes and in entries: what has not been looked up for long leaves
 * first. Whether an entry may be used is not decided here but in keep.c, which knows the generations and the clocks. */
#ifndef TK_KEEP_CACHE_H
#define TK_KEEP_CACHE_H

#include "keep/token_data.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* What is remembered of one key, in one block. Read-only outside cache.c. */
struct cache_entry {
    uint64_t hash;
    char key[TOKEN_PART_SIZE];
    char secret[TOKEN_PART_SIZE];
    uint8_t type;        /* enum token_type */
    uint8_t uses;        /* look-ups that count when it comes to making room */
    bool known;          /* false: Redis had no such key, and nothing below but generation and fresh_until is set */
    bool stale;          /* answered past its time, because Redis is away */
    uint64_t generation; /* noted before Redis was asked */
    int64_t fresh_until; /* boot-time clock, ns */
    int64_t expires;     /* wall clock, seconds; 0: never */
    TAILQ_ENTRY(cache_entry) queue;
    uint32_t size; /* of the whole block */
    uint32_t json_size;
    uint32_t username_size;
    uint32_t n_scopes;
    char bytes[]; /* JSON, user name, and each scope with a NUL behind it */
};

struct cache;

/* An entry for data, with its JSON rendered; or for an unknown key. NULL when there is no memory. The caller owns it
 * until cache_insert takes it. */
struct cache_entry *cache_entry_new(uint64_t hash, const struct token_data *data, uint64_t generation,
                                    int64_t fresh_until) __attribute__((warn_unused_result));
struct cache_entry *cache_entry_new_unknown(uint64_t hash, const char key[TOKEN_PART_SIZE], uint64_t generation,
                                            int64_t fresh_until) __attribute__((warn_unused_result));

/* A copy, which is in no cache. NULL when there is no memory. */
struct cache_entry *cache_entry_copy(const struct cache_entry *entry) __attribute__((warn_unused_result));

/* Wipes, frees and sets to NULL; a NULL *entry is left alone. Not for an entry that is in a cache. */
void cache_entry_free(struct cache_entry **entry);

/* The rendered JSON and the user name, neither terminated; they live as long as the entry. */
const char *cache_entry_json(const struct cache_entry *entry);
const char *cache_entry_username(const struct cache_entry *entry);

/* The scopes, sorted, each with a NUL behind it: entry->n_scopes of them. */
const char *cache_entry_scopes(const struct cache_entry *entry);

/* Whether the token has this scope. */
bool cache_entry_has_scope(const struct cache_entry *entry, const char *scope, size_t size);

/* A cache of at most `max_bytes` of entries and at most `max_entries` of them; with either 0 nothing is ever kept. NULL
 * when there is no memory. */
struct cache *cache_new(size_t max_bytes, size_t max_entries) __attribute__((warn_unused_result));

/* The entry of a key, which this counts as used, or NULL. It stays the cache's; any change of the cache may free
 * it. */
const struct cache_entry *cache_lookup(struct cache *cache, uint64_t hash, const char key[TOKEN_PART_SIZE]);

/* For look-ups to come: fetches into the processor's caches the slot of a hash, or, when that is there, its entry. A
 * fetch from memory takes as long as hundreds of instructions, but many go on side by side: first all slots, then all
 * entries. Changes nothing. */
void cache_foresee_slot(const struct cache *cache, uint64_t hash);
void cache_foresee_entry(const struct cache *cache, uint64_t hash);

/* Takes the entry, in place of one of the same key, and lets go of others until it fits; returns how many were let go.
 * An entry that never fits is freed. */
size_t cache_insert(struct cache *cache, struct cache_entry *entry);

/* Forgets a key; false when it is not there. */
bool cache_remove(struct cache *cache, uint64_t hash, const char key[TOKEN_PART_SIZE]);

/* Forgets all; returns how many there were. */
size_t cache_clear(struct cache *cache);

/* Entries and their bytes now. */
size_t cache_entries(const struct cache *cache);
size_t cache_bytes(const struct cache *cache);

/* Wipes every entry, frees and sets to NULL; a NULL *cache is left alone. */
void cache_free(struct cache **cache);

#endif
