/* SPDX-License-Identifier: MIT */
/* Sealing and opening with libsodium's XChaCha20-Poly1305, and the keyring's file. A sealed value:
 *
 *     byte 0        format, 1
 *     bytes 1-8     key id
 *     bytes 9-32    nonce, random
 *     rest          ciphertext and tag; authenticated with them: bytes 0-8 and the Redis key
 */
#include "keep/vault.h"

#include "base/secret_file.h"

#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    FORMAT = 1,
    KEYRING_SIZE_MAX = 64 * 1024,
};

_Static_assert(VAULT_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "libsodium's key");
_Static_assert(VAULT_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "libsodium's nonce");
_Static_assert(VAULT_OVERHEAD == VAULT_HEADER_SIZE + VAULT_NONCE_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES,
               "libsodium's tag");

struct vault {
    size_t n_keys;
    unsigned char ids[VAULT_KEYS_MAX][VAULT_KEY_ID_SIZE];
    unsigned char (*keys)[VAULT_KEY_SIZE];   /* sodium_malloc's, read-only once they are all there */
    unsigned char (*blinds)[VAULT_KEY_SIZE]; /* likewise: derived from them, for vault_blind */
};

/* The header and the Redis key in one piece, as the cipher wants them. */
struct authenticated {
    size_t size;
    unsigned char bytes[VAULT_HEADER_SIZE + VAULT_NAME_MAX];
};

static void key_id(const unsigned char key[VAULT_KEY_SIZE], unsigned char id[VAULT_KEY_ID_SIZE])
{
    static const char label[] = "tokenkeep-key-id-1";
    unsigned char hash[crypto_generichash_BYTES];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const unsigned char *)label, sizeof label - 1);
    crypto_generichash_update(&state, key, VAULT_KEY_SIZE);
    crypto_generichash_final(&state, hash, sizeof hash);
    memcpy(id, hash, VAULT_KEY_ID_SIZE);
    sodium_memzero(&state, sizeof state);
}

static void blind_key(const unsigned char key[VAULT_KEY_SIZE], unsigned char blind[VAULT_KEY_SIZE])
{
    static const char label[] = "tokenkeep-user-index-1";
    crypto_generichash(blind, VAULT_KEY_SIZE, (const unsigned char *)label, sizeof label - 1, key, VAULT_KEY_SIZE);
}

/* NULL when the keyring does not hold it. */
static const unsigned char *key_find(const struct vault *vault, const unsigned char id[VAULT_KEY_ID_SIZE])
{
    for (size_t i = 0; i < vault->n_keys; i++)
        if (memcmp(vault->ids[i], id, VAULT_KEY_ID_SIZE) == 0)
            return vault->keys[i];
    return NULL;
}

/* The keyring. */

/* Adds the key of one line. What is wrong with it is returned, NULL when nothing is. */
static const char *keyring_add(struct vault *vault, const char *text, size_t size)
{
    if (vault->n_keys == VAULT_KEYS_MAX)
        return "more than 64 keys";
    unsigned char *key = vault->keys[vault->n_keys], *id = vault->ids[vault->n_keys];
    size_t key_size;
    int decoded =
        sodium_base642bin(key, VAULT_KEY_SIZE, text, size, NULL, &key_size, NULL, sodium_base64_VARIANT_ORIGINAL);
    if (decoded != 0 || key_size != VAULT_KEY_SIZE)
        return "not a key: 32 bytes in padded base64, 44 characters, alone on the line";
    key_id(key, id);
    if (key_find(vault, id) != NULL)
        return "its key id is that of a line above";
    blind_key(key, vault->blinds[vault->n_keys]);
    vault->n_keys++;
    return NULL;
}

static size_t trimmed_size(const char *line, size_t size)
{
    while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t' || line[size - 1] == '\r'))
        size--;
    return size;
}

static int keyring_parse(struct vault *vault, const char *path, const char *text, size_t size, struct error *error)
{
    const char *end = text + size;
    for (size_t number = 1; text < end; number++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line_size = trimmed_size(text, (size_t)((newline != NULL ? newline : end) - text));
        const char *wrong = line_size == 0 || text[0] == '#' ? NULL : keyring_add(vault, text, line_size);
        if (wrong != NULL)
            return error_set(error, "%s:%zu: %s", path, number, wrong);
        text = newline != NULL ? newline + 1 : end;
    }
    if (vault->n_keys == 0)
        return error_set(error, "%s: no key in the keyring; `tokenkeep keygen` makes one", path);
    return 0;
}

static int keyring_load(struct vault *vault, const char *path, struct error *error)
{
    char *text = sodium_malloc(KEYRING_SIZE_MAX + 1);
    if (text == NULL)
        return error_set(error, "%s: no memory for the keyring", path);
    ssize_t size = secret_file_read(path, "keyring", text, KEYRING_SIZE_MAX, error);
    int result = size < 0 ? -1 : keyring_parse(vault, path, text, (size_t)size, error);
    sodium_free(text);
    return result;
}

struct vault *vault_open_keyring(const char *path, struct error *error)
{
    if (sodium_init() < 0) {
        error_set(error, "libsodium does not start");
        return NULL;
    }
    struct vault *vault = calloc(1, sizeof *vault);
    if (vault != NULL) {
        vault->keys = sodium_allocarray(VAULT_KEYS_MAX, sizeof *vault->keys);
        vault->blinds = sodium_allocarray(VAULT_KEYS_MAX, sizeof *vault->blinds);
    }
    if (vault == NULL || vault->keys == NULL || vault->blinds == NULL)
        error_set(error, "%s: no memory for the keyring", path);
    else if (keyring_load(vault, path, error) == 0) {
        sodium_mprotect_readonly(vault->keys); /* where the system cannot, the keys are merely writable */
        sodium_mprotect_readonly(vault->blinds);
        return vault;
    }
    vault_free(&vault);
    return NULL;
}

size_t vault_keys(const struct vault *vault)
{
    return vault->n_keys;
}

const unsigned char *vault_key_id(const struct vault *vault, size_t key)
{
    return vault->ids[key];
}

const unsigned char *vault_value_key_id(const unsigned char *sealed)
{
    return sealed + 1;
}

void vault_free(struct vault **vault)
{
    if (*vault == NULL)
        return;
    sodium_free((*vault)->keys);
    sodium_free((*vault)->blinds);
    free(*vault);
    *vault = NULL;
}

void vault_blind(const struct vault *vault, size_t key, const char *text, size_t size,
                 unsigned char out[VAULT_BLIND_SIZE])
{
    crypto_generichash(out, VAULT_BLIND_SIZE, (const unsigned char *)text, size, vault->blinds[key], VAULT_KEY_SIZE);
}

/* Values. */

static void authenticated_set(struct authenticated *data, const unsigned char *header, const char *name,
                              size_t name_size)
{
    memcpy(data->bytes, header, VAULT_HEADER_SIZE);
    memcpy(data->bytes + VAULT_HEADER_SIZE, name, name_size);
    data->size = VAULT_HEADER_SIZE + name_size;
}

void vault_seal(const struct vault *vault, const char *name, size_t name_size, const unsigned char *plain, size_t size,
                unsigned char *out)
{
    if (name_size > VAULT_NAME_MAX)
        abort(); /* the prefix's bound is the configuration's to keep */
    unsigned char *nonce = out + VAULT_HEADER_SIZE;
    struct authenticated data;
    out[0] = FORMAT;
    memcpy(out + 1, vault->ids[0], VAULT_KEY_ID_SIZE);
    randombytes_buf(nonce, VAULT_NONCE_SIZE);
    authenticated_set(&data, out, name, name_size);
    crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + VAULT_NONCE_SIZE, NULL, plain, size, data.bytes, data.size, NULL,
                                               nonce, vault->keys[0]);
}

enum vault_result vault_open(const struct vault *vault, const char *name, size_t name_size, const unsigned char *sealed,
                             size_t size, unsigned char *out, size_t *plain_size)
{
    if (size < VAULT_OVERHEAD)
        return VAULT_TRUNCATED;
    if (sealed[0] != FORMAT)
        return VAULT_BAD_FORMAT;
    const unsigned char *key = key_find(vault, vault_value_key_id(sealed));
    if (key == NULL)
        return VAULT_UNKNOWN_KEY;
    if (name_size > VAULT_NAME_MAX)
        return VAULT_FORGED;
    const unsigned char *nonce = sealed + VAULT_HEADER_SIZE, *text = nonce + VAULT_NONCE_SIZE;
    size_t text_size = size - VAULT_HEADER_SIZE - VAULT_NONCE_SIZE;
    struct authenticated data;
    authenticated_set(&data, sealed, name, name_size);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, text, text_size, data.bytes, data.size, nonce,
                                                   key) != 0)
        return VAULT_FORGED;
    *plain_size = size - VAULT_OVERHEAD;
    return VAULT_OK;
}
