/* SPDX-License-Identifier: MIT */
/* What a worker tells of requests: events for the reporter, and the log lines about what any client can provoke. While
 * nobody listens there are no events; the functions may be called all the same. */
#ifndef TK_WORKER_AUDIT_H
#define TK_WORKER_AUDIT_H

#include "base/event.h"
#include "keep/keep.h"
#include "worker/request.h"

/* What keeps clients from flooding the log and the audit log: worker->audit. */
struct audit;

/* Never NULL: without memory the process ends. */
struct audit *audit_new(void) __attribute__((returns_nonnull, warn_unused_result));

/* Frees and sets to NULL; a NULL *audit is left alone. */
void audit_free(struct audit **audit);

/* Remembers whose token a change is about, until its audit_change: all that the data say but secrets; or the key, and
 * the rest where the worker has the token in memory. */
void audit_remember_data(struct request *request, const struct token_data *data);
void audit_remember_key(struct request *request, const char key[TOKEN_PART_SIZE]);

/* A change has been made, or not. Like all that follow, before the request is answered. */
void audit_change(struct request *request, enum event_kind kind, enum keep_result result);

/* So has a request over all tokens; `count` is how many were deleted or listed. */
void audit_scan(struct request *request, enum event_kind kind, enum keep_result result, uint64_t count);

/* A keep_fixed_callback of a request that is under way. */
void audit_fixed(void *request, const char key[TOKEN_PART_SIZE], enum keep_result result);

/* A look-up has come to its end. `entry` as in keep_get_callback; `missing` is a scope that was asked for and that the
 * token lacks, NULL when there is none. The key is in request->token. */
void audit_look_up(struct request *request, enum keep_result result, const struct cache_entry *entry,
                   const struct word *missing);

/* Something was presented that is no token, or no key. */
void audit_malformed(struct request *request);

/* The request is not for the listener's role. */
void audit_denied(struct request *request);

#endif
