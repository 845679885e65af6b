/* SPDX-License-Identifier: MIT */
/* Token data to and from msgpack: one map with the JSON field names as keys, `token` as an array of key and secret. */
#ifndef TK_KEEP_CODEC_H
#define TK_KEEP_CODEC_H

#include "base/error.h"
#include "keep/token_data.h"

#include <stddef.h>

enum {
    CODEC_DEPTH_MAX = 8,
    CODEC_NODES_MAX = 4096,      /* every map, array, key, value and element counts as one */
    CODEC_SIZE_MAX = 128 * 1024, /* bytes */
};

/* The number of bytes that codec_encode makes of the data. */
size_t codec_size(const struct token_data *data);

/* Encodes the data into `out`, which has room for `room` bytes. Absent fields are left out, scopes
 * sorted. Returns how many bytes it takes: when that is more than `room`, what `out` holds is of no use,
 * but for the secret, which is the caller's to wipe in both cases. */
size_t codec_encode(const struct token_data *data, unsigned char *out, size_t room) __attribute__((warn_unused_result));

/* Decodes what came out of the vault: bounded before any memory is taken, and checked field by field with the rules of
 * token_data_check. NULL on failure, with the reason in `error`, without any of the plaintext. The caller frees the
 * result. */
struct token_data *codec_decode(const unsigned char *bytes, size_t size, struct error *error)
    __attribute__((warn_unused_result));

#endif
