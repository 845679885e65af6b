/* SPDX-License-Identifier: MIT */
/* Which server is the master. */
#include "keep/redis_master.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/redis_url.h"
#include "keep/redis_connection.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL "+switch-master"

enum {
    WORDS_MAX = 3,
    NAMED_WORDS = 5, /* of a message: the master's name, its old host and port, its new host and port */
};

/* Where the master is, and the subscription, are asked for together: nothing falls between them. */
enum state { STATE_WAITING, STATE_DIALING, STATE_ASKING, STATE_SUBSCRIBING, STATE_LISTENING };

struct redis_master {
    struct event_base *base;
    const struct config_redis *config;
    struct {
        redis_master_named *named;
        void *argument;
    } listeners[REDIS_MASTER_LISTENERS];
    size_t n_listeners;
    enum state state;
    size_t asked;  /* which of the sentinels */
    size_t failed; /* how many have, one after the other */
    unsigned retry;
    struct event *timer; /* for the next attempt, or the end of this one */
    struct redis_dial *dial;
    struct redis_connection connection;
    struct redis_place place; /* port 0: none was named yet */
    bool told;                /* that no sentinel answers */
    int64_t next_failure;     /* when it may be logged that none answers */
    int64_t next_switch;      /* when it may be logged that another server is the master */
    struct error lacks;
};

static void timer_set(struct redis_master *master, int64_t microseconds)
{
    const struct timeval wait = {microseconds / 1000000, microseconds % 1000000};
    if (evtimer_add(master->timer, &wait) < 0)
        memory_exhausted();
}

/* All of them get their turn within one attempt of a link to connect, or almost. */
static int64_t patience(const struct redis_master *master)
{
    const size_t share = master->config->n_sentinels < 3 ? master->config->n_sentinels : 3;
    const int64_t patience = (int64_t)(master->config->connect_timeout * 1e6) / (int64_t)share;
    return patience > 1000 ? patience : 1000;
}

static void connection_close(struct redis_master *master)
{
    redis_dial_stop(master->dial);
    redis_connection_close(&master->connection);
    redis_commands_free(&master->connection.unsent);
    redis_commands_free(&master->connection.in_flight);
}

static void next_ask(struct redis_master *master, unsigned milliseconds)
{
    connection_close(master);
    master->state = STATE_WAITING;
    master->asked = (master->asked + 1) % master->config->n_sentinels;
    timer_set(master, (int64_t)milliseconds * 1000);
}

/* Sentinels that come and go, or change their minds all the time, do not fill the log. */
static bool word_due(int64_t *next, unsigned seconds)
{
    const int64_t now = clock_boot();
    if (now < *next)
        return false;
    *next = now + seconds * CLOCK_SECOND;
    return true;
}

/* A sentinel that was only listened to says nothing of the master by its going. */
static void sentinel_failed(struct redis_master *master, const char *reason)
{
    const struct config_host *sentinel = &master->config->sentinels[master->asked];
    log_debug("sentinel %s port %u: %s", sentinel->name, (unsigned)sentinel->port, reason);
    error_set(&master->lacks, "no sentinel has named the master; %s port %u: %s", sentinel->name,
              (unsigned)sentinel->port, reason);
    if (++master->failed % master->config->n_sentinels != 0) {
        next_ask(master, 0);
        return;
    }
    if (!master->told && word_due(&master->next_failure, 10)) {
        log_warning("redis %s: no sentinel is of use; %s port %u: %s", master->config->url, sentinel->name,
                    (unsigned)sentinel->port, reason);
        master->told = true;
    }
    next_ask(master, redis_retry_wait(&master->retry));
}

static bool place_read(const char *host, size_t host_size, const char *port, size_t port_size,
                       struct redis_place *place)
{
    struct error error;
    if (host_size >= sizeof place->host)
        return false;
    memcpy(place->host, host, host_size);
    place->host[host_size] = '\0';
    return redis_url_check_host(place->host, &error) == 0 &&
           address_parse_port(port, port_size, &place->port, &error) == 0;
}

static void place_set(struct redis_master *master, const struct redis_place *place)
{
    const bool other = strcmp(master->place.host, place->host) != 0 || master->place.port != place->port;
    if (master->place.port != 0 && other && word_due(&master->next_switch, 1))
        log_warning("redis %s: another server is the master now: %s port %u", master->config->url, place->host,
                    (unsigned)place->port);
    else if (master->place.port == 0)
        log_info("redis %s: the master is %s port %u", master->config->url, place->host, (unsigned)place->port);
    master->place = *place;
    for (size_t i = 0; i < master->n_listeners; i++)
        master->listeners[i].named(master->listeners[i].argument);
}

/* Asking */

static void command_send(struct redis_master *master, int argc, const char *const *argv)
{
    struct redis_command *command = redis_command_new(NULL, NULL, REDIS_READ);
    size_t sizes[WORDS_MAX];
    for (int i = 0; i < argc; i++)
        sizes[i] = strlen(argv[i]);
    redis_command_format(command, argc, argv, sizes);
    redis_connection_send(&master->connection, command);
}

static void on_dialed(void *argument, int fd, struct tls *tls, const char *failure)
{
    struct redis_master *master = argument;
    const char *const ask[] = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", master->config->master_name};
    const char *const listen[] = {"SUBSCRIBE", CHANNEL};
    if (fd < 0) {
        sentinel_failed(master, failure);
    } else if (redis_connection_open(&master->connection, fd, tls) < 0) {
        sentinel_failed(master, strerror(ENOMEM));
    } else {
        master->state = STATE_ASKING;
        command_send(master, 3, ask);
        command_send(master, 2, listen);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *argument)
{
    struct redis_master *master = argument;
    (void)fd, (void)events;
    if (master->state != STATE_WAITING) {
        sentinel_failed(master, master->state == STATE_DIALING ? "no connection in time" : "no answer in time");
        return;
    }
    const struct config_host *sentinel = &master->config->sentinels[master->asked];
    const struct redis_endpoint to = {.host = sentinel->name, .port = sentinel->port};
    master->state = STATE_DIALING;
    timer_set(master, patience(master));
    redis_dial_start(master->dial, &to, clock_boot() + patience(master) * 1000);
}

/* Answers */

static void place_answered(struct redis_master *master, const redisReply *reply)
{
    struct redis_place place;
    const int word = redis_error_word(reply);
    struct error reason;
    if (reply->type == REDIS_REPLY_NIL) {
        error_set(&reason, "it knows no master named \"%s\"", master->config->master_name);
        sentinel_failed(master, reason.text);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        error_set(&reason, "it answered with %.*s", word > 0 ? word : 8, word > 0 ? reply->str : "an error");
        sentinel_failed(master, reason.text);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
               reply->element[0]->type != REDIS_REPLY_STRING || reply->element[1]->type != REDIS_REPLY_STRING ||
               !place_read(reply->element[0]->str, reply->element[0]->len, reply->element[1]->str,
                           reply->element[1]->len, &place)) {
        sentinel_failed(master, "it answered with something unexpected; is it a sentinel?");
    } else {
        master->state = STATE_SUBSCRIBING;
        place_set(master, &place);
    }
}

/* Three elements: a kind, our channel, and what belongs to them. */
static bool is_on_channel(const redisReply *reply, const char *kind, int type)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || reply->element[2]->type != type)
        return false;
    const char *const texts[] = {kind, CHANNEL};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (reply->element[i]->type != REDIS_REPLY_STRING || reply->element[i]->len != strlen(texts[i]) ||
            memcmp(reply->element[i]->str, texts[i], strlen(texts[i])) != 0)
            return false;
    return true;
}

static void subscription_answered(struct redis_master *master, const redisReply *reply)
{
    if (!is_on_channel(reply, "subscribe", REDIS_REPLY_INTEGER)) {
        sentinel_failed(master, "it does not let us SUBSCRIBE to " CHANNEL);
        return;
    }
    evtimer_del(master->timer);
    if (master->told)
        log_info("redis %s: a sentinel answers again", master->config->url);
    master->state = STATE_LISTENING;
    master->told = false;
    master->failed = 0;
    master->retry = REDIS_RETRY_MIN;
}

static void on_replied(void *argument, struct redis_command *command, const redisReply *reply)
{
    struct redis_master *master = argument;
    redis_command_free(command);
    if (master->state == STATE_ASKING)
        place_answered(master, reply);
    else
        subscription_answered(master, reply);
}

/* NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT. False when it is something else. */
static bool message_read(const redisReply *text, const char *words[NAMED_WORDS], size_t sizes[NAMED_WORDS])
{
    const char *at = text->str, *end = at + text->len;
    for (size_t i = 0; i < NAMED_WORDS; i++) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        if ((space == NULL) != (i == NAMED_WORDS - 1))
            return false;
        words[i] = at;
        sizes[i] = (size_t)((space != NULL ? space : end) - at);
        at = space != NULL ? space + 1 : end;
    }
    return true;
}

static void on_pushed(void *argument, const redisReply *reply)
{
    struct redis_master *master = argument;
    const char *words[NAMED_WORDS];
    size_t sizes[NAMED_WORDS];
    struct redis_place place;
    if (master->state != STATE_LISTENING || !is_on_channel(reply, "message", REDIS_REPLY_STRING) ||
        !message_read(reply->element[2], words, sizes)) {
        sentinel_failed(master, "something other than a message of " CHANNEL);
        return;
    }
    if (sizes[0] != strlen(master->config->master_name) || memcmp(words[0], master->config->master_name, sizes[0]) != 0)
        return;
    if (place_read(words[3], sizes[3], words[4], sizes[4], &place))
        place_set(master, &place);
    else
        sentinel_failed(master, "a message of " CHANNEL " that names no place");
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
    sentinel_failed(argument, reason);
}

static const struct redis_connection_owner owner = {
    .may_change = on_may_change,
    .sent = on_sent,
    .replied = on_replied,
    .pushed = on_pushed,
    .failed = on_failed,
    .event_done = on_event_done,
};

/* Life */

struct redis_master *redis_master_new(struct event_base *base, const struct config_redis *config)
{
    struct redis_master *master = calloc(1, sizeof *master);
    if (master == NULL)
        return NULL;
    *master = (struct redis_master){.base = base, .config = config, .retry = REDIS_RETRY_MIN};
    master->asked = randombytes_uniform((uint32_t)config->n_sentinels);
    error_set(&master->lacks, "no sentinel has named the master");
    master->dial = redis_dial_new(base, NULL, NULL, on_dialed, master);
    master->timer = evtimer_new(base, on_timer, master);
    if (redis_connection_init(&master->connection, base, &owner, master) != 0 || master->dial == NULL ||
        master->timer == NULL) {
        redis_master_free(&master);
        return NULL;
    }
    timer_set(master, 0);
    return master;
}

void redis_master_listen(struct redis_master *master, redis_master_named *named, void *argument)
{
    if (master->n_listeners == REDIS_MASTER_LISTENERS)
        abort();
    master->listeners[master->n_listeners].named = named;
    master->listeners[master->n_listeners++].argument = argument;
}

bool redis_master_place(const struct redis_master *master, struct redis_place *place)
{
    *place = master->place;
    return master->place.port != 0;
}

void redis_master_doubt(struct redis_master *master)
{
    if (master == NULL)
        return;
    if (master->state == STATE_SUBSCRIBING || master->state == STATE_LISTENING)
        next_ask(master, 0);
}

const char *redis_master_lacks(const struct redis_master *master)
{
    return master->lacks.text;
}

void redis_master_free(struct redis_master **master)
{
    if (*master == NULL)
        return;
    redis_connection_destroy(&(*master)->connection);
    redis_dial_free(&(*master)->dial);
    if ((*master)->timer != NULL)
        event_free((*master)->timer);
    free(*master);
    *master = NULL;
}
