/* SPDX-License-Identifier: MIT */
/* A worker's connection to Redis. Two rules hold the file together: a command is in exactly one of the queues of struct
 * redis_link, and callbacks run only from the loop's events, with the link in order. */
#include "keep/redis_link.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/number.h"
#include "keep/redis_command.h"
#include "keep/redis_connection.h"
#include "keep/redis_dial.h"
#include "keep/redis_fence.h"
#include "keep/redis_handshake.h"
#include "keep/redis_master.h"
#include "keep/redis_refusal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MILLISECONDS "250"

#define ANOTHER_MASTER "another server is the master, or soon will be"

enum state {
    STATE_WAITING,   /* for the next attempt; the state's timer runs */
    STATE_DIALING,   /* until the attempt's deadline */
    STATE_HANDSHAKE, /* the same deadline */
    STATE_UP,
    STATE_FENCING, /* up; what waits is held back until another worker's connection is ended */
};

static const char *const state_names[] = {
    [STATE_WAITING] = "waiting", [STATE_DIALING] = "dialing", [STATE_HANDSHAKE] = "handshake",
    [STATE_UP] = "up",           [STATE_FENCING] = "fencing",
};

struct redis_link {
    struct redis_link_settings settings;
    struct shared_slot *slot;
    enum state state;
    struct event *state_timer;
    unsigned retry;              /* milliseconds */
    struct redis_master *master; /* NULL: the configuration says where to connect to */
    struct redis_dial *dial;
    struct redis_handshake handshake;
    struct redis_connection connection; /* it is given everybody's commands while up, else only the handshake's */
    struct redis_commands waiting;      /* for the link to be up */
    struct redis_commands uncertain;    /* changes of a lost connection, until that is ended or cannot be */
    struct redis_commands unacked;      /* changes that Redis has answered and replicas may not have */
    struct redis_commands decided;      /* only the callback is missing */
    struct event *deciding;             /* a timer of no time: call back in the next turn of the loop */
    size_t count;                       /* commands whose callback is still to come */
    struct event *deadline;
    int64_t deadline_at; /* what that timer is set for; INT64_MAX: not set */
    bool circuit_open;
    int64_t away_since; /* clock_boot, while not up */
    uint64_t losses;    /* connections that had been up */
    struct error lost;  /* why the last of them was lost; empty when none was */
    bool changed;       /* changes have been queued behind the last WAIT */
    bool acking;        /* that WAIT is in a queue: its answer is still to come */
    bool called_back;   /* in this event of the loop */
    bool demoted;       /* the server says that it is not the master: others are looked for after this event */
};

/* Callbacks */

static void wait_give_up(struct redis_link *link, struct redis_command *wait);

/* The callback follows in the next turn of the loop: whoever decides need not expect the link to change under it. */
static void command_decide(struct redis_link *link, struct redis_command *command, enum redis_outcome outcome)
{
    static const struct timeval at_once;
    if (command->waits) {
        wait_give_up(link, command);
        return;
    }
    command->outcome = outcome;
    if (STAILQ_EMPTY(&link->decided) && evtimer_add(link->deciding, &at_once) < 0)
        memory_exhausted();
    STAILQ_INSERT_TAIL(&link->decided, command, next);
}

static void commands_decide(struct redis_link *link, struct redis_commands *commands, enum redis_outcome outcome)
{
    struct redis_command *command;
    while ((command = redis_commands_take(commands)) != NULL)
        command_decide(link, command, outcome);
}

/* What it was to tell of is in doubt for good. */
static void wait_give_up(struct redis_link *link, struct redis_command *wait)
{
    struct redis_command *command;
    redis_command_free(wait);
    link->acking = false;
    while ((command = redis_commands_take(&link->unacked)) != NULL) {
        shared_count(link->slot, METRIC_REDIS_UNCERTAIN, 1);
        command_decide(link, command, REDIS_UNCERTAIN);
    }
}

/* Frees the command before it calls, so that nothing of it is left when the callback looks at the link. */
static void command_call_back(struct redis_link *link, struct redis_command *command, enum redis_outcome outcome,
                              const redisReply *reply)
{
    redis_callback *callback = command->callback;
    void *argument = command->argument;
    redis_command_free(command);
    link->count--;
    link->called_back = true;
    callback(argument, outcome, reply);
}

/* The end of each event in which callbacks may have run. */
static void connection_close(struct redis_link *link, const char *reason);

static void on_event_done(void *argument)
{
    struct redis_link *link = argument;
    if (link->called_back && link->settings.batch_done != NULL)
        link->settings.batch_done(link->settings.batch_argument);
    link->called_back = false;
    if (link->demoted)
        connection_close(link, ANOTHER_MASTER);
}

static void on_deciding(evutil_socket_t fd, short events, void *argument)
{
    struct redis_link *link = argument;
    struct redis_commands decided = STAILQ_HEAD_INITIALIZER(decided);
    struct redis_command *command;
    (void)fd;
    (void)events;
    /* Those that the callbacks add are for the next turn. */
    STAILQ_CONCAT(&decided, &link->decided);
    while ((command = redis_commands_take(&decided)) != NULL)
        command_call_back(link, command, command->outcome, NULL);
    on_event_done(link);
}

/* Deadlines: one timer, set for the earliest and only ever moved forward; it is looked at again when it goes off. */

static struct timeval timeval_from(int64_t nanoseconds)
{
    int64_t microseconds = nanoseconds < 1000000 ? 1000 : nanoseconds / 1000;
    return (struct timeval){microseconds / 1000000, microseconds % 1000000};
}

static void deadline_set(struct redis_link *link, int64_t when)
{
    if (when >= link->deadline_at)
        return;
    struct timeval wait = timeval_from(when - clock_boot());
    if (evtimer_add(link->deadline, &wait) < 0)
        memory_exhausted();
    link->deadline_at = when;
}

static int64_t command_expiry(const struct redis_link *link)
{
    const struct config_redis *config = link->settings.config;
    return clock_boot() + clock_from_seconds(config->connect_timeout) + clock_from_seconds(config->command_timeout);
}

/* States */

static void state_set(struct redis_link *link, enum state state, int64_t timeout)
{
    log_debug("redis %s: %s, then %s", link->settings.config->url, state_names[link->state], state_names[state]);
    link->state = state;
    if (state == STATE_UP)
        evtimer_del(link->state_timer);
    if (state != STATE_WAITING && state != STATE_DIALING)
        return;
    struct timeval wait = timeval_from(timeout);
    if (evtimer_add(link->state_timer, &wait) < 0)
        memory_exhausted();
}

static bool is_up(const struct redis_link *link)
{
    return link->state == STATE_UP || link->state == STATE_FENCING;
}

static void retry_schedule(struct redis_link *link)
{
    const unsigned wait = redis_retry_wait(&link->retry);
    state_set(link, STATE_WAITING, wait * (CLOCK_SECOND / 1000));
}

/* Lost connections */

static void report_away(struct redis_link *link, enum problem_phase phase, const char *reason, double seconds)
{
    struct error message;
    error_set(&message, "Redis %s is %s", link->settings.config->url, phase == PROBLEM_BEGINS ? "away" : "back");
    reports_problem(link->settings.reports, &(struct problem){.kind = event_text("redis.away"),
                                                              .phase = phase,
                                                              .message = event_text(message.text),
                                                              .error = event_text(reason),
                                                              .seconds = seconds});
}

static void circuit_open(struct redis_link *link, const char *reason)
{
    link->circuit_open = true;
    report_away(link, PROBLEM_BEGINS, reason, 0);
    if (link->lost.text[0] != '\0')
        log_error("redis %s is away: connection lost: %s; connecting again: %s", link->settings.config->url,
                  link->lost.text, reason);
    else
        log_error("redis %s is away: %s", link->settings.config->url, reason);
    commands_decide(link, &link->waiting, REDIS_UNAVAILABLE);
}

static void attempt_failed(struct redis_link *link, const char *reason)
{
    redis_commands_free(&link->connection.unsent);
    redis_commands_free(&link->connection.in_flight);
    /* The old connection stays in redis_unfenced: it is ended before any worker sends its next change. */
    commands_decide(link, &link->uncertain, REDIS_UNCERTAIN);
    /* What has been named since is not in doubt. */
    if (!redis_dial_outdated(link->dial))
        redis_master_doubt(link->master);
    if (link->circuit_open)
        log_debug("redis %s: %s", link->settings.config->url, reason);
    else
        circuit_open(link, reason);
}

static void change_uncertain(struct redis_link *link, struct redis_command *command)
{
    shared_count(link->slot, METRIC_REDIS_UNCERTAIN, 1);
    STAILQ_INSERT_TAIL(&link->uncertain, command, next);
}

/* In this order: when the process is killed between the two, the master does the same. */
static void client_put_away(struct redis_link *link)
{
    if (redis_commands_change(&link->connection.in_flight))
        atomic_store(&link->slot->redis_unfenced, link->handshake.id);
    atomic_store(&link->slot->redis_client, 0);
}

static void connection_lost(struct redis_link *link, const char *reason)
{
    struct redis_commands again = STAILQ_HEAD_INITIALIZER(again);
    struct redis_command *command;
    int64_t now = clock_boot();
    client_put_away(link);
    if (link->state == STATE_FENCING)
        redis_commands_free(&link->connection.unsent);
    while ((command = redis_commands_take(&link->unacked)) != NULL)
        change_uncertain(link, command);
    while ((command = redis_commands_take(&link->connection.in_flight)) != NULL) {
        if (command->callback == NULL) {
            link->acking = link->acking && !command->waits;
            redis_command_free(command);
        } else if (command->kind == REDIS_CHANGE) {
            change_uncertain(link, command);
        } else if (command->repeated || command->deadline <= now) {
            command_decide(link, command, REDIS_UNAVAILABLE);
        } else {
            command->repeated = true;
            STAILQ_INSERT_TAIL(&again, command, next);
        }
    }
    STAILQ_CONCAT(&again, &link->connection.unsent);
    STAILQ_CONCAT(&again, &link->waiting);
    STAILQ_CONCAT(&link->waiting, &again);
    if (!STAILQ_EMPTY(&link->waiting))
        deadline_set(link, STAILQ_FIRST(&link->waiting)->expires);
    shared_count(link->slot, METRIC_REDIS_LOST, 1);
    link->losses++;
    link->away_since = now;
    error_set(&link->lost, "%s", reason);
}

/* The one end of connections and of attempts to make one. */
static void connection_close(struct redis_link *link, const char *reason)
{
    link->demoted = false;
    redis_dial_stop(link->dial);
    redis_connection_close(&link->connection);
    if (is_up(link))
        connection_lost(link, reason);
    else
        attempt_failed(link, reason);
    retry_schedule(link);
}

/* Sending */

/* Another worker's lost connection might hold changes that would be applied after those that are about to be sent: it
 * is ended first, and all that is to be sent waits. */
static bool on_may_change(void *argument)
{
    struct redis_link *link = argument;
    if (!redis_fence_find(link->settings.shared, &link->handshake.fence))
        return true;
    log_debug("redis %s: ending the lost connection %s", link->settings.config->url, link->handshake.fence.name);
    STAILQ_CONCAT(&link->waiting, &link->connection.unsent);
    deadline_set(link, STAILQ_FIRST(&link->waiting)->expires);
    state_set(link, STATE_FENCING, 0);
    redis_handshake_fence(&link->handshake);
    return false;
}

static void on_sent(void *argument, struct redis_command *command, int64_t now)
{
    struct redis_link *link = argument;
    int64_t deadline = now + clock_from_seconds(link->settings.config->command_timeout);
    command->deadline = deadline < command->expires ? deadline : command->expires;
    deadline_set(link, command->deadline);
    if (command->callback != NULL)
        shared_count(link->slot, METRIC_REDIS_COMMANDS, command->replies);
}

/* Replicas */

/* One WAIT behind all changes so far, and no other until it is answered: while it waits Redis answers nothing else on
 * the connection, and several would add up. */
static void on_sending(void *argument)
{
    struct redis_link *link = argument;
    const unsigned replicas = link->settings.config->min_replicas_acked;
    if (!link->changed || link->acking || replicas == 0 || link->state != STATE_UP)
        return;
    char number[NUMBER_DIGITS_MAX];
    const char *words[] = {"WAIT", number, WAIT_MILLISECONDS};
    const size_t sizes[] = {4, (size_t)(number_put(number, replicas) - number), sizeof WAIT_MILLISECONDS - 1};
    struct redis_command *command = redis_command_new(NULL, NULL, REDIS_READ);
    redis_command_format(command, 3, words, sizes);
    command->waits = true;
    command->expires = command_expiry(link);
    link->changed = false;
    link->acking = true;
    redis_connection_send(&link->connection, command);
}

/* All changes that have been answered stood before the WAIT. */
static void acks_counted(struct redis_link *link, const redisReply *reply)
{
    const bool acked =
        reply->type == REDIS_REPLY_INTEGER && reply->integer >= (long long)link->settings.config->min_replicas_acked;
    struct redis_commands unacked = STAILQ_HEAD_INITIALIZER(unacked);
    struct redis_command *command;
    link->acking = false;
    STAILQ_CONCAT(&unacked, &link->unacked);
    while ((command = redis_commands_take(&unacked)) != NULL) {
        redisReply *held = command->held;
        if (!acked)
            shared_count(link->slot, METRIC_REDIS_UNCERTAIN, 1);
        command->held = NULL;
        command_call_back(link, command, acked ? REDIS_REPLIED : REDIS_UNCERTAIN, acked ? held : NULL);
        redis_held_free(held);
    }
    on_sending(link);
}

/* Replies */

static void link_up(struct redis_link *link)
{
    const char *url = link->settings.config->url;
    double away = (double)(clock_boot() - link->away_since) / (double)CLOCK_SECOND;
    /* Before the first change is sent on it: should we die, this connection is ended. */
    atomic_store(&link->slot->redis_client, link->handshake.id);
    link->retry = REDIS_RETRY_MIN;
    state_set(link, STATE_UP, 0);
    shared_count(link->slot, METRIC_REDIS_CONNECTED, 1);
    commands_decide(link, &link->uncertain, REDIS_UNCERTAIN);
    if (link->circuit_open) {
        log_info("redis %s is back after %.1f s", url, away);
        report_away(link, PROBLEM_ENDS, NULL, away);
    } else if (link->lost.text[0] != '\0') {
        log_warning("redis %s: connection lost: %s; connected again after %.1f s", url, link->lost.text, away);
    }
    link->circuit_open = false;
}

static void fence_made(struct redis_link *link)
{
    redis_fence_made(link->settings.shared, &link->handshake.fence);
    const bool is_new = link->state == STATE_HANDSHAKE;
    if (is_new)
        link_up(link);
    else
        state_set(link, STATE_UP, 0);
    if (is_new && link->settings.connected != NULL)
        link->settings.connected(link->settings.connected_argument);
    redis_connection_send_all(&link->connection, &link->waiting);
}

static void handshake_reply(struct redis_link *link, const redisReply *reply)
{
    struct error error;
    switch (redis_handshake_reply(&link->handshake, reply, &error)) {
    case REDIS_HANDSHAKE_MORE: return;
    case REDIS_HANDSHAKE_DONE: fence_made(link); return;
    case REDIS_HANDSHAKE_FAILED: connection_close(link, error.text);
    }
}

static void on_replied(void *argument, struct redis_command *command, const redisReply *reply)
{
    struct redis_link *link = argument;
    link->demoted |= link->master != NULL && is_up(link) && redis_refusal_by_replica(reply);
    if (command->replies > 0) {
        link->called_back = true;
        command->callback(command->argument, REDIS_REPLIED, reply);
        return;
    }
    if (command->kind == REDIS_CHANGE && link->settings.config->min_replicas_acked > 0 &&
        reply->type != REDIS_REPLY_ERROR) {
        redis_command_hold(command, reply);
        STAILQ_INSERT_TAIL(&link->unacked, command, next);
        return;
    }
    if (command->callback != NULL) {
        command_call_back(link, command, REDIS_REPLIED, reply);
        return;
    }
    if (command->waits) {
        redis_command_free(command);
        acks_counted(link, reply);
        return;
    }
    redis_command_free(command);
    handshake_reply(link, reply);
}

/* A Redis that speaks TLS hangs up on whom it cannot understand. */
static void on_failed(void *argument, const char *reason)
{
    struct redis_link *link = argument;
    const struct config_redis *config = link->settings.config;
    struct error hint;
    if (link->state == STATE_HANDSHAKE && link->handshake.answered == 0 && config->kind == CONFIG_REDIS_TCP &&
        !config->encrypted) {
        error_set(&hint, "%s before it answered (if this port speaks TLS, the URL begins with rediss://)", reason);
        reason = hint.text;
    }
    connection_close(link, reason);
}

static const struct redis_connection_owner owner = {
    .sending = on_sending,
    .may_change = on_may_change,
    .sent = on_sent,
    .replied = on_replied,
    .failed = on_failed,
    .event_done = on_event_done,
};

/* Deadlines and attempts */

/* A process that was itself stopped does not give up answers that have come: the loop serves sockets before timers. */
static void overdue_give_up(struct redis_link *link, int64_t now)
{
    const struct redis_command *oldest = STAILQ_FIRST(&link->connection.in_flight);
    struct error reason;
    if (!is_up(link) || oldest == NULL || oldest->deadline > now)
        return;
    shared_count(link->slot, METRIC_REDIS_TIMEOUTS, 1);
    error_set(&reason, "no answer within %g s", link->settings.config->command_timeout);
    connection_close(link, reason.text);
}

static void on_deadline(evutil_socket_t fd, short events, void *argument)
{
    struct redis_link *link = argument;
    int64_t now = clock_boot();
    (void)fd;
    (void)events;
    link->deadline_at = INT64_MAX;
    overdue_give_up(link, now);
    struct redis_commands *unsent = link->state == STATE_UP ? &link->connection.unsent : &link->waiting;
    while (!STAILQ_EMPTY(unsent) && STAILQ_FIRST(unsent)->expires <= now)
        command_decide(link, redis_commands_take(unsent), REDIS_UNAVAILABLE);
    if (!STAILQ_EMPTY(unsent))
        deadline_set(link, STAILQ_FIRST(unsent)->expires);
    if (is_up(link) && !STAILQ_EMPTY(&link->connection.in_flight))
        deadline_set(link, STAILQ_FIRST(&link->connection.in_flight)->deadline);
    on_event_done(link);
}

static void handshake_send(void *argument, int argc, const char *const *argv)
{
    struct redis_link *link = argument;
    struct redis_command *command = redis_command_new(NULL, NULL, REDIS_READ);
    size_t sizes[8];
    for (int i = 0; i < argc; i++)
        sizes[i] = strlen(argv[i]);
    redis_command_format(command, argc, argv, sizes);
    command->expires = INT64_MAX;
    redis_connection_send(&link->connection, command);
}

static void on_dialed(void *argument, int fd, struct tls *tls, const char *failure)
{
    struct redis_link *link = argument;
    const struct redis_link_settings *settings = &link->settings;
    if (fd < 0) {
        connection_close(link, failure);
        return;
    }
    if (redis_connection_open(&link->connection, fd, tls) < 0) {
        connection_close(link, strerror(ENOMEM));
        return;
    }
    state_set(link, STATE_HANDSHAKE, 0);
    link->handshake = (struct redis_handshake){
        .config = settings->config,
        .password = settings->access != NULL ? redis_access_password(settings->access) : NULL,
        .send = handshake_send,
        .argument = link,
        .fence = redis_fence_of(settings->shared, settings->slot),
    };
    redis_fence_name(settings->shared, settings->slot, link->handshake.name);
    redis_handshake_start(&link->handshake);
}

static void attempt_start(struct redis_link *link)
{
    int64_t timeout = clock_from_seconds(link->settings.config->connect_timeout);
    state_set(link, STATE_DIALING, timeout);
    const struct redis_endpoint to = redis_endpoint_of(link->settings.config);
    redis_dial_start(link->dial, &to, clock_boot() + timeout);
}

static void on_state_timer(evutil_socket_t fd, short events, void *argument)
{
    struct redis_link *link = argument;
    struct error reason;
    (void)fd;
    (void)events;
    if (link->state == STATE_WAITING) {
        attempt_start(link);
        return;
    }
    error_set(&reason, "%s within %g s",
              link->state == STATE_DIALING ? redis_dial_lacks(link->dial) : "no answer to the handshake",
              link->settings.config->connect_timeout);
    connection_close(link, reason.text);
}

static void on_master_named(void *argument)
{
    struct redis_link *link = argument;
    if (link->state == STATE_DIALING)
        redis_dial_named(link->dial);
    else if (link->state != STATE_WAITING && redis_dial_outdated(link->dial))
        connection_close(link, ANOTHER_MASTER);
}

/* The link */

static bool link_set_up(struct redis_link *link)
{
    struct event_base *base = link->settings.base;
    if (link->settings.config->kind == CONFIG_REDIS_SENTINEL) {
        link->master = redis_master_new(base, link->settings.config);
        if (link->master == NULL)
            return false;
        redis_master_listen(link->master, on_master_named, link);
    }
    link->dial = redis_dial_new(base, link->settings.access, link->master, on_dialed, link);
    link->state_timer = evtimer_new(base, on_state_timer, link);
    link->deciding = evtimer_new(base, on_deciding, link);
    link->deadline = evtimer_new(base, on_deadline, link);
    return redis_connection_init(&link->connection, base, &owner, link) == 0 && link->dial != NULL &&
           link->state_timer != NULL && link->deciding != NULL && link->deadline != NULL;
}

struct redis_link *redis_link_new(const struct redis_link_settings *settings)
{
    struct redis_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return NULL;
    link->settings = *settings;
    link->retry = REDIS_RETRY_MIN;
    link->deadline_at = INT64_MAX;
    link->away_since = clock_boot();
    link->slot = &settings->shared->slots[settings->slot];
    STAILQ_INIT(&link->waiting);
    STAILQ_INIT(&link->uncertain);
    STAILQ_INIT(&link->unacked);
    STAILQ_INIT(&link->decided);
    if (link_set_up(link))
        state_set(link, STATE_WAITING, 0);
    else
        redis_link_free(&link);
    return link;
}

static void command_start(struct redis_link *link, enum redis_kind kind, redis_callback *callback, void *argument,
                          size_t n, const struct redis_words *commands)
{
    struct redis_command *command = redis_command_new(callback, argument, kind);
    link->count++;
    if (link->circuit_open) {
        command_decide(link, command, REDIS_UNAVAILABLE);
        return;
    }
    redis_command_format_all(command, n, commands);
    command->expires = command_expiry(link);
    link->changed |= kind == REDIS_CHANGE;
    if (link->state == STATE_UP) {
        redis_connection_send(&link->connection, command);
        return;
    }
    STAILQ_INSERT_TAIL(&link->waiting, command, next);
    deadline_set(link, command->expires);
}

void redis_link_command(struct redis_link *link, enum redis_kind kind, redis_callback *callback, void *argument,
                        int argc, const char *const *argv, const size_t *argv_sizes)
{
    command_start(link, kind, callback, argument, 1, &(struct redis_words){argc, argv, argv_sizes});
}

void redis_link_changes(struct redis_link *link, redis_callback *callback, void *argument, size_t n,
                        const struct redis_words *commands)
{
    command_start(link, REDIS_CHANGE, callback, argument, n, commands);
}

const struct config_redis *redis_link_config(const struct redis_link *link)
{
    return link->settings.config;
}

struct redis_master *redis_link_master(const struct redis_link *link)
{
    return link->master;
}

bool redis_link_circuit_open(const struct redis_link *link)
{
    return link->circuit_open;
}

uint64_t redis_link_losses(const struct redis_link *link)
{
    return link->losses;
}

size_t redis_link_waiting(const struct redis_link *link)
{
    return link->count;
}

static void timer_free(struct event *event)
{
    if (event != NULL)
        event_free(event);
}

void redis_link_free(struct redis_link **link)
{
    struct redis_link *l = *link;
    if (l == NULL)
        return;
    *link = NULL;
    client_put_away(l);
    redis_connection_destroy(&l->connection);
    redis_dial_free(&l->dial);
    redis_master_free(&l->master);
    timer_free(l->state_timer);
    timer_free(l->deciding);
    timer_free(l->deadline);
    redis_commands_free(&l->waiting);
    redis_commands_free(&l->uncertain);
    redis_commands_free(&l->unacked);
    redis_commands_free(&l->decided);
    free(l);
}
