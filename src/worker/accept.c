/* SPDX-License-Identifier: MIT */
/* Taking new connections. Every worker waits on every listener, and whoever is awake takes: left alone, that gives
 * nearly all connections to one worker. So one that holds more than its share lets the others go first for a moment. */
#include "worker/accept.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reports.h"
#include "worker/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS_KEPT = 20 }; /* standard streams, event loop, signals, Redis, name servers, the spare one */

struct door {
    struct acceptor *acceptor;
    const struct worker_listener *listener;
    struct event *event;
};

struct acceptor {
    struct worker *worker;
    struct event *pause; /* ends a pause */
    bool paused;
    bool hungry;            /* the pause is over: take the next whatever the balance */
    int spare_fd;           /* given up for a moment when there is no other descriptor left */
    int64_t next_complaint; /* when the log may hear again of missing descriptors */
    uint32_t most;          /* connections that leave descriptors enough for the rest of the worker */
    size_t n_doors;
    struct door doors[CONFIG_LISTENERS_MAX];
};

static const struct timeval let_others_first = {0, 5000}, let_descriptors_return = {0, 100000};

static void pause_for(struct acceptor *acceptor, const struct timeval *time)
{
    if (acceptor->paused)
        return;
    acceptor->paused = true;
    for (size_t i = 0; i < acceptor->n_doors; i++)
        event_del(acceptor->doors[i].event);
    evtimer_add(acceptor->pause, time);
}

/* Whether this worker holds over 9/8 of the mean. */
static bool over_share(const struct worker *worker)
{
    const struct shared *shared = worker->setup->shared;
    uint64_t workers = 0, total = 0, own = atomic_load(&worker->slot->connections_held);
    for (uint32_t i = 0; i < shared_slots_used(shared); i++) {
        if (!atomic_load(&shared->slots[i].accepting))
            continue;
        workers++;
        total += atomic_load(&shared->slots[i].connections_held);
    }
    return workers > 1 && own * workers * 8 > total * 9;
}

/* No descriptor is left for the client, but it can be told: the spare one is given up for it. */
static void refuse_for_descriptors(struct door *door)
{
    struct acceptor *acceptor = door->acceptor;
    close(acceptor->spare_fd);
    int fd = accept4(door->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        static const char answer[] = "ERR busy no descriptors are left; try again\n";
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(fd);
        worker_count(acceptor->worker, METRIC_CONNECTIONS_REFUSED);
    }
    acceptor->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (acceptor->worker->now.boot >= acceptor->next_complaint) {
        acceptor->next_complaint = acceptor->worker->now.boot + 10 * CLOCK_SECOND;
        struct error message;
        error_set(&message,
                  "listener \"%s\": no descriptors are left; raise the limit (LimitNOFILE) or lower "
                  "max-connections",
                  door->listener->config->name);
        log_error("%s", message.text);
        reports_problem(acceptor->worker->reports, &(struct problem){.kind = event_text("worker.descriptors"),
                                                                     .message = event_text(message.text)});
    }
}

/* Says that the listener is full, and closes. */
static void refuse(struct worker *worker, int fd)
{
    static const char answer[] = "ERR busy too many connections; try again\n";
    send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    /* What the client has sent already would turn the close into a reset, and that could eat the answer. */
    for (unsigned i = 0; i < 4 && recv(fd, worker->scratch + worker->received, CONNECTION_RECV_SIZE, 0) > 0; i++)
        continue;
    close(fd);
    worker_count(worker, METRIC_CONNECTIONS_REFUSED);
}

/* Who connected. Zeroed where it says nothing, so that equal peers are equal bytes. */
static void peer_read(struct event_peer *peer, const struct sockaddr_storage *address, int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;
    memset(peer, 0, sizeof *peer);
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *inet = (const struct sockaddr_in *)address;
        peer->kind = PEER_INET;
        peer->port = ntohs(inet->sin_port);
        memcpy(peer->address, &inet->sin_addr, sizeof inet->sin_addr);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *inet6 = (const struct sockaddr_in6 *)address;
        peer->kind = PEER_INET6;
        peer->port = ntohs(inet6->sin6_port);
        memcpy(peer->address, &inet6->sin6_addr, sizeof inet6->sin6_addr);
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0) {
        peer->kind = PEER_UNIX;
        peer->uid = who.uid;
    }
}

static void welcome(struct door *door, int fd, const struct sockaddr_storage *address)
{
    struct event_peer peer;
    struct worker *worker = door->acceptor->worker;
    unsigned id = door->listener->id;
    const int on = 1;
    /* Counted before the look at the sum, so that two workers at once never let one too many in. */
    atomic_fetch_add(&worker->slot->connections[id], 1);
    if (shared_listener_connections(worker->setup->shared, id) > door->listener->config->max_connections ||
        atomic_load(&worker->slot->connections_held) >= door->acceptor->most) {
        atomic_fetch_sub(&worker->slot->connections[id], 1);
        refuse(worker, fd);
        return;
    }
    atomic_fetch_add(&worker->slot->connections_held, 1);
    worker_count(worker, METRIC_CONNECTIONS_ACCEPTED);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a unix socket, which needs none */
    peer_read(&peer, address, fd);
    connection_open(worker, door->listener, fd, &peer);
}

static void on_connection(evutil_socket_t listener, short what, void *argument)
{
    struct door *door = argument;
    struct acceptor *acceptor = door->acceptor;
    struct worker *worker = acceptor->worker;
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof address;
    (void)what;
    if (!acceptor->hungry && over_share(worker)) {
        pause_for(acceptor, &let_others_first);
        return;
    }
    acceptor->hungry = false;
    worker_read_clocks(worker);
    int fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        welcome(door, fd, &address);
    } else if (errno == EMFILE || errno == ENFILE) {
        refuse_for_descriptors(door);
    } else if (errno == ENOMEM || errno == ENOBUFS) {
        log_error("listener \"%s\": cannot accept: %s", door->listener->config->name, strerror(errno));
        pause_for(acceptor, &let_descriptors_return);
    }
    worker_settle(worker);
}

static void on_pause_over(evutil_socket_t fd, short what, void *argument)
{
    struct acceptor *acceptor = argument;
    (void)fd, (void)what;
    acceptor->paused = false;
    acceptor->hungry = true;
    for (size_t i = 0; i < acceptor->n_doors; i++)
        event_add(acceptor->doors[i].event, NULL);
}

/* Clients must not take the descriptors that the way to Redis needs. */
static uint32_t most_connections(size_t n_listeners)
{
    struct rlimit limit;
    const rlim_t kept = DESCRIPTORS_KEPT + n_listeners;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= UINT32_MAX)
        return UINT32_MAX;
    return limit.rlim_cur > kept ? (uint32_t)(limit.rlim_cur - kept) : 1;
}

struct acceptor *acceptor_new(struct worker *worker)
{
    struct acceptor *acceptor = memory_zeroed(sizeof *acceptor);
    acceptor->worker = worker;
    acceptor->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    acceptor->pause = evtimer_new(worker->base, on_pause_over, acceptor);
    if (acceptor->pause == NULL)
        memory_exhausted();
    acceptor->n_doors = worker->setup->n_listeners;
    acceptor->most = most_connections(acceptor->n_doors);
    for (size_t i = 0; i < acceptor->n_doors; i++) {
        struct door *door = &acceptor->doors[i];
        *door = (struct door){acceptor, &worker->setup->listeners[i], NULL};
        door->event = event_new(worker->base, door->listener->fd, EV_READ | EV_PERSIST, on_connection, door);
        if (door->event == NULL || event_add(door->event, NULL) != 0)
            memory_exhausted();
    }
    atomic_store(&worker->slot->accepting, true);
    return acceptor;
}

void acceptor_free(struct acceptor **acceptor)
{
    if (*acceptor == NULL)
        return;
    atomic_store(&(*acceptor)->worker->slot->accepting, false);
    for (size_t i = 0; i < (*acceptor)->n_doors; i++) {
        event_free((*acceptor)->doors[i].event);
        /* A listener that the configuration no longer has must not live on in who drains, with nobody to accept. */
        close((*acceptor)->doors[i].listener->fd);
    }
    event_free((*acceptor)->pause);
    close((*acceptor)->spare_fd);
    free(*acceptor);
    *acceptor = NULL;
}
