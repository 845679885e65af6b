/* SPDX-License-Identifier: MIT */
/* A client's connection. An event only reads or notes; connection_settle, once at the end of every event, executes what
 * has become executable, writes all answers in one go and decides what to wait for next. */
#include "worker/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "worker/command.h"
#include "worker/request.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a shut connection may take to go, and how long one must be quiet before a worker that drains lets it go. */
#define LINGER_TIME CLOCK_SECOND
#define DRAIN_QUIET CLOCK_SECOND

static void on_readable(evutil_socket_t fd, short what, void *argument);
static void on_writable(evutil_socket_t fd, short what, void *argument);

void connection_open(struct worker *worker, const struct worker_listener *listener, int fd,
                     const struct event_peer *peer)
{
    static uint64_t last_number;
    struct connection *connection = memory_zeroed(sizeof *connection);
    connection->worker = worker;
    connection->listener = listener;
    connection->fd = fd;
    connection->peer = *peer;
    connection->number = ++last_number;
    connection->active = worker->now.boot;
    TAILQ_INIT(&connection->untagged);
    TAILQ_INIT(&connection->held);
    TAILQ_INSERT_TAIL(&worker->connections, connection, link);
    event_assign(&connection->read_event, worker->base, fd, EV_READ | EV_PERSIST, on_readable, connection);
    event_assign(&connection->write_event, worker->base, fd, EV_WRITE | EV_PERSIST, on_writable, connection);
    connection_unsettle(connection);
}

void connection_unsettle(struct connection *connection)
{
    if (connection->unsettled)
        return;
    connection->unsettled = true;
    TAILQ_INSERT_TAIL(&connection->worker->unsettled, connection, unsettled_link);
}

static const char *end_text(enum connection_end end)
{
    static const char *const texts[] = {
        [CONNECTION_END_CLIENT] = "closed by the client",
        [CONNECTION_END_QUIT] = "QUIT",
        [CONNECTION_END_IDLE] = "idle for too long",
        [CONNECTION_END_REQUEST_TIMEOUT] = "a request took too long to arrive",
        [CONNECTION_END_WRITE_TIMEOUT] = "the client does not read",
        [CONNECTION_END_BAD_FRAMING] = "a request without an end",
        [CONNECTION_END_FOREIGN] = "HTTP was spoken",
        [CONNECTION_END_SHUTDOWN] = "the worker ends",
    };
    return texts[end];
}

void connection_close(struct connection *connection, enum connection_end end)
{
    struct worker *worker = connection->worker;
    if (connection->state == CONNECTION_CLOSED)
        return;
    log_debug("listener \"%s\": connection %llu closed: %s", connection->listener->config->name,
              (unsigned long long)connection->number, end_text(end));
    connection->state = CONNECTION_CLOSED;
    event_del(&connection->read_event);
    event_del(&connection->write_event);
    close(connection->fd);
    TAILQ_REMOVE(&worker->connections, connection, link);
    atomic_fetch_sub(&worker->slot->connections[connection->listener->id], 1);
    atomic_fetch_sub(&worker->slot->connections_held, 1);
    if (end == CONNECTION_END_IDLE || end == CONNECTION_END_REQUEST_TIMEOUT || end == CONNECTION_END_WRITE_TIMEOUT)
        worker_count(worker, METRIC_CONNECTIONS_TIMED_OUT);
    connection->fresh = NULL;
    buffer_free(&connection->in);
    buffer_free(&connection->out);
    request_abandon(connection);
    connection_unsettle(connection);
}

void connection_finish(struct connection *connection, enum connection_end end)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    connection->state = CONNECTION_FINISHING;
    connection->end = end;
    connection->parked = false;
    connection->partial = 0;
    connection->in_needed = 0;
    connection->fresh = NULL;
    buffer_free(&connection->in);
    connection_unsettle(connection);
}

/* Notes how much the kernel still holds for a client that takes no more, and since when that has not become less: with
 * large socket buffers a client may read for long before the kernel takes anything again. */
static void note_blocked(struct connection *connection)
{
    int unsent = 0;
    ioctl(connection->fd, SIOCOUTQ, &unsent);
    if (connection->blocked == 0 || unsent < connection->unsent)
        connection->blocked = connection->worker->now.boot;
    connection->unsent = unsent;
}

/* Sends what waits. */
static void send_out(struct connection *connection)
{
    while (buffer_size(&connection->out) > 0) {
        ssize_t sent =
            send(connection->fd, buffer_bytes(&connection->out), buffer_size(&connection->out), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            note_blocked(connection);
            return;
        }
        if (sent < 0) {
            connection_close(connection, CONNECTION_END_CLIENT);
            return;
        }
        connection->blocked = 0;
        connection->active = connection->worker->now.boot;
        buffer_consume(&connection->out, (size_t)sent);
    }
}

static bool may_execute(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN && connection->quit == NULL &&
           connection->unanswered < CONNECTION_UNANSWERED_MAX &&
           buffer_size(&connection->out) + connection->held_size < CONNECTION_OUT_MAX && connection->streaming == NULL;
}

static void refuse(struct connection *connection, enum err_code code, const char *text)
{
    answer_err(request_begin(connection, &connection->worker->input), code, "%s", text);
}

/* Reads one request from the front of the bytes and executes it. Returns the bytes that it took, 0 when no whole
 * request is there or it must wait. */
static size_t execute_one(struct connection *connection, const char *bytes, size_t size)
{
    struct worker *worker = connection->worker;
    struct input *input = &worker->input;
    size_t max_line = worker->config->max_line, used = 0;
    enum input_result result = bytes[0] == '*' ? resp_read(bytes, size, max_line, input, &used)
                                               : line_read(bytes, size, max_line, input, &used);
    switch (result) {
    case INPUT_MORE: connection->in_needed = used; return 0;
    case INPUT_NOTHING: return used;
    case INPUT_REQUEST:
        if (input->tag[0] == '\0' && command_waits(connection, input)) {
            connection->parked = true;
            return 0;
        }
        command_execute(connection, input);
        return used;
    case INPUT_TOO_LONG:
        refuse(connection, ERR_TOOLONG, "a request is longer than max-line");
        connection_finish(connection, CONNECTION_END_BAD_FRAMING);
        return 0;
    case INPUT_BROKEN:
        refuse(connection, ERR_BADREQ, input->flaw);
        connection_finish(connection, CONNECTION_END_BAD_FRAMING);
        return 0;
    case INPUT_FOREIGN: connection_close(connection, CONNECTION_END_FOREIGN); return 0;
    }
    return 0;
}

/* Tells the keep which tokens the next requests ask for, as far as can be seen at a glance. Returns how far it
 * looked. */
static size_t foresee(const struct connection *connection, const char *bytes, size_t size)
{
    const char *at = bytes, *key;
    bool more = true;
    while (more && (key = token_glimpse(&at, bytes + size)) != NULL)
        more = keep_foresee(connection->worker->keep, key);
    return (size_t)(at - bytes);
}

/* Executes as many requests as may be; returns the bytes that they took. Of the first `foreseen` the keep was told.
 * Behind the beginning of a request nothing is looked for until the rest has come: else all of it would be looked
 * through with every byte that comes. */
static size_t execute(struct connection *connection, const char *bytes, size_t size, size_t foreseen)
{
    size_t taken = 0;
    const bool begun = connection->in_needed > 0;
    connection->parked = false;
    if (size < connection->in_needed)
        return 0;
    connection->in_needed = 0;
    while (taken < size && may_execute(connection)) {
        if (taken >= foreseen && (taken > 0 || !begun))
            foreseen = taken + foresee(connection, bytes + taken, size - taken);
        size_t used = execute_one(connection, bytes + taken, size - taken);
        if (used == 0)
            break;
        taken += used;
        if (buffer_size(&connection->out) >= CONNECTION_OUT_MAX)
            send_out(connection);
    }
    return taken;
}

/* Notes what is left of what was read: the beginning of a request, or all that may not be executed yet. */
static void note_rest(struct connection *connection, bool progress)
{
    bool partial = may_execute(connection) && !connection->parked && buffer_size(&connection->in) > 0;
    if (!partial)
        connection->partial = 0;
    else if (progress || connection->partial == 0)
        connection->partial = connection->worker->now.boot;
}

/* Executes what waits in `in`. */
static void execute_waiting(struct connection *connection)
{
    size_t size = buffer_size(&connection->in);
    if (size == 0 || !may_execute(connection))
        return;
    /* What waited for a change has been foreseen before. */
    size_t taken = execute(connection, buffer_bytes(&connection->in), size, connection->parked ? size : 0);
    if (connection->state != CONNECTION_OPEN)
        return;
    if (taken > 0)
        buffer_consume(&connection->in, taken);
    note_rest(connection, taken > 0);
}

/* Takes in what was received: executes it from where it was received to, and keeps what is left over; when there is a
 * beginning of a request already, behind that. */
static void take_in(struct connection *connection)
{
    const char *bytes = connection->fresh;
    const size_t size = connection->fresh_size;
    size_t taken = 0;
    connection->fresh = NULL;
    connection->active = connection->worker->now.boot;
    if (buffer_size(&connection->in) == 0)
        taken = execute(connection, bytes, size, connection->fresh_foreseen);
    if (connection->state != CONNECTION_OPEN)
        return;
    buffer_add(&connection->in, bytes + taken, size - taken);
    note_rest(connection, taken > 0);
}

/* Receives, behind what others have received in this turn of the loop; connection_settle takes it in. */
static void receive(struct connection *connection)
{
    struct worker *worker = connection->worker;
    char *bytes = worker->scratch + worker->received;
    ssize_t n = recv(connection->fd, bytes, CONNECTION_RECV_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n < 0) {
        connection_close(connection, CONNECTION_END_CLIENT);
        return;
    }
    connection->eof |= n == 0;
    connection->ended |= n == 0;
    connection->fresh = bytes;
    connection->fresh_size = (size_t)n;
    connection->fresh_foreseen = foresee(connection, bytes, (size_t)n);
    worker->received += (size_t)n;
}

/* Throws away what a shut connection still sends. */
static void discard(struct connection *connection)
{
    struct worker *worker = connection->worker;
    ssize_t n = recv(connection->fd, worker->scratch + worker->received, CONNECTION_RECV_SIZE, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        connection_close(connection, connection->end);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct connection *connection = argument;
    struct worker *worker = connection->worker;
    (void)fd, (void)what;
    if (connection->state == CONNECTION_LINGERING)
        discard(connection);
    else
        receive(connection);
    connection_unsettle(connection);
    if (worker->received < CONNECTION_RECV_SIZE)
        worker_settle_soon(worker);
    else
        worker_settle(worker);
}

static void on_writable(evutil_socket_t fd, short what, void *argument)
{
    struct connection *connection = argument;
    struct worker *worker = connection->worker;
    (void)fd, (void)what;
    worker_read_clocks(worker);
    connection_unsettle(connection);
    worker_settle(worker);
}

/* When all has been said: shuts our side, and waits for the client to shut its own. */
static void shut(struct connection *connection)
{
    if (connection->eof || shutdown(connection->fd, SHUT_WR) != 0) {
        connection_close(connection, connection->end);
        return;
    }
    connection->state = CONNECTION_LINGERING;
    connection->active = connection->worker->now.boot;
}

/* Adds or takes away one of the two events. */
static void want(struct event *event, bool *added, bool wanted)
{
    if (wanted == *added)
        return;
    if (wanted)
        event_add(event, NULL);
    else
        event_del(event);
    *added = wanted;
}

static void choose_events(struct connection *connection)
{
    bool executable = may_execute(connection) && !connection->parked;
    /* Whole requests that are here already come first: they go on when what is in `out` has gone. */
    bool hungry = buffer_size(&connection->in) == 0 || buffer_size(&connection->in) < connection->in_needed;
    bool listens = connection->state == CONNECTION_LINGERING || (executable && hungry && !connection->ended);
    want(&connection->read_event, &connection->reading, listens);
    want(&connection->write_event, &connection->writing,
         buffer_size(&connection->out) > 0 || connection->streaming != NULL);
}

/* Executes, streams and sends until nothing more can be done in this turn of the loop. */
static void advance(struct connection *connection)
{
    for (;;) {
        const size_t waiting = buffer_size(&connection->in);
        const bool blocked = !may_execute(connection);
        execute_waiting(connection);
        if (connection->state == CONNECTION_CLOSED)
            return;
        if (connection->quit != NULL && connection->unanswered == 1)
            request_answer_quit(connection);
        if (connection->streaming != NULL)
            request_stream(connection);
        send_out(connection);
        if (connection->state == CONNECTION_CLOSED || buffer_size(&connection->out) > 0)
            return;
        /* A piece of a long answer a turn of the loop: others are served in between. */
        if (connection->streaming != NULL)
            return;
        const bool unblocked = blocked && may_execute(connection);
        if (buffer_size(&connection->in) == waiting && !unblocked)
            return;
    }
}

void connection_settle(struct connection *connection)
{
    if (connection->fresh != NULL)
        take_in(connection);
    if (connection->state == CONNECTION_OPEN || connection->state == CONNECTION_FINISHING)
        advance(connection);
    bool answered_all = connection->unanswered == 0 && buffer_size(&connection->out) == 0;
    /* What is left in `in` then has no end, and is never executed. */
    if (connection->state == CONNECTION_OPEN && answered_all && connection->ended)
        connection_finish(connection, connection->eof ? CONNECTION_END_CLIENT : CONNECTION_END_SHUTDOWN);
    if (connection->state == CONNECTION_FINISHING && answered_all)
        shut(connection);
    if (connection->state != CONNECTION_CLOSED)
        choose_events(connection);
    else if (connection->unanswered == 0 && !connection->unsettled)
        free(connection);
}

void connection_check_time(struct connection *connection, int64_t now)
{
    const struct worker *worker = connection->worker;
    const struct config *config = worker->config;
    if (!connection->reading && connection->partial != 0)
        connection->partial = now; /* it is we who do not read */
    if (connection->blocked != 0)
        note_blocked(connection);
    bool quiet = connection->unanswered == 0 && buffer_size(&connection->in) == 0 && buffer_size(&connection->out) == 0;
    if (connection->state == CONNECTION_LINGERING) {
        if (now - connection->active > LINGER_TIME)
            connection_close(connection, connection->end);
    } else if (connection->blocked != 0 && now - connection->blocked > clock_from_seconds(config->write_timeout)) {
        connection_close(connection, CONNECTION_END_WRITE_TIMEOUT);
    } else if (connection->partial != 0 && now - connection->partial > clock_from_seconds(config->request_timeout)) {
        connection_close(connection, CONNECTION_END_REQUEST_TIMEOUT);
    } else if (quiet && now - connection->active > clock_from_seconds(config->idle_timeout)) {
        connection_finish(connection, CONNECTION_END_IDLE);
    } else if (quiet && worker->phase == WORKER_DRAINING && now - connection->active > DRAIN_QUIET) {
        connection_finish(connection, CONNECTION_END_SHUTDOWN);
    }
}

void connection_stop(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->state != CONNECTION_OPEN)
        return;
    if (connection->reading) {
        const size_t received = worker->received;
        receive(connection);
        worker_read_clocks(worker);
        if (connection->fresh != NULL)
            take_in(connection);
        worker->received = received;
    }
    connection->ended = true;
    connection_unsettle(connection);
}
