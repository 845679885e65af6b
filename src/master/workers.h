/* SPDX-License-Identifier: MIT */
/* The workers as the master sees them: a table of slots. The dead are restarted, the stuck killed, those of a former
 * configuration are given time to finish. */
#ifndef TK_MASTER_WORKERS_H
#define TK_MASTER_WORKERS_H

#include "base/config.h"
#include "base/shared.h"
#include "master/listener.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct workers;

/* NULL when there is no memory. `shared` must live as long as the result; the caller frees it with workers_free. */
struct workers *workers_new(struct shared *shared) __attribute__((warn_unused_result));

/* Starts the workers that `config` asks for, then lets all others finish what they hold and end. `config` and
 * `listeners` are used for restarts, until the next call. */
void workers_replace(struct workers *workers, const struct config *config, const struct listeners *listeners);

/* Notes that the child `pid` has ended, and returns true, when it is a worker. It is restarted in its turn. */
bool workers_ended(struct workers *workers, pid_t pid, int status);

/* Restarts who is due, kills who has not ticked for 10 s or was to end long ago. Called at least once a second: after a
 * gap the master itself was stopped, and nobody is blamed for it. Returns when (clock_boot()) the next restart is due,
 * INT64_MAX: none is. */
int64_t workers_turn(struct workers *workers, int64_t now);

/* Sends every worker `signal`; from here on none is restarted. */
void workers_stop(struct workers *workers, int signal);

/* How many processes there are. */
size_t workers_running(const struct workers *workers);

/* Frees and sets to NULL; a NULL *workers is left alone. */
void workers_free(struct workers **workers);

#endif
