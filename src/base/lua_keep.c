/* SPDX-License-Identifier: MIT */
/* The part of the library `keep` that every script has. */
#include "base/lua_keep.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lua_json.h"
#include "base/utf8.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

enum { TEXT_SIZE = 1024 }; /* of a line; the log itself cuts there */

double lua_keep_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)(now.tv_nsec / 1000) / 1e6;
}

static bool is_left_out(struct lua_keep *keep)
{
    const int64_t second = clock_boot() / CLOCK_SECOND;
    if (second != keep->second) {
        keep->second = second;
        keep->lines = 0;
    }
    return keep->lines++ >= LUA_KEEP_LINES_MAX;
}

typedef void log_function(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void write_line(struct lua_keep *keep, enum log_level level, const char *text, size_t size)
{
    static log_function *const write[] = {
        [LOG_LEVEL_ERROR] = log_error,
        [LOG_LEVEL_WARNING] = log_warning,
        [LOG_LEVEL_INFO] = log_info,
        [LOG_LEVEL_DEBUG] = log_debug,
    };
    char line[TEXT_SIZE];
    if (!log_wants(level))
        return;
    if (is_left_out(keep)) {
        keep->left_out++;
        return;
    }
    size = utf8_cut(text, size, sizeof line - 1);
    memcpy(line, text, size);
    utf8_make_text(line, size);
    line[size] = '\0';
    if (keep->left_out > 0)
        write[level]("%s: (%lu lines before this one were left out) %s", keep->who, keep->left_out, line);
    else
        write[level]("%s: %s", keep->who, line);
    keep->left_out = 0;
}

static int keep_log(lua_State *lua)
{
    static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
    size_t size;
    struct lua_keep *keep = lua_touserdata(lua, lua_upvalueindex(1));
    const int level = luaL_checkoption(lua, 1, NULL, levels);
    const char *text = luaL_checklstring(lua, 2, &size);
    write_line(keep, (enum log_level)level, text, size);
    return 0;
}

static int keep_print(lua_State *lua)
{
    struct lua_keep *keep = lua_touserdata(lua, lua_upvalueindex(1));
    const int n = lua_gettop(lua);
    luaL_Buffer line;
    luaL_buffinit(lua, &line);
    for (int i = 1; i <= n && luaL_bufflen(&line) < TEXT_SIZE; i++) { /* the log cuts there */
        if (i > 1)
            luaL_addchar(&line, ' ');
        luaL_tolstring(lua, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    size_t size;
    const char *text = lua_tolstring(lua, -1, &size);
    write_line(keep, LOG_LEVEL_INFO, text, size);
    return 0;
}

static int keep_now(lua_State *lua)
{
    lua_pushnumber(lua, lua_keep_now());
    return 1;
}

void lua_keep_open(lua_State *lua, struct lua_keep *keep)
{
    lua_createtable(lua, 0, 8);
    lua_pushlightuserdata(lua, keep);
    lua_pushcclosure(lua, keep_log, 1);
    lua_setfield(lua, -2, "log");
    lua_pushcfunction(lua, keep_now);
    lua_setfield(lua, -2, "now");
    lua_json_push(lua);
    lua_setfield(lua, -2, "json");
    lua_setglobal(lua, "keep");
    lua_pushlightuserdata(lua, keep);
    lua_pushcclosure(lua, keep_print, 1);
    lua_setglobal(lua, "print");
}
