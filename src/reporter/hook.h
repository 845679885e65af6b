/* SPDX-License-Identifier: MIT */
/* One hook: a Lua file, its state, and what its functions in C need to know. A hook that fails is stopped, which closes
 * its state with all that it holds, and is started again later; hooks.h runs them all. */
#ifndef TK_REPORTER_HOOK_H
#define TK_REPORTER_HOOK_H

#include <lua.h>
#include <stdint.h>

struct hook;
struct hooks;
struct hooks_settings;

/* In a function that a hook called: the hook. */
struct hook *hook_of(lua_State *lua);

/* The name of its file without the folder, as in logs. */
const char *hook_name(const struct hook *hook);

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

#endif
