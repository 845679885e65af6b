/* SPDX-License-Identifier: MIT */
/* Lua's own libraries, as far as a sandbox has them. What is not named here is not there, whatever a later Lua adds:
 * no way to files, processes, bytecode, metatables, the collector or coroutines. */
#include "base/lua_library.h"

#include "base/lua_limits.h"
#include "base/lua_sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

/* The table is the whole truth about what there is. `names` are words with a space before and behind each. */
static const struct library {
    const char *name;
    lua_CFunction open;
    const char *names;
} libraries[] = {
    {LUA_GNAME, luaopen_base,
     " _G _VERSION assert error ipairs next pairs pcall rawequal rawget rawlen rawset select tonumber tostring type"
     " xpcall "},
    {LUA_STRLIBNAME, luaopen_string,
     " byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper "},
    {LUA_TABLIBNAME, luaopen_table, " concat insert move pack remove sort unpack "},
    {LUA_MATHLIBNAME, luaopen_math,
     " abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger modf pi rad random"
     " randomseed sin sqrt tan tointeger type ult "},
    {LUA_UTF8LIBNAME, luaopen_utf8, " char charpattern codepoint codes len offset "},
    {LUA_OSLIBNAME, luaopen_os, " clock date difftime time "},
};

static bool is_named(const char *names, const char *name)
{
    const size_t size = strlen(name);
    for (const char *at = names; (at = strstr(at, name)) != NULL; at++)
        if (at[-1] == ' ' && at[size] == ' ')
            return true;
    return false;
}

static void library_open(lua_State *lua, const struct library *library)
{
    luaL_requiref(lua, library->name, library->open, 1);
    for (lua_pushnil(lua); lua_next(lua, -2) != 0;) {
        lua_pop(lua, 1);
        if (is_named(library->names, lua_tostring(lua, -1)))
            continue;
        lua_pushvalue(lua, -1);
        lua_pushnil(lua);
        lua_settable(lua, -4); /* a field may be cleared while the table is traversed */
    }
    lua_pop(lua, 1);
}

/* The handler of an xpcall. While a limit is being enforced, no instruction is counted in it: it must not run. */
static int limited_handler(lua_State *lua)
{
    if (sandbox_stopped(lua))
        return 1;
    lua_settop(lua, 1);
    lua_pushvalue(lua, lua_upvalueindex(1));
    lua_insert(lua, 1);
    lua_call(lua, 1, 1);
    return 1;
}

static int limited_pcall(lua_State *lua)
{
    luaL_checkany(lua, 1);
    const int status = sandbox_pcall(lua, lua_gettop(lua) - 1, 0);
    lua_pushboolean(lua, status == LUA_OK);
    lua_insert(lua, 1);
    return lua_gettop(lua);
}

static int limited_xpcall(lua_State *lua)
{
    luaL_checktype(lua, 2, LUA_TFUNCTION);
    lua_pushvalue(lua, 2);
    lua_pushcclosure(lua, limited_handler, 1);
    lua_replace(lua, 2);
    lua_pushvalue(lua, 1);
    lua_insert(lua, 3);
    const int status = sandbox_pcall(lua, lua_gettop(lua) - 3, 2);
    lua_pushboolean(lua, status == LUA_OK);
    lua_replace(lua, 2);
    return lua_gettop(lua) - 1;
}

/* Lua makes the metatable of its large buffers when it needs the first. Should memory end in the middle of that, half a
 * metatable stays for good, and every large buffer is an error from then on. So it is made now. */
static void make_large_buffer(lua_State *lua)
{
    luaL_Buffer buffer;
    luaL_buffinitsize(lua, &buffer, 2 * LUAL_BUFFERSIZE);
    luaL_pushresult(&buffer);
    lua_pop(lua, 1);
}

/* Lua looks through its list of libraries for the names of functions, in tracebacks and errors. Scripts can put
 * anything into the libraries, so it gets copies. */
static void copy_libraries(lua_State *lua)
{
    lua_newtable(lua);
    luaL_getsubtable(lua, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (lua_pushnil(lua); lua_next(lua, -2) != 0;) {
        lua_newtable(lua);
        for (lua_pushnil(lua); lua_next(lua, -3) != 0;) {
            lua_pushvalue(lua, -2);
            lua_insert(lua, -2);
            lua_rawset(lua, -4);
        }
        lua_replace(lua, -2);
        lua_pushvalue(lua, -2);
        lua_insert(lua, -2);
        lua_rawset(lua, -5);
    }
    lua_pop(lua, 1);
    lua_setfield(lua, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

void lua_library_open(lua_State *lua, bool os)
{
    const size_t n = sizeof libraries / sizeof *libraries - (os ? 0 : 1);
    for (size_t i = 0; i < n; i++)
        library_open(lua, &libraries[i]);
    lua_register(lua, "pcall", limited_pcall);
    lua_register(lua, "xpcall", limited_xpcall);
    lua_limits_open(lua);
    copy_libraries(lua);
    make_large_buffer(lua);
}
