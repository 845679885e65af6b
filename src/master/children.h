/* SPDX-License-Identifier: MIT */
/* The workers and the reporter as the master sees them: a table of slots. The dead are restarted, the stuck killed,
 * those of a former configuration are given time to finish. */
#ifndef TK_MASTER_CHILDREN_H
#define TK_MASTER_CHILDREN_H

#include "base/config.h"
#include "base/shared.h"
#include "master/channel.h"
#include "master/listener.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct children;

/* NULL when there is no memory. `shared` must live as long as the result; the caller frees it with children_free. */
struct children *children_new(struct shared *shared) __attribute__((warn_unused_result));

/* Starts the workers that `config` asks for, and before them a reporter unless `channel` is NULL; then lets all others
 * finish what they hold and end. What is given is used for restarts, until the next call. */
void children_replace(struct children *children, const struct config *config, const struct listeners *listeners,
                      struct channel *channel);

/* Notes that the child `pid` has ended, and returns true, when it is one of these. It is restarted in its turn. */
bool children_ended(struct children *children, pid_t pid, int status);

/* Restarts who is due, kills who has not ticked for 10 s, does not come back from Lua or was to end long ago. Called at
 * least once a second: after a gap the master itself was stopped, and nobody is blamed for it. Returns when
 * (clock_boot()) the next turn is due, INT64_MAX: no wish. */
int64_t children_turn(struct children *children, int64_t now);

/* Has the reporter open its files anew. */
void children_reopen(struct children *children);

/* Tells all workers to stop: none is restarted from here on, and who is left at `deadline` is killed. A reporter goes
 * on to hear of what they finish. */
void children_stop_workers(struct children *children, int64_t deadline);

/* Whether no process is left but the reporter, if there is one: all who could tell it something have ended. */
bool children_reporter_alone(const struct children *children);

/* Tells the reporter to hand on what was sent, and to stop. One that waits for its restart is started for it. */
void children_stop_reporter(struct children *children, int64_t deadline);

/* Kills every process; none is restarted. */
void children_kill(struct children *children);

/* How many processes there are. */
size_t children_running(const struct children *children);

/* Frees and sets to NULL; a NULL *children is left alone. */
void children_free(struct children **children);

#endif
