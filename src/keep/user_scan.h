/* SPDX-License-Identifier: MIT */
/* The requests over the tokens of one user: LIST USER, DELETE USER. They read the index by user, open each token that
 * it names to see whose it is, and take out entries whose tokens are gone. A page of one set is in hand at a time. */
#ifndef TK_KEEP_USER_SCAN_H
#define TK_KEEP_USER_SCAN_H

#include "keep/keyset.h"
#include "keep/store.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

enum user_work { USER_LIST, USER_DELETE };

struct user_scan_result {
    enum store_result result; /* STORE_DONE, STORE_UNAVAILABLE or STORE_UNCERTAIN */
    struct keyset *keys;      /* USER_LIST: all of them, made unique; the callback's to free. NULL for USER_DELETE */
    uint64_t deleted;         /* also when it ended midway */
    uint64_t sealed;          /* values that might be the user's, under keys that the keyring does not hold */
};

struct user_scan;

/* What the scan asks of its owner: to take the result; the seeded hash of a key. */
typedef void user_scan_callback(void *argument, const struct user_scan_result *result);
typedef uint64_t user_scan_hash(void *argument, const char key[TOKEN_PART_SIZE]);

struct user_scan_settings {
    struct event_base *base;
    struct store *store;
    enum user_work work;
    const char *username; /* copied; at most TOKEN_DATA_USERNAME_MAX bytes */
    user_scan_hash *hash;
    user_scan_callback *callback;
    void *argument; /* for the two above */
};

/* Starts one. USER_DELETE deletes every token of the user that was stored before this, unless the result says
 * otherwise; what is stored meanwhile may be left. The callback follows, once, unless user_scan_free comes first;
 * within it the scan must be freed. */
struct user_scan *user_scan_start(const struct user_scan_settings *settings);

/* Frees, and sets to NULL; a NULL *scan is left alone. Not while commands of it are under way, except when the store's
 * link is freed first. Keys that were not handed over go too. */
void user_scan_free(struct user_scan **scan);

#endif
