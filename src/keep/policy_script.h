/* SPDX-License-Identifier: MIT */
/* The script of one policy: its file, which is read once, and a Lua state of its own, which is made anew when its
 * memory was used up. */
#ifndef TK_KEEP_POLICY_SCRIPT_H
#define TK_KEEP_POLICY_SCRIPT_H

#include "base/config.h"
#include "base/error.h"
#include "keep/policy.h"
#include "keep/policy_tables.h"

#include <jansson.h>
#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { POLICY_FILE_MAX = 1024 * 1024 }; /* bytes */

struct policy_script;

/* Reads and runs the file, and its function load. `config` must outlive the result; `lua_call` as in lua_sandbox.h.
 * NULL with `error` naming file, line and reason. */
struct policy_script *policy_script_new(const struct config_script *config, _Atomic uint64_t *lua_call,
                                        struct error *error) __attribute__((warn_unused_result));

/* The name of its file without the folder, as in logs. */
const char *policy_script_name(const struct policy_script *script);

/* Whether it has a function for the point. */
bool policy_script_has(const struct policy_script *script, enum policy_point point);

/* Calls the function for call->request->point, which it has. Returns the state with the function's two results on top
 * of its stack; policy_script_done must follow before anything else. NULL with `failure` when there are none. */
lua_State *policy_script_call(struct policy_script *script, struct policy_call *call, struct error *failure)
    __attribute__((warn_unused_result));

/* The tree of the last call's second result, a table, within limits as of a call. NULL with `error`: it cannot be one,
 * or a limit was passed. The caller owns it. */
json_t *policy_script_changes(struct policy_script *script, struct error *error) __attribute__((warn_unused_result));

/* Drops the results of the last call. */
void policy_script_done(struct policy_script *script);

/* Instructions of the last call, to the next thousand. */
uint64_t policy_script_instructions(const struct policy_script *script);

/* Frees and sets to NULL; a NULL *script is left alone. */
void policy_script_free(struct policy_script **script);

#endif
