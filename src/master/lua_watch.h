/* SPDX-License-Identifier: MIT */
/* The last resort against Lua that does not come back: within a call, no instruction count helps against a function in
 * C, so the master looks at the CPU time of the process from outside. */
#ifndef TK_MASTER_LUA_WATCH_H
#define TK_MASTER_LUA_WATCH_H

#include "base/clock.h"
#include "base/shared.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LUA_WATCH_INTERVAL (CLOCK_SECOND / 20) /* from one look to the next */
#define LUA_WATCH_CPU_MAX  (CLOCK_SECOND / 4)  /* of one call */

/* What the last look at a child saw; all zero at first, and to forget it. */
struct lua_watch {
    uint64_t call; /* the slot's lua_call; even: it was in none */
    int64_t cpu;   /* ns of CPU time that the process had used when the call was first seen */
};

/* Looks at the child `pid`, which has not been reaped. Returns whether it has spent LUA_WATCH_CPU_MAX of its CPU time
 * in the call that it is in. Time in which it did not run never counts. */
bool lua_watch_look(struct lua_watch *watch, const struct shared_slot *slot, pid_t pid)
    __attribute__((warn_unused_result));

#endif
