/* SPDX-License-Identifier: MIT */
/* Which server is the master, where Sentinel knows: asks the sentinels in turn, stays with one that answers, and hears
 * from it when another server becomes the master. What a sentinel says is only where to look: whoever connects there
 * asks that server for its ROLE. */
#ifndef TK_KEEP_REDIS_MASTER_H
#define TK_KEEP_REDIS_MASTER_H

#include "base/config.h"
#include "keep/redis_dial.h"

#include <event2/event.h>
#include <stdbool.h>

struct redis_master;

/* A machine's name or address, and a TCP port. */
struct redis_place {
    char host[CONFIG_HOST_MAX + 1];
    uint16_t port;
};

enum { REDIS_MASTER_LISTENERS = 2 }; /* the command link and the invalidation link */

/* A place has been named: the first, another, or the same again. */
typedef void redis_master_named(void *argument);

/* Starts asking. `config` is of the kind CONFIG_REDIS_SENTINEL and must outlive the result. NULL when there is no
 * memory. */
struct redis_master *redis_master_new(struct event_base *base, const struct config_redis *config)
    __attribute__((warn_unused_result));

/* `named` is called from here on, never from within a function of this header. REDIS_MASTER_LISTENERS at most. */
void redis_master_listen(struct redis_master *master, redis_master_named *named, void *argument);

/* Copies where the master is said to be. False before the first has been named. */
bool redis_master_place(const struct redis_master *master, struct redis_place *place);

/* What was named could not be reached, or is no master: asks the next sentinel, unless one is being asked. The place
 * stays what it is until another is named, so that a master that comes back is found without them. A NULL `master` has
 * no doubts. */
void redis_master_doubt(struct redis_master *master);

/* Why the place is not known, for people. */
const char *redis_master_lacks(const struct redis_master *master);

/* Closes, frees and sets to NULL; a NULL *master is left alone. */
void redis_master_free(struct redis_master **master);

#endif
