/* SPDX-License-Identifier: MIT */
/* keep.file: the files of file.h for hooks. */
#include "reporter/hook_library.h"

#include "reporter/file.h"
#include "reporter/hook.h"
#include "reporter/hooks.h"

#include <lauxlib.h>
#include <string.h>

/* A file of a hook is closed when nothing refers to it any more, at the latest with the hook's state. */
struct handle {
    struct file *file; /* NULL: closed */
};

static const char HANDLE[] = "keep.file";

static struct file *check_file(lua_State *lua)
{
    const struct handle *handle = luaL_checkudata(lua, 1, HANDLE);
    luaL_argcheck(lua, handle->file != NULL, 1, "the file is closed");
    return handle->file;
}

/* What a function returns: true, or nil and why not. */
static int push_result(lua_State *lua, int result, const struct error *error)
{
    if (result == 0) {
        lua_pushboolean(lua, 1);
        return 1;
    }
    lua_pushnil(lua);
    lua_pushstring(lua, error->text);
    return 2;
}

static int file_append_lua(lua_State *lua)
{
    struct error error;
    size_t size;
    struct file *file = check_file(lua);
    const char *line = luaL_checklstring(lua, 2, &size);
    luaL_argcheck(lua, size <= FILE_LINE_MAX, 2, "the line is too long");
    luaL_argcheck(lua, memchr(line, '\n', size) == NULL, 2, "the line holds a line feed");
    return push_result(lua, file_append(file, line, size, &error), &error);
}

static int file_sync_lua(lua_State *lua)
{
    struct error error;
    return push_result(lua, file_flush(check_file(lua), true, &error), &error);
}

static int file_reopen_lua(lua_State *lua)
{
    struct error error;
    return push_result(lua, file_reopen(check_file(lua), &error), &error);
}

static int file_failure_lua(lua_State *lua)
{
    lua_pushstring(lua, file_failure(check_file(lua)));
    return 1;
}

static int file_dropped_lua(lua_State *lua)
{
    lua_pushinteger(lua, (lua_Integer)file_dropped(check_file(lua)));
    return 1;
}

/* Of one that is closed as well: that is also how it is collected. */
static int file_close_lua(lua_State *lua)
{
    struct handle *handle = luaL_checkudata(lua, 1, HANDLE);
    file_close(&handle->file);
    return 0;
}

static int file_open_lua(lua_State *lua)
{
    struct error error;
    size_t size;
    struct files *files = hook_settings(hook_of(lua))->files;
    const char *path = luaL_checklstring(lua, 1, &size);
    luaL_argcheck(lua, path[0] == '/' && strlen(path) == size, 1, "the path must be absolute");
    struct handle *handle = lua_newuserdatauv(lua, sizeof *handle, 0);
    handle->file = NULL;
    luaL_setmetatable(lua, HANDLE);
    if (files == NULL)
        return push_result(lua, error_set(&error, "there are no files here"), &error);
    handle->file = file_open(files, path, &error);
    return handle->file != NULL ? 1 : push_result(lua, -1, &error);
}

static void make_metatable(lua_State *lua)
{
    static const luaL_Reg methods[] = {
        {"append", file_append_lua},
        {"close", file_close_lua},
        {"dropped", file_dropped_lua},
        {"failure", file_failure_lua},
        {"reopen", file_reopen_lua},
        {"sync", file_sync_lua},
        {NULL, NULL},
    };
    if (luaL_newmetatable(lua, HANDLE) != 0) {
        luaL_newlib(lua, methods);
        lua_setfield(lua, -2, "__index");
        lua_pushcfunction(lua, file_close_lua);
        lua_setfield(lua, -2, "__gc");
        lua_pushboolean(lua, 0);
        lua_setfield(lua, -2, "__metatable");
    }
    lua_pop(lua, 1);
}

void hook_file_push(lua_State *lua)
{
    static const luaL_Reg functions[] = {
        {"open", file_open_lua},
        {NULL, NULL},
    };
    make_metatable(lua);
    luaL_newlib(lua, functions);
}
