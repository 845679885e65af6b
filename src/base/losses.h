/* SPDX-License-Identifier: MIT */
/* What got lost on the way to the reporter, over all processes that told it something. Each loss is told of once,
 * whichever reporter, or the master in the end, comes to tell of it. */
#ifndef TK_BASE_LOSSES_H
#define TK_BASE_LOSSES_H

#include "base/shared.h"

#include <stdint.h>

struct losses {
    uint64_t sent;    /* records that were sent and that no reporter has handed on */
    uint64_t dropped; /* records that found no room and were never sent */
};

/* What was lost since the last call in any process. Only the reporter that reads calls it, and the master once there is
 * none. */
struct losses losses_take(struct shared *shared) __attribute__((warn_unused_result));

/* Records that were sent, and neither handed on nor found lost so far. */
uint64_t losses_under_way(const struct shared *shared);

enum { LOSSES_TEXT_SIZE = 160 };

/* Says it in a sentence. `text` has LOSSES_TEXT_SIZE bytes; returns it. */
const char *losses_describe(const struct losses *losses, char *text);

#endif
