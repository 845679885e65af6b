/* SPDX-License-Identifier: MIT */
/* The parts of the library `keep` that hooks alone have. Each function here pushes one table, or one function, that
 * becomes a field of `keep`; tokenkeep-lua(7) is the manual. */
#ifndef TK_REPORTER_HOOK_LIBRARY_H
#define TK_REPORTER_HOOK_LIBRARY_H

#include <lua.h>
#include <stdbool.h>

/* keep.file: hook_file.c. */
void hook_file_push(lua_State *lua);

/* keep.http: hook_http.c. */
void hook_http_push(lua_State *lua);

/* What stands for the Slack webhook in settings.slack: keep.http.post takes it as an address, and nothing in Lua can
 * read the address from it. nil when there is none. hook_http.c. */
void hook_webhook_push(lua_State *lua);

/* keep.timer: hook_timer.c. */
void hook_timer_push(lua_State *lua);

/* keep.problem: hook_problem.c. */
void hook_problem_push(lua_State *lua);

/* The global function require: hook_require.c. */
void hook_require_push(lua_State *lua);

/* Pushes the function that the file at `path`, called `name` in messages, is. Raises a Lua error when it is none, the
 * file is no regular one, or over 1 MiB. Returns false, with nothing pushed, when there is no file. hook_require.c. */
bool hook_file_load(lua_State *lua, const char *path, const char *name) __attribute__((warn_unused_result));

#endif
