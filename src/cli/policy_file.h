/* SPDX-License-Identifier: MIT */
/* A file of tests of a policy: a script in Lua, run within limits as the policy itself is, and what it returns. */
#ifndef TK_CLI_POLICY_FILE_H
#define TK_CLI_POLICY_FILE_H

#include "base/error.h"

#include <jansson.h>

/* Runs the script at `path`, and returns the table that it returns as JSON; an empty table is an object. A new
 * reference, or NULL with `error` saying why there is none, with file and line. */
json_t *policy_file_read(const char *path, struct error *error) __attribute__((warn_unused_result));

#endif
