/* SPDX-License-Identifier: MIT */
/* A Lua state within limits. Its memory is counted, the time of each call is watched, and of Lua's libraries it has
 * what computes and nothing that reaches the machine, other states or Lua's own insides (tokenkeep-lua(7) has the
 * list).
 *
 * How a call is ended: instructions are counted, and every 1,000 of them, more often in a state that holds much, and
 * whenever much memory is asked for at once, the CPU time since the first such look is compared with the limit; and
 * once more at the end. When it has passed, or memory is used up, an error is thrown at every instruction until the
 * outermost call has returned, so that no pcall can swallow it. Functions in C have no instructions: those of Lua's own
 * that could run for long refuse such arguments (lua_limits.h) and say how much work they do, at which the time is
 * looked at too. What remains is the master's affair: settings.lua_call is odd while a call runs and moves with each
 * look at the clock, and a process that burns CPU time while it stays at one odd value is killed. */
#ifndef TK_BASE_LUA_SANDBOX_H
#define TK_BASE_LUA_SANDBOX_H

#include "base/error.h"

#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox;

struct sandbox_settings {
    size_t memory_max;          /* bytes; counted in calls alone: what the owner puts on the stack is its own affair */
    bool os;                    /* with os.clock, os.date, os.difftime and os.time */
    _Atomic uint64_t *lua_call; /* odd in a call; moves with its begin, its end and each look; NULL: none */
    void *owner;                /* what sandbox_owner returns */
};

struct sandbox_limits {
    int64_t cpu;           /* nanoseconds of the thread's CPU time */
    uint64_t instructions; /* of Lua; counted by up to a thousand; 0: no limit */
};

/* NULL with `error` when there is no memory. */
struct sandbox *sandbox_new(const struct sandbox_settings *settings, struct error *error)
    __attribute__((warn_unused_result));

/* Closes the state, frees and sets to NULL; a NULL *sandbox is left alone. Not from within a call. */
void sandbox_free(struct sandbox **sandbox);

/* The state. Its stack is the owner's from where it stood after sandbox_new. Outside calls nothing that can raise an
 * error may be done with it but pushing; without memory for that the process ends. */
lua_State *sandbox_lua(const struct sandbox *sandbox);

/* The owner, from any function that the state calls. */
void *sandbox_owner(lua_State *lua);

/* Compiles a text as luaL_loadbufferx does, within a call: its limit of time ends it. What it pushes is the function;
 * it raises an error that names the line. */
void sandbox_compile(lua_State *lua, const char *text, size_t size, const char *name);

/* Calls the function that stands on the stack under `n_arguments` arguments; all of these are popped. Returns 0 with
 * `n_results` results pushed, or -1 with nothing pushed: it threw, had no memory left, or passed a limit. Not from
 * within a call. */
int sandbox_call(struct sandbox *sandbox, int n_arguments, int n_results, const struct sandbox_limits *limits)
    __attribute__((warn_unused_result));

/* What went wrong in the last call: message and traceback on one line, at most 1,000 bytes. */
const char *sandbox_failure(const struct sandbox *sandbox);

/* Instructions of the last call, to the next thousand, or finer. */
uint64_t sandbox_instructions(const struct sandbox *sandbox);

/* Whether memory_max refused the last call memory, even if it went on without. */
bool sandbox_was_full(const struct sandbox *sandbox);

/* Bytes in use. */
size_t sandbox_memory(const struct sandbox *sandbox);

/* Says that a function in C, which runs, does `steps` of work, each of some nanoseconds; after some 100,000 of them the
 * time is looked at as after instructions. Raises the limit's error. */
void sandbox_work(lua_State *lua, size_t steps);

/* The same for one that must not be left by an error: returns false when it should end at once, as the call has passed
 * a limit. */
bool sandbox_may_work(lua_State *lua, size_t steps) __attribute__((warn_unused_result));

/* lua_pcall with any number of results, for what scripts have as pcall: a limit, of memory too, is not caught.
 * `handler` is the index of a message handler, or 0. */
int sandbox_pcall(lua_State *lua, int n_arguments, int handler);

/* Whether the call that runs now has passed a limit: then nothing of Lua's may be called any more. */
bool sandbox_stopped(lua_State *lua);

#endif
