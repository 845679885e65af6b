/* SPDX-License-Identifier: MIT */
/* The operations on tokens: the store with the cache before it. Everything that makes a cached answer true is in
 * keep.c: generations, joining of look-ups, the order of a change, its generation and its answer. */
#ifndef TK_KEEP_KEEP_H
#define TK_KEEP_KEEP_H

#include "base/config.h"
#include "base/shared.h"
#include "keep/cache.h"
#include "keep/scan.h"
#include "keep/store.h"
#include "keep/token_data.h"
#include "keep/user_scan.h"
#include "keep/vault.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keep;

enum keep_result {
    KEEP_DONE,
    KEEP_INVALID,     /* no such token; an insert: there already */
    KEEP_MISMATCH,    /* a look-up: there is such a token, and its secret is another */
    KEEP_EXPIRED,     /* a look-up: it has expired */
    KEEP_CORRUPT,     /* a look-up: the stored value cannot be read; of a user: some cannot, and whose they are */
    KEEP_UNAVAILABLE, /* no verdict: Redis is away or refuses; a change was not made, one over all tokens not to its end
                       */
    KEEP_UNCERTAIN,   /* no verdict: a change was sent and may have been made */
    KEEP_BUSY,        /* no verdict: max-inflight requests wait already, or a scan is under way */
    KEEP_ABANDONED,   /* no verdict: a scan whose client has left was ended midway */
};

/* `argument` is that of the keep_scan under way; the result that of the deletion. */
typedef void keep_fixed_callback(void *argument, const char key[TOKEN_PART_SIZE], enum keep_result result);

/* `argument` is that of the keep_scan under way. False ends it: nobody waits for it any more. */
typedef bool keep_progress_callback(void *argument, uint64_t done, uint64_t of);

struct keep_settings {
    struct event_base *base;
    const struct config *config;
    struct shared *shared;
    unsigned slot;
    const struct vault *vault;
    struct redis_access *access;        /* to Redis; NULL: neither login nor TLS */
    struct reports *reports;            /* hears of problems; NULL: nobody does */
    void (*batch_done)(void *argument); /* after the callbacks of one event of the loop */
    void *batch_argument;
    keep_fixed_callback *fixed;       /* hears of every value that SCAN_VERIFY_FIX deletes; may be NULL */
    keep_progress_callback *progress; /* hears a few times a second how far SCAN_REKEY is, `of` 0 while that is not
                                         known; may be NULL */
};

/* The time that a look-up goes by: read once after the recv() that brought the request. */
struct keep_time {
    int64_t boot; /* clock_boot() */
    int64_t wall; /* clock_wall() */
};

/* Starts connecting to Redis. What `settings` points to must outlive the keep. NULL when there is no memory. */
struct keep *keep_new(const struct keep_settings *settings) __attribute__((warn_unused_result));

/* Frees without calling back, and sets to NULL; a NULL *keep is left alone. */
void keep_free(struct keep **keep);

/* Says that a key is likely to be looked up soon, behind those that were foreseen before it: entries are then fetched
 * from memory side by side. False when no more can be remembered. A guess, that changes no answer: whether an entry may
 * be used is decided by each look-up in its turn. */
bool keep_foresee(struct keep *keep, const char key[TOKEN_PART_SIZE]);

/* Forgets what was foreseen and never came. */
void keep_foresee_nothing(struct keep *keep);

/* `entry` is set for KEEP_DONE, KEEP_MISMATCH and KEEP_EXPIRED, and lives until the callback returns. Only with
 * KEEP_DONE may anything of it reach the client. */
typedef void keep_get_callback(void *argument, enum keep_result result, const struct cache_entry *entry);
typedef void keep_change_callback(void *argument, enum keep_result result);

/* Looks up a key, and compares the secret unless it is NULL. The callback comes once: before this returns, which is
 * then true, when the answer is in memory or refused at once; else later. */
bool keep_get(struct keep *keep, const struct keep_time *now, const char key[TOKEN_PART_SIZE], const char *secret,
              keep_get_callback *callback, void *argument);

/* What is in memory of a key and current, whether it has expired or not; NULL when nothing is. It lives until the next
 * call. */
const struct cache_entry *keep_known(struct keep *keep, const struct keep_time *now, const char key[TOKEN_PART_SIZE]);

/* Stores data; without `replace`, KEEP_INVALID when the key is taken. When the callback comes, no worker of this
 * machine answers from anything older any more, whatever the result. */
void keep_store(struct keep *keep, const struct token_data *data, bool replace, keep_change_callback *callback,
                void *argument);

/* Deletes a key, under the same promise. KEEP_INVALID when there was none. */
void keep_delete(struct keep *keep, const char key[TOKEN_PART_SIZE], keep_change_callback *callback, void *argument);

/* `scan` is NULL for KEEP_BUSY alone. Its keys are NULL unless KEEP_DONE brings some, which the callback gives back
 * with keep_scan_done when it is done with them. */
typedef void keep_scan_callback(void *argument, enum keep_result result, const struct scan_result *scan);

/* Starts a request over all tokens. One is under way at a time, from here to keep_scan_done: KEEP_BUSY otherwise,
 * called back before this returns. */
void keep_scan(struct keep *keep, enum scan_work work, keep_scan_callback *callback, void *argument);

enum { KEEP_DELETIONS_MAX = 16 }; /* of users' tokens, under way at a time */

/* Lists or deletes the tokens of a user, whose name is valid. A list counts as a request over all tokens, and has keys
 * to be given back; deletions are KEEP_BUSY when there are too many. When a deletion's callback comes, no worker of
 * this machine answers from anything older any more, whatever the result. */
void keep_user(struct keep *keep, enum user_work work, const char *username, keep_scan_callback *callback,
               void *argument);

/* Gives back the keys of a scan, so that the next may start. Sets *keys to NULL. */
void keep_scan_done(struct keep *keep, struct keyset **keys);

/* For the files behind this: the seeded hash of a key, and what a change's result means to who asked for it. */
uint64_t keep_hash(const struct shared *shared, const char key[TOKEN_PART_SIZE]);
enum keep_result keep_result_of(enum store_result result);

/* Writes the sizes of the cache into the slot, for STATS. Once a second will do. */
void keep_publish(struct keep *keep);

#endif
