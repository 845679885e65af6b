/* SPDX-License-Identifier: MIT */
/* Makes connections to Redis without ever blocking the loop: looks the name up, tries its addresses one after the
 * other, and does the handshake of TLS where there is to be TLS. */
#ifndef TK_KEEP_REDIS_DIAL_H
#define TK_KEEP_REDIS_DIAL_H

#include "base/config.h"
#include "base/tls.h"
#include "keep/redis_access.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct redis_dial;
struct redis_master;

/* Where a Redis is. */
struct redis_endpoint {
    const char *path; /* of a unix socket; NULL: TCP */
    const char *host; /* name or address */
    uint16_t port;
};

/* The one of the configuration, whose strings it uses. */
struct redis_endpoint redis_endpoint_of(const struct config_redis *config);

enum { REDIS_RETRY_MIN = 50, REDIS_RETRY_MAX = 500 }; /* milliseconds from a failure to the next attempt */

/* The milliseconds to wait before the next attempt: *retry, a quarter more or less. Doubles *retry, which begins as
 * REDIS_RETRY_MIN, up to REDIS_RETRY_MAX. */
unsigned redis_retry_wait(unsigned *retry);

/* Takes over the connected, non-blocking, close-on-exec socket `fd` and, where there is TLS, what goes over it; else
 * `tls` is NULL. Or `fd` is -1 and `failure` says why, for people. The callback may come from within redis_dial_start.
 */
typedef void redis_dialed(void *argument, int fd, struct tls *tls, const char *failure);

/* Attempts go to where `master` is said to be; NULL: to where they are told. `access` says whether there is TLS over
 * TCP, and is renewed with each attempt; NULL: there is none. Both must live as long as the result. NULL when there is
 * no memory. */
struct redis_dial *redis_dial_new(struct event_base *base, struct redis_access *access, struct redis_master *master,
                                  redis_dialed *callback, void *argument) __attribute__((warn_unused_result));

/* A place has been named: an attempt under way goes there now, within the time that it has left. */
void redis_dial_named(struct redis_dial *dial);

/* Whether the last attempt went to another place than the one that is named now. */
bool redis_dial_outdated(const struct redis_dial *dial);

/* Starts an attempt, which must not be under way; the callback follows, unless the attempt is stopped. The strings of
 * `to`, which says nothing when a master is followed, must live as long as the attempt. Each address gets an equal
 * share of the time left until `deadline` (clock_boot); a look-up takes as long as it takes: the caller ends the
 * attempt at the deadline. */
void redis_dial_start(struct redis_dial *dial, const struct redis_endpoint *to, int64_t deadline);

/* What the attempt under way has been waiting for, for people: "no ...". */
const char *redis_dial_lacks(const struct redis_dial *dial);

/* Stops the attempt under way, if any: no callback follows. */
void redis_dial_stop(struct redis_dial *dial);

/* Stops, frees and sets to NULL; a NULL *dial is left alone. What a look-up under way holds is freed in the loop's next
 * turn. */
void redis_dial_free(struct redis_dial **dial);

#endif
