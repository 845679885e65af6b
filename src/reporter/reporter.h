/* SPDX-License-Identifier: MIT */
/* The reporter process: hears of events and problems, and runs the hooks. The master forks and calls reporter_main;
 * nothing else in reporter/ is called from outside. It never holds a key of the vault or a token's secret. */
#ifndef TK_REPORTER_REPORTER_H
#define TK_REPORTER_REPORTER_H

#include "base/config.h"
#include "base/shared.h"

struct reporter_setup {
    const struct config *config;
    struct shared *shared;
    unsigned slot; /* the reporter's own in `shared` */
    int fd;        /* the receiving end of the way from all other processes */
};

/* Runs the reporter in the calling process, which the master has just forked: opens the Slack webhook, gives up root,
 * loads the hooks, serves until told to stop. Returns the exit status. Signals it takes: SIGTERM  stop: hand on all
 * that was sent, stop the hooks, exit 0. SIGUSR2  another reporter takes over: the same, but read nothing more. SIGUSR1
 * reopen files. SIGINT and SIGHUP are ignored: a terminal sends them to the whole group, the master decides. */
int reporter_main(const struct reporter_setup *setup) __attribute__((warn_unused_result));

/* What a reporter does before it serves, without serving: opens the webhook, gives up root, loads the hooks. Logs what
 * is wrong. Returns the exit status. Run it in a forked child: it changes user. */
int reporter_check(const struct config *config) __attribute__((warn_unused_result));

#endif
