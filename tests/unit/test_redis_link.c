/* SPDX-License-Identifier: MIT */
/* The link against a real Redis: pipelining, large values, loss, the circuit, and the fence. */
#include "link_fixture.h"
#include "redis_server.h"

#include "base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct redis_server server;
    struct link_fixture fixture;
};

static int set_up(void **state)
{
    static struct world world;
    redis_server_create(&world.server);
    fixture_init(&world.fixture);
    fixture_use_unix(&world.fixture, world.server.path);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    fixture_destroy(&world->fixture);
    redis_server_remove(&world->server);
    return 0;
}

/* Asks beside the link, blocking. */
static long long ask_beside(redisContext *context, const char *command, char *text, size_t size)
{
    redisReply *reply = redisCommand(context, command);
    assert_non_null(reply);
    long long integer = reply->integer;
    if (text != NULL)
        snprintf(text, size, "%s", reply->str == NULL ? "nil" : reply->str);
    freeReplyObject(reply);
    return integer;
}

static void pipelines_in_order(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    enum { N = 10000 };
    char key[32], value[32];
    redis_server_start(&world->server);
    fixture_link(fixture);
    for (unsigned i = 0; i < N / 2; i++) {
        snprintf(key, sizeof key, "key:%u", i);
        snprintf(value, sizeof value, "value-%u", i);
        fixture_ask(fixture, REDIS_CHANGE, "SET", key, value, NULL);
        fixture_ask(fixture, REDIS_READ, "GET", key, NULL);
    }
    assert_int_equal(redis_link_waiting(fixture->link), N);
    assert_true(fixture_wait(fixture, 5000));
    for (unsigned i = 0; i < N; i++) {
        snprintf(value, sizeof value, "value-%u", i / 2);
        assert_int_equal(fixture->answers[i].called, 1);
        assert_int_equal(fixture->answers[i].order, i + 1);
        assert_int_equal(fixture->answers[i].outcome, REDIS_REPLIED);
        assert_string_equal(fixture->answers[i].text, i % 2 == 0 ? "OK" : value);
    }
    assert_true(fixture->batches < N / 20);
    assert_int_equal(redis_link_waiting(fixture->link), 0);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_COMMANDS), N);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_CONNECTED), 1);
}

static void carries_large_and_binary_values(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    enum { N = 40 };
    static char value[REDIS_BULK_MAX + 1];
    const size_t lengths[] = {REDIS_BULK_MAX, REDIS_BULK_MAX + 1, 100000, 0};
    unsigned got[N];
    fixture->config.command_timeout = 5;
    redis_server_start(&world->server);
    fixture_link(fixture);
    for (unsigned i = 0; i < N; i++) {
        const char *set[] = {"SET", "k\0y", value}, *get[] = {"GET", "k\0y"};
        const size_t sizes[] = {3, 3, lengths[i % 4]};
        fixture_ask_words(fixture, REDIS_CHANGE, 3, set, sizes);
        got[i] = fixture_ask_words(fixture, REDIS_READ, 2, get, sizes);
    }
    unsigned both = fixture_ask(fixture, REDIS_READ, "MGET", "none", "k", NULL);
    assert_true(fixture_wait(fixture, 10000));
    for (unsigned i = 0; i < N; i++) {
        const struct answer *answer = &fixture->answers[got[i]];
        if (lengths[i % 4] > REDIS_BULK_MAX)
            assert_string_equal(answer->text, REDIS_TOO_LONG);
        else
            assert_int_equal(answer->size, lengths[i % 4]);
    }
    assert_string_equal(fixture->answers[both].text, "[nil nil]");
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_LOST), 0);
}

static void connects_over_tcp(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    world->server.port = redis_server_free_port();
    redis_server_start(&world->server);
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (size_t i = 0; i < 2; i++) {
        fixture_use_tcp(fixture, hosts[i], world->server.port);
        fixture->config.database = 3;
        fixture_link(fixture);
        unsigned answer = fixture_ask(fixture, REDIS_READ, "CLIENT", "INFO", NULL);
        fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
        assert_true(fixture_wait(fixture, 1000));
        assert_int_equal(fixture->answers[answer].outcome, REDIS_REPLIED);
        redis_link_free(&fixture->link);
    }
    redisContext *beside = redis_server_connect(&world->server);
    assert_int_equal(ask_beside(beside, "DBSIZE", NULL, 0), 0);
    ask_beside(beside, "SELECT 3", NULL, 0);
    assert_int_equal(ask_beside(beside, "DBSIZE", NULL, 0), 1);
    redisFree(beside);
}

static void names_itself_and_logs_in(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    static char keeper[] = "keeper";
    char name[64];
    world->server.options[0] = "--requirepass";
    world->server.options[1] = "sesame";
    redis_server_start(&world->server);
    redisContext *beside = redis_server_connect(&world->server);
    ask_beside(beside, "AUTH sesame", NULL, 0);
    ask_beside(beside, "ACL SETUSER keeper on >open ~* +@all", NULL, 0);
    redisFree(beside);
    for (unsigned i = 0; i < 2; i++) {
        fixture_password(fixture, i == 0 ? "sesame" : "open");
        fixture->config.username = i == 0 ? NULL : keeper;
        fixture_link(fixture);
        unsigned who = fixture_ask(fixture, REDIS_READ, "ACL", "WHOAMI", NULL);
        unsigned named = fixture_ask(fixture, REDIS_READ, "CLIENT", "GETNAME", NULL);
        assert_true(fixture_wait(fixture, 1000));
        assert_string_equal(fixture->answers[who].text, i == 0 ? "default" : "keeper");
        snprintf(name, sizeof name, "%s", fixture->answers[named].text);
        assert_string_equal(name, "tokenkeep-test-0");
        redis_link_free(&fixture->link);
    }
}

static void refuses_at_once_when_it_may_not_in(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    static char keeper[] = "keeper";
    static const struct {
        const char *username, *password, *word;
    } cases[] = {
        {NULL, "wrong-password",
         "AUTH was answered with WRONGPASS: there is no Redis user \"default\" who is on and has"},
        {NULL, NULL, "answered with NOAUTH: the Redis user \"default\" must log in; give redis.password-file"},
        {keeper, "open",
         "CLIENT LIST was answered with NOPERM: the Redis user \"keeper\" may not use it; its ACL must have "
         "+client|list"},
    };
    world->server.options[0] = "--requirepass";
    world->server.options[1] = "sesame";
    redis_server_start(&world->server);
    redisContext *beside = redis_server_connect(&world->server);
    ask_beside(beside, "AUTH sesame", NULL, 0);
    ask_beside(beside, "ACL SETUSER keeper on >open ~* +@all -client|list", NULL, 0);
    redisFree(beside);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_password(fixture, cases[i].password);
        fixture->config.username = (char *)(uintptr_t)cases[i].username;
        fixture_log_begin(fixture);
        fixture_link(fixture);
        unsigned first = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
        bool answered = fixture_wait(fixture, 1000);
        bool open = redis_link_circuit_open(fixture->link);
        int64_t before = clock_boot();
        unsigned second = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
        answered = fixture_wait(fixture, 1000) && answered;
        int64_t took = clock_boot() - before;
        fixture_turn(fixture, 700); /* several more attempts */
        const char *log = fixture_log_end(fixture);
        assert_true(answered && open);
        assert_int_equal(fixture->answers[first].outcome, REDIS_UNAVAILABLE);
        assert_int_equal(fixture->answers[second].outcome, REDIS_UNAVAILABLE);
        assert_true(took < CLOCK_SECOND / 5);
        assert_non_null(strstr(log, cases[i].word));
        assert_int_equal(occurrences(log, "\n"), 1);
        assert_null(strstr(log, "wrong-password"));
        redis_link_free(&fixture->link);
    }
}

/* Redis is away, comes, is killed and comes again: one line for each of these. */
static void opens_and_closes_the_circuit(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    fixture_log_begin(fixture);
    fixture_link(fixture);
    unsigned early = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    bool answered = fixture_wait(fixture, 1000), open = redis_link_circuit_open(fixture->link);
    redis_server_start(&world->server);
    fixture_wait_up(fixture);
    bool closed = !redis_link_circuit_open(fixture->link);
    redis_server_signal(&world->server, SIGKILL);
    fixture_turn(fixture, 200);
    bool open_again = redis_link_circuit_open(fixture->link);
    redis_server_start(&world->server);
    fixture_wait_up(fixture);
    fixture_turn(fixture, 300);
    const char *log = fixture_log_end(fixture);
    assert_true(answered && open && closed && open_again);
    assert_int_equal(fixture->answers[early].outcome, REDIS_UNAVAILABLE);
    assert_int_equal(occurrences(log, " is away: "), 2);
    assert_int_equal(occurrences(log, " is back after "), 2);
    assert_int_equal(occurrences(log, "\n"), 4);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_CONNECTED), 2);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_LOST), 1);
}

/* What is asked on a connection that has just ended is answered by the next: nobody took a byte of it. */
static void commands_survive_a_connection_that_ended(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    enum { N = 100 };
    char command[64];
    redis_server_start(&world->server);
    fixture_link(fixture);
    fixture_wait_up(fixture);
    redisContext *beside = redis_server_connect(&world->server);
    unsigned long long id = atomic_load(&fixture->slot->redis_client);
    snprintf(command, sizeof command, "CLIENT KILL ID %llu", id);
    assert_int_equal(ask_beside(beside, command, NULL, 0), 1);
    unsigned first = fixture->n;
    for (unsigned i = 0; i < N; i++) {
        fixture_ask(fixture, REDIS_CHANGE, "INCR", "a", NULL);
        fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    }
    fixture_log_begin(fixture);
    bool answered = fixture_wait(fixture, 2000);
    const char *log = fixture_log_end(fixture);
    assert_true(answered);
    for (unsigned i = 0; i < 2 * N; i++)
        assert_int_equal(atoi(fixture->answers[first + i].text), i / 2 + 1);
    assert_int_equal(occurrences(log, "connected again after"), 1);
    assert_int_equal(occurrences(log, "\n"), 1);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_LOST), 1);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_UNCERTAIN), 0);
    redisFree(beside);
}

/* The fence. A stopped Redis holds a SET that nobody knows the end of; once it goes on and a DEL is answered, the SET
 * must not be applied any more. */
static void ends_the_connection_that_holds_a_change(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    char text[64];
    redis_server_start(&world->server);
    fixture_link(fixture);
    fixture_wait_up(fixture);
    for (unsigned round = 0; round < 3; round++) {
        uint64_t old = atomic_load(&fixture->slot->redis_client);
        assert_true(old != 0);
        redis_server_signal(&world->server, SIGSTOP);
        unsigned held = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "held", NULL);
        unsigned read = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
        assert_true(fixture_wait(fixture, 3000));
        assert_int_equal(fixture->answers[held].outcome, REDIS_UNCERTAIN);
        assert_int_equal(fixture->answers[held].called, 1);
        assert_int_equal(fixture->answers[read].outcome, REDIS_UNAVAILABLE);
        assert_true(redis_link_circuit_open(fixture->link));
        assert_int_equal(atomic_load(&fixture->slot->redis_unfenced), old);
        assert_int_equal(atomic_load(&fixture->slot->redis_client), 0);
        redis_server_signal(&world->server, SIGCONT);
        fixture_wait_up(fixture);
        unsigned deleted = fixture_ask(fixture, REDIS_CHANGE, "DEL", "a", NULL);
        assert_true(fixture_wait(fixture, 1000));
        assert_int_equal(fixture->answers[deleted].outcome, REDIS_REPLIED);
        assert_true(atomic_load(&fixture->slot->redis_client) != old);
        assert_int_equal(atomic_load(&fixture->slot->redis_unfenced), 0);
        fixture_turn(fixture, 200);
        redisContext *beside = redis_server_connect(&world->server);
        ask_beside(beside, "GET a", text, sizeof text);
        assert_string_equal(text, "nil");
        redisFree(beside);
    }
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_UNCERTAIN), 3);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_TIMEOUTS), 3);
}

/* The same with a Redis that is only slow: what it has not read yet of the old connection would be applied after what
 * was acknowledged on the new one. A SET stands behind slow commands; replies are off, for a reply to a closed socket
 * would end the old connection by itself. */
static void ends_the_connection_before_later_changes(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    enum { SLOW = 40 };
    static char padding[30000];
    const char *slow[] = {"EVAL", "for i = 1, 500000 do end", "0", padding};
    const size_t sizes[] = {4, strlen(slow[1]), 1, sizeof padding};
    char text[64];
    world->server.port = redis_server_free_port();
    redis_server_start(&world->server);
    fixture_use_tcp(fixture, "127.0.0.1", world->server.port);
    fixture->config.connect_timeout = 10;
    fixture_link(fixture);
    fixture_wait_up(fixture);
    redis_server_signal(&world->server, SIGSTOP);
    fixture_ask(fixture, REDIS_CHANGE, "CLIENT", "REPLY", "OFF", NULL);
    for (unsigned i = 0; i < SLOW; i++)
        fixture_ask_words(fixture, REDIS_CHANGE, 4, slow, sizes);
    unsigned held = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "held", NULL);
    while (fixture_metric(fixture, METRIC_REDIS_LOST) == 0)
        fixture_turn(fixture, 10);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_UNCERTAIN), SLOW + 2);
    fixture_turn(fixture, 200);
    redis_server_signal(&world->server, SIGCONT);
    unsigned deleted = fixture_ask(fixture, REDIS_CHANGE, "DEL", "a", NULL);
    assert_true(fixture_wait(fixture, 10000));
    assert_int_equal(fixture->answers[held].outcome, REDIS_UNCERTAIN);
    assert_int_equal(fixture->answers[deleted].outcome, REDIS_REPLIED);
    fixture_turn(fixture, 1000);
    redisContext *beside = redis_server_connect(&world->server);
    ask_beside(beside, "GET a", text, sizeof text);
    assert_string_equal(text, "nil");
    redisFree(beside);
}

/* Starts a link whose slot holds the id of a connection of that name; returns whether that connection lives on. */
static bool predecessor_survives(struct world *world, const char *name)
{
    struct link_fixture *fixture = &world->fixture;
    redisContext *beside = redis_server_connect(&world->server);
    char command[64];
    snprintf(command, sizeof command, "CLIENT SETNAME %s", name);
    ask_beside(beside, command, NULL, 0);
    atomic_store(&fixture->slot->redis_client, (uint64_t)ask_beside(beside, "CLIENT ID", NULL, 0));
    shared_slot_reset(fixture->slot); /* by the master, when a worker has died */
    fixture_link(fixture);
    fixture_wait_up(fixture);
    /* hiredis writes without MSG_NOSIGNAL. */
    signal(SIGPIPE, SIG_IGN);
    redisReply *reply = redisCommand(beside, "PING");
    signal(SIGPIPE, SIG_DFL);
    bool survives = reply != NULL;
    if (reply != NULL)
        freeReplyObject(reply);
    redisFree(beside);
    redis_link_free(&fixture->link);
    return survives;
}

static void ends_its_predecessor_and_nobody_else(void **state)
{
    struct world *world = *state;
    redis_server_start(&world->server);
    assert_false(predecessor_survives(world, "tokenkeep-test-0"));
    assert_true(predecessor_survives(world, "tokenkeep-test-01"));
    assert_true(predecessor_survives(world, "tokenkeep-test-"));
    assert_true(predecessor_survives(world, "x=tokenkeep-test-0"));
}

/* After a restart Redis counts its connections anew: the old id is somebody else's. */
static void leaves_the_new_owner_of_an_old_id_alone(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    redis_server_start(&world->server);
    fixture_link(fixture);
    fixture_wait_up(fixture);
    uint64_t old = atomic_load(&fixture->slot->redis_client);
    redis_server_signal(&world->server, SIGSTOP);
    unsigned held = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "held", NULL);
    fixture_turn(fixture, 20);
    redis_server_signal(&world->server, SIGKILL);
    assert_true(fixture_wait(fixture, 2000));
    assert_int_equal(fixture->answers[held].outcome, REDIS_UNCERTAIN);
    redis_server_start(&world->server);
    redisContext *beside = redis_server_connect(&world->server);
    while ((uint64_t)ask_beside(beside, "CLIENT ID", NULL, 0) < old) {
        redisFree(beside);
        beside = redis_server_connect(&world->server);
    }
    bool innocent = (uint64_t)ask_beside(beside, "CLIENT ID", NULL, 0) == old;
    fixture_wait_up(fixture);
    assert_int_equal(ask_beside(beside, "DBSIZE", NULL, 0), 0);
    assert_true(innocent);
    redisFree(beside);
}

static void never_called(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    (void)argument;
    (void)outcome;
    (void)reply;
    fail_msg("freeing the link called back");
}

static void leaves_a_trace_only_of_unanswered_changes(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    redis_server_start(&world->server);
    for (unsigned i = 0; i < 2; i++) {
        fixture_link(fixture);
        fixture_wait_up(fixture);
        uint64_t id = atomic_load(&fixture->slot->redis_client);
        assert_true(id != 0);
        redis_server_signal(&world->server, SIGSTOP);
        const char *words[] = {i == 0 ? "DEL" : "GET", "a"};
        const size_t sizes[] = {3, 1};
        redis_link_command(fixture->link, i == 0 ? REDIS_CHANGE : REDIS_READ, never_called, NULL, 2, words, sizes);
        fixture_turn(fixture, 20);
        redis_link_free(&fixture->link);
        assert_null(fixture->link);
        assert_int_equal(atomic_load(&fixture->slot->redis_client), 0);
        assert_int_equal(atomic_load(&fixture->slot->redis_unfenced), i == 0 ? id : 0);
        atomic_store(&fixture->slot->redis_unfenced, 0);
        redis_server_signal(&world->server, SIGCONT);
    }
}

static unsigned chain_calls;

static void on_chain(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct link_fixture *fixture = argument;
    static const char *const words[] = {"INCR", "a"};
    static const size_t sizes[] = {4, 1};
    assert_int_equal(outcome, REDIS_REPLIED);
    assert_int_equal(reply->integer, ++chain_calls);
    if (chain_calls < 500)
        redis_link_command(fixture->link, REDIS_CHANGE, on_chain, fixture, 2, words, sizes);
    else
        fixture->answered++;
}

static void callbacks_may_ask(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    static const char *const words[] = {"INCR", "a"};
    static const size_t sizes[] = {4, 1};
    redis_server_start(&world->server);
    fixture_link(fixture);
    chain_calls = 0;
    fixture->n = 1;
    redis_link_command(fixture->link, REDIS_CHANGE, on_chain, fixture, 2, words, sizes);
    assert_true(fixture_wait(fixture, 3000));
    assert_int_equal(chain_calls, 500);
}

/* What came of changes that are sent as one: the number of answers, and the outcome that was last. */
struct several {
    struct link_fixture *fixture;
    unsigned replied, n;
    enum redis_outcome last;
    char text[64];
};

static void on_several(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct several *several = argument;
    several->last = outcome;
    if (outcome == REDIS_REPLIED) {
        several->replied++;
        snprintf(several->text + strlen(several->text), sizeof several->text - strlen(several->text), "%lld%s ",
                 reply->integer, reply->type == REDIS_REPLY_STATUS ? reply->str : "");
    }
    if (outcome != REDIS_REPLIED || several->replied == several->n)
        several->fixture->answered++;
}

/* INCR a, then `middle`, then INCR a. */
static void ask_several(struct several *several, struct link_fixture *fixture, const char *middle)
{
    static const char *const incr[] = {"INCR", "a"};
    static const size_t incr_sizes[] = {4, 1};
    const size_t middle_size = strlen(middle);
    const struct redis_words commands[] = {{2, incr, incr_sizes}, {1, &middle, &middle_size}, {2, incr, incr_sizes}};
    *several = (struct several){.fixture = fixture, .n = 3};
    fixture->n++;
    redis_link_changes(fixture->link, on_several, several, 3, commands);
}

static void sends_several_changes_as_one(void **state)
{
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    struct several whole, cut;
    redis_server_start(&world->server);
    fixture_link(fixture);
    ask_several(&whole, fixture, "DBSIZE");
    unsigned behind = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    assert_true(fixture_wait(fixture, 3000));
    assert_int_equal(whole.replied, 3);
    assert_string_equal(whole.text, "1 1 2 ");
    assert_string_equal(fixture->answers[behind].text, "2");

    ask_several(&cut, fixture, "QUIT"); /* Redis answers, hangs up, and does not see the rest */
    assert_true(fixture_wait(fixture, 3000));
    assert_int_equal(cut.replied, 2);
    assert_int_equal(cut.last, REDIS_UNCERTAIN);
    fixture_wait_up(fixture);

    redis_server_signal(&world->server, SIGKILL);
    fixture_turn(fixture, 900);
    assert_true(redis_link_circuit_open(fixture->link));
    ask_several(&cut, fixture, "DBSIZE");
    assert_true(fixture_wait(fixture, 3000));
    assert_int_equal(cut.replied, 0);
    assert_int_equal(cut.last, REDIS_UNAVAILABLE);
}

/* No replica ever has what is changed here. Changes that come while Redis waits for one do not wait each for itself:
 * look-ups, which stand behind that on the connection, would die of it. */
static void waits_for_replicas_once_at_a_time(void **state)
{
    enum { N = 24 };
    struct world *world = *state;
    struct link_fixture *fixture = &world->fixture;
    redis_server_start(&world->server);
    fixture->config.min_replicas_acked = 1;
    fixture->config.command_timeout = 2;
    fixture_link(fixture);
    fixture_wait_up(fixture);
    const unsigned first = fixture->n;
    for (unsigned i = 0; i < N; i++) {
        fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
        fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
        fixture_turn(fixture, 5);
    }
    assert_true(fixture_wait(fixture, 5000));
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(fixture->answers[first + 2 * i].outcome, REDIS_UNCERTAIN);
        assert_string_equal(fixture->answers[first + 2 * i + 1].text, "b");
    }
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_LOST), 0);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_UNCERTAIN), N);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pipelines_in_order),
        TEST(carries_large_and_binary_values),
        TEST(connects_over_tcp),
        TEST(names_itself_and_logs_in),
        TEST(refuses_at_once_when_it_may_not_in),
        TEST(opens_and_closes_the_circuit),
        TEST(commands_survive_a_connection_that_ended),
        TEST(ends_the_connection_that_holds_a_change),
        TEST(ends_the_connection_before_later_changes),
        TEST(ends_its_predecessor_and_nobody_else),
        TEST(leaves_the_new_owner_of_an_old_id_alone),
        TEST(leaves_a_trace_only_of_unanswered_changes),
        TEST(callbacks_may_ask),
        TEST(sends_several_changes_as_one),
        TEST(waits_for_replicas_once_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
