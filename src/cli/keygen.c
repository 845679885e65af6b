/* SPDX-License-Identifier: MIT */
/* Makes keys for the server's keyring. */
#include "cli/keygen.h"

#include <sodium.h>

int keygen_line(char out[KEYGEN_LINE_SIZE + 1])
{
    unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    _Static_assert(sodium_base64_ENCODED_LEN(sizeof key, sodium_base64_VARIANT_ORIGINAL) == KEYGEN_LINE_SIZE + 1,
                   "a keyring line is one key");
    if (sodium_init() < 0)
        return -1;
    randombytes_buf(key, sizeof key);
    sodium_bin2base64(out, KEYGEN_LINE_SIZE + 1, key, sizeof key, sodium_base64_VARIANT_ORIGINAL);
    sodium_memzero(key, sizeof key);
    return 0;
}
