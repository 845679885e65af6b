/* SPDX-License-Identifier: MIT */
/* string.find, match, gmatch and gsub that come to an end. Lua's own try again in up to n^k ways when a pattern has k
 * repetitions and the text n bytes, and nothing can stop them. These do the same, to the text of their errors, but they
 * count their steps, and more than LUA_LIMITS_STEPS are an error. */
#ifndef TK_BASE_LUA_PATTERN_H
#define TK_BASE_LUA_PATTERN_H

#include <lua.h>

/* Puts them in the place of Lua's own in the table on top of the stack. May raise an error of memory. */
void lua_pattern_open(lua_State *lua);

#endif
