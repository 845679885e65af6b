/* SPDX-License-Identifier: MIT */
/* The requests over all tokens: LIST, DELETEALL, VERIFYALL, REKEY, STATS KEYS. SCAN in batches, never KEYS, each batch
 * a turn of the event loop. */
#ifndef TK_KEEP_SCAN_H
#define TK_KEEP_SCAN_H

#include "keep/key_counts.h"
#include "keep/keyset.h"
#include "keep/store.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scan_work {
    SCAN_LIST,
    SCAN_DELETE,
    SCAN_VERIFY,
    SCAN_VERIFY_FIX,
    SCAN_REKEY,
    SCAN_COUNT_KEYS,
};

/* What came of it. The keys are the callback's to free: for SCAN_LIST all of them; for the verifications and
 * SCAN_REKEY those with a mark are bad, and the mark is a store_flaw, plus SCAN_MARK_DELETED when it was deleted. */
struct scan_result {
    enum store_result result; /* STORE_DONE, STORE_UNAVAILABLE or STORE_UNCERTAIN */
    struct keyset *keys;
    bool abandoned;             /* `progress` ended it; `result` is STORE_UNAVAILABLE then */
    uint64_t deleted;           /* SCAN_DELETE and SCAN_VERIFY_FIX, also when they ended midway */
    uint64_t resealed;          /* SCAN_REKEY, likewise */
    uint64_t checked, bad;      /* the verifications and SCAN_REKEY */
    struct key_counts sealings; /* SCAN_COUNT_KEYS */
};

enum { SCAN_MARK_DELETED = 0x80 };

struct scan;

/* What the scan asks of its owner: to take the result; to hear what came of deleting or replacing a value; the
 * seeded hash of a key; to hear how far it is, `of` 0 while that is not known, and say whether it is to go on. */
typedef void scan_callback(void *argument, const struct scan_result *result);
typedef void scan_changed(void *argument, const char key[TOKEN_PART_SIZE], enum store_result result);
typedef uint64_t scan_hash(void *argument, const char key[TOKEN_PART_SIZE]);
typedef bool scan_progress(void *argument, uint64_t done, uint64_t of);

struct scan_settings {
    struct event_base *base;
    struct store *store;
    enum scan_work work;
    scan_hash *hash;
    scan_changed *changed;   /* before the callback that tells of it */
    scan_progress *progress; /* a few times a second; NULL: nobody wants to hear */
    scan_callback *callback;
    void *argument; /* for the four above */
};

/* Starts one. The callback follows, once, unless scan_free comes first; within it the scan must be freed. */
struct scan *scan_start(const struct scan_settings *settings);

/* Frees and sets to NULL; a NULL *scan is left alone. Not while commands of it are under way, except when the store's
 * link is freed first. */
void scan_free(struct scan **scan);

#endif
