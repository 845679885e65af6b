/* SPDX-License-Identifier: MIT */
/* What one call of a function in C may do. Lua's own functions do whatever their arguments say, some of them for hours,
 * and while they do no limit of a call is looked at; with these bounds none takes over some 20 ms on a machine of 2020.
 * Within them everything is as the Lua manual says; beyond, it is an error that says what is too large. */
#ifndef TK_BASE_LUA_LIMITS_H
#define TK_BASE_LUA_LIMITS_H

#include <lua.h>

enum {
    LUA_LIMITS_TEXT = 1024 * 1024,     /* bytes of a text that is gone through, or made */
    LUA_LIMITS_REPLACED = 4096 * 1024, /* bytes of what string.gsub makes */
    LUA_LIMITS_STEPS = 5000000,        /* of one call with a pattern, each some nanoseconds (lua_pattern.c) */
    LUA_LIMITS_QUOTED = 256 * 1024,    /* bytes that string.format gets with a %q */
    LUA_LIMITS_FORMATTED = 1000,       /* values that string.format gets */
    LUA_LIMITS_PACKED = 65536,         /* bytes of the format of string.pack, packsize and unpack */
    LUA_LIMITS_DATE = 1024,            /* bytes of the format of os.date */
    LUA_LIMITS_ELEMENTS = 250000,      /* of a table that are moved, joined or sorted */
    LUA_LIMITS_VALUES = 65536,         /* that table.unpack, string.byte and their like take or return */
    LUA_LIMITS_COMPARISONS =
        400000, /* n log n of a sort without a function in Lua, times its longest text / 128 (4 with NULs) */
    LUA_LIMITS_FLOAT_SIZE = 64, /* bytes that a number counts as where it becomes text, which takes long */
};

/* Puts functions that hold these limits in the place of those of string, table, math, utf8, os (if it is there) and
 * tonumber, all of which are globals. May raise an error of memory. */
void lua_limits_open(lua_State *lua);

#endif
