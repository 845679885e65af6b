/* SPDX-License-Identifier: MIT */
/* Tries on a Redis all that a server will ask of it, for tokenkeepd --check: every command, on keys of its own under
 * the prefix that are no tokens and expire by themselves, and the invalidation link. */
#ifndef TK_KEEP_REDIS_PROBE_H
#define TK_KEEP_REDIS_PROBE_H

#include "base/config.h"
#include "keep/redis_access.h"

#include <stdbool.h>

/* Turns a loop of its own until all is answered, at most a second longer than the two timeouts of `config`. Logs what
 * is missing, a line each. Whether nothing is. */
bool redis_probe(const struct config_redis *config, struct redis_access *access);

#endif
