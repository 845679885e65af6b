/* SPDX-License-Identifier: MIT */
/* One hook: a Lua file, its state, and what its functions in C need to know. A hook that fails is stopped, which closes
 * its state with all that it holds, and is started again later; hooks.h runs them all. */
#ifndef TK_REPORTER_HOOK_H
#define TK_REPORTER_HOOK_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct error;
struct hook;
struct hooks;
struct hooks_settings;

/* In a function that a hook called: the hook. */
struct hook *hook_of(lua_State *lua);

/* The path of its file, absolute. */
const char *hook_path(const struct hook *hook);

/* All hooks of the process, and what they were made with (hooks.h). */
struct hooks *hook_hooks(const struct hook *hook);
const struct hooks_settings *hook_settings(const struct hook *hook);

/* A function of a hook that C calls later. It is dead once its hook has been stopped, even when that runs again. */
struct hook_callback {
    struct hook *hook;
    uint64_t life;
    int reference;
};

/* Keeps the function at `index` of the stack. Raises a Lua error when there is none. */
struct hook_callback hook_callback_new(lua_State *lua, int index);

/* Pushes the function and lets go of it. Returns the state to push arguments to, NULL when the callback is dead. */
lua_State *hook_callback_begin(struct hook_callback *callback);

/* Lets go of it uncalled. */
void hook_callback_drop(struct hook_callback *callback);

/* Calls the function that hook_callback_begin pushed, with the `n` arguments pushed since, within the limits of a call.
 * A failure stops the hook. Only from the event loop, never from within a call of the same hook. */
void hook_call(struct hook *hook, int n);

/* What follows is for hooks.c alone. */

/* The functions a hook's table may have, in the order of their names below. */
#define HOOK_FUNCTIONS_LIST(X) \
    X(START, "start")          \
    X(EVENT, "event")          \
    X(PROBLEM, "problem")      \
    X(TICK, "tick")            \
    X(STOP, "stop")

enum hook_function {
#define X(constant, name) HOOK_##constant,
    HOOK_FUNCTIONS_LIST(X)
#undef X
        HOOK_FUNCTIONS
};

/* Hook number `index` of the configuration, not started. *settings must outlive it. Never NULL: without memory the
 * process ends. */
struct hook *hook_new(struct hooks *hooks, const struct hooks_settings *settings, unsigned index)
    __attribute__((warn_unused_result));

/* Closes the state, frees and sets to NULL; a NULL *hook is left alone. */
void hook_free(struct hook **hook);

/* Makes a state and loads the file into it. Returns 0, or -1 with `error`. */
int hook_load(struct hook *hook, struct error *error) __attribute__((warn_unused_result));

/* Loads the file and calls its start function. */
void hook_start(struct hook *hook);

/* Starts it later: the reporter before this one ended in a call of it. */
void hook_start_carefully(struct hook *hook);

/* Pushes a function of the hook. Returns the state to push arguments to for hook_call, NULL when the hook does not run
 * or has no such function. */
lua_State *hook_begin(struct hook *hook, enum hook_function function);

/* Counts an event that the hook does not hear of because it does not run. */
void hook_miss(struct hook *hook);

/* Whether it runs. */
bool hook_runs(const struct hook *hook);

/* Forgets its failures once it has run for a while. Call it every second. */
void hook_settle(struct hook *hook);

/* Calls the stop function; whatever happens, the hook is not started again. */
void hook_stop(struct hook *hook);

#endif
