/* SPDX-License-Identifier: MIT */
/* Runs the scenarios of test_slack.lua, each as a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include <cmocka.h>

enum { SCENARIOS_MAX = 64 };

static lua_State *lua;

static void scenario(void **state)
{
    lua_getfield(lua, 1, *state);
    if (lua_pcall(lua, 0, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(lua, -1));
}

/* Leaves the table of scenarios at index 1. */
static void load(void)
{
    char path[256];
    const char *srcdir = getenv("srcdir");
    if (srcdir == NULL)
        srcdir = "..";
    lua = luaL_newstate();
    luaL_openlibs(lua);
    snprintf(path, sizeof path, "%s/tests/unit/test_slack.lua", srcdir);
    if (luaL_loadfile(lua, path) == LUA_OK) {
        lua_pushfstring(lua, "%s/lua/slack.lua", srcdir);
        if (lua_pcall(lua, 1, 1, 0) == LUA_OK)
            return;
    }
    fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    exit(1);
}

int main(void)
{
    struct CMUnitTest tests[SCENARIOS_MAX];
    size_t n = 0;
    load();
    for (lua_pushnil(lua); n < SCENARIOS_MAX && lua_next(lua, 1) != 0; lua_pop(lua, 1), n++) {
        const char *name = lua_tostring(lua, -2);
        tests[n] = (struct CMUnitTest){.name = name, .test_func = scenario, .initial_state = (void *)name};
    }
    int failed = _cmocka_run_group_tests("slack.lua", tests, n, NULL, NULL);
    lua_close(lua);
    return failed;
}
