/* SPDX-License-Identifier: MIT */
/* The bytes of a connection to Redis. */
#include "keep/redis_connection.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    READS_PER_EVENT = 4, /* recvs before the loop's other events get their turn */
    COMMANDS_PER_SEND = 512,
};

static void fail(struct redis_connection *connection, const char *reason)
{
    connection->owner->failed(connection->argument, reason);
}

/* As recv, sendmsg or their like have set errno. The text outlives the connection. */
static void fail_by(struct redis_connection *connection, int error)
{
    struct error reason;
    error_set(&reason, "%s",
              connection->tls != NULL && error == EPROTO ? tls_failure(connection->tls) : strerror(error));
    fail(connection, reason.text);
}

/* Sending */

/* `changes`: whether there is more among them than reads, and what was begun before. */
static size_t commands_gather(const struct redis_connection *connection, struct iovec *parts, bool *changes)
{
    const struct redis_command *partial = connection->partial, *command;
    size_t n = 0;
    *changes = false;
    if (partial != NULL)
        parts[n++] =
            (struct iovec){partial->bytes + connection->partial_sent, partial->size - connection->partial_sent};
    STAILQ_FOREACH(command, &connection->unsent, next) {
        if (n == COMMANDS_PER_SEND)
            break;
        *changes = *changes || command->kind != REDIS_READ;
        parts[n++] = (struct iovec){command->bytes, command->size};
    }
    return n;
}

/* The kernel took `n` bytes: a command of which it took any is in flight. */
static void bytes_sent(struct redis_connection *connection, size_t n)
{
    int64_t now = clock_boot();
    while (n > 0) {
        if (connection->partial == NULL) {
            connection->partial = redis_commands_take(&connection->unsent);
            connection->partial_sent = 0;
            STAILQ_INSERT_TAIL(&connection->in_flight, connection->partial, next);
            connection->owner->sent(connection->argument, connection->partial, now);
        }
        size_t rest = connection->partial->size - connection->partial_sent;
        if (n < rest) {
            connection->partial_sent += n;
            return;
        }
        connection->partial = NULL;
        n -= rest;
    }
}

/* What Redis said before it hung up is heard first: answers to changes are worth it. */
static void send_failed(struct redis_connection *connection, int error)
{
    redis_connection_read(connection);
    if (connection->fd >= 0)
        fail_by(connection, error);
}

static ssize_t parts_send(struct redis_connection *connection, struct iovec *parts, size_t n)
{
    if (connection->tls != NULL)
        return tls_send(connection->tls, parts, n);
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};
    return sendmsg(connection->fd, &message, MSG_NOSIGNAL);
}

static bool output_waits(const struct redis_connection *connection)
{
    return connection->tls != NULL && tls_has_output(connection->tls);
}

static void flush(struct redis_connection *connection)
{
    struct iovec parts[COMMANDS_PER_SEND];
    size_t n;
    bool changes;
    while (connection->fd >= 0 &&
           ((n = commands_gather(connection, parts, &changes)) > 0 || output_waits(connection))) {
        if (changes && !connection->owner->may_change(connection->argument))
            continue;
        ssize_t sent = parts_send(connection, parts, n);
        if (sent >= 0) {
            bytes_sent(connection, (size_t)sent);
        } else if (errno == EAGAIN) {
            if (event_add(connection->writable, NULL) < 0)
                memory_exhausted();
            return;
        } else if (errno != EINTR) {
            send_failed(connection, errno);
            return;
        }
    }
}

static void on_flush(evutil_socket_t fd, short events, void *argument)
{
    struct redis_connection *connection = argument;
    (void)fd;
    (void)events;
    if (connection->fd >= 0 && connection->owner->sending != NULL)
        connection->owner->sending(connection->argument);
    if (connection->fd >= 0 && !event_pending(connection->writable, EV_WRITE, NULL))
        flush(connection);
    connection->owner->event_done(connection->argument);
}

static void on_writable(evutil_socket_t fd, short events, void *argument)
{
    struct redis_connection *connection = argument;
    (void)fd;
    (void)events;
    flush(connection);
    connection->owner->event_done(connection->argument);
}

void redis_connection_send(struct redis_connection *connection, struct redis_command *command)
{
    STAILQ_INSERT_TAIL(&connection->unsent, command, next);
    event_active(connection->flush, EV_WRITE, 0);
}

void redis_connection_send_all(struct redis_connection *connection, struct redis_commands *commands)
{
    STAILQ_CONCAT(&connection->unsent, commands);
    event_active(connection->flush, EV_WRITE, 0);
}

/* Receiving */

static void reply_take(struct redis_connection *connection, const redisReply *reply)
{
    struct redis_command *command = STAILQ_FIRST(&connection->in_flight);
    if (command == NULL && connection->owner->pushed != NULL) {
        connection->owner->pushed(connection->argument, reply);
        return;
    }
    if (command == NULL || (command == connection->partial && command->replies == 1)) {
        fail(connection, "a reply that was not asked for");
        return;
    }
    if (--command->replies == 0)
        STAILQ_REMOVE_HEAD(&connection->in_flight, next);
    connection->owner->replied(connection->argument, command, reply);
}

static void bytes_take(struct redis_connection *connection, const char *data, size_t size)
{
    /* The owner may close the connection at any reply. */
    while (size > 0 && connection->fd >= 0) {
        struct redis_taken taken;
        switch (redis_reader_take(connection->reader, &data, &size, &taken)) {
        case REDIS_READING_MORE: return;
        case REDIS_READING_BROKEN: fail(connection, redis_reader_error(connection->reader)); return;
        case REDIS_READING_REPLY: reply_take(connection, taken.reply); redis_taken_free(&taken);
        }
    }
}

static ssize_t input_receive(struct redis_connection *connection)
{
    if (connection->tls != NULL)
        return tls_recv(connection->tls, connection->input, sizeof connection->input);
    return recv(connection->fd, connection->input, sizeof connection->input, 0);
}

void redis_connection_read(struct redis_connection *connection)
{
    for (unsigned i = 0; i < READS_PER_EVENT && connection->fd >= 0; i++) {
        ssize_t n = input_receive(connection);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            fail_by(connection, errno);
            return;
        }
        if (n == 0) {
            fail(connection, "Redis closed the connection");
            return;
        }
        bytes_take(connection, connection->input, (size_t)n);
        if ((size_t)n < sizeof connection->input)
            return;
    }
    /* The socket does not become readable for what TLS holds of it. */
    if (connection->fd >= 0 && connection->tls != NULL && tls_has_input(connection->tls))
        event_active(connection->readable, EV_READ, 0);
}

static void on_readable(evutil_socket_t fd, short events, void *argument)
{
    struct redis_connection *connection = argument;
    (void)fd;
    (void)events;
    redis_connection_read(connection);
    connection->owner->event_done(connection->argument);
}

/* Life */

int redis_connection_init(struct redis_connection *connection, struct event_base *base,
                          const struct redis_connection_owner *owner, void *argument)
{
    connection->base = base;
    connection->owner = owner;
    connection->argument = argument;
    connection->fd = -1;
    STAILQ_INIT(&connection->unsent);
    STAILQ_INIT(&connection->in_flight);
    connection->flush = event_new(base, -1, 0, on_flush, connection);
    return connection->flush == NULL ? -1 : 0;
}

int redis_connection_open(struct redis_connection *connection, int fd, struct tls *tls)
{
    connection->fd = fd;
    connection->tls = tls;
    connection->reader = redis_reader_new();
    connection->readable = event_new(connection->base, fd, EV_READ | EV_PERSIST, on_readable, connection);
    connection->writable = event_new(connection->base, fd, EV_WRITE, on_writable, connection);
    if (connection->reader == NULL || connection->readable == NULL || connection->writable == NULL)
        return -1;
    return event_add(connection->readable, NULL);
}

void redis_connection_close(struct redis_connection *connection)
{
    if (connection->readable != NULL)
        event_free(connection->readable);
    if (connection->writable != NULL)
        event_free(connection->writable);
    connection->readable = connection->writable = NULL;
    redis_reader_free(&connection->reader);
    tls_free(&connection->tls);
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->partial = NULL;
}

void redis_connection_destroy(struct redis_connection *connection)
{
    redis_connection_close(connection);
    if (connection->flush != NULL)
        event_free(connection->flush);
    connection->flush = NULL;
    redis_commands_free(&connection->unsent);
    redis_commands_free(&connection->in_flight);
}
