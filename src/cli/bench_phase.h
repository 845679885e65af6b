/* SPDX-License-Identifier: MIT */
/* One part of a bench: its loads run in threads, while progress is shown on a terminal and a signal may end it early.
 */
#ifndef TK_CLI_BENCH_PHASE_H
#define TK_CLI_BENCH_PHASE_H

#include "cli/bench_load.h"

#include <stdbool.h>
#include <stddef.h>

struct bench_watch {
    int signals; /* a signalfd */
    int done;    /* an eventfd */
    struct bench_stop stop;
    bool interrupted; /* a signal has ended a part early */
    bool abandoned;   /* a second one has, at once */
};

/* Takes SIGINT and SIGTERM over, for as long as the process lives. Returns 0, or -1 with `failure`; bench_watch_close()
 * is due either way. */
int bench_watch_open(struct bench_watch *watch, struct failure *failure) __attribute__((warn_unused_result));

/* Closes what was opened. */
void bench_watch_close(struct bench_watch *watch);

/* Runs the loads and waits for them; `title` says on a terminal what goes on. The first signal has them ask no more,
 * the second one leave. What came of it is in the loads. */
void bench_phase_run(struct bench_watch *watch, struct bench_load *loads, size_t n, const char *title);

#endif
