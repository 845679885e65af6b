/* SPDX-License-Identifier: MIT */
/* The store: single tokens in Redis, sealed. Every function answers through its callback, once, never before it
 * returned. */
#ifndef TK_KEEP_STORE_H
#define TK_KEEP_STORE_H

#include "base/reports.h"
#include "keep/redis_link.h"
#include "keep/token_data.h"
#include "keep/vault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_result {
    STORE_DONE,
    STORE_NOTHING,     /* a read or delete: Redis has no such key; an insert: it has one already */
    STORE_UNREADABLE,  /* there is a value, and it is not a token's: see enum store_flaw */
    STORE_UNAVAILABLE, /* no answer, or Redis refused; a change was not made */
    STORE_UNCERTAIN,   /* a change that may or may not have been made, and will not be made any more */
};

/* What is wrong with a stored value. */
enum store_flaw {
    STORE_FLAW_NONE,
    STORE_FLAW_TRUNCATED,
    STORE_FLAW_FORMAT,
    STORE_FLAW_UNKNOWN_KEY,
    STORE_FLAW_FORGED,
    STORE_FLAW_UNDECODABLE,
    STORE_FLAW_MISPLACED, /* the data of another token */
    STORE_FLAW_TOO_LONG,
    STORE_FLAW_NOT_A_STRING,
};

struct store;

/* A store over `link`, with the keys of `vault`; all that is given stays the caller's and must outlive it. `reports`
 * hears of unreadable values and of refusals; it may be NULL. */
struct store *store_new(struct redis_link *link, const struct vault *vault, const char *prefix,
                        struct reports *reports);

/* Frees and sets to NULL; a NULL *store is left alone. No callback may be outstanding unless the link is gone too. */
void store_free(struct store **store);

/* The link, and the name of a key in Redis: prefix and key, of *size bytes, in a buffer that the next call
 * overwrites. */
struct redis_link *store_link(const struct store *store);
const char *store_name(struct store *store, const char key[TOKEN_PART_SIZE], size_t *size);
const char *store_prefix(const struct store *store);
const struct vault *store_vault(const struct store *store);

/* `data` is set for STORE_DONE alone and is the callback's to free. */
typedef void store_read_callback(void *argument, enum store_result result, struct token_data *data);
typedef void store_change_callback(void *argument, enum store_result result);

/* Reads the data of a key. Logs and reports what is wrong with a value, see notices.h. */
void store_read(struct store *store, const char key[TOKEN_PART_SIZE], store_read_callback *callback, void *argument);

/* Stores the data under its key, to live until it expires, and before that its entry in the index by user. With
 * `replace` false an existing one is left: STORE_NOTHING. STORE_UNCERTAIN too when it was stored without an entry. */
void store_write(struct store *store, const struct token_data *data, bool replace, store_change_callback *callback,
                 void *argument);

/* Deletes a key, and when that is done its entry in the index, if the value says whose it is. */
void store_delete(struct store *store, const char key[TOKEN_PART_SIZE], store_change_callback *callback,
                  void *argument);

/* Deletes a key while its value is `value`, what Redis answered to a GET; STORE_NOTHING when it is another by now. */
void store_delete_same(struct store *store, const char key[TOKEN_PART_SIZE], const redisReply *value,
                       store_change_callback *callback, void *argument);

/* Seals data again with the first key, in place of `value`, what Redis answered to a GET, and before that makes their
 * entry in the index under that key. The expiry stays as it is, to the millisecond. STORE_NOTHING when the value is
 * another by now, or gone. */
void store_reseal(struct store *store, const struct token_data *data, const redisReply *value,
                  store_change_callback *callback, void *argument);

/* Makes the entry in the index by user of a token that is stored. STORE_NOTHING when it may have been there. */
void store_index(struct store *store, const struct token_data *data, store_change_callback *callback, void *argument);

/* Takes the entries that a token has in the index by user under key number `key` of the keyring and all behind it out:
 * it is gone, or has another entry. Nobody hears what came of it: an entry too many is no harm. */
void store_forget(struct store *store, const struct token_data *data, size_t key);

/* Opens what Redis answered to a GET of `key`: STORE_DONE with *data, STORE_NOTHING, STORE_UNREADABLE with *flaw, and
 * the decoder's reason, where there is one, in `error`; or STORE_UNAVAILABLE when the answer is an error. */
enum store_result store_open(struct store *store, const char key[TOKEN_PART_SIZE], const redisReply *reply,
                             struct token_data **data, enum store_flaw *flaw, struct error *error)
    __attribute__((warn_unused_result));

/* Says in the log, and as a problem, at most every ten seconds, that Redis refused a command; the first word of its
 * error alone. */
void store_log_refusal(struct store *store, const char *command, const redisReply *reply);

/* Looks at what Redis answered to INFO MEMORY, and says in the log, and as a problem, at most every ten minutes, when
 * it may evict: then the index by user may lack tokens. */
void store_look_for_eviction(struct store *store, const redisReply *info);

/* A few words on a flaw, for logs and VERIFYALL. */
const char *store_flaw_text(enum store_flaw flaw);

#endif
