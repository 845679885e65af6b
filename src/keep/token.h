/* SPDX-License-Identifier: MIT */
/* A token: `gt-<key>.<secret>`, key and secret each 22 characters of URL-safe base64, compared as text, not decoded. */
#ifndef TK_KEEP_TOKEN_H
#define TK_KEEP_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

enum { TOKEN_PART_SIZE = 22, TOKEN_SIZE = 3 + TOKEN_PART_SIZE + 1 + TOKEN_PART_SIZE };

struct token {
    char key[TOKEN_PART_SIZE];    /* not terminated */
    char secret[TOKEN_PART_SIZE]; /* not terminated; never for a log */
};

/* Whether the `size` bytes are TOKEN_PART_SIZE characters of A-Z a-z 0-9 - _. */
bool token_part_valid(const char *text, size_t size);

/* Reads a whole token. False when it is not one; `token` is then untouched. */
bool token_parse(const char *text, size_t size, struct token *token) __attribute__((warn_unused_result));

/* The key of the next thing in the bytes *at to `end` that looks like a token and stands alone, as an argument does, in
 * whatever framing; *at moves behind it. NULL when there is none. Only a guess: no character has been checked. */
const char *token_glimpse(const char **at, const char *end);

/* Writes the token's text, TOKEN_SIZE bytes and a terminating NUL. */
void token_format(const struct token *token, char out[TOKEN_SIZE + 1]);

/* Makes a token of 256 random bits with libsodium's generator. */
void token_generate(struct token *token);

#endif
