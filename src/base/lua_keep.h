/* SPDX-License-Identifier: MIT */
/* The part of the library `keep` that every script has: keep.log, keep.now, keep.json, and print, which is keep.log of
 * level info. tokenkeep-lua(7) is the manual. */
#ifndef TK_BASE_LUA_KEEP_H
#define TK_BASE_LUA_KEEP_H

#include <lua.h>
#include <stdint.h>

enum { LUA_KEEP_LINES_MAX = 20 }; /* that one script logs in a second; the next line says how many were left out */

/* What a script is called in the log, and how much it has logged. Survives the state, so that restarts open no gap. */
struct lua_keep {
    char who[80];           /* as lines begin, such as "hook audit.lua" */
    int64_t second;         /* since the machine started */
    unsigned lines;         /* in that second */
    unsigned long left_out; /* since the last line that was written */
};

/* Makes the globals `keep` and `print` in a fresh state. *keep must outlive it. May raise an error of memory. */
void lua_keep_open(lua_State *lua, struct lua_keep *keep);

/* Seconds since the epoch, to the microsecond. */
double lua_keep_now(void);

#endif
