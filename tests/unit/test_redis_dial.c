/* SPDX-License-Identifier: MIT */
/* Sockets connected to Redis: by address, by name and by path, and all the ways it does not work. */
#include "keep/redis_dial.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct event_base *base;
    struct redis_endpoint to;
    struct redis_dial *dial;
    unsigned called;
    int fd;
    char failure[64];
};

static void on_dialed(void *argument, int fd, struct tls *tls, const char *failure)
{
    struct world *world = argument;
    world->called++;
    world->fd = fd;
    assert_int_equal(fd < 0, failure != NULL);
    assert_null(tls);
    snprintf(world->failure, sizeof world->failure, "%s", failure == NULL ? "" : failure);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->base = event_base_new();
    world->fd = -1;
    world->dial = redis_dial_new(world->base, NULL, NULL, on_dialed, world);
    assert_non_null(world->dial);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    redis_dial_free(&world->dial);
    assert_null(world->dial);
    redis_dial_free(&world->dial);
    event_base_loop(world->base, EVLOOP_NONBLOCK);
    event_base_free(world->base);
    free(world);
    return 0;
}

/* Dials `host`, or the path when that is NULL, until the callback came or `seconds` are over. */
static void dial(struct world *world, const char *host, double seconds)
{
    world->to.host = host;
    int64_t end = clock_boot() + clock_from_seconds(seconds);
    world->called = 0;
    redis_dial_start(world->dial, &world->to, end);
    while (world->called == 0 && clock_boot() < end + 20 * CLOCK_SECOND) {
        event_base_loop(world->base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

/* A listener on a free port of a loopback address; -1 when there is no such address here. */
static int listen_on(int family, uint16_t *port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, address, size) < 0 || listen(fd, 0) < 0) {
        close(fd);
        return -1;
    }
    getsockname(fd, address, &size);
    *port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
    return fd;
}

static void dials_addresses_and_names(void **state)
{
    static const struct {
        int family;
        const char *host;
    } cases[] = {{AF_INET, "127.0.0.1"}, {AF_INET, "localhost"}, {AF_INET6, "::1"}};
    struct world *world = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int listener = listen_on(cases[i].family, &world->to.port), no_delay = 0, keep_alive = 0;
        socklen_t size = sizeof(int);
        if (listener < 0)
            continue;
        dial(world, cases[i].host, 1);
        assert_int_equal(world->called, 1);
        assert_true(world->fd >= 0);
        assert_true((fcntl(world->fd, F_GETFD) & FD_CLOEXEC) != 0);
        assert_true((fcntl(world->fd, F_GETFL) & O_NONBLOCK) != 0);
        getsockopt(world->fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
        getsockopt(world->fd, SOL_SOCKET, SO_KEEPALIVE, &keep_alive, &size);
        assert_true(no_delay != 0 && keep_alive != 0);
        close(world->fd);
        close(listener);
    }
}

static void says_why_not(void **state)
{
    struct world *world = *state;
    static char long_path[200], missing[] = "/nonexistent/redis.sock";
    int listener = listen_on(AF_INET, &world->to.port);
    close(listener);
    dial(world, "127.0.0.1", 1);
    assert_int_equal(world->called, 1);
    assert_string_equal(world->failure, "Connection refused");
    dial(world, "localhost", 1);
    assert_string_equal(world->failure, "Connection refused");
    world->to.path = missing;
    dial(world, NULL, 1);
    assert_string_equal(world->failure, "No such file or directory");
    memset(long_path, 'x', sizeof long_path - 1);
    world->to.path = long_path;
    dial(world, NULL, 1);
    assert_string_equal(world->failure, "the socket's path is too long");
    assert_int_equal(world->called, 1);
}

/* A listener whose queue is full drops what comes: nobody answers. */
static void gives_up_when_nobody_answers(void **state)
{
    struct world *world = *state;
    int listener = listen_on(AF_INET, &world->to.port), fillers[3];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(world->to.port)};
    for (size_t i = 0; i < 3; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    int64_t before = clock_boot();
    dial(world, "127.0.0.1", 0.2);
    int64_t took = clock_boot() - before;
    if (world->fd >= 0) {
        close(world->fd);
        print_message("this kernel queues more than it was asked to\n");
    } else {
        assert_int_equal(world->called, 1);
        assert_string_equal(world->failure, "Connection timed out");
        assert_in_range(took, CLOCK_SECOND / 10, 20 * CLOCK_SECOND);
    }
    for (size_t i = 0; i < 3; i++)
        close(fillers[i]);
    close(listener);
}

static void stops(void **state)
{
    struct world *world = *state;
    int listener = listen_on(AF_INET, &world->to.port);
    world->to.host = "127.0.0.1";
    redis_dial_start(world->dial, &world->to, clock_boot() + CLOCK_SECOND);
    redis_dial_stop(world->dial);
    redis_dial_stop(world->dial);
    for (unsigned i = 0; i < 20; i++) {
        event_base_loop(world->base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    assert_int_equal(world->called, 0);
    close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dials_addresses_and_names),
        TEST(says_why_not),
        TEST(gives_up_when_nobody_answers),
        TEST(stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
