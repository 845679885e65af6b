/* SPDX-License-Identifier: MIT */
/* Lua's own libraries, as far as a sandbox has them. */
#ifndef TK_BASE_LUA_LIBRARY_H
#define TK_BASE_LUA_LIBRARY_H

#include <lua.h>
#include <stdbool.h>

/* Opens them in a fresh state: base, string, table, math, utf8, and with `os` what of os tells the time. May raise an
 * error of memory. */
void lua_library_open(lua_State *lua, bool os);

#endif
