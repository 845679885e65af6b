/* SPDX-License-Identifier: MIT */
/* The load that one thread makes. It shall cost less than the server that it measures: no allocation and no clock for a
 * single request, one send for all requests that are due, answers parsed where they were received. */
#include "cli/bench_load.h"

#include "base/clock.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    EVENTS = 64, /* at a time */
    BATCH = 32,  /* tokens fetched together */
    TICK = 200,  /* milliseconds between looks at the clock when nothing happens */
    BUFFER_SIZE = 2 * BENCH_ANSWER_MAX,
};

static int poll_change(const struct bench_load *load, struct bench_connection *connection, int change, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    return epoll_ctl(load->epoll, change, connection->fd, &event);
}

/* Its requests that are not answered never will be. */
static void connection_lose(struct bench_load *load, struct bench_connection *connection)
{
    load->tally->errors[BENCH_ERROR_CLOSED] += connection->used;
    load->in_flight -= connection->used;
    load->slots -= connection->n_slots;
    load->n_open--;
    bench_connection_close(connection);
}

static void connection_send(struct bench_load *load, struct bench_connection *connection)
{
    enum bench_sent sent = bench_connection_send(connection);
    if (sent == BENCH_SENT_LOST) {
        connection_lose(load, connection);
        return;
    }
    bool waits = sent == BENCH_SENT_PART;
    if (waits == connection->waits_to_send)
        return;
    connection->waits_to_send = waits;
    if (poll_change(load, connection, EPOLL_CTL_MOD, waits ? EPOLLIN | EPOLLOUT : EPOLLIN) != 0)
        connection_lose(load, connection);
}

/* Closed loop: as many requests as may be in flight, in one write. Their tokens are chosen some at a time, so that
 * memory is fetching one while another is written. */
static void window_send(struct bench_load *load, struct bench_connection *connection)
{
    enum bench_kind kinds[BATCH];
    const char *tokens[BATCH];
    char made_up[BATCH][TOKEN_SIZE];
    if (load->stopping)
        return;
    const int64_t now = clock_boot();
    while (connection->used < connection->n_slots && load->course.left > 0) {
        uint32_t n = connection->n_slots - connection->used;
        n = n > BATCH ? BATCH : n;
        n = n > load->course.left ? (uint32_t)load->course.left : n;
        for (uint32_t i = 0; i < n; i++) {
            kinds[i] = bench_course_next(&load->course, made_up[i], &tokens[i]);
            __builtin_prefetch(tokens[i]);
            __builtin_prefetch(tokens[i] + TOKEN_SIZE - 1);
        }
        for (uint32_t i = 0; i < n; i++)
            bench_connection_add(connection, &load->requests->of[kinds[i]], kinds[i], tokens[i], now);
        load->in_flight += n;
    }
    connection_send(load, connection);
}

/* Takes the answers that the bytes hold. Returns how many bytes they are, or -1 when the connection makes no sense any
 * more. */
static long answers_take(struct bench_load *load, struct bench_connection *connection, const char *bytes, size_t size)
{
    struct bench_tally *tally = load->tally;
    size_t taken = 0;
    while (taken < size) {
        struct bench_answer answer;
        long n = bench_answer_parse(load->protocol, bytes + taken, size - taken, &answer);
        if (n == BENCH_ANSWER_PARTIAL)
            break;
        const struct bench_slot *slot = bench_connection_take(connection);
        if (slot == NULL) { /* nobody asked; a server that is full says so */
            tally->errors[n < 0 ? BENCH_ERROR_WRONG
                                : bench_answer_check(load->protocol, BENCH_KINDS, NULL, 0, &answer)]++;
            return -1;
        }
        enum bench_error error = BENCH_ERROR_WRONG;
        if (n > 0)
            error = bench_answer_check(load->protocol, slot->kind, slot->token, load->value_size, &answer);
        if (error != BENCH_NO_ERROR)
            bench_tally_error(tally, error, slot->kind, slot->token, n > 0 ? &answer : NULL);
        bench_latency_add(&tally->latency, load->now - slot->due);
        tally->answered++;
        load->in_flight--;
        if (n < 0)
            return -1;
        taken += (size_t)n;
    }
    return (long)taken;
}

static void connection_receive(struct bench_load *load, struct bench_connection *connection)
{
    long size = bench_connection_receive(connection, load->buffer, BUFFER_SIZE);
    if (size < 0)
        return;
    if (size == 0) {
        connection_lose(load, connection);
        return;
    }
    load->now = load->heard = clock_boot();
    long taken = answers_take(load, connection, load->buffer, (size_t)size);
    atomic_store_explicit(&load->answered, load->tally->answered, memory_order_relaxed);
    if (taken < 0 ||
        (taken < size && bench_connection_keep(connection, load->buffer + taken, (size_t)(size - taken)) != 0))
        connection_lose(load, connection);
    else if (connection->used == 0 && load->interval <= 0)
        window_send(load, connection);
}

/* The next connection in turn that has room for a request; NULL: none. */
static struct bench_connection *connection_free(struct bench_load *load)
{
    for (size_t i = 0; i < load->n_connections && load->in_flight < load->slots; i++) {
        struct bench_connection *connection = &load->connections[load->turn];
        load->turn = load->turn + 1 < load->n_connections ? load->turn + 1 : 0;
        if (connection->fd >= 0 && connection->used < connection->n_slots)
            return connection;
    }
    return NULL;
}

static void timer_set(const struct bench_load *load, int64_t due)
{
    const struct itimerspec at = {.it_value = {.tv_sec = due / CLOCK_SECOND, .tv_nsec = due % CLOCK_SECOND}};
    timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Open loop: all requests that are due by now, as far as there is room. When it is late, it is late for the server's
 * sake, and the requests that wait are sent with the times that they were due. */
static void due_send(struct bench_load *load)
{
    char made_up[TOKEN_SIZE];
    const char *token;
    load->now = clock_boot();
    while (!load->stopping && load->course.left > 0) {
        int64_t due = load->started + (int64_t)(load->offset + (double)load->sent * load->interval);
        if (load->duration > 0 && due >= load->started + load->duration) {
            load->stopping = true;
            break;
        }
        if (due > load->now) {
            timer_set(load, due);
            break;
        }
        struct bench_connection *connection = connection_free(load);
        if (connection == NULL)
            break;
        enum bench_kind kind = bench_course_next(&load->course, made_up, &token);
        if (connection->out_start == connection->out_end)
            load->unsent[load->n_unsent++] = connection;
        bench_connection_add(connection, &load->requests->of[kind], kind, token, due);
        if (load->in_flight++ == 0)
            load->heard = load->now; /* there was nothing to be heard before */
        load->sent++;
    }
    for (size_t i = 0; i < load->n_unsent; i++)
        connection_send(load, load->unsent[i]);
    load->n_unsent = 0;
}

static void event_take(struct bench_load *load, const struct epoll_event *event)
{
    uint64_t ignored;
    struct bench_connection *connection = event->data.ptr;
    if (event->data.ptr == &load->timer) {
        if (read(load->timer, &ignored, sizeof ignored) < 0)
            return; /* set anew meanwhile */
    } else if (event->data.ptr == load->stop) {
        load->stopping = true;
    } else if (connection->fd >= 0) {
        if ((event->events & EPOLLOUT) != 0)
            connection_send(load, connection);
        if (connection->fd >= 0 && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
            connection_receive(load, connection);
    }
}

/* Whether the thread has nothing more to do. */
static bool load_ended(struct bench_load *load)
{
    if (atomic_load_explicit(&load->stop->asked, memory_order_relaxed) > 1)
        return true;
    if (load->in_flight == 0 && (load->stopping || load->course.left == 0))
        return true;
    if (load->n_open == 0) {
        failure_set(&load->failure, "closed", "all connections were lost");
        return true;
    }
    if (load->in_flight > 0 && load->now - load->heard > load->timeout) {
        failure_set(&load->failure, "timeout", "no answer within %g seconds; --timeout gives it longer",
                    (double)load->timeout / (double)CLOCK_SECOND);
        load->tally->errors[BENCH_ERROR_TIMEOUT] += load->in_flight;
        return true;
    }
    return false;
}

static void load_loop(struct bench_load *load)
{
    struct epoll_event events[EVENTS];
    const bool closed = load->interval <= 0;
    for (size_t i = 0; i < load->n_connections && closed; i++)
        if (load->connections[i].fd >= 0)
            window_send(load, &load->connections[i]);
    if (!closed)
        due_send(load);
    while (!load_ended(load)) {
        int n = epoll_wait(load->epoll, events, EVENTS, TICK);
        if (n < 0 && errno != EINTR)
            break;
        if (n <= 0)
            load->now = clock_boot();
        for (int i = 0; i < n; i++)
            event_take(load, &events[i]);
        if (!closed)
            due_send(load);
        else if (load->duration > 0 && load->now - load->started >= load->duration)
            load->stopping = true;
    }
}

static int load_open(struct bench_load *load)
{
    struct epoll_event stop = {.events = EPOLLIN | EPOLLET, .data.ptr = load->stop};
    struct epoll_event timer = {.events = EPOLLIN, .data.ptr = &load->timer};
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    load->buffer = malloc(BUFFER_SIZE);
    load->unsent = calloc(load->n_connections, sizeof(struct bench_connection *));
    if (load->epoll < 0 || load->timer < 0 || load->buffer == NULL || load->unsent == NULL ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->stop->fd, &stop) != 0 ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->timer, &timer) != 0)
        return failure_set(&load->failure, "internal", "cannot wait for answers: %s", strerror(errno));
    load->n_open = load->n_unsent = load->slots = 0;
    for (size_t i = 0; i < load->n_connections; i++) {
        struct bench_connection *connection = &load->connections[i];
        if (connection->fd < 0)
            continue;
        if (poll_change(load, connection, EPOLL_CTL_ADD, EPOLLIN) != 0)
            return failure_set(&load->failure, "internal", "cannot wait for answers: %s", strerror(errno));
        load->n_open++;
        load->slots += connection->n_slots;
    }
    return 0;
}

static void load_close(struct bench_load *load)
{
    if (load->epoll >= 0)
        close(load->epoll);
    if (load->timer >= 0)
        close(load->timer);
    if (load->buffer != NULL)
        sodium_memzero(load->buffer, BUFFER_SIZE);
    free(load->buffer);
    free(load->unsent);
    load->buffer = NULL;
    load->unsent = NULL;
}

void *bench_load_run(void *argument)
{
    struct bench_load *load = argument;
    load->epoll = load->timer = -1;
    load->in_flight = load->sent = 0;
    load->turn = 0;
    load->stopping = false;
    if (load_open(load) == 0) {
        load->started = load->now = load->heard = clock_boot();
        load_loop(load);
    }
    load->ended = clock_boot();
    load_close(load);
    const uint64_t one = 1;
    if (write(load->done_fd, &one, sizeof one) < 0)
        abort(); /* an eventfd takes more than there can be threads */
    return NULL;
}
