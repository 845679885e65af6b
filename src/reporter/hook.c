/* SPDX-License-Identifier: MIT */
/* One hook: its state comes and goes, the hook stays. */
#include "reporter/hook.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lua_keep.h"
#include "base/lua_sandbox.h"
#include "base/memory.h"
#include "reporter/hook_library.h"
#include "reporter/hook_tables.h"
#include "reporter/hooks.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MAX = 300,      /* seconds before a hook that failed is started again */
    WAIT_DOUBLINGS = 9,  /* of one second that stay below */
    WELL_SECONDS = 60,   /* that it must have run for the wait to be a second again */
    FAILURES_MAX = 1000, /* that are counted */
};

_Static_assert((int)CONFIG_HOOKS_MAX <= (int)SHARED_HOOKS, "each hook has a place in shared memory");

static const struct sandbox_limits call_limits = {.cpu = HOOK_TIME_MAX * (CLOCK_SECOND / 1000)},
                                   start_limits = {.cpu = HOOK_START_TIME_MAX * (CLOCK_SECOND / 1000)};

static const char *const function_names[] = {
#define X(constant, name) [HOOK_##constant] = name,
    HOOK_FUNCTIONS_LIST(X)
#undef X
};

struct hook {
    struct hooks *hooks;
    const struct hooks_settings *settings;
    const struct config_script *script;
    const char *name; /* in the script's path */
    unsigned index;   /* among the hooks */
    struct lua_keep keep;
    struct sandbox *sandbox; /* NULL: it has no state */
    bool running;            /* start has returned */
    bool waited;             /* to be started */
    bool stopped;            /* for good */
    uint64_t life;           /* of the state: no two have the same */
    int functions[HOOK_FUNCTIONS];
    struct event *restart;
    int64_t started;   /* boot-time clock */
    uint32_t failures; /* in a row; in the slot too, for the next reporter */
    uint64_t missed;   /* events */
};

struct hook *hook_of(lua_State *lua)
{
    return sandbox_owner(lua);
}

const char *hook_path(const struct hook *hook)
{
    return hook->script->path;
}

struct hooks *hook_hooks(const struct hook *hook)
{
    return hook->hooks;
}

const struct hooks_settings *hook_settings(const struct hook *hook)
{
    return hook->settings;
}

bool hook_runs(const struct hook *hook)
{
    return hook->running && !hook->stopped;
}

void hook_miss(struct hook *hook)
{
    hook->missed++;
}

/* Callbacks. */

struct hook_callback hook_callback_new(lua_State *lua, int index)
{
    struct hook *hook = hook_of(lua);
    luaL_checktype(lua, index, LUA_TFUNCTION);
    lua_pushvalue(lua, index);
    return (struct hook_callback){hook, hook->life, luaL_ref(lua, LUA_REGISTRYINDEX)};
}

static bool is_alive(const struct hook_callback *callback)
{
    return callback->hook->sandbox != NULL && callback->hook->life == callback->life;
}

lua_State *hook_callback_begin(struct hook_callback *callback)
{
    if (!is_alive(callback))
        return NULL;
    lua_State *lua = sandbox_lua(callback->hook->sandbox);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, callback->reference);
    hook_callback_drop(callback);
    return lua;
}

void hook_callback_drop(struct hook_callback *callback)
{
    if (is_alive(callback))
        luaL_unref(sandbox_lua(callback->hook->sandbox), LUA_REGISTRYINDEX, callback->reference);
}

/* Loading. */

/* The table that the file returned is on top of the stack. */
static void check_table(lua_State *lua)
{
    if (lua_type(lua, -1) != LUA_TTABLE)
        luaL_error(lua, "the file returns %s; it must return a table of functions", luaL_typename(lua, -1));
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
        int function = 0;
        const char *name = lua_type(lua, -2) == LUA_TSTRING ? lua_tostring(lua, -2) : luaL_tolstring(lua, -2, NULL);
        while (function < HOOK_FUNCTIONS && strcmp(name, function_names[function]) != 0)
            function++;
        if (function == HOOK_FUNCTIONS)
            luaL_error(lua, "'%s' in the table is unknown; start, event, problem, tick and stop are known", name);
        if (lua_type(lua, -1) != LUA_TFUNCTION)
            luaL_error(lua, "'%s' in the table is a %s, not a function", name, luaL_typename(lua, -1));
    }
}

static void open_library(lua_State *lua, struct hook *hook)
{
    static const struct {
        const char *name;
        void (*push)(lua_State *lua);
    } fields[] = {
        {"file", hook_file_push},
        {"http", hook_http_push},
        {"problem", hook_problem_push},
        {"timer", hook_timer_push},
    };
    lua_keep_open(lua, &hook->keep);
    lua_getglobal(lua, "keep");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        fields[i].push(lua);
        lua_setfield(lua, -2, fields[i].name);
    }
    lua_pop(lua, 1);
    hook_require_push(lua);
    lua_setglobal(lua, "require");
}

static int load(lua_State *lua)
{
    char name[128];
    struct hook *hook = hook_of(lua);
    open_library(lua, hook);
    snprintf(name, sizeof name, "@%s", hook->name);
    if (!hook_file_load(lua, hook->script->path, name))
        return luaL_error(lua, "there is no file %s", hook->script->path);
    lua_call(lua, 0, 1);
    check_table(lua);
    for (int i = 0; i < HOOK_FUNCTIONS; i++) {
        lua_getfield(lua, -1, function_names[i]);
        hook->functions[i] = luaL_ref(lua, LUA_REGISTRYINDEX); /* LUA_REFNIL of nil */
    }
    return 0;
}

/* Calls what is on the stack, and notes meanwhile whose call it is, should the process not survive it. */
static int call(struct hook *hook, int n, const struct sandbox_limits *limits)
{
    struct shared_slot *slot = hook->settings->slot;
    if (slot != NULL)
        atomic_store_explicit(&slot->hook_running, hook->index + 1, memory_order_relaxed);
    const int result = sandbox_call(hook->sandbox, n, 0, limits);
    if (slot != NULL)
        atomic_store_explicit(&slot->hook_running, 0, memory_order_relaxed);
    return result;
}

int hook_load(struct hook *hook, struct error *error)
{
    const struct sandbox_settings settings = {
        .memory_max = HOOK_MEMORY_MAX,
        .os = true,
        .lua_call = hook->settings->slot == NULL ? NULL : &hook->settings->slot->lua_call,
        .owner = hook,
    };
    hook->sandbox = sandbox_new(&settings, error);
    if (hook->sandbox == NULL)
        return -1;
    lua_pushcfunction(sandbox_lua(hook->sandbox), load);
    if (call(hook, 0, &start_limits) == 0)
        return 0;
    return error_set(error, "%s", sandbox_failure(hook->sandbox));
}

static void close_state(struct hook *hook)
{
    hook->running = false;
    hook->life++; /* before the state closes: what it collects must not let go of callbacks any more */
    sandbox_free(&hook->sandbox);
}

/* Failing, and starting again. */

static void failures_set(struct hook *hook, uint32_t failures)
{
    struct shared_slot *slot = hook->settings->slot;
    hook->failures = failures < FAILURES_MAX ? failures : FAILURES_MAX;
    if (slot != NULL)
        atomic_store_explicit(&slot->hook_failures[hook->index], hook->failures, memory_order_relaxed);
}

/* Seconds to wait after the failures so far. */
static unsigned wait_seconds(const struct hook *hook)
{
    const uint32_t doublings = hook->failures - 1;
    return doublings < WAIT_DOUBLINGS ? 1u << doublings : WAIT_MAX;
}

static void start_later(struct hook *hook, const char *what, const char *why)
{
    char message[256];
    const unsigned seconds = wait_seconds(hook);
    const struct timeval wait = {.tv_sec = (time_t)seconds};
    hook->waited = true;
    log_error("hook %s: %s; it is started again in %u s: %s", hook->name, what, seconds, why);
    snprintf(message, sizeof message, "The hook %s %s; it is started again in %u s", hook->name, what, seconds);
    hooks_raise(hook->hooks, &(struct problem){
                                 .kind = event_text("hook.failed"),
                                 .time = clock_wall_microseconds(),
                                 .message = event_text(message),
                                 .error = event_text(why),
                                 .process = event_text("reporter"),
                             });
    if (evtimer_add(hook->restart, &wait) != 0)
        memory_exhausted();
}

static void fail(struct hook *hook, const char *what, const char *why)
{
    failures_set(hook, hook->failures + 1);
    if (hook->stopped)
        log_error("hook %s: %s: %s", hook->name, what, why);
    else
        start_later(hook, what, why);
    close_state(hook);
}

void hook_settle(struct hook *hook)
{
    if (hook->failures > 0 && hook->running && clock_boot() - hook->started >= WELL_SECONDS * CLOCK_SECOND)
        failures_set(hook, 0);
}

void hook_call(struct hook *hook, int n)
{
    if (call(hook, n, &call_limits) != 0)
        fail(hook, "failed", sandbox_failure(hook->sandbox));
}

static lua_State *push_function(struct hook *hook, enum hook_function function)
{
    lua_State *lua = sandbox_lua(hook->sandbox);
    if (hook->functions[function] == LUA_REFNIL)
        return NULL;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, hook->functions[function]);
    return lua;
}

lua_State *hook_begin(struct hook *hook, enum hook_function function)
{
    return hook_runs(hook) ? push_function(hook, function) : NULL;
}

static void say_what_was_missed(struct hook *hook)
{
    if (hook->missed > 0 && hook->functions[HOOK_EVENT] != LUA_REFNIL)
        log_warning("hook %s: runs again, and has missed %" PRIu64 " events", hook->name, hook->missed);
    else if (hook->waited)
        log_info("hook %s: runs again, and has missed no event", hook->name);
    hook->missed = 0;
    hook->waited = false;
}

void hook_start(struct hook *hook)
{
    struct error error;
    if (hook_load(hook, &error) != 0) {
        fail(hook, "does not load", hook->sandbox == NULL ? error.text : sandbox_failure(hook->sandbox));
        return;
    }
    lua_State *lua = push_function(hook, HOOK_START);
    if (lua != NULL) {
        hook_push_settings(lua, hook->settings->config, hook->script);
        if (call(hook, 1, &start_limits) != 0) {
            fail(hook, "does not start", sandbox_failure(hook->sandbox));
            return;
        }
    }
    hook->running = true;
    hook->started = clock_boot();
    say_what_was_missed(hook);
}

static void on_restart(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    hook_start(argument);
}

void hook_start_carefully(struct hook *hook)
{
    failures_set(hook, hook->failures + 1);
    start_later(hook, "did not come back from a call", "the reporter before this one ended in it");
}

void hook_stop(struct hook *hook)
{
    lua_State *lua = hook_begin(hook, HOOK_STOP);
    hook->stopped = true;
    evtimer_del(hook->restart);
    if (hook->missed > 0)
        log_warning("hook %s: does not run, and has missed %" PRIu64 " events", hook->name, hook->missed);
    if (lua != NULL)
        hook_call(hook, 0);
}

/* Making and freeing. */

struct hook *hook_new(struct hooks *hooks, const struct hooks_settings *settings, unsigned index)
{
    struct hook *hook = memory_zeroed(sizeof *hook);
    hook->hooks = hooks;
    hook->settings = settings;
    hook->script = &settings->config->hooks[index];
    const char *slash = strrchr(hook->script->path, '/');
    hook->name = slash == NULL ? hook->script->path : slash + 1;
    hook->index = index;
    snprintf(hook->keep.who, sizeof hook->keep.who, "hook %s", hook->name);
    hook->restart = evtimer_new(settings->base, on_restart, hook);
    if (hook->restart == NULL)
        memory_exhausted();
    if (settings->slot != NULL)
        hook->failures = atomic_load(&settings->slot->hook_failures[index]);
    return hook;
}

void hook_free(struct hook **hook)
{
    if (*hook == NULL)
        return;
    close_state(*hook);
    event_free((*hook)->restart);
    free(*hook);
    *hook = NULL;
}
