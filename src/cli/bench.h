/* SPDX-License-Identifier: MIT */
/* `tokenkeep bench`: measures a server under a load. tokenkeep(1) says what it takes, does and prints. */
#ifndef TK_CLI_BENCH_H
#define TK_CLI_BENCH_H

#include "cli/bench_options.h"
#include "cli/dial.h"

#include <stdbool.h>
#include <stdint.h>

enum bench_outcome {
    BENCH_RIGHT,        /* measured; every answer was what it had to be */
    BENCH_ERRORS_FOUND, /* measured; some were not, or tokens are left behind */
    BENCH_FAILED,       /* nothing was measured; `failure` says why */
};

/* Stores tokens, measures the server `target`, deletes the tokens, and prints the result. `options` have been finished;
 * `timeout`, in nanoseconds, bounds each connecting and each silence. SIGINT and SIGTERM end it early and are blocked
 * from then on. */
enum bench_outcome bench_run(const struct bench_options *options, const struct session_target *target, int64_t timeout,
                             bool json, struct failure *failure);

#endif
