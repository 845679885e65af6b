/* SPDX-License-Identifier: MIT */
/* What a worker tells of requests: events for the reporter, and the log lines about what any client can provoke. While
 * nobody listens there are no events; the functions may be called all the same. */
#ifndef TK_WORKER_AUDIT_H
#define TK_WORKER_AUDIT_H

#include "base/event.h"
#include "keep/keep.h"
#include "keep/policy.h"
#include "worker/request.h"

/* What keeps clients from flooding the log and the audit log, and the changes that wait for their record to be on the
 * disk: worker->audit. */
struct audit;

/* Never NULL: without memory the process ends. */
struct audit *audit_new(struct worker *worker) __attribute__((returns_nonnull, warn_unused_result));

/* Answers what still waits with ERR audit: before what it may hold, such as the keys of a repair, is gone. */
void audit_stop(struct audit *audit);

/* Frees and sets to NULL; a NULL *audit is left alone. */
void audit_free(struct audit **audit);

/* Whether a change may be made: while the audit log is required and cannot be written it may not, and the request has
 * been answered with ERR audit. */
bool audit_permits(struct request *request) __attribute__((warn_unused_result));

/* Calls `answer`, once, when the record of a change that was made is on the disk; at once where that is not required.
 * When it cannot be, or not in AUDIT_PATIENCE, answers ERR audit instead. After the request's audit_ function. */
void audit_answer(struct request *request, void (*answer)(struct request *request));

enum { AUDIT_PATIENCE = 5 }; /* seconds */

/* Remembers whose token a change is about, until its audit_change: all that the data say but secrets; what a look-up
 * of the key has brought, NULL when that is nothing; or the key, and the rest where the worker has the token in
 * memory. */
void audit_remember_data(struct request *request, const struct token_data *data);
void audit_remember_entry(struct request *request, const char key[TOKEN_PART_SIZE], const struct cache_entry *entry);
void audit_remember_key(struct request *request, const char key[TOKEN_PART_SIZE]);

/* A change has been made, or not. Like all that follow, before the request is answered; a change that was made is
 * answered through audit_answer. */
void audit_change(struct request *request, enum event_kind kind, enum keep_result result);

/* So has a request over all tokens, or those of request->username; `count` is how many were deleted, sealed again or
 * listed. */
void audit_scan(struct request *request, enum event_kind kind, enum keep_result result, uint64_t count);

/* A keep_fixed_callback of a request that is under way. */
void audit_fixed(void *request, const char key[TOKEN_PART_SIZE], enum keep_result result);

/* A look-up has come to its end. `entry` as in keep_get_callback; `missing` is a scope that was asked for and that the
 * token lacks, NULL when there is none. The key is in request->token. */
void audit_look_up(struct request *request, enum keep_result result, const struct cache_entry *entry,
                   const struct word *missing);

/* Something was presented that is no token, or no key. */
void audit_malformed(struct request *request);

/* A policy refuses the request. One of `token` and `data` says what it is about; both are NULL where there is nothing
 * but what was remembered. */
void audit_refused(struct request *request, const struct policy_token *token, const struct token_data *data,
                   const struct policy_answer *answer);

/* The request is not for the listener's role. */
void audit_denied(struct request *request);

#endif
