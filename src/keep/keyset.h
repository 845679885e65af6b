/* SPDX-License-Identifier: MIT */
/* A set of token keys for the requests over all tokens: SCAN may give a key more than once, LIST may not. Filling it
 * and making it unique are cut into short steps, since a million keys must not hold the event loop. */
#ifndef TK_KEEP_KEYSET_H
#define TK_KEEP_KEYSET_H

#include "keep/token.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KEYSET_MAX = 1 << 25, /* keys; more are refused (one takes 23 bytes) */
    KEYSET_STEPS = 1024,  /* calls of keyset_unique that make the whole set unique */
};

struct keyset;

struct keyset_record {
    char key[TOKEN_PART_SIZE];
    uint8_t mark; /* 0 at first; for the set's user */
};

/* An empty set. NULL when there is no memory. */
struct keyset *keyset_new(void) __attribute__((warn_unused_result));

/* Adds a key; one that is there may be added again until the set has been made unique. `hash` is the key's, seeded.
 * False when there is no memory or the set is full. */
bool keyset_add(struct keyset *set, uint64_t hash, const char key[TOKEN_PART_SIZE]) __attribute__((warn_unused_result));

/* Makes one more part of the set unique; false when that was the last. Nothing is added afterwards. */
bool keyset_unique(struct keyset *set);

/* The number of keys, repeats included until the set has been made unique. */
size_t keyset_count(const struct keyset *set);

/* Walks the set: the next record, or NULL at the end. *cursor starts at 0 and is the set's to use. */
struct keyset_record *keyset_next(struct keyset *set, uint64_t *cursor);

/* Frees and sets to NULL; a NULL *set is left alone. */
void keyset_free(struct keyset **set);

#endif
