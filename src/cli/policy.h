/* SPDX-License-Identifier: MIT */
/* Trying out policies without a server: `tokenkeep policy try` and `tokenkeep policy test`; tokenkeep(1) says what they
 * take and print. */
#ifndef TK_CLI_POLICY_H
#define TK_CLI_POLICY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* X(constant, name of the option): those of `policy try`. */
#define POLICY_OPTIONS_LIST(X)  \
    X(COMMAND, "command")       \
    X(TOKEN_JSON, "token-json") \
    X(PEER, "peer")             \
    X(USER, "user")             \
    X(ROLE, "role")             \
    X(LISTENER, "listener")     \
    X(TAG, "tag")               \
    X(USERNAME, "username")     \
    X(TIME, "time")             \
    X(SCOPE, "scope")           \
    X(SET, "set")

enum policy_option {
#define X(constant, name) POLICY_OPTION_##constant,
    POLICY_OPTIONS_LIST(X)
#undef X
        POLICY_OPTIONS
};

enum { POLICY_OPTION_REPEATS = 64 }; /* how often --scope and --set may stand there, each */

/* What was given of them. */
struct policy_options {
    const char *value[POLICY_OPTIONS]; /* NULL: not given; of the last two, any */
    const char *scopes[POLICY_OPTION_REPEATS];
    size_t n_scopes;
    const char *settings[POLICY_OPTION_REPEATS]; /* NAME=VALUE */
    size_t n_settings;
};

/* The option's name, "token-json". */
const char *policy_option_name(enum policy_option option);

/* Notes an option with its value, which must outlive `options`. Returns 0, or -1 with `error` when it stands there too
 * often. */
int policy_option_take(struct policy_options *options, enum policy_option option, const char *value,
                       struct error *error) __attribute__((warn_unused_result));

/* Prints what the options mean. */
void policy_options_show(void);

/* Asks the policy in `file` what the options say, and prints its answer. Returns an exit status. */
int policy_try(const char *file, const struct policy_options *options, bool json);

/* Runs every test of the folder, and prints what failed. Returns an exit status. */
int policy_test(const char *folder, bool json);

#endif
