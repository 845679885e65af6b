/* SPDX-License-Identifier: MIT */
/* The invalidation link. Two things must come together before the cache may answer: the subscription, after which Redis
 * announces every change, and a beat that was heard again, which proves that the announcements have arrived. */
#include "keep/invalidation.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "keep/beats.h"
#include "keep/invalidation_message.h"
#include "keep/redis_connection.h"
#include "keep/redis_dial.h"
#include "keep/redis_fence.h"
#include "keep/redis_master.h"
#include "keep/redis_refusal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RETRY_REFUSED = 5000, /* milliseconds, when Redis refused: somebody must change its configuration first */
    BEAT_INTERVAL = 500,
    WORDS_MAX = 8,
};

#define SILENCE_MAX (2 * CLOCK_SECOND) /* from the answer to a beat to its echo: then the link is dead */
#define PATIENCE    (3 * CLOCK_SECOND) /* until an operator hears of a link that is not alive */

enum link_state { LINK_WAITING, LINK_DIALING, LINK_HANDSHAKE, LINK_UP };

/* The handshake, in this order. */
enum step { STEP_AUTH, STEP_SETNAME, STEP_ID, STEP_NO_EVICT, STEP_TRACKING, STEP_SUBSCRIBE };

static const char *const step_names[] = {
    [STEP_AUTH] = "AUTH",
    [STEP_SETNAME] = "CLIENT SETNAME",
    [STEP_ID] = "CLIENT ID",
    [STEP_NO_EVICT] = "CLIENT NO-EVICT",
    [STEP_TRACKING] = "CLIENT TRACKING",
    [STEP_SUBSCRIBE] = "SUBSCRIBE",
};

struct invalidation {
    struct invalidation_settings settings;
    struct shared_slot *slot;
    struct redis_dial *dial;
    struct redis_connection connection;
    enum link_state state;
    enum step step; /* whose answer comes next */
    struct event *state_timer;
    unsigned retry; /* milliseconds */
    struct event *beat_timer;
    struct beats beats;
    unsigned beating;      /* beats under way on the command link */
    int64_t heard_sent;    /* when the newest beat that was heard had been sent; when the link was made, at first */
    int64_t silent_since;  /* since when an answered beat has not been heard; 0: none */
    int64_t dead_since;    /* since when there is no lease; 0: there is one */
    int64_t patient_until; /* when an operator hears of that */
    bool excused;          /* Redis was away meanwhile, which others have told */
    bool told;             /* the operator has been told that the link is not alive */
    struct error why;      /* what happened last; empty: nothing */
};

/* What operators hear: one line and one problem when it has not been alive for some time, one each when it is again. A
 * link that is back soon is a line alone; while Redis is away, that is said by others. */

static void problem_report(const struct invalidation *link, enum problem_phase phase, double seconds)
{
    static const char begins[] = "the cache is not used: Redis' announcements of changes do not arrive";
    static const char ends[] = "the cache is used again: Redis' announcements of changes arrive";
    reports_problem(link->settings.reports,
                    &(struct problem){.kind = event_text("redis.invalidation"),
                                      .phase = phase,
                                      .message = event_text(phase == PROBLEM_BEGINS ? begins : ends),
                                      .error = event_text(phase == PROBLEM_BEGINS ? link->why.text : NULL),
                                      .seconds = seconds});
}

static void tell_dead(struct invalidation *link)
{
    if (link->told)
        return;
    link->told = true;
    if (link->why.text[0] == '\0')
        error_set(&link->why, "no beat comes back");
    log_error("redis %s: the cache is not used: invalidation link: %s", link->settings.config->url, link->why.text);
    problem_report(link, PROBLEM_BEGINS, 0);
}

static void tell_alive(struct invalidation *link, double seconds)
{
    const char *url = link->settings.config->url;
    if (link->told) {
        log_info("redis %s: the cache is used again after %.1f s: the invalidation link is alive", url, seconds);
        problem_report(link, PROBLEM_ENDS, seconds);
    } else if (link->why.text[0] != '\0' && !link->excused) {
        log_warning("redis %s: invalidation link: %s; alive again after %.1f s", url, link->why.text, seconds);
    }
    link->told = link->excused = false;
    link->why.text[0] = '\0';
}

/* The lease */

static void lease_set(struct invalidation *link, int64_t until)
{
    link->settings.state->lease_until = until;
    atomic_store(&link->slot->cache_lease, until);
}

static void lease_end(struct invalidation *link)
{
    lease_set(link, 0);
    if (link->dead_since != 0)
        return;
    link->dead_since = clock_boot();
    link->patient_until = link->dead_since + PATIENCE;
}

/* From the sending of the beat, not from its echo: a link that lags ten seconds would look healthy. */
static void lease_grant(struct invalidation *link, int64_t beat_sent, int64_t now)
{
    link->heard_sent = beat_sent;
    link->silent_since = 0;
    atomic_store(&link->slot->invalidation_lag, (uint64_t)(now - beat_sent) / 1000);
    if (link->settings.state->refused || beat_sent + INVALIDATION_LEASE <= now)
        return;
    lease_set(link, beat_sent + INVALIDATION_LEASE);
    if (link->dead_since != 0)
        tell_alive(link, (double)(now - link->dead_since) / (double)CLOCK_SECOND);
    link->dead_since = 0;
}

/* States */

static void changed(struct invalidation *link, enum invalidation_change change, const char *key)
{
    link->settings.changed(link->settings.argument, change, key);
}

static void timer_set(struct event *timer, int64_t milliseconds)
{
    const struct timeval wait = {milliseconds / 1000, milliseconds % 1000 * 1000};
    if (evtimer_add(timer, &wait) < 0)
        memory_exhausted();
}

static void retry_schedule(struct invalidation *link)
{
    const unsigned wait = redis_retry_wait(&link->retry);
    link->state = LINK_WAITING;
    timer_set(link->state_timer, wait);
}

/* In this order: nothing is kept or answered any more when the owner hears of it. */
static void link_lost(struct invalidation *link)
{
    lease_end(link);
    link->settings.state->up = false;
    link->settings.state->epoch++;
    link->silent_since = 0;
    shared_count(link->slot, METRIC_INVALIDATION_LOST, 1);
    changed(link, INVALIDATION_LOST, NULL);
}

/* The one end of connections and of attempts to make one. */
static void connection_close(struct invalidation *link, const char *reason)
{
    log_debug("redis %s: invalidation link: %s", link->settings.config->url, reason);
    error_set(&link->why, "%s", reason);
    link->excused |= redis_link_circuit_open(link->settings.commands);
    redis_dial_stop(link->dial);
    redis_connection_close(&link->connection);
    redis_commands_free(&link->connection.unsent);
    redis_commands_free(&link->connection.in_flight);
    if (link->state == LINK_UP)
        link_lost(link);
    retry_schedule(link);
}

/* What cannot be understood may have been any key. */
static void give_up_all(struct invalidation *link, const char *reason)
{
    if (link->state == LINK_UP)
        changed(link, INVALIDATION_ALL, NULL);
    connection_close(link, reason);
}

/* Beats */

static void on_beat_answered(void *argument, enum redis_outcome outcome, const redisReply *reply);

static void beat_send(struct invalidation *link)
{
    char name[BEAT_NAME_SIZE];
    link->beating++;
    const char *words[] = {"SET", name, "1", "EX", "5"};
    const size_t sizes[] = {3, beats_next(&link->beats, clock_boot(), name), 1, 2, 1};
    /* Nothing depends on how often it is set, so unlike a change it may be lost and repeated. */
    redis_link_command(link->settings.commands, REDIS_READ, on_beat_answered, link, 5, words, sizes);
}

static void beat_refused(struct invalidation *link, const redisReply *reply)
{
    const bool elsewhere = redis_refusal_elsewhere(reply);
    struct error said;
    redis_refusal_explain(link->settings.config, "SET", reply, &said);
    error_set(&link->why, "SET of a beat was answered with %s%s", said.text,
              elsewhere ? ": another Redis may hold the tokens, so look-ups are refused" : "");
    link->settings.state->refused = elsewhere;
    if (elsewhere)
        lease_end(link);
    if (link->dead_since != 0)
        tell_dead(link);
}

static void on_beat_answered(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct invalidation *link = argument;
    link->beating--;
    if (outcome != REDIS_REPLIED)
        return;
    if (reply->type != REDIS_REPLY_STATUS) {
        beat_refused(link, reply);
        return;
    }
    link->settings.state->refused = false;
    if (link->state == LINK_UP && link->beats.heard < link->beats.number && link->silent_since == 0)
        link->silent_since = clock_boot();
}

/* Somebody else tells of it; when it is over the link has its time to come back. */
static void outage_noticed(struct invalidation *link, int64_t now)
{
    link->excused |= link->dead_since != 0;
    link->patient_until = now + PATIENCE;
}

static void on_beat_timer(evutil_socket_t fd, short events, void *argument)
{
    struct invalidation *link = argument;
    const int64_t now = clock_boot();
    (void)fd, (void)events;
    if (link->beats.heard < link->beats.number)
        atomic_store(&link->slot->invalidation_lag, (uint64_t)(now - link->heard_sent) / 1000);
    if (link->dead_since == 0 && now >= link->settings.state->lease_until)
        lease_end(link);
    /* Half-open, or cut somewhere on the way. */
    if (link->silent_since != 0 && now - link->silent_since > SILENCE_MAX)
        connection_close(link, "Redis does not announce what was changed");
    if (redis_link_circuit_open(link->settings.commands))
        outage_noticed(link, now);
    else if (link->dead_since != 0 && now > link->patient_until)
        tell_dead(link);
    if (link->beating == 0)
        beat_send(link);
}

void invalidation_connected(struct invalidation *link)
{
    beat_send(link);
}

/* Messages */

static void key_changed(struct invalidation *link, const char *name, size_t size)
{
    const size_t prefix_size = strlen(link->settings.config->prefix);
    if (size == prefix_size + TOKEN_PART_SIZE && memcmp(name, link->settings.config->prefix, prefix_size) == 0 &&
        token_part_valid(name + prefix_size, TOKEN_PART_SIZE))
        changed(link, INVALIDATION_KEY, name + prefix_size);
}

/* All of the array before the lease: Redis sorts it, so that a change may stand behind a beat that came after it. */
static void keys_changed(struct invalidation *link, const redisReply *keys)
{
    int64_t beat_sent = 0;
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *name = keys->element[i];
        const int64_t sent = beats_hear(&link->beats, name->str, name->len);
        if (sent != 0)
            beat_sent = sent;
        else
            key_changed(link, name->str, name->len);
    }
    if (beat_sent != 0)
        lease_grant(link, beat_sent, clock_boot());
}

static void on_pushed(void *argument, const redisReply *reply)
{
    struct invalidation *link = argument;
    const redisReply *keys;
    if (link->state != LINK_UP) {
        connection_close(link, "a reply that was not asked for");
        return;
    }
    switch (invalidation_message_read(reply, &keys)) {
    case INVALIDATION_MESSAGE_KEYS: keys_changed(link, keys); return;
    case INVALIDATION_MESSAGE_ALL: changed(link, INVALIDATION_ALL, NULL); return;
    case INVALIDATION_MESSAGE_ODD: give_up_all(link, "something other than an announcement of keys"); return;
    }
}

/* The handshake */

static void step_send(struct invalidation *link, int argc, const char *const *argv)
{
    struct redis_command *command = redis_command_new(NULL, NULL, REDIS_READ);
    size_t sizes[WORDS_MAX];
    for (int i = 0; i < argc; i++)
        sizes[i] = strlen(argv[i]);
    redis_command_format(command, argc, argv, sizes);
    redis_connection_send(&link->connection, command);
}

#define STEP_SEND(link, ...)                                                                  \
    step_send(link, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)), \
              (const char *const[]){__VA_ARGS__})

static void handshake_start(struct invalidation *link)
{
    const struct invalidation_settings *settings = &link->settings;
    char name[REDIS_NAME_SIZE], own_name[REDIS_NAME_SIZE + 8];
    const char *password = settings->access != NULL ? redis_access_password(settings->access) : NULL;
    link->step = password != NULL ? STEP_AUTH : STEP_SETNAME;
    if (password != NULL && settings->config->username != NULL)
        STEP_SEND(link, "AUTH", settings->config->username, password);
    else if (password != NULL)
        STEP_SEND(link, "AUTH", password);
    redis_fence_name(settings->shared, settings->slot, name);
    snprintf(own_name, sizeof own_name, "%s-inval", name);
    STEP_SEND(link, "CLIENT", "SETNAME", own_name);
    STEP_SEND(link, "CLIENT", "ID");
}

/* The id is new with every connection. Keys are announced for all databases, so none is selected. */
static void handshake_subscribe(struct invalidation *link, long long id)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", id);
    STEP_SEND(link, "CLIENT", "NO-EVICT", "ON");
    STEP_SEND(link, "CLIENT", "TRACKING", "ON", "REDIRECT", text, "BCAST", "PREFIX", link->settings.config->prefix);
    STEP_SEND(link, "SUBSCRIBE", INVALIDATION_CHANNEL);
}

/* Only now: what is changed between TRACKING and SUBSCRIBE is lost without a word. */
static void link_up(struct invalidation *link)
{
    evtimer_del(link->state_timer);
    link->state = LINK_UP;
    link->retry = REDIS_RETRY_MIN;
    link->settings.state->up = true;
    link->settings.state->epoch++;
    shared_count(link->slot, METRIC_INVALIDATION_LINKS, 1);
    changed(link, INVALIDATION_HEARING, NULL);
    if (link->beating == 0)
        beat_send(link);
}

static bool step_answered_well(const struct invalidation *link, const redisReply *reply)
{
    switch (link->step) {
    case STEP_ID: return reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    /* A protection that Redis before 7.0 does not have; without it the link works. */
    case STEP_NO_EVICT: return reply->type == REDIS_REPLY_STATUS || reply->type == REDIS_REPLY_ERROR;
    case STEP_SUBSCRIBE: return invalidation_message_subscribed(reply);
    case STEP_AUTH:
    case STEP_SETNAME:
    case STEP_TRACKING: return reply->type == REDIS_REPLY_STATUS;
    }
    return false;
}

static void step_refused(struct invalidation *link, const redisReply *reply)
{
    struct error said, reason;
    redis_refusal_explain(link->settings.config, step_names[link->step], reply, &said);
    error_set(&reason, "%s was answered with %s%s", step_names[link->step], said.text,
              strcmp(said.text, "ERR") == 0 ? "; it needs Redis 6.2 or later" : "");
    link->retry = RETRY_REFUSED;
    connection_close(link, reason.text);
    tell_dead(link);
}

static void on_replied(void *argument, struct redis_command *command, const redisReply *reply)
{
    struct invalidation *link = argument;
    redis_command_free(command);
    if (!step_answered_well(link, reply)) {
        step_refused(link, reply);
        return;
    }
    if (link->step == STEP_ID)
        handshake_subscribe(link, reply->integer);
    if (link->step == STEP_SUBSCRIBE)
        link_up(link);
    else
        link->step++;
}

/* The connection */

static bool on_may_change(void *argument)
{
    (void)argument;
    return true;
}

static void on_sent(void *argument, struct redis_command *command, int64_t now)
{
    (void)argument, (void)command, (void)now;
}

static void on_event_done(void *argument)
{
    (void)argument;
}

static void on_failed(void *argument, const char *reason)
{
    struct invalidation *link = argument;
    if (redis_reader_error(link->connection.reader) != NULL)
        give_up_all(link, reason);
    else
        connection_close(link, reason);
}

static const struct redis_connection_owner owner = {
    .may_change = on_may_change,
    .sent = on_sent,
    .replied = on_replied,
    .pushed = on_pushed,
    .failed = on_failed,
    .event_done = on_event_done,
};

static void on_dialed(void *argument, int fd, struct tls *tls, const char *failure)
{
    struct invalidation *link = argument;
    if (fd < 0) {
        connection_close(link, failure);
    } else if (redis_connection_open(&link->connection, fd, tls) < 0) {
        connection_close(link, strerror(ENOMEM));
    } else {
        link->state = LINK_HANDSHAKE;
        handshake_start(link);
    }
}

static void on_state_timer(evutil_socket_t fd, short events, void *argument)
{
    struct invalidation *link = argument;
    const double timeout = link->settings.config->connect_timeout;
    (void)fd, (void)events;
    if (link->state == LINK_WAITING) {
        link->state = LINK_DIALING;
        timer_set(link->state_timer, (int64_t)(timeout * 1000) + 1);
        const struct redis_endpoint to = redis_endpoint_of(link->settings.config);
        redis_dial_start(link->dial, &to, clock_boot() + clock_from_seconds(timeout));
    } else {
        connection_close(link,
                         link->state == LINK_DIALING ? redis_dial_lacks(link->dial) : "no answer to the handshake");
    }
}

static void on_master_named(void *argument)
{
    struct invalidation *link = argument;
    if (link->state == LINK_DIALING)
        redis_dial_named(link->dial);
    else if (link->state != LINK_WAITING && redis_dial_outdated(link->dial))
        connection_close(link, "another server is the master");
}

/* The link */

static bool link_set_up(struct invalidation *link)
{
    struct event_base *base = link->settings.base;
    static const struct timeval interval = {0, BEAT_INTERVAL * 1000};
    struct redis_master *master = redis_link_master(link->settings.commands);
    if (master != NULL)
        redis_master_listen(master, on_master_named, link);
    link->dial = redis_dial_new(base, link->settings.access, master, on_dialed, link);
    link->state_timer = evtimer_new(base, on_state_timer, link);
    link->beat_timer = event_new(base, -1, EV_PERSIST, on_beat_timer, link);
    return redis_connection_init(&link->connection, base, &owner, link) == 0 && link->dial != NULL &&
           link->state_timer != NULL && link->beat_timer != NULL && event_add(link->beat_timer, &interval) == 0;
}

struct invalidation *invalidation_new(const struct invalidation_settings *settings)
{
    struct invalidation *link = calloc(1, sizeof *link);
    if (link == NULL)
        return NULL;
    link->settings = *settings;
    link->slot = &settings->shared->slots[settings->slot];
    link->retry = REDIS_RETRY_MIN;
    link->dead_since = link->heard_sent = clock_boot();
    link->patient_until = link->dead_since + PATIENCE;
    beats_init(&link->beats, settings->config->prefix);
    if (!link_set_up(link)) {
        invalidation_free(&link);
        return NULL;
    }
    link->state = LINK_WAITING;
    timer_set(link->state_timer, 0);
    return link;
}

void invalidation_free(struct invalidation **link)
{
    struct invalidation *l = *link;
    if (l == NULL)
        return;
    *link = NULL;
    lease_set(l, 0);
    redis_connection_destroy(&l->connection);
    redis_dial_free(&l->dial);
    if (l->state_timer != NULL)
        event_free(l->state_timer);
    if (l->beat_timer != NULL)
        event_free(l->beat_timer);
    free(l);
}
