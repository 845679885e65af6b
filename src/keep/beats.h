/* SPDX-License-Identifier: MIT */
/* Beats: keys that are set only to hear of them again. Each has a name of its own, `<prefix>.hb.<nonce>.<number>`,
 * since an echo that could be that of an older beat would make a link that lags look healthy. No name is a token's: a
 * dot is in no token's key. */
#ifndef TK_KEEP_BEATS_H
#define TK_KEEP_BEATS_H

#include "base/config.h"

#include <stddef.h>
#include <stdint.h>

enum {
    BEATS_REMEMBERED = 8, /* an echo of an older one says nothing: it is past any lease */
    BEAT_NAME_SIZE = CONFIG_PREFIX_MAX + 48,
};

/* The beats of one worker. */
struct beats {
    char stem[BEAT_NAME_SIZE]; /* what all their names begin with */
    size_t stem_size;
    uint64_t number;                /* of the newest; 0: none was sent */
    uint64_t heard;                 /* of the newest that was heard again */
    int64_t sent[BEATS_REMEMBERED]; /* when, by number; boot-time clock, ns */
};

/* With a random nonce; `prefix` is what the names of tokens begin with. */
void beats_init(struct beats *beats, const char *prefix);

/* Notes one more beat, sent at `now`, and writes its name, with a NUL. Returns the name's size. */
size_t beats_next(struct beats *beats, int64_t now, char name[BEAT_NAME_SIZE]);

/* Takes the name of a key that was heard of. When it is a beat's, newer than all that were heard, returns when it was
 * sent; else 0. */
int64_t beats_hear(struct beats *beats, const char *name, size_t size);

#endif
