/* SPDX-License-Identifier: MIT */
/* Tokens as text. */
#include "keep/token.h"

#include <sodium.h>
#include <stdint.h>
#include <string.h>

static const char prefix[] = "gt-";
enum { PREFIX_SIZE = sizeof prefix - 1, DOT = PREFIX_SIZE + TOKEN_PART_SIZE };

/* Sixteen characters, looked at together: 0xff stands for true, as in what a comparison gives. */
typedef unsigned char block __attribute__((vector_size(16)));

static block are_part_characters(const char *text)
{
    block c;
    memcpy(&c, text, sizeof c);
    const block lower = c | 0x20;
    return (block)(lower - 'a' < 26) | (block)(c - '0' < 10) | (block)(c == '-') | (block)(c == '_');
}

bool token_part_valid(const char *text, size_t size)
{
    if (size != TOKEN_PART_SIZE)
        return false;
    uint64_t halves[2];
    const block valid = are_part_characters(text) & are_part_characters(text + TOKEN_PART_SIZE - sizeof(block));
    memcpy(halves, &valid, sizeof halves);
    return (halves[0] & halves[1]) == UINT64_MAX;
}

bool token_parse(const char *text, size_t size, struct token *token)
{
    if (size != TOKEN_SIZE || memcmp(text, prefix, PREFIX_SIZE) != 0 || text[DOT] != '.')
        return false;
    const char *key = text + PREFIX_SIZE, *secret = text + DOT + 1;
    if (!token_part_valid(key, TOKEN_PART_SIZE) || !token_part_valid(secret, TOKEN_PART_SIZE))
        return false;
    memcpy(token->key, key, TOKEN_PART_SIZE);
    memcpy(token->secret, secret, TOKEN_PART_SIZE);
    return true;
}

/* By its dot, which hardly anything else has. */
const char *token_glimpse(const char **at, const char *end)
{
    const char *dot;
    while ((dot = memchr(*at, '.', (size_t)(end - *at))) != NULL) {
        const bool whole = dot - *at > DOT && end - dot > TOKEN_PART_SIZE + 1;
        *at = dot + 1;
        if (whole && memcmp(dot - DOT, prefix, PREFIX_SIZE) == 0 && (dot[-DOT - 1] == ' ' || dot[-DOT - 1] == '\n'))
            return dot - TOKEN_PART_SIZE;
    }
    *at = end;
    return NULL;
}

void token_format(const struct token *token, char out[TOKEN_SIZE + 1])
{
    memcpy(out, prefix, PREFIX_SIZE);
    memcpy(out + PREFIX_SIZE, token->key, TOKEN_PART_SIZE);
    out[DOT] = '.';
    memcpy(out + DOT + 1, token->secret, TOKEN_PART_SIZE);
    out[TOKEN_SIZE] = '\0';
}

/* 128 random bits are 22 characters of base64: the last one carries two bits of them. */
static void part_generate(char part[TOKEN_PART_SIZE])
{
    unsigned char bits[16];
    char text[TOKEN_PART_SIZE + 1];
    randombytes_buf(bits, sizeof bits);
    sodium_bin2base64(text, sizeof text, bits, sizeof bits, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    memcpy(part, text, TOKEN_PART_SIZE);
    sodium_memzero(bits, sizeof bits);
    sodium_memzero(text, sizeof text);
}

void token_generate(struct token *token)
{
    part_generate(token->key);
    part_generate(token->secret);
}
