/* SPDX-License-Identifier: MIT */
/* Keeps what anybody can provoke from flooding the log. */
#include "keep/notices.h"

#include "base/clock.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static unsigned place_of(struct notices *notices, const char *key)
{
    unsigned char hash[crypto_shorthash_BYTES];
    unsigned place;
    if (!notices->seeded)
        randombytes_buf(notices->seed, sizeof notices->seed);
    notices->seeded = true;
    crypto_shorthash(hash, (const unsigned char *)key, TOKEN_PART_SIZE, notices->seed);
    memcpy(&place, hash, sizeof place);
    return place % NOTICES_REMEMBERED;
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

bool notices_due(struct notices *notices, const char key[TOKEN_PART_SIZE], int64_t now, unsigned *left_out)
{
    unsigned place = place_of(notices, key);
    bool same = notices->places[place].due != 0 && memcmp(notices->places[place].key, key, TOKEN_PART_SIZE) == 0;
    if (same && now < notices->places[place].due) {
        notices->places[place].left_out++;
        return false;
    }
    if (!second_has_room(notices, now))
        return false;
    *left_out = notices->left_out + (same ? notices->places[place].left_out : 0);
    memcpy(notices->places[place].key, key, TOKEN_PART_SIZE);
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
