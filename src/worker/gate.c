/* SPDX-License-Identifier: MIT */
/* The policies at work. */
#include "worker/gate.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reports.h"
#include "keep/policy.h"
#include "worker/audit.h"
#include "worker/command.h"
#include "worker/context.h"

#include <stdlib.h>
#include <string.h>

/* A policy that fails may do so with every request: a line and a problem every ten seconds. */
static const int64_t failure_interval = 10 * CLOCK_SECOND;

/* The policies that a request concerns, or NULL. */
static struct policies *concerned(const struct request *request)
{
    struct policies *policies = request->connection->worker->policies;
    const enum policy_point point = request->command->point;
    return policies != NULL && point != POLICY_POINTS && policies_concern(policies, point) ? policies : NULL;
}

bool gate_wants_token(const struct request *request)
{
    return concerned(request) != NULL;
}

static void report_failure(struct worker *worker, const struct policy_answer *answer)
{
    struct error message;
    if (worker->now.boot < worker->next_policy_failure)
        return;
    worker->next_policy_failure = worker->now.boot + failure_interval;
    log_error("policy %s failed: %s", answer->policy, answer->failure.text);
    error_set(&message, "the policy %s failed, and what it concerns is refused", answer->policy);
    reports_problem(worker->reports, &(struct problem){.kind = event_text("policy.failed"),
                                                       .message = event_text(message.text),
                                                       .error = event_text(answer->failure.text)});
}

static void count(struct worker *worker, const struct policy_answer *answer)
{
    shared_count(worker->slot, METRIC_POLICY_SHADOW, answer->shadow_refusals + answer->shadow_failures);
    shared_count(worker->slot, METRIC_POLICY_REFUSED, answer->verdict == POLICY_REFUSES);
    shared_count(worker->slot, METRIC_POLICY_FAILED, answer->verdict == POLICY_FAILS);
}

/* Asks. Returns whether the request may go on; answers it when not. */
static bool ask(struct request *request, struct policies *policies, const struct policy_token *token,
                const struct token_data *data, struct policy_answer *answer)
{
    static struct event_text scopes[TOKEN_DATA_SCOPES_MAX];
    struct worker *worker = request_worker(request);
    const struct connection *connection = request->connection;
    for (size_t i = 0; i < request->n_scopes; i++)
        scopes[i] = (struct event_text){request->scopes[i].text, request->scopes[i].size};
    const struct policy_request asked = {
        .point = request->command->point,
        .peer = connection->peer,
        .listener = connection->listener->config->name,
        .role = connection->listener->config->role,
        .tag = request->tag[0] != '\0' ? request->tag : NULL,
        .scopes = scopes,
        .n_scopes = request->n_scopes,
        .username = request->username,
        .fix = request->fixes,
        .time = clock_wall(),
    };
    policies_ask(policies, &asked, token, data, answer);
    count(worker, answer);
    switch (answer->verdict) {
    case POLICY_PERMITS:
    case POLICY_CHANGES: return true;
    case POLICY_REFUSES:
        audit_refused(request, token, data, answer);
        answer_no_detail(request, "policy", (struct word){answer->reason, strlen(answer->reason)});
        return false;
    case POLICY_FAILS: break;
    }
    report_failure(worker, answer);
    answer_err(request, ERR_INTERNAL, "the policy failed; the log says why");
    return false;
}

static struct policy_token token_of(const struct cache_entry *entry)
{
    return (struct policy_token){
        .key = {entry->key, TOKEN_PART_SIZE},
        .username = {cache_entry_username(entry), entry->username_size},
        .token_type = token_type_name(entry->type),
        .scopes = cache_entry_scopes(entry),
        .n_scopes = entry->n_scopes,
        .expires = entry->expires,
        .json = {cache_entry_json(entry), entry->json_size},
    };
}

bool gate_permits(struct request *request, const struct cache_entry *entry)
{
    struct policy_answer answer;
    struct policies *policies = concerned(request);
    if (policies == NULL)
        return true;
    if (entry == NULL)
        return ask(request, policies, NULL, NULL, &answer);
    const struct policy_token token = token_of(entry);
    return ask(request, policies, &token, NULL, &answer);
}

bool gate_permits_data(struct request *request, struct token_data **data)
{
    struct policy_answer answer = {.changed = NULL};
    struct policies *policies = concerned(request);
    if (policies == NULL)
        return true;
    const bool permitted = ask(request, policies, NULL, *data, &answer);
    if (answer.changed != NULL) {
        token_data_free(data);
        *data = answer.changed;
    }
    return permitted;
}
