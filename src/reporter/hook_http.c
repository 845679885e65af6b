/* SPDX-License-Identifier: MIT */
/* keep.http: the posts of http.h for hooks, and the handle that stands for the Slack webhook. */
#include "reporter/hook_library.h"

#include "reporter/hook.h"
#include "reporter/hooks.h"
#include "reporter/http.h"

#include <lauxlib.h>
#include <string.h>

static const char POST[] = "keep.http.post", WEBHOOK[] = "keep.webhook";
static const double DEFAULT_TIMEOUT = 10;

/* A post of a hook: a userdata that the registry holds, under its own address, until the answer is there. When the
 * hook is stopped, its state collects what is under way: the post goes on, so that a last message arrives. */
struct under_way {
    struct http_post *post; /* NULL: not begun, or ended */
    struct hook_callback callback;
};

struct options {
    const char *type;
    double timeout;
};

static int under_way_collect(lua_State *lua)
{
    struct under_way *under_way = luaL_checkudata(lua, 1, POST);
    if (under_way->post != NULL)
        http_forget(under_way->post);
    under_way->post = NULL;
    return 0;
}

static void under_way_forget(lua_State *lua, struct under_way *under_way)
{
    lua_pushnil(lua);
    lua_rawsetp(lua, LUA_REGISTRYINDEX, under_way);
}

static void push_answer(lua_State *lua, const struct http_answer *answer)
{
    lua_createtable(lua, 0, 3);
    if (answer->status != 0) {
        lua_pushinteger(lua, answer->status);
        lua_setfield(lua, -2, "status");
    } else {
        lua_pushstring(lua, answer->failure);
        lua_setfield(lua, -2, "error");
    }
    lua_pushlstring(lua, answer->body, answer->body_size);
    lua_setfield(lua, -2, "body");
    if (answer->retry_after >= 0) {
        lua_pushinteger(lua, answer->retry_after);
        lua_setfield(lua, -2, "retry_after");
    }
}

/* The hook's function and an answer: makes a table of that, and calls the function with it. Making one takes memory,
 * which may be short, so it must happen within the limits of the call. */
static int call_with_answer(lua_State *lua)
{
    push_answer(lua, lua_touserdata(lua, 2));
    lua_replace(lua, 2);
    lua_call(lua, 1, 0);
    return 0;
}

static void on_answer(void *argument, const struct http_answer *answer)
{
    struct under_way *under_way = argument;
    struct hook_callback callback = under_way->callback;
    under_way->post = NULL;
    lua_State *lua = hook_callback_begin(&callback);
    if (lua == NULL)
        return;
    under_way_forget(lua, under_way);
    lua_pushcfunction(lua, call_with_answer);
    lua_insert(lua, -2);
    lua_pushlightuserdata(lua, (void *)answer);
    hook_call(callback.hook, 2);
}

static const char *check_address(lua_State *lua)
{
    size_t size;
    if (luaL_testudata(lua, 1, WEBHOOK) != NULL)
        return hook_settings(hook_of(lua))->webhook;
    const char *address = luaL_checklstring(lua, 1, &size);
    luaL_argcheck(lua, strlen(address) == size && size <= HTTP_ADDRESS_MAX, 1, "no address");
    return address;
}

static void check_option(lua_State *lua, int index, const char *name, struct options *options)
{
    if (strcmp(name, "type") == 0 && lua_type(lua, -1) == LUA_TSTRING)
        options->type = lua_tostring(lua, -1);
    else if (strcmp(name, "timeout") == 0 && lua_type(lua, -1) == LUA_TNUMBER)
        options->timeout = lua_tonumber(lua, -1);
    else
        luaL_argerror(lua, index, lua_pushfstring(lua, "the option '%s' is unknown or of the wrong type", name));
}

/* The strings in *options live as long as the table. */
static void check_options(lua_State *lua, int index, struct options *options)
{
    *options = (struct options){.type = "application/json", .timeout = DEFAULT_TIMEOUT};
    if (lua_isnoneornil(lua, index))
        return;
    luaL_checktype(lua, index, LUA_TTABLE);
    for (lua_pushnil(lua); lua_next(lua, index) != 0; lua_pop(lua, 1)) {
        luaL_argcheck(lua, lua_type(lua, -2) == LUA_TSTRING, index, "options have names");
        check_option(lua, index, lua_tostring(lua, -2), options);
    }
    luaL_argcheck(lua, options->timeout > 0 && options->timeout <= HTTP_TIMEOUT_MAX, index,
                  "the timeout is more than 0 and at most 300 seconds");
}

static struct under_way *under_way_new(lua_State *lua, int callback)
{
    struct under_way *under_way = lua_newuserdatauv(lua, sizeof *under_way, 0);
    under_way->post = NULL;
    luaL_setmetatable(lua, POST);
    lua_rawsetp(lua, LUA_REGISTRYINDEX, under_way);
    under_way->callback = hook_callback_new(lua, callback);
    return under_way;
}

static int post_lua(lua_State *lua)
{
    struct options options;
    struct error error;
    size_t size;
    if (lua_isfunction(lua, 3)) { /* without options */
        lua_pushnil(lua);
        lua_insert(lua, 3);
    }
    const struct hooks_settings *settings = hook_settings(hook_of(lua));
    const char *address = check_address(lua);
    const char *body = luaL_checklstring(lua, 2, &size);
    luaL_argcheck(lua, size <= HTTP_BODY_MAX, 2, "the body is too long");
    check_options(lua, 3, &options);
    luaL_checktype(lua, 4, LUA_TFUNCTION);
    struct under_way *under_way = under_way_new(lua, 4);
    if (settings->http == NULL)
        error_set(&error, "nothing can be posted here");
    else
        under_way->post =
            http_post(settings->http, address, options.type, body, size, options.timeout, on_answer, under_way, &error);
    if (under_way->post != NULL) {
        lua_pushboolean(lua, 1);
        return 1;
    }
    hook_callback_drop(&under_way->callback);
    under_way_forget(lua, under_way);
    lua_pushnil(lua);
    lua_pushstring(lua, error.text);
    return 2;
}

/* Pushes nothing; leaves a metatable of this name in the registry, which no Lua code can read or replace. */
static void make_metatable(lua_State *lua, const char *name, const char *event, lua_CFunction function)
{
    if (luaL_newmetatable(lua, name) != 0) {
        lua_pushcfunction(lua, function);
        lua_setfield(lua, -2, event);
        lua_pushboolean(lua, 0);
        lua_setfield(lua, -2, "__metatable");
    }
    lua_pop(lua, 1);
}

void hook_http_push(lua_State *lua)
{
    static const luaL_Reg functions[] = {
        {"post", post_lua},
        {NULL, NULL},
    };
    make_metatable(lua, POST, "__gc", under_way_collect);
    luaL_newlib(lua, functions);
}

static int webhook_name(lua_State *lua)
{
    lua_pushliteral(lua, "webhook");
    return 1;
}

/* There is nothing in it: the address stays in C. */
void hook_webhook_push(lua_State *lua)
{
    if (hook_settings(hook_of(lua))->webhook == NULL) {
        lua_pushnil(lua);
        return;
    }
    make_metatable(lua, WEBHOOK, "__tostring", webhook_name);
    lua_newuserdatauv(lua, 0, 0);
    luaL_setmetatable(lua, WEBHOOK);
}
