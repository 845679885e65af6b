/* SPDX-License-Identifier: MIT */
/* The part of the library `keep` that policies have beside lua_keep.h: what matches fast, and what counts.
 * tokenkeep-policy(7) is the manual.
 *
 * keep.cidr(list), keep.glob(list), keep.set(list) compile a list once; the result is a function that says whether a
 * text matches, which nil never does. keep.count(name, key, window) says how often it was called with this name, key
 * and window in the last `window` seconds, this call included; it remembers a call for at most a sixtieth longer. */
#ifndef TK_BASE_LUA_MATCH_H
#define TK_BASE_LUA_MATCH_H

#include <lua.h>

enum {
    LUA_MATCH_LIST_MAX = 100000,   /* elements of a list */
    LUA_MATCH_TEXT_MAX = 256,      /* bytes of a glob */
    LUA_MATCH_SUBJECT_MAX = 65536, /* bytes of what a glob is held against, and of what is counted */
    LUA_COUNT_KEYS_MAX = 10000,    /* names with keys that one state counts; the least recently counted is forgotten */
    LUA_COUNT_WINDOW_MAX = 86400,  /* seconds */
};

/* Adds cidr, glob, set and count to the global `keep`, which is there. May raise an error of memory. */
void lua_match_open(lua_State *lua);

#endif
