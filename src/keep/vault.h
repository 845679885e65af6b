/* SPDX-License-Identifier: MIT */
/* The vault seals and opens stored values with the keys of a keyring; tokenkeepd(8), "STORED VALUES", has the
 * format. */
#ifndef TK_KEEP_VAULT_H
#define TK_KEEP_VAULT_H

#include "base/error.h"

#include <stddef.h>

enum {
    VAULT_KEY_SIZE = 32,
    VAULT_KEY_ID_SIZE = 8,
    VAULT_KEYS_MAX = 64,
    VAULT_NONCE_SIZE = 24,
    VAULT_HEADER_SIZE = 1 + VAULT_KEY_ID_SIZE,
    VAULT_PLAIN_AT = VAULT_HEADER_SIZE + VAULT_NONCE_SIZE, /* where in a sealed value its plaintext was */
    VAULT_OVERHEAD =
        VAULT_HEADER_SIZE + VAULT_NONCE_SIZE + 16, /* bytes that a sealed value is longer than its plaintext */
    VAULT_NAME_MAX = 1024,                         /* bytes of a Redis key */
    VAULT_BLIND_SIZE = 24,
};

enum vault_result {
    VAULT_OK,
    VAULT_TRUNCATED,   /* shorter than VAULT_OVERHEAD */
    VAULT_BAD_FORMAT,  /* byte 0 is not a known format */
    VAULT_UNKNOWN_KEY, /* sealed with a key that the keyring does not hold */
    VAULT_FORGED,      /* does not open under this key and Redis key: altered, copied or moved */
};

struct vault;

/* Reads a keyring file into locked memory: a key a line in padded standard base64, `#` comments, empty lines. Refused:
 * a file that others can read or its group can write (checked on the open descriptor), no key, a bad line, two keys of
 * one id. NULL on failure; `error` names file, line and reason, never the line's content. The caller frees the
 * result. */
struct vault *vault_open_keyring(const char *path, struct error *error) __attribute__((warn_unused_result));

/* The number of keys, at least 1. */
size_t vault_keys(const struct vault *vault);

/* The id of key number `key`, counted from 0, and the one that a sealed value of at least VAULT_HEADER_SIZE bytes
 * names: VAULT_KEY_ID_SIZE bytes, which are no secret. */
const unsigned char *vault_key_id(const struct vault *vault, size_t key);
const unsigned char *vault_value_key_id(const unsigned char *sealed);

/* Seals `size` bytes with the first key and a random nonce into `out`, which has room for size + VAULT_OVERHEAD bytes;
 * `plain` may be `out` + VAULT_PLAIN_AT, and is overwritten then.
 * `name` is the whole Redis key, of at most VAULT_NAME_MAX bytes, authenticated with the value. */
void vault_seal(const struct vault *vault, const char *name, size_t name_size, const unsigned char *plain, size_t size,
                unsigned char *out);

/* Opens a sealed value into `out`, which has room for size - VAULT_OVERHEAD bytes (nothing is written when `size` is
 * less than VAULT_OVERHEAD); `out` may be `sealed` + VAULT_PLAIN_AT. *plain_size is set on
 * VAULT_OK alone; after VAULT_FORGED `out` holds no plaintext. The first thing wrong, in the order of the enum, is what
 * is returned. */
enum vault_result vault_open(const struct vault *vault, const char *name, size_t name_size, const unsigned char *sealed,
                             size_t size, unsigned char *out, size_t *plain_size) __attribute__((warn_unused_result));

/* Hides a text behind key number `key` of the keyring, counted from 0: keyed BLAKE2b under a key that is derived for
 * this alone. The same text gives the same bytes; who lacks the key cannot tell which text it was. */
void vault_blind(const struct vault *vault, size_t key, const char *text, size_t size,
                 unsigned char out[VAULT_BLIND_SIZE]);

/* Wipes the keys, frees and sets to NULL; a NULL *vault is left alone. */
void vault_free(struct vault **vault);

#endif
