/* SPDX-License-Identifier: MIT */
/* The index by user: which tokens a user may have, for LIST USER and DELETE USER. tokenkeepd(8), "THE INDEX BY USER",
 * has the format. It is always a superset: an entry is made before its token and goes after it. Nothing here is atomic
 * with the tokens, which may live on another server of a Cluster; who reads the index looks at each token. */
#ifndef TK_KEEP_USER_INDEX_H
#define TK_KEEP_USER_INDEX_H

#include "base/config.h"
#include "base/number.h"
#include "keep/redis_link.h"
#include "keep/token_data.h"
#include "keep/vault.h"

#include <stddef.h>
#include <stdint.h>

enum {
    USER_INDEX_HASH_SIZE = VAULT_BLIND_SIZE / 3 * 4, /* characters of URL-safe base64, without padding */
    USER_INDEX_NAME_SIZE = CONFIG_PREFIX_MAX + 2 + USER_INDEX_HASH_SIZE,
    USER_INDEX_SETS = 5 * 19 + 1, /* of one user and one key of the keyring, that may hold living tokens */
    USER_INDEX_YOUNG = 61, /* seconds: a younger entry's token may be on its way; a minute, and one for rounding */
    USER_INDEX_FORGET_MAX = 512, /* entries that go with one command */
};

/* When the tokens of a set expire. Its own expiry is the end of this span, the same whoever writes it. */
struct user_index_span {
    unsigned shift; /* the span is 2^shift seconds long; 0: the set of all that expire never, or in a far future */
    int64_t number; /* the span begins at number << shift */
};

/* The Redis key of a set, without a NUL. */
struct user_index_name {
    size_t size;
    char text[USER_INDEX_NAME_SIZE];
};

/* The set in which the entry of such a token stands, stored at `now`. Long spans for long lives: so a set outlives its
 * last token by no more than a token's life. */
struct user_index_span user_index_span_of(const struct token_data *data, int64_t now);

/* Span number `i` of the USER_INDEX_SETS in which tokens stand that have not expired at `now`, give or take a quarter
 * of an hour between clocks. */
struct user_index_span user_index_span_nth(size_t i, int64_t now);

/* The name of a set by key number `key` of the vault's keyring: sets are written under 0 and read under all. */
void user_index_name(const struct vault *vault, size_t key, const char *prefix, const char *username,
                     struct user_index_span span, struct user_index_name *name);

/* The commands that make an entry. `add` is ZADD, whose answer is an integer; `expire` EXPIREAT, whose answer is 1;
 * expire.n is 0 where the set does not expire. */
struct user_index_entry {
    struct redis_words add, expire;
    struct user_index_name name;
    char made[NUMBER_DIGITS_MAX], until[NUMBER_DIGITS_MAX];
    const char *texts[2][5];
    size_t sizes[2][5];
};

/* Sets `entry` for a token that is stored at `now`, under the first key. It points into itself and to the data's key.
 */
void user_index_entry(struct user_index_entry *entry, const struct vault *vault, const char *prefix,
                      const struct token_data *data, int64_t now);

/* Takes the entries of `n` keys, at most USER_INDEX_FORGET_MAX, out of a set, but for those made after `made_before`:
 * the keys' tokens were found to be gone, or another user's, USER_INDEX_YOUNG seconds after that or later. So what is
 * stored again meanwhile keeps its entry, however late the command is carried out, and it may be repeated. Answers with
 * an integer. */
void user_index_forget(struct redis_link *link, const struct user_index_name *name, int64_t made_before,
                       const char (*keys)[TOKEN_PART_SIZE], size_t n, redis_callback *callback, void *argument);

/* Takes USER_INDEX_FORGET_MAX entries out of a set that were not made after `made_before`, or all of them when there
 * are fewer: all that was stored then was found to be gone. Answers with an integer, how many they were. */
void user_index_sweep(struct redis_link *link, const struct user_index_name *name, int64_t made_before,
                      redis_callback *callback, void *argument);

/* Whether this is the name of a set behind the prefix. */
bool user_index_name_valid(const char *text, size_t size);

#endif
