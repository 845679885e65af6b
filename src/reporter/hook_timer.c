/* SPDX-License-Identifier: MIT */
/* keep.timer: functions of a hook that the event loop calls once, later. */
#include "reporter/hook_library.h"

#include "reporter/hook.h"
#include "reporter/hooks.h"

#include <event2/event.h>
#include <lauxlib.h>

enum { TIMERS_MAX = 1000, SECONDS_MAX = 365 * 24 * 3600 };

static const char TIMER[] = "keep.timer";

/* How many timers of a state are set: an upvalue of keep.timer, and of each timer by its user value. */
struct timers {
    unsigned set;
};

/* The registry holds it, under its own address, while it is set. */
struct timer {
    struct event *event; /* NULL: it is not set any more */
    struct timers *timers;
    struct hook_callback callback;
};

static void timer_forget(lua_State *lua, struct timer *timer)
{
    event_free(timer->event);
    timer->event = NULL;
    timer->timers->set--;
    lua_pushnil(lua);
    lua_rawsetp(lua, LUA_REGISTRYINDEX, timer);
}

static void on_time(evutil_socket_t fd, short what, void *argument)
{
    struct timer *timer = argument;
    struct hook_callback callback = timer->callback;
    (void)fd, (void)what;
    lua_State *lua = hook_callback_begin(&callback);
    if (lua == NULL)
        return;
    timer_forget(lua, timer);
    hook_call(callback.hook, 0);
}

static int timer_cancel(lua_State *lua)
{
    struct timer *timer = luaL_checkudata(lua, 1, TIMER);
    if (timer->event == NULL)
        return 0;
    hook_callback_drop(&timer->callback);
    timer_forget(lua, timer);
    return 0;
}

/* Only a state that is being closed collects a timer that is set. */
static int timer_collect(lua_State *lua)
{
    struct timer *timer = luaL_checkudata(lua, 1, TIMER);
    if (timer->event != NULL)
        event_free(timer->event);
    timer->event = NULL;
    return 0;
}

static int timer_lua(lua_State *lua)
{
    struct timers *timers = lua_touserdata(lua, lua_upvalueindex(1));
    const double seconds = luaL_checknumber(lua, 1);
    luaL_argcheck(lua, seconds >= 0 && seconds <= SECONDS_MAX, 1, "0 to 31536000 seconds");
    luaL_checktype(lua, 2, LUA_TFUNCTION);
    if (timers->set >= TIMERS_MAX)
        return luaL_error(lua, "too many timers; a hook may have %d", TIMERS_MAX);
    struct timer *timer = lua_newuserdatauv(lua, sizeof *timer, 1);
    *timer = (struct timer){.timers = timers};
    luaL_setmetatable(lua, TIMER);
    lua_pushvalue(lua, lua_upvalueindex(1));
    lua_setiuservalue(lua, -2, 1);
    lua_pushvalue(lua, -1);
    lua_rawsetp(lua, LUA_REGISTRYINDEX, timer);
    timer->callback = hook_callback_new(lua, 2);
    /* From here on nothing raises an error but for want of an event, which leaves the callback to the state's end. */
    const struct timeval time = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    timer->event = evtimer_new(hook_settings(hook_of(lua))->base, on_time, timer);
    if (timer->event == NULL || evtimer_add(timer->event, &time) != 0)
        return luaL_error(lua, "not enough memory");
    timers->set++;
    return 1;
}

void hook_timer_push(lua_State *lua)
{
    luaL_newmetatable(lua, TIMER);
    lua_pushcfunction(lua, timer_collect);
    lua_setfield(lua, -2, "__gc");
    lua_createtable(lua, 0, 1);
    lua_pushcfunction(lua, timer_cancel);
    lua_setfield(lua, -2, "cancel");
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    struct timers *timers = lua_newuserdatauv(lua, sizeof *timers, 0);
    timers->set = 0;
    lua_pushcclosure(lua, timer_lua, 1);
}
