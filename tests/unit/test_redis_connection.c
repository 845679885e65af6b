/* SPDX-License-Identifier: MIT */
/* A connection to Redis over TLS, where the socket and what TLS holds of it are not always of one mind. What there is
 * without TLS is in the tests of the link. */
#include "keep/redis_connection.h"

#include "certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct event_base *base;
    struct tls_context *context;
    struct config_tls config;
    char ca_file[32];
    struct redis_connection connection;
    SSL_CTX *server_context;
    SSL *server;
    int fd; /* the server's */
    size_t pushed, sent;
    char failure[128];
};

static bool on_may_change(void *argument)
{
    (void)argument;
    return true;
}

static void on_sent(void *argument, struct redis_command *command, int64_t now)
{
    struct world *world = argument;
    (void)command, (void)now;
    world->sent++;
}

static void on_pushed(void *argument, const redisReply *reply)
{
    struct world *world = argument;
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    world->pushed++;
}

static void on_failed(void *argument, const char *reason)
{
    struct world *world = argument;
    redis_connection_close(&world->connection);
    snprintf(world->failure, sizeof world->failure, "%s", reason);
}

static void on_event_done(void *argument)
{
    (void)argument;
}

static const struct redis_connection_owner owner = {
    .may_change = on_may_change,
    .sent = on_sent,
    .pushed = on_pushed,
    .failed = on_failed,
    .event_done = on_event_done,
};

static void turn(struct world *world)
{
    event_base_loop(world->base, EVLOOP_NONBLOCK);
}

static void shake_hands(struct world *world, struct tls *tls)
{
    bool ours = false, theirs = false;
    for (unsigned i = 0; i < 50 && !(ours && theirs); i++) {
        ours = ours || tls_handshake(tls) == TLS_DONE;
        theirs = theirs || SSL_do_handshake(world->server) == 1;
        ERR_clear_error();
    }
    assert_true(ours && theirs);
}

/* `buffer`: what the sockets are to hold of what was sent, in bytes. */
static void connect_both(struct world *world, int buffer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    world->fd = fds[1];
    world->server = SSL_new(world->server_context);
    SSL_set_fd(world->server, fds[1]);
    SSL_set_accept_state(world->server);
    struct tls *tls = tls_new(world->context, fds[0], "localhost");
    assert_non_null(tls);
    shake_hands(world, tls);
    for (size_t i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    assert_int_equal(redis_connection_open(&world->connection, fds[0], tls), 0);
}

static void disconnect_both(struct world *world)
{
    redis_connection_close(&world->connection);
    SSL_free(world->server);
    close(world->fd);
    world->server = NULL;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct error error;
    assert_non_null(world);
    signal(SIGPIPE, SIG_IGN);
    struct identity identity = identity_new(NULL, "DNS:localhost", -DAY, DAY);
    strcpy(world->ca_file, "/tmp/test-connection-XXXXXX");
    close(mkstemp(world->ca_file));
    certificate_write(world->ca_file, identity.certificate);
    world->config.ca = world->ca_file;
    world->context = tls_context_new(&world->config, &error);
    world->server_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(world->server_context, identity.certificate);
    SSL_CTX_use_PrivateKey(world->server_context, identity.key);
    SSL_CTX_set_num_tickets(world->server_context, 0);
    identity_free(&identity);
    world->base = event_base_new();
    assert_non_null(world->context);
    assert_int_equal(redis_connection_init(&world->connection, world->base, &owner, world), 0);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    redis_connection_destroy(&world->connection);
    tls_context_free(&world->context);
    SSL_CTX_free(world->server_context);
    event_base_free(world->base);
    unlink(world->ca_file);
    free(world);
    return 0;
}

/* The last of what was sent waits in TLS, behind a socket that is full, and nothing else is sent that would push it. */
static void sends_what_tls_holds_back(void **state)
{
    enum { SIZE = 15000 };
    struct world *world = *state;
    static char value[SIZE], heard[4 * SIZE];
    connect_both(world, 1);
    struct redis_command *command = redis_command_new(NULL, NULL, REDIS_READ);
    memset(value, 'v', sizeof value);
    redis_command_format(command, 2, (const char *const[]){"ECHO", value}, (const size_t[]){4, sizeof value});
    const size_t all = command->size;
    redis_connection_send(&world->connection, command);
    for (unsigned i = 0; i < 5; i++)
        turn(world);
    assert_int_equal(world->sent, 1);
    assert_true(tls_has_output(world->connection.tls));
    size_t got = 0, n = 0;
    for (unsigned i = 0; i < 200 && got < all; i++) {
        if (SSL_read_ex(world->server, heard + got, sizeof heard - got, &n) == 1)
            got += n;
        ERR_clear_error();
        turn(world);
    }
    assert_int_equal(got, all);
    assert_memory_equal(heard + got - 100, value, 90);
    assert_false(tls_has_output(world->connection.tls));
    disconnect_both(world);
}

/* An answer in many records, more than one event reads, and nothing behind it. */
static void reads_all_records(void **state)
{
    enum { REPLIES = 100000 };
    static char text[4096];
    struct world *world = *state;
    size_t wrote = 0, all = 0;
    for (size_t i = 0; i < sizeof text; i += 4)
        memcpy(text + i, ":1\r\n", 4);
    connect_both(world, 65536);
    for (size_t each = 4; all < 4 * REPLIES; each = each * 3 % sizeof text / 4 * 4 + 4) {
        const size_t size = 4 * REPLIES - all < each ? 4 * REPLIES - all : each;
        assert_int_equal(SSL_write_ex(world->server, text, size, &wrote), 1);
        all += wrote;
        turn(world);
    }
    for (unsigned i = 0; i < 20; i++)
        turn(world);
    assert_string_equal(world->failure, "");
    assert_int_equal(world->pushed, REPLIES);
    disconnect_both(world);
}

/* The reason outlives the connection that it is about. */
static void says_why_it_failed(void **state)
{
    struct world *world = *state;
    connect_both(world, 65536);
    assert_int_equal(write(world->fd, "\x17\x03\x03\x00\x20................................", 37), 37);
    turn(world);
    assert_int_equal(world->connection.fd, -1);
    assert_int_equal(strncmp(world->failure, "TLS failed: ", 12), 0);
    disconnect_both(world);
    connect_both(world, 65536);
    shutdown(world->fd, SHUT_WR);
    turn(world);
    assert_string_equal(world->failure, "Redis closed the connection");
    disconnect_both(world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sends_what_tls_holds_back),
        TEST(reads_all_records),
        TEST(says_why_it_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
