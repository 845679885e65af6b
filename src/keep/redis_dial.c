/* SPDX-License-Identifier: MIT */
/* Makes sockets connected to the configured Redis: numeric addresses directly, names through libevent's resolver. */
#include "keep/redis_dial.h"

#include "base/clock.h"

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
    const struct config_redis *config;
    redis_dialed *callback;
    void *argument;
    bool dialing;
    int64_t deadline;
    struct evdns_base *resolver; /* made for the first name to be looked up, and anew after a failure */
    bool resolver_failed;
    struct lookup *lookup;             /* under way; one that outlasts its attempt serves the next */
    struct evutil_addrinfo *addresses; /* of this attempt */
    struct evutil_addrinfo *next;      /* the first of them that was not tried yet */
    int fd;                            /* connecting, or -1 */
    struct event *connecting;
    const char *failure; /* of the last address tried */
};

unsigned redis_retry_wait(unsigned *retry)
{
    const unsigned wait = *retry * 3 / 4 + randombytes_uniform(*retry / 2 + 1);
    *retry = *retry * 2 > REDIS_RETRY_MAX ? REDIS_RETRY_MAX : *retry * 2;
    return wait;
}

static void address_next(struct redis_dial *dial);

struct redis_dial *redis_dial_new(struct event_base *base, const struct config_redis *config, redis_dialed *callback,
                                  void *argument)
{
    struct redis_dial *dial = calloc(1, sizeof *dial);
    if (dial == NULL)
        return NULL;
    dial->base = base;
    dial->config = config;
    dial->callback = callback;
    dial->argument = argument;
    dial->fd = -1;
    return dial;
}

void redis_dial_stop(struct redis_dial *dial)
{
    dial->dialing = false;
    if (dial->connecting != NULL)
        event_free(dial->connecting);
    dial->connecting = NULL;
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
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

static void finish(struct redis_dial *dial, int fd, const char *failure)
{
    dial->fd = -1;
    redis_dial_stop(dial);
    dial->callback(dial->argument, fd, failure);
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

static void address_failed(struct redis_dial *dial, int error)
{
    event_free(dial->connecting);
    dial->connecting = NULL;
    close(dial->fd);
    dial->fd = -1;
    dial->failure = strerror(error);
    address_next(dial);
}

static void on_connecting(evutil_socket_t fd, short events, void *argument)
{
    struct redis_dial *dial = argument;
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;
    if ((events & EV_WRITE) != 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error != 0)
        address_failed(dial, error);
    else
        finish(dial, fd, NULL);
}

/* Waits for the connection no longer than this address' share of the time. */
static int connection_await(struct redis_dial *dial, unsigned addresses_left)
{
    int64_t share = (dial->deadline - clock_boot()) / addresses_left / 1000;
    if (share < 1000)
        share = 1000;
    struct timeval timeout = {share / 1000000, share % 1000000};
    dial->connecting = event_new(dial->base, dial->fd, EV_WRITE, on_connecting, dial);
    if (dial->connecting == NULL || event_add(dial->connecting, &timeout) < 0)
        return ENOMEM;
    return 0;
}

/* Returns 0 when the connection is made or under way, else an errno. */
static int socket_connect(struct redis_dial *dial, const struct sockaddr *address, socklen_t size,
                          unsigned addresses_left)
{
    dial->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0)
        return errno;
    if (address->sa_family != AF_UNIX)
        socket_options(dial->fd);
    int error = connect(dial->fd, address, size) == 0 ? 0 : errno;
    /* Also when it is made at once: the loop says so. */
    if (error == 0 || error == EINPROGRESS)
        error = connection_await(dial, addresses_left);
    if (error == 0)
        return 0;
    if (dial->connecting != NULL)
        event_free(dial->connecting);
    dial->connecting = NULL;
    close(dial->fd);
    dial->fd = -1;
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
        dial->failure = strerror(error);
    }
    finish(dial, -1, dial->failure);
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
        finish(dial, -1, result != 0 ? evutil_gai_strerror(result) : "the name has no address");
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
        evdns_base_free(dial->resolver, 0);
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
        finish(dial, -1, strerror(ENOMEM));
        return;
    }
    lookup->dial = dial;
    dial->lookup = lookup;
    (void)evdns_getaddrinfo(dial->resolver, dial->config->host, port, hints, on_looked_up, lookup);
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
    snprintf(port, sizeof port, "%u", (unsigned)dial->config->port);
    if (evutil_getaddrinfo(dial->config->host, port, &hints, &dial->addresses) == 0) {
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
    if (strlen(dial->config->path) >= sizeof address.sun_path) {
        finish(dial, -1, "the socket's path is too long");
        return;
    }
    memcpy(address.sun_path, dial->config->path, strlen(dial->config->path));
    int error = socket_connect(dial, (const struct sockaddr *)&address, sizeof address, 1);
    if (error != 0)
        finish(dial, -1, strerror(error));
}

void redis_dial_start(struct redis_dial *dial, int64_t deadline)
{
    dial->dialing = true;
    dial->deadline = deadline;
    dial->failure = "no address";
    if (dial->config->kind == CONFIG_REDIS_TCP)
        tcp_start(dial);
    else
        unix_start(dial);
}
