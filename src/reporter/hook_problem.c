/* SPDX-License-Identifier: MIT */
/* keep.problem: problems that hooks raise. */
#include "reporter/hook_library.h"

#include "base/clock.h"
#include "reporter/hook.h"
#include "reporter/hooks.h"

#include <lauxlib.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

static const struct field {
    const char *name;
    size_t offset; /* of the text in struct problem */
    bool required;
} texts[] = {
    {"kind", offsetof(struct problem, kind), true},
    {"message", offsetof(struct problem, message), true},
    {"key", offsetof(struct problem, key), false},
    {"error", offsetof(struct problem, error), false},
};

enum { TEXTS = sizeof texts / sizeof *texts };

static bool is_known(const char *name)
{
    for (size_t i = 0; i < TEXTS; i++)
        if (strcmp(name, texts[i].name) == 0)
            return true;
    return strcmp(name, "phase") == 0 || strcmp(name, "seconds") == 0;
}

static void check_names(lua_State *lua)
{
    for (lua_pushnil(lua); lua_next(lua, 1) != 0; lua_pop(lua, 1)) {
        luaL_argcheck(lua, lua_type(lua, -2) == LUA_TSTRING, 1, "fields have names");
        const char *name = lua_tostring(lua, -2);
        if (!is_known(name))
            luaL_argerror(lua, 1, lua_pushfstring(lua, "the field '%s' is unknown", name));
    }
}

/* Pushes the field; the table holds its value as long. */
static struct event_text check_text(lua_State *lua, const char *name, bool required)
{
    struct event_text text = {NULL, 0};
    const int type = lua_getfield(lua, 1, name);
    if (type == LUA_TSTRING)
        text.text = lua_tolstring(lua, -1, &text.size);
    else if (type != LUA_TNIL)
        luaL_argerror(lua, 1, lua_pushfstring(lua, "the field '%s' is not a string", name));
    if (required && text.size == 0)
        luaL_argerror(lua, 1, lua_pushfstring(lua, "the field '%s' is missing", name));
    return text;
}

static enum problem_phase check_phase(lua_State *lua)
{
    const char *phase = check_text(lua, "phase", false).text;
    if (phase == NULL)
        return PROBLEM_ONCE;
    if (strcmp(phase, "begin") == 0)
        return PROBLEM_BEGINS;
    luaL_argcheck(lua, strcmp(phase, "end") == 0, 1, "the field 'phase' is neither 'begin' nor 'end'");
    return PROBLEM_ENDS;
}

static double check_seconds(lua_State *lua)
{
    const int type = lua_getfield(lua, 1, "seconds");
    const double seconds = lua_tonumber(lua, -1);
    luaL_argcheck(lua, type == LUA_TNIL || (type == LUA_TNUMBER && isfinite(seconds) && seconds >= 0), 1,
                  "the field 'seconds' is not a number from 0 on");
    return seconds;
}

static int problem_lua(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    check_names(lua);
    struct problem problem = {
        .phase = check_phase(lua),
        .seconds = check_seconds(lua),
        .time = clock_wall_microseconds(),
        .process = event_text("reporter"),
    };
    for (size_t i = 0; i < TEXTS; i++)
        *(struct event_text *)((char *)&problem + texts[i].offset) = check_text(lua, texts[i].name, texts[i].required);
    hooks_raise(hook_hooks(hook_of(lua)), &problem);
    return 0;
}

void hook_problem_push(lua_State *lua)
{
    lua_pushcfunction(lua, problem_lua);
}
