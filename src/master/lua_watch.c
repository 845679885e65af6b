/* SPDX-License-Identifier: MIT */
/* The watchdog of Lua calls. */
#include "master/lua_watch.h"

#include <time.h>

/* Returns -1 when it cannot be told. */
static int64_t cpu_time(pid_t pid)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return -1;
    return (int64_t)used.tv_sec * CLOCK_SECOND + used.tv_nsec;
}

bool lua_watch_look(struct lua_watch *watch, const struct shared_slot *slot, pid_t pid)
{
    const uint64_t call = atomic_load_explicit(&slot->lua_call, memory_order_relaxed);
    if (call % 2 == 0) {
        watch->call = call;
        return false;
    }
    const int64_t cpu = cpu_time(pid);
    if (call == watch->call)
        return cpu >= 0 && watch->cpu >= 0 && cpu - watch->cpu >= LUA_WATCH_CPU_MAX;
    *watch = (struct lua_watch){call, cpu};
    return false;
}
