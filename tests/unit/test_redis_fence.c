/* SPDX-License-Identifier: MIT */
/* The fence between workers: what one lost on its way to Redis is ended before another sends a change. The first
 * worker's connections go through a relay that can hold back what was sent on one and refuse to make another. */
#include "link_fixture.h"
#include "redis_server.h"

#include "keep/redis_fence.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct relay {
    struct event_base *base;
    char path[104];
    const char *target;
    bool refusing;
    bool holding;
    int listening, client, server;
    struct event *on_listening, *on_client, *on_server;
    char held[4096];
    size_t n_held;
};

struct world {
    struct redis_server server;
    struct relay relay;
    struct link_fixture a; /* slot 0, through the relay */
    struct link_fixture b; /* slot 1 of the same memory */
    redisContext *beside;
};

/* The relay */

static void relay_send(int fd, const char *bytes, size_t size)
{
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
}

static void from_client(evutil_socket_t fd, short events, void *argument)
{
    struct relay *relay = argument;
    (void)events;
    ssize_t n = recv(fd, relay->held + relay->n_held, sizeof relay->held - relay->n_held, 0);
    if (n <= 0) {
        event_del(relay->on_client); /* what is held stays on its way */
    } else if (relay->holding) {
        relay->n_held += (size_t)n;
    } else {
        relay_send(relay->server, relay->held, (size_t)n);
    }
}

static void from_server(evutil_socket_t fd, short events, void *argument)
{
    struct relay *relay = argument;
    char bytes[4096];
    (void)events;
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0)
        event_del(relay->on_server);
    else
        relay_send(relay->client, bytes, (size_t)n);
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    strcpy(address.sun_path, path);
    return address;
}

static struct event *when_readable(struct relay *relay, int fd, event_callback_fn callback)
{
    struct event *event = event_new(relay->base, fd, EV_READ | EV_PERSIST, callback, relay);
    assert_non_null(event);
    event_add(event, NULL);
    return event;
}

static void on_connection(evutil_socket_t fd, short events, void *argument)
{
    struct relay *relay = argument;
    struct sockaddr_un address = address_of(relay->target);
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    (void)events;
    if (relay->refusing) {
        close(client);
        return;
    }
    assert_int_equal(relay->client, -1);
    relay->client = client;
    relay->server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(relay->server, (struct sockaddr *)&address, sizeof address), 0);
    relay->on_client = when_readable(relay, client, from_client);
    relay->on_server = when_readable(relay, relay->server, from_server);
}

static void relay_start(struct relay *relay, struct event_base *base, const struct redis_server *server)
{
    *relay = (struct relay){.base = base, .target = server->path, .client = -1, .server = -1};
    snprintf(relay->path, sizeof relay->path, "%s/relay", server->directory);
    struct sockaddr_un address = address_of(relay->path);
    relay->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(relay->listening, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(relay->listening, 16), 0);
    relay->on_listening = when_readable(relay, relay->listening, on_connection);
}

static void relay_release(struct relay *relay)
{
    assert_true(relay->n_held > 0);
    relay_send(relay->server, relay->held, relay->n_held);
}

static void relay_stop(struct relay *relay)
{
    struct event *const events[] = {relay->on_listening, relay->on_client, relay->on_server};
    const int sockets[] = {relay->listening, relay->client, relay->server};
    for (size_t i = 0; i < 3; i++) {
        if (events[i] != NULL)
            event_free(events[i]);
        if (sockets[i] >= 0)
            close(sockets[i]);
    }
}

/* The world */

static int set_up(void **state)
{
    static struct world world;
    redis_server_create(&world.server);
    redis_server_start(&world.server);
    world.beside = redis_server_connect(&world.server);
    fixture_init(&world.a);
    fixture_init(&world.b);
    fixture_join(&world.b, &world.a, 1);
    relay_start(&world.relay, world.a.base, &world.server);
    fixture_use_unix(&world.a, world.relay.path);
    fixture_use_unix(&world.b, world.server.path);
    fixture_link(&world.b);
    fixture_wait_up(&world.b);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    relay_stop(&world->relay);
    fixture_destroy(&world->b);
    fixture_destroy(&world->a);
    redisFree(world->beside);
    redis_server_remove(&world->server);
    return 0;
}

/* Asks Redis beside the links; returns the integer or, for text, whether it is `text`. */
static long long beside(redisContext *context, const char *text, const char *command)
{
    redisReply *reply = redisCommand(context, command);
    assert_non_null(reply);
    long long value = text == NULL ? reply->integer : reply->str != NULL && strcmp(reply->str, text) == 0;
    freeReplyObject(reply);
    return value;
}

/* A's SET is held behind the relay, with the connection that it was sent on. */
static unsigned hold_a_change(struct world *world)
{
    fixture_link(&world->a);
    fixture_wait_up(&world->a);
    world->relay.holding = world->relay.refusing = true;
    unsigned held = fixture_ask(&world->a, REDIS_CHANGE, "SET", "a", "held", NULL);
    fixture_turn(&world->a, 20);
    return held;
}

/* B's DEL is answered, then what was held goes on: it must not be applied any more. */
static void delete_and_release(struct world *world)
{
    unsigned deleted = fixture_ask(&world->b, REDIS_CHANGE, "DEL", "a", NULL);
    assert_true(fixture_wait(&world->b, 1000));
    assert_string_equal(world->b.answers[deleted].text, "0");
    assert_int_equal(atomic_load(&world->a.slot->redis_unfenced), 0);
    relay_release(&world->relay);
    usleep(50000);
    assert_int_equal(beside(world->beside, NULL, "EXISTS a"), 0);
    assert_int_equal(fixture_metric(&world->b, METRIC_REDIS_LOST), 0);
}

static void ends_what_another_worker_lost(void **state)
{
    struct world *world = *state;
    unsigned held = hold_a_change(world);
    uint64_t id = atomic_load(&world->a.slot->redis_client);
    assert_true(fixture_wait(&world->a, 2000));
    assert_int_equal(world->a.answers[held].outcome, REDIS_UNCERTAIN);
    assert_int_equal(atomic_load(&world->a.slot->redis_unfenced), id);
    delete_and_release(world);
}

/* The master has reset its slot. That the process is gone makes no difference to what is on its way. */
static void ends_what_a_killed_worker_left(void **state)
{
    struct world *world = *state;
    hold_a_change(world);
    shared_slot_reset(world->a.slot);
    delete_and_release(world);
}

/* A worker that is killed: whoever sees its sockets close, as its clients do, has the fence before any change. */
static void sees_a_death_before_its_sockets_close(void **state)
{
    struct world *world = *state;
    char byte;
    for (unsigned i = 0; i < 200; i++) {
        int pair[2], status;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(pair[0]);
            shared_slot_own(world->a.slot);
            atomic_store(&world->a.slot->redis_client, 1000 + i);
            relay_send(pair[1], "x", 1);
            for (;;)
                pause();
        }
        close(pair[1]);
        struct redis_fence fence = {.id = 0};
        assert_int_equal(recv(pair[0], &byte, 1, 0), 1);
        assert_false(redis_fence_find(world->a.shared, &fence));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(recv(pair[0], &byte, 1, 0), 0);
        bool found = redis_fence_find(world->a.shared, &fence);
        assert_int_equal(waitpid(child, &status, 0), child);
        close(pair[0]);
        assert_true(found);
        assert_int_equal(fence.id, 1000 + i);
        redis_fence_made(world->a.shared, &fence);
        shared_slot_reset(world->a.slot);
        assert_false(redis_fence_find(world->a.shared, &fence));
    }
}

static void ends_what_a_worker_left_when_it_stopped(void **state)
{
    struct world *world = *state;
    hold_a_change(world);
    redis_link_free(&world->a.link);
    delete_and_release(world);
}

/* A connection of that name, whose id is in that slot as lost. */
static redisContext *plant(struct world *world, unsigned slot, const char *name)
{
    redisContext *context = redis_server_connect(&world->server);
    char command[64];
    snprintf(command, sizeof command, "CLIENT SETNAME %s", name);
    beside(context, NULL, command);
    shared_slot_use(world->a.shared, slot);
    atomic_store(&world->a.shared->slots[slot].redis_unfenced, (uint64_t)beside(context, NULL, "CLIENT ID"));
    return context;
}

/* Frees it, and says whether it was still alive. */
static bool survived(redisContext *context)
{
    char byte;
    bool alive = recv(context->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 0;
    redisFree(context);
    return alive;
}

static void ends_all_and_nobody_else(void **state)
{
    struct world *world = *state;
    redisContext *lost[] = {
        plant(world, 0, "tokenkeep-test-0"),
        plant(world, 3, "tokenkeep-test-3"),
        plant(world, 7, "tokenkeep-test-8"), /* somebody else's, who was given an id of before Redis was started anew */
        plant(world, 9, "tokenkeep-test-9"),
    };
    static const bool survives[] = {false, false, true, false};
    fixture_ask(&world->b, REDIS_CHANGE, "SET", "a", "b", NULL);
    assert_true(fixture_wait(&world->b, 1000));
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(survived(lost[i]), survives[i]);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(atomic_load(&world->a.shared->slots[i].redis_unfenced), 0);
    assert_int_equal(fixture_metric(&world->b, METRIC_REDIS_LOST), 0);
}

static void keeps_the_order(void **state)
{
    struct world *world = *state;
    struct link_fixture *b = &world->b;
    static const char *const expected[] = {"nil", "OK", "one", "6", "onetwo"};
    redisContext *lost = plant(world, 0, "tokenkeep-test-0");
    const unsigned first = b->n, order = b->answered;
    fixture_ask(b, REDIS_READ, "GET", "a", NULL);
    fixture_ask(b, REDIS_CHANGE, "SET", "a", "one", NULL);
    fixture_ask(b, REDIS_READ, "GET", "a", NULL);
    fixture_turn(b, 0);
    fixture_ask(b, REDIS_CHANGE, "APPEND", "a", "two", NULL);
    fixture_ask(b, REDIS_READ, "GET", "a", NULL);
    assert_true(fixture_wait(b, 1000));
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(b->answers[first + i].order, order + i + 1);
        assert_string_equal(b->answers[first + i].text, expected[i]);
    }
    assert_false(survived(lost));
}

/* But those do whose answer decides on changes. */
static void reads_do_not_wait(void **state)
{
    struct world *world = *state;
    redisContext *lost = plant(world, 0, "tokenkeep-test-0");
    fixture_ask(&world->b, REDIS_READ, "GET", "a", NULL);
    assert_true(fixture_wait(&world->b, 1000));
    assert_true(atomic_load(&world->a.slot->redis_unfenced) != 0);
    fixture_ask(&world->b, REDIS_READ_TO_CHANGE, "SCAN", "0", NULL);
    assert_true(fixture_wait(&world->b, 1000));
    assert_int_equal(atomic_load(&world->a.slot->redis_unfenced), 0);
    assert_false(survived(lost));
}

/* While the fence is on its way its owner loses another connection: that one is ended too before the change is sent. */
static void ends_what_is_lost_meanwhile(void **state)
{
    struct world *world = *state;
    redisContext *second = plant(world, 0, "tokenkeep-test-0");
    uint64_t id = atomic_load(&world->a.slot->redis_unfenced);
    redisContext *first = plant(world, 0, "tokenkeep-test-0");
    redis_server_signal(&world->server, SIGSTOP);
    fixture_ask(&world->b, REDIS_CHANGE, "SET", "a", "b", NULL);
    fixture_turn(&world->b, 20);
    atomic_store(&world->a.slot->redis_unfenced, id);
    redis_server_signal(&world->server, SIGCONT);
    assert_true(fixture_wait(&world->b, 1000));
    assert_int_equal(atomic_load(&world->a.slot->redis_unfenced), 0);
    assert_false(survived(first));
    assert_false(survived(second));
}

/* Redis was started anew and counts from the beginning: the new connection has the id of the lost one. */
static void does_not_end_itself(void **state)
{
    struct world *world = *state;
    struct link_fixture *b = &world->b;
    redis_link_free(&b->link);
    redisContext *last = redis_server_connect(&world->server);
    const uint64_t next = (uint64_t)beside(last, NULL, "CLIENT ID") + 1;
    atomic_store(&b->slot->redis_unfenced, next);
    fixture_link(b);
    fixture_wait_up(b);
    fixture_ask(b, REDIS_CHANGE, "SET", "a", "b", NULL);
    assert_true(fixture_wait(b, 1000));
    assert_int_equal(atomic_load(&b->slot->redis_client), next);
    assert_int_equal(atomic_load(&b->slot->redis_unfenced), 0);
    assert_int_equal(fixture_metric(b, METRIC_REDIS_LOST), 0);
    redisFree(last);
}

/* A fence that Redis refuses, or does not answer: no change is sent without it. */
static void sends_nothing_without_the_fence(void **state)
{
    struct world *world = *state;
    struct link_fixture *b = &world->b;
    redisContext *lost = plant(world, 0, "tokenkeep-test-0");
    fixture_log_begin(b);
    beside(world->beside, NULL, "ACL SETUSER default -client|kill");
    unsigned refused = fixture_ask(b, REDIS_CHANGE, "SET", "a", "b", NULL);
    unsigned behind = fixture_ask(b, REDIS_READ, "GET", "a", NULL);
    bool answered = fixture_wait(b, 2000);
    const char *log = fixture_log_end(b);
    assert_true(answered);
    assert_non_null(
        strstr(log, "connection lost: CLIENT KILL was answered with NOPERM: the Redis user \"default\" may not"));
    assert_int_equal(b->answers[refused].outcome, REDIS_UNAVAILABLE);
    assert_int_equal(b->answers[behind].outcome, REDIS_UNAVAILABLE);
    beside(world->beside, NULL, "ACL SETUSER default +@all");
    fixture_wait_up(b);
    assert_true(atomic_load(&world->a.slot->redis_unfenced) != 0);

    redis_server_signal(&world->server, SIGSTOP);
    unsigned silent = fixture_ask(b, REDIS_CHANGE, "SET", "a", "b", NULL);
    answered = fixture_wait(b, 2000);
    redis_server_signal(&world->server, SIGCONT);
    assert_true(answered);
    assert_int_equal(b->answers[silent].outcome, REDIS_UNAVAILABLE);
    assert_int_equal(fixture_metric(b, METRIC_REDIS_TIMEOUTS), 1);
    assert_int_equal(fixture_metric(b, METRIC_REDIS_UNCERTAIN), 0);

    assert_int_equal(beside(world->beside, NULL, "EXISTS a"), 0);
    fixture_wait_up(b);
    fixture_ask(b, REDIS_CHANGE, "SET", "a", "b", NULL);
    assert_true(fixture_wait(b, 1000));
    assert_int_equal(atomic_load(&world->a.slot->redis_unfenced), 0);
    assert_false(survived(lost));
}

/* More than fits into one sending, while the socket takes no more. */
static void ends_it_in_the_middle_of_a_crowd(void **state)
{
    struct world *world = *state;
    struct link_fixture *b = &world->b;
    enum { N = 2000 };
    static char value[4096];
    const char *words[] = {"APPEND", "a", value};
    const size_t sizes[] = {6, 1, sizeof value};
    memset(value, 'x', sizeof value);
    b->config.command_timeout = 5;
    const unsigned first = b->n;
    redis_server_signal(&world->server, SIGSTOP);
    for (unsigned i = 0; i < N / 2; i++)
        fixture_ask_words(b, REDIS_CHANGE, 3, words, sizes);
    fixture_turn(b, 20);
    redis_server_signal(&world->server, SIGCONT);
    redisContext *lost = plant(world, 0, "tokenkeep-test-0");
    for (unsigned i = 0; i < N / 2; i++)
        fixture_ask_words(b, REDIS_CHANGE, 3, words, sizes);
    assert_true(fixture_wait(b, 10000));
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(strtoul(b->answers[first + i].text, NULL, 10), (i + 1) * sizeof value);
    assert_false(survived(lost));
    assert_int_equal(fixture_metric(b, METRIC_REDIS_LOST), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ends_what_another_worker_lost),
        TEST(ends_what_a_killed_worker_left),
        TEST(sees_a_death_before_its_sockets_close),
        TEST(ends_what_a_worker_left_when_it_stopped),
        TEST(ends_all_and_nobody_else),
        TEST(keeps_the_order),
        TEST(reads_do_not_wait),
        TEST(ends_what_is_lost_meanwhile),
        TEST(does_not_end_itself),
        TEST(sends_nothing_without_the_fence),
        TEST(ends_it_in_the_middle_of_a_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
