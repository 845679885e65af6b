/* SPDX-License-Identifier: MIT */
/* The policies at work: every request that one of them concerns passes here, when all else permits it and before it is
 * answered or changes anything. */
#ifndef TK_WORKER_GATE_H
#define TK_WORKER_GATE_H

#include "keep/keep.h"
#include "worker/request.h"

/* Each says whether the request may go on; when not, it has been told why and is answered. `entry` is the token that it
 * is about, NULL where there is none. */
bool gate_permits(struct request *request, const struct cache_entry *entry) __attribute__((warn_unused_result));

/* The same for data that are to be stored, which policies may change: *data are then others, and still the caller's. */
bool gate_permits_data(struct request *request, struct token_data **data) __attribute__((warn_unused_result));

/* Whether some policy wants to know the token of such a request, which must then be looked up. */
bool gate_wants_token(const struct request *request);

#endif
