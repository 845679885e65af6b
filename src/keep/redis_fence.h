/* SPDX-License-Identifier: MIT */
/* What the workers of a machine tell each other, in shared memory, of their connections to Redis: which one was lost,
 * or left by a process that ended, while it may still hold changes. Whoever sends a change ends it before
 * (redis_handshake.h says how), or that change might be undone.
 *
 * To look before sending is enough: a loss is noted before a client hears of it. So whoever asked for a change that a
 * look misses had neither an answer nor a closed connection when ours went out: the two are concurrent, and either
 * order is right. */
#ifndef TK_KEEP_REDIS_FENCE_H
#define TK_KEEP_REDIS_FENCE_H

#include "base/shared.h"

enum { REDIS_NAME_SIZE = 48 };

/* A connection to be ended. */
struct redis_fence {
    uint64_t id;                /* 0: none */
    unsigned slot;              /* of the worker that lost it */
    char name[REDIS_NAME_SIZE]; /* Redis counts ids anew when it is started: the connection is ended only if it has this
                                   name */
};

/* The name of a slot's connections: "tokenkeep-<instance>-<slot>". */
void redis_fence_name(const struct shared *shared, unsigned slot, char name[REDIS_NAME_SIZE]);

/* The connection that was lost or left in that slot, if there is one. */
struct redis_fence redis_fence_of(const struct shared *shared, unsigned slot);

/* Sets `fence` to one that was lost or left in any slot; false when there is none. */
bool redis_fence_find(const struct shared *shared, struct redis_fence *fence);

/* Takes the note away: the connection is gone. A newer note in its place stays. */
void redis_fence_made(struct shared *shared, const struct redis_fence *fence);

#endif
