/* SPDX-License-Identifier: MIT */
/* The way from all processes to the reporter. The master makes it once and keeps both ends open for as long as it
 * lives, so that nothing is lost when a reporter ends and another begins. It never reads from it. */
#ifndef TK_MASTER_CHANNEL_H
#define TK_MASTER_CHANNEL_H

#include "base/error.h"

enum { CHANNEL_BUFFER_SIZE = 4 * 1024 * 1024 }; /* bytes under way, where the system allows that many */

struct channel;

/* NULL with `error` set when the system has no sockets left. */
struct channel *channel_new(struct error *error) __attribute__((warn_unused_result));

/* The ends: records leave at one, for workers, and arrive at the other, for the reporter. -1 when `channel` is NULL. */
int channel_sending(const struct channel *channel);
int channel_receiving(const struct channel *channel);

/* Closes, frees, and sets to NULL; a NULL *channel is left alone. */
void channel_free(struct channel **channel);

#endif
