/* SPDX-License-Identifier: MIT */
/* A file of tests of a policy. */
#include "cli/policy_file.h"

#include "base/clock.h"
#include "base/lua_json.h"
#include "base/lua_keep.h"
#include "base/lua_match.h"
#include "base/lua_sandbox.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MEMORY_MAX = 64 * 1024 * 1024 };

static const struct sandbox_limits limits = {.cpu = 2 * CLOCK_SECOND};

/* Runs the file whose path stands on the stack, under the struct lua_keep, and returns its table as JSON. */
static int run(lua_State *lua)
{
    struct lua_keep *keep = lua_touserdata(lua, 1);
    const char *path = lua_touserdata(lua, 2);
    /* Before the script can change what it is given. */
    lua_json_push(lua);
    lua_getfield(lua, -1, "encode");
    lua_keep_open(lua, keep);
    lua_match_open(lua);
    if (luaL_loadfilex(lua, path, "t") != LUA_OK)
        return lua_error(lua);
    lua_call(lua, 0, 1);
    if (sandbox_stopped(lua))
        return 0;
    if (!lua_istable(lua, -1))
        return luaL_error(lua, "%s: it returns no table; let it end in return { policy = ..., cases = { ... } }", path);
    lua_call(lua, 1, 1);
    return 1;
}

static json_t *returned(struct sandbox *sandbox, const char *path, struct error *error)
{
    size_t size;
    json_error_t failure;
    const char *text = lua_tolstring(sandbox_lua(sandbox), -1, &size);
    json_t *value = text != NULL ? json_loadb(text, size, 0, &failure) : NULL;
    /* jansson's own message quotes the text. */
    if (value == NULL)
        error_set(error, "%s: a text in its table has a NUL in it, or there is no memory", path);
    return value;
}

/* Whether it is a file: a pipe would keep its reader waiting. */
static int check(const char *path, struct error *error)
{
    struct stat file;
    if (stat(path, &file) != 0)
        return error_set(error, "%s: it cannot be read: %s", path, strerror(errno));
    return S_ISREG(file.st_mode) ? 0 : error_set(error, "%s: it is no file but a folder or a device", path);
}

/* The message without the traceback: that would only show how a file is loaded. */
static void failed(const struct sandbox *sandbox, struct error *error)
{
    const char *text = sandbox_failure(sandbox), *trace = strstr(text, " | stack traceback:");
    error_set(error, "%.*s", (int)(trace != NULL ? (size_t)(trace - text) : strlen(text)), text);
}

json_t *policy_file_read(const char *path, struct error *error)
{
    json_t *value = NULL;
    struct lua_keep keep = {.who = "test"};
    if (check(path, error) != 0)
        return NULL;
    struct sandbox *sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = MEMORY_MAX}, error);
    if (sandbox == NULL)
        return NULL;
    lua_State *lua = sandbox_lua(sandbox);
    lua_pushcfunction(lua, run);
    lua_pushlightuserdata(lua, &keep);
    lua_pushlightuserdata(lua, (void *)(uintptr_t)path);
    if (sandbox_call(sandbox, 2, 1, &limits) == 0)
        value = returned(sandbox, path, error);
    else
        failed(sandbox, error);
    sandbox_free(&sandbox);
    return value;
}
