/* SPDX-License-Identifier: MIT */
/* keep.json: values of Lua to JSON and back, by jansson. JSON goes out compact and with sorted keys, and no control
 * character in it is raw: neither those of ASCII, DEL among them, nor U+0080 to U+009F. */
#ifndef TK_BASE_LUA_JSON_H
#define TK_BASE_LUA_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <lua.h>

enum {
    LUA_JSON_SIZE_MAX = 1024 * 1024, /* bytes of JSON, either way */
    LUA_JSON_DEPTH_MAX = 32,         /* arrays and objects inside each other */
    LUA_JSON_VALUES_MAX = 65536,     /* in one text */
};

/* Pushes the table that becomes keep.json: encode, decode, array, null. May raise an error of memory. */
void lua_json_push(lua_State *lua);

/* For functions in C, in a state that has keep.json. */

/* Pushes an empty table with room for `n` elements that stays an array in JSON without any. May raise an error of
 * memory. */
void lua_json_push_array(lua_State *lua, size_t n);

/* Pushes what the tree is in Lua; the tree stays the caller's. May raise an error of memory. */
void lua_json_push_tree(lua_State *lua, const json_t *json);

/* The tree of the value on top of the stack, which stays there. NULL with `error` saying where in the value what is
 * wrong, never quoting it. Raises no error. The caller owns the result. */
json_t *lua_json_tree(lua_State *lua, struct error *error) __attribute__((warn_unused_result));

#endif
