/* SPDX-License-Identifier: MIT */
/* Keeps what anybody can provoke from flooding the log. */
#include "keep/notices.h"

#include "base/clock.h"

#include <string.h>

static unsigned place_of(const char *key)
{
    unsigned place = 5381;
    for (unsigned i = 0; i < TOKEN_PART_SIZE; i++)
        place = place * 33 + (unsigned char)key[i];
    return place % NOTICES_REMEMBERED;
}

bool notices_due(struct notices *notices, const char key[TOKEN_PART_SIZE], int64_t now, unsigned *left_out)
{
    unsigned place = place_of(key);
    bool same = notices->places[place].due != 0 && memcmp(notices->places[place].key, key, TOKEN_PART_SIZE) == 0;
    if (same && now < notices->places[place].due) {
        notices->places[place].left_out++;
        return false;
    }
    *left_out = same ? notices->places[place].left_out : 0;
    memcpy(notices->places[place].key, key, TOKEN_PART_SIZE);
    notices->places[place].due = now + 60 * CLOCK_SECOND;
    notices->places[place].left_out = 0;
    return true;
}
