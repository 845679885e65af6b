/* SPDX-License-Identifier: MIT */
/* Connecting to a server, and how it is told that this, or what follows, did not work. */
#ifndef TK_CLI_DIAL_H
#define TK_CLI_DIAL_H

#include "base/error.h"

#include <stdint.h>

/* Where a server is: exactly one of the two is not NULL. */
struct session_target {
    const char *socket; /* path of a unix socket */
    const char *server; /* HOST:PORT, [IPv6 ADDRESS]:PORT */
};

/* Why there is no verdict. */
struct failure {
    const char *code; /* for programs: "usage" "connect" "timeout" "closed" "protocol" "internal" */
    struct error error;
};

/* Sets code and text. Always returns -1, so that a caller can `return failure_set(...)`. */
int failure_set(struct failure *failure, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A connected stream socket, close-on-exec and blocking, that the caller closes; -1 on failure. `deadline` is on
 * clock_boot(); looking up a host's name is not bound by it. */
int dial(const struct session_target *target, int64_t deadline, struct failure *failure)
    __attribute__((warn_unused_result));

#endif
