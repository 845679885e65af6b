/* SPDX-License-Identifier: MIT */
/* The way from all processes to the reporter. The master makes it once and keeps both ends open for as long as it
 * lives, so that nothing is lost when a reporter ends and another begins. It never reads from it, and has its own say.
 */
#ifndef TK_MASTER_CHANNEL_H
#define TK_MASTER_CHANNEL_H

#include "base/error.h"
#include "base/event.h"
#include "base/shared.h"

#include <stdbool.h>

enum { CHANNEL_BUFFER_SIZE = 4 * 1024 * 1024 }; /* bytes under way, where the system allows that many */

struct channel;

/* NULL with `error` set when the system has no sockets left. `shared` must outlive the result. */
struct channel *channel_new(struct shared *shared, struct error *error) __attribute__((warn_unused_result));

/* The ends: records leave at one, for workers, and arrive at the other, for the reporter. -1 when `channel` is NULL. */
int channel_sending(const struct channel *channel);
int channel_receiving(const struct channel *channel);

/* Tells that the server starts or stops, EVENT_SERVER_START or _STOP, with so many workers. As in all that follows,
 * with a NULL `channel` nothing happens: nobody listens. */
void channel_tell_server(struct channel *channel, enum event_kind kind, unsigned workers);

/* Tells that a worker, or with the number 0 the reporter, has died. `name` is its name in the log, and `how` says how
 * it ended: "was killed by signal 9 (Killed)". */
void channel_tell_crash(struct channel *channel, unsigned worker, const char *name, const char *how);

/* Sends what was told. Returns false when some of it still waits: call again soon. */
bool channel_flush(struct channel *channel);

/* Closes, frees, and sets to NULL; a NULL *channel is left alone. What still waits counts as dropped. */
void channel_free(struct channel **channel);

#endif
