/* SPDX-License-Identifier: MIT */
/* A worker process: clients' bytes in, answers out. The master forks and calls worker_main; nothing else in worker/ is
 * called from outside. */
#ifndef TK_WORKER_WORKER_H
#define TK_WORKER_WORKER_H

#include "base/config.h"
#include "base/shared.h"

#include <stddef.h>

struct worker_listener {
    int fd;      /* bound, listening, non-blocking, close-on-exec; the master keeps it open too */
    unsigned id; /* index of shared_slot.connections */
    const struct config_listener *config; /* role and limits */
};

struct worker_setup {
    const struct config *config;
    struct shared *shared;
    unsigned slot;   /* this worker's in `shared` */
    unsigned number; /* for names: "worker 1" ... */
    const struct worker_listener *listeners;
    size_t n_listeners;
    int reports_fd; /* the sending end of the way to the reporter, see base/reports.h; -1: nobody listens */
};

/* Runs a worker in the calling process, which the master has just forked: opens the keyring and the Redis password,
 * gives up root, serves until told to stop. Returns the exit status. Signals it takes (it resets all dispositions
 * itself; the caller may leave them blocked): SIGTERM  stop: accept no more, answer what was received, exit 0 SIGUSR2
 * drain: accept no more, serve each connection until it has been quiet for a moment, or until drain-timeout SIGINT,
 * SIGHUP, SIGUSR1 are ignored: a terminal sends them to the whole group, the master decides. */
int worker_main(const struct worker_setup *setup) __attribute__((warn_unused_result));

/* What a worker does before it serves, without serving: opens the keyring and the password file as root, gives up root,
 * loads the policies; with `redis`, makes a Redis round trip too. Logs what is wrong. Returns the exit status. Run it
 * in a forked child: it changes user. */
int worker_check(const struct config *config, bool redis) __attribute__((warn_unused_result));

#endif
