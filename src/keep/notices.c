/* SPDX-License-Identifier: MIT */
/* Keeps what anybody can provoke from flooding the log. */
#include "keep/notices.h"

#include "base/clock.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static uint64_t hash_of(struct notices *notices, const void *subject, size_t size)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t value;
    if (!notices->seeded)
        randombytes_buf(notices->seed, sizeof notices->seed);
    notices->seeded = true;
    crypto_shorthash(hash, subject, size, notices->seed);
    memcpy(&value, hash, sizeof value);
    return value;
}

/* Whether this second has room for one more. */
static bool second_has_room(struct notices *notices, int64_t now)
{
    if (now - notices->second >= CLOCK_SECOND) {
        notices->second = now;
        notices->in_second = 0;
    }
    if (notices->in_second >= NOTICES_A_SECOND) {
        notices->left_out++;
        return false;
    }
    notices->in_second++;
    return true;
}

bool notices_due(struct notices *notices, const void *subject, size_t size, int64_t now, unsigned *left_out)
{
    const uint64_t hash = hash_of(notices, subject, size);
    const size_t place = hash % NOTICES_REMEMBERED;
    bool same = notices->places[place].due != 0 && notices->places[place].subject == hash;
    if (same && now < notices->places[place].due) {
        notices->places[place].left_out++;
        return false;
    }
    if (!second_has_room(notices, now))
        return false;
    *left_out = notices->left_out + (same ? notices->places[place].left_out : 0);
    notices->places[place].subject = hash;
    notices->places[place].due = now + 60 * CLOCK_SECOND;
    notices->places[place].left_out = 0;
    notices->left_out = 0;
    return true;
}

const char *notices_left_out(unsigned left_out)
{
    static char text[64];
    text[0] = '\0';
    if (left_out > 0)
        snprintf(text, sizeof text, " (%u more like it since the last line)", left_out);
    return text;
}
