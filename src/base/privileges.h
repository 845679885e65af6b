/* SPDX-License-Identifier: MIT */
/* What a child process gives up before it touches a byte of a client's. */
#ifndef TK_BASE_PRIVILEGES_H
#define TK_BASE_PRIVILEGES_H

#include "base/error.h"

/* Makes this process, as far as it may, a keeper of secrets: no core dumps, not dumpable, no new privileges; when it
 * runs as root and `user` is not NULL, becomes that user with its groups. Its memory is locked where RLIMIT_MEMLOCK is
 * unlimited (root raises it first). It dies with its parent (PR_SET_PDEATHSIG, SIGTERM). Call it after secrets were
 * opened. Returns 0, or -1 with `error` set. */
int privileges_drop(const char *user, struct error *error) __attribute__((warn_unused_result));

#endif
