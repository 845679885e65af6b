/* SPDX-License-Identifier: MIT */
/* keep.json: values of Lua to JSON and back, by jansson. JSON goes out compact and with sorted keys, and no control
 * character in it is raw: neither those of ASCII, DEL among them, nor U+0080 to U+009F. */
#ifndef TK_BASE_LUA_JSON_H
#define TK_BASE_LUA_JSON_H

#include <lua.h>

enum {
    LUA_JSON_SIZE_MAX = 1024 * 1024, /* bytes of JSON, either way */
    LUA_JSON_DEPTH_MAX = 32,         /* arrays and objects inside each other */
    LUA_JSON_VALUES_MAX = 65536,     /* in one text */
};

/* Pushes the table that becomes keep.json: encode, decode, array, null. May raise an error of memory. */
void lua_json_push(lua_State *lua);

#endif
