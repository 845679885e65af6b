/* SPDX-License-Identifier: MIT */
/* What a bench prints in the end, for people or as JSON. */
#ifndef TK_CLI_BENCH_REPORT_H
#define TK_CLI_BENCH_REPORT_H

#include "cli/bench_cpu.h"
#include "cli/bench_options.h"
#include "cli/bench_tally.h"

#include <stdbool.h>
#include <stdint.h>

struct bench_result {
    const char *server; /* as it was named */
    struct bench_tally tally;
    double seconds;
    struct bench_cpu cpu; /* used while measuring */
    int64_t own_cpu;      /* of the bench itself, nanoseconds */
    bool interrupted;
};

/* Prints the result on standard output. Returns 0, or -1 when there is no memory. */
int bench_report(const struct bench_options *options, const struct bench_result *result, bool json);

#endif
