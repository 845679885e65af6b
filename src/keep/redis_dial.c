/* SPDX-License-Identifier: MIT */
/* Makes connections to Redis: numeric addresses directly, names through libevent's resolver. */
#include "keep/redis_dial.h"

#include "base/clock.h"
#include "keep/redis_master.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* What the resolver calls back with. It outlives a freed dial until the resolver has let go of it. */
struct lookup {
    struct redis_dial *dial; /* NULL: nobody waits any more */
};

struct redis_dial {
    struct event_base *base;
    struct redis_access *access; /* NULL: no TLS */
    redis_dialed *callback;
    void *argument;
    struct redis_master *master; /* where to; NULL: told at each start */
    struct redis_place place;    /* what it said at the last attempt; port 0: nothing */
    bool dialing;
    struct redis_endpoint to;
    int64_t deadline;
    struct evdns_base *resolver; /* made for the first name to be looked up, and anew after a failure */
    bool resolver_failed;
    struct lookup *lookup;             /* under way; one that outlasts its attempt serves the next */
    struct evutil_addrinfo *addresses; /* of this attempt */
    struct evutil_addrinfo *next;      /* the first of them that was not tried yet */
    int fd;                            /* connecting, or -1 */
    struct tls *tls;                   /* shaking hands, or NULL */
    int64_t address_deadline;          /* of the address that is being tried */
    struct event *waiting;             /* for the socket */
    struct error failure;              /* of the last address tried */
};

unsigned redis_retry_wait(unsigned *retry)
{
    const unsigned wait = *retry * 3 / 4 + randombytes_uniform(*retry / 2 + 1);
    *retry = *retry * 2 > REDIS_RETRY_MAX ? REDIS_RETRY_MAX : *retry * 2;
    return wait;
}

/* A Redis without TLS waits for the end of what it takes for a command. */
#define NO_HANDSHAKE "no answer to the TLS handshake (does this port speak TLS?)"

static void address_next(struct redis_dial *dial);

struct redis_endpoint redis_endpoint_of(const struct config_redis *config)
{
    if (config->kind == CONFIG_REDIS_TCP)
        return (struct redis_endpoint){.host = config->host, .port = config->port};
    return (struct redis_endpoint){.path = config->path};
}

struct redis_dial *redis_dial_new(struct event_base *base, struct redis_access *access, struct redis_master *master,
                                  redis_dialed *callback, void *argument)
{
    struct redis_dial *dial = calloc(1, sizeof *dial);
    if (dial == NULL)
        return NULL;
    dial->base = base;
    dial->access = access;
    dial->master = master;
    dial->callback = callback;
    dial->argument = argument;
    dial->fd = -1;
    return dial;
}

static void socket_close(struct redis_dial *dial)
{
    if (dial->waiting != NULL)
        event_free(dial->waiting);
    dial->waiting = NULL;
    tls_free(&dial->tls);
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
}

void redis_dial_stop(struct redis_dial *dial)
{
    dial->dialing = false;
    socket_close(dial);
    if (dial->addresses != NULL)
        evutil_freeaddrinfo(dial->addresses);
    dial->addresses = dial->next = NULL;
}

void redis_dial_free(struct redis_dial **dial)
{
    if (*dial == NULL)
        return;
    redis_dial_stop(*dial);
    if ((*dial)->lookup != NULL)
        (*dial)->lookup->dial = NULL;
    if ((*dial)->resolver != NULL)
        evdns_base_free((*dial)->resolver, 1);
    free(*dial);
    *dial = NULL;
}

static void finish(struct redis_dial *dial)
{
    const int fd = dial->fd;
    struct tls *tls = dial->tls;
    dial->fd = -1;
    dial->tls = NULL;
    redis_dial_stop(dial);
    dial->callback(dial->argument, fd, tls, NULL);
}

static void give_up(struct redis_dial *dial, const char *failure)
{
    redis_dial_stop(dial);
    dial->callback(dial->argument, -1, NULL, failure);
}

/* A connection to a machine that is gone shows within half a minute, also when nothing is asked. */
static void socket_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 15},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

static void address_failed(struct redis_dial *dial, const char *failure)
{
    error_set(&dial->failure, "%s", failure);
    socket_close(dial);
    address_next(dial);
}

/* Waits for the socket no longer than until this address' share of the time is over. Returns 0, or an errno. */
static int socket_await(struct redis_dial *dial, short events, event_callback_fn callback)
{
    int64_t left = (dial->address_deadline - clock_boot()) / 1000;
    if (left < 1000)
        left = 1000;
    const struct timeval timeout = {left / 1000000, left % 1000000};
    if (dial->waiting != NULL)
        event_free(dial->waiting);
    dial->waiting = event_new(dial->base, dial->fd, events, callback, dial);
    return dial->waiting != NULL && event_add(dial->waiting, &timeout) == 0 ? 0 : ENOMEM;
}

static void handshake_go_on(struct redis_dial *dial);

static void on_handshake(evutil_socket_t fd, short events, void *argument)
{
    struct redis_dial *dial = argument;
    (void)fd;
    if ((events & EV_TIMEOUT) != 0)
        address_failed(dial, NO_HANDSHAKE);
    else
        handshake_go_on(dial);
}

static void handshake_go_on(struct redis_dial *dial)
{
    int error = 0;
    switch (tls_handshake(dial->tls)) {
    case TLS_DONE: finish(dial); return;
    case TLS_READ: error = socket_await(dial, EV_READ, on_handshake); break;
    case TLS_WRITE: error = socket_await(dial, EV_WRITE, on_handshake); break;
    case TLS_FAILED: address_failed(dial, tls_failure(dial->tls)); return;
    }
    if (error != 0)
        address_failed(dial, strerror(error));
}

static void handshake_start(struct redis_dial *dial)
{
    dial->tls = tls_new(redis_access_tls(dial->access), dial->fd, dial->to.host);
    if (dial->tls != NULL)
        handshake_go_on(dial);
    else
        address_failed(dial, strerror(ENOMEM));
}

static void on_connecting(evutil_socket_t fd, short events, void *argument)
{
    struct redis_dial *dial = argument;
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;
    if ((events & EV_WRITE) != 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error != 0)
        address_failed(dial, strerror(error));
    else if (dial->to.path == NULL && dial->access != NULL && redis_access_tls(dial->access) != NULL)
        handshake_start(dial);
    else
        finish(dial);
}

/* Returns 0 when the connection is made or under way, else an errno. */
static int socket_connect(struct redis_dial *dial, const struct sockaddr *address, socklen_t size,
                          unsigned addresses_left)
{
    const int64_t now = clock_boot();
    dial->address_deadline = now + (dial->deadline - now) / addresses_left;
    dial->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0)
        return errno;
    if (address->sa_family != AF_UNIX)
        socket_options(dial->fd);
    int error = connect(dial->fd, address, size) == 0 ? 0 : errno;
    /* Also when it is made at once: the loop says so. */
    if (error == 0 || error == EINPROGRESS)
        error = socket_await(dial, EV_WRITE, on_connecting);
    if (error != 0)
        socket_close(dial);
    return error;
}

static void address_next(struct redis_dial *dial)
{
    while (dial->next != NULL) {
        struct evutil_addrinfo *address = dial->next;
        unsigned left = 0;
        for (struct evutil_addrinfo *a = address; a != NULL; a = a->ai_next)
            left++;
        dial->next = address->ai_next;
        int error = socket_connect(dial, address->ai_addr, (socklen_t)address->ai_addrlen, left);
        if (error == 0)
            return;
        error_set(&dial->failure, "%s", strerror(error));
    }
    const struct error failure = dial->failure;
    give_up(dial, failure.text);
}

static void on_looked_up(int result, struct evutil_addrinfo *addresses, void *argument)
{
    struct lookup *lookup = argument;
    struct redis_dial *dial = lookup->dial;
    free(lookup);
    if (dial != NULL) {
        dial->lookup = NULL;
        dial->resolver_failed = result != 0;
    }
    if (dial == NULL || !dial->dialing) {
        if (addresses != NULL)
            evutil_freeaddrinfo(addresses);
        return;
    }
    if (result != 0 || addresses == NULL) {
        give_up(dial, result != 0 ? evutil_gai_strerror(result) : "the name has no address");
        return;
    }
    dial->addresses = dial->next = addresses;
    address_next(dial);
}

/* Without a resolv.conf there is still the hosts file, and without that "localhost". */
static struct evdns_base *resolver_new(struct event_base *base)
{
    struct evdns_base *resolver = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (resolver != NULL)
        (void)evdns_base_resolv_conf_parse(resolver, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    return resolver;
}

/* A machine may get its nameservers after we have started, and change them. */
static void resolver_renew(struct redis_dial *dial)
{
    if (dial->resolver != NULL && dial->resolver_failed) {
        evdns_base_free(dial->resolver, 1); /* it may still have a look-up of a former place */
        dial->resolver = NULL;
    }
    if (dial->resolver == NULL)
        dial->resolver = resolver_new(dial->base);
    dial->resolver_failed = false;
}

static void name_look_up(struct redis_dial *dial, const char *port, const struct evutil_addrinfo *hints)
{
    if (dial->lookup != NULL)
        return;
    resolver_renew(dial);
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (dial->resolver == NULL || lookup == NULL) {
        free(lookup);
        give_up(dial, strerror(ENOMEM));
        return;
    }
    lookup->dial = dial;
    dial->lookup = lookup;
    (void)evdns_getaddrinfo(dial->resolver, dial->to.host, port, hints, on_looked_up, lookup);
}

static void tcp_start(struct redis_dial *dial)
{
    char port[8];
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_protocol = IPPROTO_TCP,
        .ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV,
    };
    snprintf(port, sizeof port, "%u", (unsigned)dial->to.port);
    if (evutil_getaddrinfo(dial->to.host, port, &hints, &dial->addresses) == 0) {
        dial->next = dial->addresses;
        address_next(dial);
        return;
    }
    dial->addresses = NULL;
    hints.ai_flags = EVUTIL_AI_NUMERICSERV;
    name_look_up(dial, port, &hints);
}

static void unix_start(struct redis_dial *dial)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(dial->to.path) >= sizeof address.sun_path) {
        give_up(dial, "the socket's path is too long");
        return;
    }
    memcpy(address.sun_path, dial->to.path, strlen(dial->to.path));
    int error = socket_connect(dial, (const struct sockaddr *)&address, sizeof address, 1);
    if (error != 0)
        give_up(dial, strerror(error));
}

static void attempt_start(struct redis_dial *dial, const struct redis_endpoint *to)
{
    dial->to = *to;
    error_set(&dial->failure, "no address");
    if (dial->access != NULL)
        redis_access_renew(dial->access);
    if (to->path == NULL)
        tcp_start(dial);
    else
        unix_start(dial);
}

bool redis_dial_outdated(const struct redis_dial *dial)
{
    struct redis_place now;
    return dial->master != NULL && redis_master_place(dial->master, &now) &&
           (now.port != dial->place.port || strcmp(now.host, dial->place.host) != 0);
}

/* Starts where the master is said to be, or waits until that is said. */
static void attempt_follow(struct redis_dial *dial)
{
    struct redis_place place;
    const bool named = redis_master_place(dial->master, &place);
    if (redis_dial_outdated(dial) && dial->lookup != NULL) { /* its answer has the port in it */
        dial->lookup->dial = NULL;
        dial->lookup = NULL;
    }
    dial->place = named ? place : (struct redis_place){.port = 0};
    const struct redis_endpoint to = {.host = dial->place.host, .port = dial->place.port};
    if (named)
        attempt_start(dial, &to);
}

void redis_dial_start(struct redis_dial *dial, const struct redis_endpoint *to, int64_t deadline)
{
    dial->dialing = true;
    dial->deadline = deadline;
    if (dial->master != NULL)
        attempt_follow(dial);
    else
        attempt_start(dial, to);
}

void redis_dial_named(struct redis_dial *dial)
{
    if (!dial->dialing || !redis_dial_outdated(dial))
        return;
    redis_dial_stop(dial);
    redis_dial_start(dial, NULL, dial->deadline);
}

const char *redis_dial_lacks(const struct redis_dial *dial)
{
    if (dial->master != NULL && dial->place.port == 0)
        return redis_master_lacks(dial->master);
    return dial->tls != NULL ? NO_HANDSHAKE : "no connection";
}
