/* SPDX-License-Identifier: MIT */
/* Beats: keys that are set only to hear of them again. */
#include "keep/beats.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { NONCE_SIZE = 10, DIGITS_MAX = 19 /* of a number that does not overflow */ };

void beats_init(struct beats *beats, const char *prefix)
{
    unsigned char nonce[NONCE_SIZE];
    char text[2 * NONCE_SIZE + 1];
    randombytes_buf(nonce, sizeof nonce);
    sodium_bin2hex(text, sizeof text, nonce, sizeof nonce);
    *beats = (struct beats){.number = 0};
    snprintf(beats->stem, sizeof beats->stem, "%.*s.hb.%s.", CONFIG_PREFIX_MAX, prefix, text);
    beats->stem_size = strlen(beats->stem);
}

size_t beats_next(struct beats *beats, int64_t now, char name[BEAT_NAME_SIZE])
{
    beats->number++;
    beats->sent[beats->number % BEATS_REMEMBERED] = now;
    memcpy(name, beats->stem, beats->stem_size);
    return beats->stem_size +
           (size_t)snprintf(name + beats->stem_size, BEAT_NAME_SIZE - beats->stem_size, "%" PRIu64, beats->number);
}

/* 0 when it is none. */
static uint64_t number_read(const char *digits, size_t size)
{
    uint64_t number = 0;
    if (size == 0 || size > DIGITS_MAX || digits[0] == '0')
        return 0;
    for (size_t i = 0; i < size; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return 0;
        number = 10 * number + (uint64_t)(digits[i] - '0');
    }
    return number;
}

int64_t beats_hear(struct beats *beats, const char *name, size_t size)
{
    if (size <= beats->stem_size || memcmp(name, beats->stem, beats->stem_size) != 0)
        return 0;
    const uint64_t number = number_read(name + beats->stem_size, size - beats->stem_size);
    if (number <= beats->heard || number > beats->number || beats->number - number >= BEATS_REMEMBERED)
        return 0;
    beats->heard = number;
    return beats->sent[number % BEATS_REMEMBERED];
}
