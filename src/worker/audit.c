/* SPDX-License-Identifier: MIT */
/* What a worker tells of requests. */
#include "worker/audit.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reports.h"
#include "keep/notices.h"
#include "worker/command.h"
#include "worker/context.h"

#include <stdlib.h>
#include <string.h>

struct audit {
    struct notices mismatched, expired; /* by key */
    struct notices malformed, denied;   /* by the client's address or user */
    struct notices refused;             /* look-ups, by key */
    struct worker *worker;
    struct request_list held; /* changes that wait for their record, in the order of the records */
    struct event *look;       /* a timer, while some wait */
};

/* Whose token it is, without a secret. */
struct audit_subject {
    char key[TOKEN_PART_SIZE];
    int64_t expires;
    const char *token_type; /* NULL: nothing but the key is known */
    size_t username_size, scopes_size;
    char bytes[]; /* user name, scopes with one space between them */
};

/* The worker's events, NULL when nobody listens. */
static struct reports *listener_of(const struct request *request)
{
    return request->connection->worker->reports;
}

/* Adds a scope to those in `out`, of which no more than one byte too many for an event is ever needed. */
static size_t add_scope(char *out, size_t used, const char *scope)
{
    const size_t room = EVENT_SCOPES_MAX + 1 - used;
    size_t size = strlen(scope);
    if (used > 0 && room > 0)
        out[used++] = ' ';
    size = size < EVENT_SCOPES_MAX + 1 - used ? size : EVENT_SCOPES_MAX + 1 - used;
    memcpy(out + used, scope, size);
    return used + size;
}

static char joined[EVENT_SCOPES_MAX + 1];

static struct event_text join_packed_scopes(const char *scope, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++, scope += strlen(scope) + 1)
        used = add_scope(joined, used, scope);
    return (struct event_text){joined, used};
}

static struct event_text join_scopes(const struct cache_entry *entry)
{
    return join_packed_scopes(cache_entry_scopes(entry), entry->n_scopes);
}

static struct event_text join_scope_list(const struct token_data *data)
{
    size_t used = 0;
    for (size_t i = 0; i < data->n_scopes; i++)
        used = add_scope(joined, used, data->scopes[i]);
    return (struct event_text){joined, used};
}

static void remember(struct request *request, const char *key, const char *token_type, int64_t expires,
                     struct event_text username, struct event_text scopes)
{
    struct audit_subject *subject = request_keep(request, sizeof *subject + username.size + scopes.size);
    memcpy(subject->key, key, TOKEN_PART_SIZE);
    subject->token_type = token_type;
    subject->expires = expires;
    subject->username_size = username.size;
    subject->scopes_size = scopes.size;
    if (username.size > 0)
        memcpy(subject->bytes, username.text, username.size);
    if (scopes.size > 0)
        memcpy(subject->bytes + username.size, scopes.text, scopes.size);
    request->subject = subject;
}

static struct event_text username_of(const struct cache_entry *entry)
{
    return (struct event_text){cache_entry_username(entry), entry->username_size};
}

void audit_remember_data(struct request *request, const struct token_data *data)
{
    if (listener_of(request) != NULL)
        remember(request, data->token.key, token_type_name(data->type), data->expires, event_text(data->username),
                 join_scope_list(data));
}

void audit_remember_entry(struct request *request, const char key[TOKEN_PART_SIZE], const struct cache_entry *entry)
{
    if (listener_of(request) == NULL)
        return;
    if (entry != NULL)
        remember(request, key, token_type_name(entry->type), entry->expires, username_of(entry), join_scopes(entry));
    else
        remember(request, key, NULL, 0, (struct event_text){0}, (struct event_text){0});
}

void audit_remember_key(struct request *request, const char key[TOKEN_PART_SIZE])
{
    struct worker *worker = request_worker(request);
    if (worker->reports != NULL)
        audit_remember_entry(request, key, keep_known(worker->keep, &worker->now, key));
}

/* What every event of a request says. */
static struct audit_event event_of(const struct request *request, enum event_kind kind)
{
    const struct connection *connection = request->connection;
    return (struct audit_event){
        .kind = kind,
        .peer = connection->peer,
        .listener = event_text(connection->listener->config->name),
        .tag = event_text(request->tag[0] != '\0' ? request->tag : NULL),
        .worker = connection->worker->setup->number,
        .latency = (clock_boot() - request->began) / 1000,
        .command = event_text(request->command->name),
    };
}

static void set_result(struct audit_event *event, enum keep_result result)
{
    static const struct {
        enum event_result result;
        const char *reason;
    } meanings[] = {
        [KEEP_DONE] = {EVENT_OK, NULL},
        [KEEP_INVALID] = {EVENT_NO, "invalid"},
        [KEEP_MISMATCH] = {EVENT_NO, "mismatch"},
        [KEEP_EXPIRED] = {EVENT_NO, "expired"},
        [KEEP_CORRUPT] = {EVENT_NO, "unreadable"},
        [KEEP_UNAVAILABLE] = {EVENT_ERROR, "unavailable"},
        [KEEP_UNCERTAIN] = {EVENT_UNCERTAIN, "uncertain"},
        [KEEP_BUSY] = {EVENT_ERROR, "busy"},
        [KEEP_ABANDONED] = {EVENT_ERROR, "abandoned"},
    };
    event->result = meanings[result].result;
    event->reason = event_text(meanings[result].reason);
}

static void set_entry(struct audit_event *event, const struct cache_entry *entry)
{
    event->key = (struct event_text){entry->key, TOKEN_PART_SIZE};
    event->username = username_of(entry);
    event->token_type = event_text(token_type_name(entry->type));
    event->scopes = join_scopes(entry);
    event->expires = entry->expires;
    event->stale = entry->stale;
}

/* Tells the reporter of a change, and notes the record that it has. */
static void report_change(struct request *request, const struct audit_event *event)
{
    const uint64_t record = reports_event(listener_of(request), event);
    if (!request->audit.told)
        request->audit.first = request->audit.last = record;
    else if (request->audit.last != REPORTS_DROPPED)
        request->audit.last = record;
    request->audit.told = true;
}

static void set_subject(struct audit_event *event, const struct audit_subject *subject)
{
    event->key = (struct event_text){subject->key, TOKEN_PART_SIZE};
    if (subject->token_type == NULL)
        return;
    event->username = (struct event_text){subject->bytes, subject->username_size};
    event->token_type = event_text(subject->token_type);
    event->scopes = (struct event_text){subject->bytes + subject->username_size, subject->scopes_size};
    event->expires = subject->expires;
}

void audit_change(struct request *request, enum event_kind kind, enum keep_result result)
{
    const struct audit_subject *subject = request->subject;
    if (subject == NULL)
        return;
    struct audit_event event = event_of(request, kind);
    set_result(&event, result);
    set_subject(&event, subject);
    report_change(request, &event);
}

void audit_scan(struct request *request, enum event_kind kind, enum keep_result result, uint64_t count)
{
    if (listener_of(request) == NULL)
        return;
    struct audit_event event = event_of(request, kind);
    set_result(&event, result);
    if (result == KEEP_CORRUPT)
        event.result = EVENT_ERROR; /* some are left, and nobody can tell whose */
    event.username = event_text(request->username);
    event.count = count;
    report_change(request, &event);
}

void audit_fixed(void *argument, const char key[TOKEN_PART_SIZE], enum keep_result result)
{
    struct request *request = argument;
    if (listener_of(request) == NULL)
        return;
    struct audit_event event = event_of(request, EVENT_TOKEN_DELETE);
    set_result(&event, result);
    event.key = (struct event_text){key, TOKEN_PART_SIZE};
    report_change(request, &event);
}

static void report_look_up(const struct request *request, enum keep_result result, const struct cache_entry *entry,
                           const struct word *missing)
{
    struct error reason;
    struct audit_event event = event_of(request, EVENT_TOKEN_GET);
    set_result(&event, result);
    event.key = (struct event_text){request->token.key, TOKEN_PART_SIZE};
    if (entry != NULL)
        set_entry(&event, entry);
    if (missing != NULL) {
        error_set(&reason, "scope %.*s", (int)missing->size, missing->text);
        event.result = EVENT_NO;
        event.reason = event_text(reason.text);
    }
    reports_event(listener_of(request), &event);
}

/* A mismatch or an expired token, when one is due for this key. */
static void report_refusal(const struct request *request, enum event_kind kind, struct notices *notices,
                           enum keep_result result, const struct cache_entry *entry)
{
    unsigned left_out;
    if (!notices_due(notices, entry->key, TOKEN_PART_SIZE, clock_boot(), &left_out))
        return;
    if (kind == EVENT_TOKEN_MISMATCH)
        log_warning("wrong secret for token %.*s%s", TOKEN_PART_SIZE, entry->key, notices_left_out(left_out));
    if (listener_of(request) == NULL)
        return;
    struct audit_event event = event_of(request, kind);
    set_result(&event, result);
    set_entry(&event, entry);
    event.count = left_out + 1;
    reports_event(listener_of(request), &event);
}

void audit_look_up(struct request *request, enum keep_result result, const struct cache_entry *entry,
                   const struct word *missing)
{
    struct worker *worker = request_worker(request);
    if (worker->reports != NULL && worker->config->audit_reads)
        report_look_up(request, result, entry, missing);
    if (result == KEEP_MISMATCH)
        report_refusal(request, EVENT_TOKEN_MISMATCH, &worker->audit->mismatched, result, entry);
    else if (result == KEEP_EXPIRED)
        report_refusal(request, EVENT_TOKEN_EXPIRED, &worker->audit->expired, result, entry);
}

/* What a client can do as often as it likes: told when one is due for its address or user. */
static void report_client(const struct request *request, enum event_kind kind, struct notices *notices,
                          enum event_result result, const char *reason)
{
    unsigned left_out;
    struct event_peer subject = request->connection->peer;
    if (listener_of(request) == NULL)
        return;
    subject.port = 0;
    if (!notices_due(notices, &subject, sizeof subject, clock_boot(), &left_out))
        return;
    struct audit_event event = event_of(request, kind);
    event.result = result;
    event.reason = event_text(reason);
    event.count = left_out + 1;
    reports_event(listener_of(request), &event);
}

void audit_malformed(struct request *request)
{
    report_client(request, EVENT_TOKEN_MALFORMED, &request_worker(request)->audit->malformed, EVENT_NO, "malformed");
}

void audit_denied(struct request *request)
{
    report_client(request, EVENT_REQUEST_DENIED, &request_worker(request)->audit->denied, EVENT_DENIED, "role");
}

static void set_token(struct audit_event *event, const struct policy_token *token)
{
    event->key = token->key;
    event->username = token->username;
    event->token_type = event_text(token->token_type);
    event->scopes = join_packed_scopes(token->scopes, token->n_scopes);
    event->expires = token->expires;
}

static void set_data(struct audit_event *event, const struct token_data *data)
{
    event->key = (struct event_text){data->token.key, TOKEN_PART_SIZE};
    event->username = event_text(data->username);
    event->token_type = event_text(token_type_name(data->type));
    event->scopes = join_scope_list(data);
    event->expires = data->expires;
}

/* A look-up can be refused as often as a client likes, and is told when one is due for its key; all else each time. */
void audit_refused(struct request *request, const struct policy_token *token, const struct token_data *data,
                   const struct policy_answer *answer)
{
    struct worker *worker = request_worker(request);
    struct error reason;
    unsigned left_out = 0;
    if (worker->reports == NULL)
        return;
    if (request->command->role == ROLE_VERIFY && token != NULL &&
        !notices_due(&worker->audit->refused, token->key.text, token->key.size, clock_boot(), &left_out))
        return;
    struct audit_event event = event_of(request, EVENT_REQUEST_DENIED);
    error_set(&reason, "policy %s: %s", answer->policy, answer->reason);
    event.result = EVENT_DENIED;
    event.reason = event_text(reason.text);
    event.count = left_out + 1;
    if (token != NULL)
        set_token(&event, token);
    else if (data != NULL)
        set_data(&event, data);
    else if (request->subject != NULL)
        set_subject(&event, request->subject);
    else
        event.username = event_text(request->username);
    reports_event(worker->reports, &event);
}

/* Changes that wait for their record. */

static bool required(const struct worker *worker)
{
    return worker->config->audit_mode == AUDIT_REQUIRED;
}

bool audit_permits(struct request *request)
{
    const struct worker *worker = request_worker(request);
    if (!required(worker) || atomic_load(&worker->setup->shared->audit_ready))
        return true;
    answer_err(request, ERR_AUDIT, "the audit log cannot be written, so nothing was changed; the log says why");
    return false;
}

enum fate { FATE_OPEN, FATE_KEPT, FATE_FAILED };

/* What became of a request's records. `kept` is loaded first: whoever sees that it has moved past a failed record sees
 * the failure too. */
static enum fate records_fate(const struct worker *worker, const struct request *request)
{
    const struct shared_sender *sender = &worker->setup->shared->senders[worker->setup->slot];
    const uint64_t kept = atomic_load(&sender->kept);
    if (request->audit.last == REPORTS_DROPPED || request->audit.first < atomic_load(&sender->failed))
        return FATE_FAILED;
    return request->audit.last < kept ? FATE_KEPT : FATE_OPEN;
}

static void answer_unrecorded(struct request *request)
{
    answer_err(request, ERR_AUDIT, "the change was made, but its record may not be in the audit log");
}

static void look_later(struct audit *audit)
{
    static const struct timeval soon = {0, 1000};
    evtimer_add(audit->look, &soon);
}

/* Answers those whose records have met their fate. Times rise along the list, as the records' numbers do. */
static void on_look(evutil_socket_t fd, short what, void *argument)
{
    struct audit *audit = argument;
    struct request *request;
    const int64_t now = clock_boot();
    (void)fd, (void)what;
    while ((request = TAILQ_FIRST(&audit->held)) != NULL) {
        enum fate fate = records_fate(audit->worker, request);
        if (fate == FATE_OPEN && now < request->audit.until)
            break;
        TAILQ_REMOVE(&audit->held, request, audit.link);
        if (fate == FATE_KEPT)
            request->audit.answer(request);
        else
            answer_unrecorded(request);
    }
    if (request != NULL)
        look_later(audit);
    worker_read_clocks(audit->worker);
    worker_settle(audit->worker);
}

void audit_answer(struct request *request, void (*answer)(struct request *request))
{
    struct worker *worker = request_worker(request);
    if (!required(worker)) {
        answer(request);
        return;
    }
    request->audit.answer = answer;
    request->audit.until = clock_boot() + AUDIT_PATIENCE * CLOCK_SECOND;
    if (TAILQ_EMPTY(&worker->audit->held))
        look_later(worker->audit);
    TAILQ_INSERT_TAIL(&worker->audit->held, request, audit.link);
}

struct audit *audit_new(struct worker *worker)
{
    struct audit *audit = memory_zeroed(sizeof *audit);
    audit->worker = worker;
    TAILQ_INIT(&audit->held);
    audit->look = evtimer_new(worker->base, on_look, audit);
    if (audit->look == NULL)
        memory_exhausted();
    return audit;
}

void audit_stop(struct audit *audit)
{
    struct request *request;
    while ((request = TAILQ_FIRST(&audit->held)) != NULL) {
        TAILQ_REMOVE(&audit->held, request, audit.link);
        answer_unrecorded(request);
    }
}

void audit_free(struct audit **audit)
{
    if (*audit == NULL)
        return;
    event_free((*audit)->look);
    free(*audit);
    *audit = NULL;
}
