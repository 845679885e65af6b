/* SPDX-License-Identifier: MIT */
/* The link against a Redis that this file plays on the same loop: hostile replies, losses at chosen moments, and what
 * is said in which order. */
#include "keep/redis_reader.h"
#include "link_fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { PEERS_MAX = 64 };

struct peer {
    struct fake *fake;
    unsigned number; /* 1 for the first connection */
    int fd;          /* -1: closed */
    struct event *readable;
    struct redis_reader *reader; /* commands look like replies */
};

struct fake {
    struct link_fixture fixture;
    char directory[32], path[64];
    int listener;
    struct event *acceptable;
    unsigned accepted;
    struct peer peers[PEERS_MAX];
    /* What the case wants. */
    void (*handle)(struct peer *peer, const redisReply *command); /* what is no handshake */
    const char *refused, *refusal; /* a handshake's second, or first, word and what it is answered */
    const char *list;              /* more lines of CLIENT LIST */
    unsigned long id;              /* of the next connection */
    bool mute;                     /* never answers a handshake */
    /* What was seen. */
    unsigned gets, sets;
    char killed[32]; /* the last id that was to be ended */
    unsigned answered_at_kill;
};

static void peer_close(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    event_free(peer->readable);
    redis_reader_free(&peer->reader);
    close(peer->fd);
    peer->fd = -1;
}

static void peer_say(struct peer *peer, const char *text)
{
    if (peer->fd >= 0)
        (void)send(peer->fd, text, strlen(text), MSG_NOSIGNAL);
}

static bool word_is(const redisReply *command, size_t i, const char *word)
{
    return i < command->elements && strcmp(command->element[i]->str, word) == 0;
}

static void client_list(struct peer *peer)
{
    char lines[512], reply[600];
    snprintf(lines, sizeof lines, "id=%lu addr=unix:0 name=tokenkeep-test-0 db=0\n%s", peer->fake->id,
             peer->fake->list);
    snprintf(reply, sizeof reply, "$%zu\r\n%s\r\n", strlen(lines), lines);
    peer_say(peer, reply);
}

/* Answers a handshake as Redis would; false when the command is none. */
static bool handshake(struct peer *peer, const redisReply *command)
{
    struct fake *fake = peer->fake;
    char id[32];
    if (fake->mute)
        return true;
    if (fake->refused != NULL && (word_is(command, 0, fake->refused) || word_is(command, 1, fake->refused))) {
        peer_say(peer, fake->refusal);
    } else if (word_is(command, 0, "AUTH") || word_is(command, 1, "SETNAME")) {
        peer_say(peer, "+OK\r\n");
    } else if (word_is(command, 0, "PING")) {
        peer_say(peer, "+PONG\r\n");
    } else if (word_is(command, 1, "ID") && command->elements == 2) {
        snprintf(id, sizeof id, ":%lu\r\n", fake->id);
        peer_say(peer, id);
    } else if (word_is(command, 1, "LIST")) {
        client_list(peer);
    } else if (word_is(command, 1, "KILL")) {
        snprintf(fake->killed, sizeof fake->killed, "%s", command->element[3]->str);
        fake->answered_at_kill = fake->fixture.answered;
        peer_say(peer, ":0\r\n");
    } else {
        return false;
    }
    return true;
}

static void on_peer(evutil_socket_t fd, short events, void *argument)
{
    struct peer *peer = argument;
    char input[65536];
    struct redis_taken taken;
    ssize_t n = recv(fd, input, sizeof input, 0);
    (void)events;
    if (n <= 0) {
        peer_close(peer);
        return;
    }
    const char *data = input;
    size_t size = (size_t)n;
    while (peer->fd >= 0 && redis_reader_take(peer->reader, &data, &size, &taken) == REDIS_READING_REPLY) {
        const redisReply *command = taken.reply;
        peer->fake->gets += word_is(command, 0, "GET");
        peer->fake->sets += word_is(command, 0, "SET");
        if (!handshake(peer, command))
            peer->fake->handle(peer, command);
        redis_taken_free(&taken);
    }
}

static void on_acceptable(evutil_socket_t listener, short events, void *argument)
{
    struct fake *fake = argument;
    (void)events;
    assert_true(fake->accepted < PEERS_MAX);
    struct peer *peer = &fake->peers[fake->accepted++];
    *peer = (struct peer){.fake = fake, .number = fake->accepted, .reader = redis_reader_new()};
    peer->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(peer->fd >= 0 && peer->reader != NULL);
    peer->readable = event_new(fake->fixture.base, peer->fd, EV_READ | EV_PERSIST, on_peer, peer);
    event_add(peer->readable, NULL);
    fake->id++;
}

static void answer_all(struct peer *peer, const redisReply *command)
{
    peer_say(peer, word_is(command, 0, "GET") ? "$1\r\nv\r\n" : "+OK\r\n");
}

static void fake_listen(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, fake->path, strlen(fake->path));
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fake->listener, 16), 0);
    fake->acceptable = event_new(fake->fixture.base, fake->listener, EV_READ | EV_PERSIST, on_acceptable, fake);
    event_add(fake->acceptable, NULL);
}

static int set_up(void **state)
{
    struct fake *fake = calloc(1, sizeof *fake);
    assert_non_null(fake);
    fixture_init(&fake->fixture);
    strcpy(fake->directory, "/tmp/test-redis-XXXXXX");
    assert_non_null(mkdtemp(fake->directory));
    snprintf(fake->path, sizeof fake->path, "%s/redis.sock", fake->directory);
    fixture_use_unix(&fake->fixture, fake->path);
    fake->handle = answer_all;
    fake->list = "";
    fake->id = 100;
    fake_listen(fake);
    *state = fake;
    return 0;
}

static int tear_down(void **state)
{
    struct fake *fake = *state;
    for (unsigned i = 0; i < fake->accepted; i++)
        peer_close(&fake->peers[i]);
    event_free(fake->acceptable);
    close(fake->listener);
    fixture_destroy(&fake->fixture);
    unlink(fake->path);
    rmdir(fake->directory);
    free(fake);
    return 0;
}

static const struct answer *answer(const struct fake *fake, unsigned index)
{
    return &fake->fixture.answers[index];
}

/* Hostile replies */

static const char *hostile;

static void answer_hostile_first(struct peer *peer, const redisReply *command)
{
    if (peer->number > 1)
        answer_all(peer, command);
    else if (word_is(command, 0, "SET"))
        peer_say(peer, hostile);
}

static void survives_hostile_replies(void **state)
{
    static const char *const replies[] = {
        "*2147483647\r\n",
        "$2147483647\r\n",
        "$-5\r\n",
        "*-7\r\n",
        "evil\r\n",
        "\r\n",
        "%1\r\n+evil\r\n+b\r\n",
        ">1\r\n+evil\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        ":evil\r\n",
        "$4\r\nevilevil\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        void *one;
        set_up(&one);
        struct fake *fake = one;
        struct link_fixture *fixture = &fake->fixture;
        hostile = replies[i];
        fake->handle = answer_hostile_first;
        fixture_link(fixture);
        unsigned get = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
        unsigned set = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
        fixture_log_begin(fixture);
        bool answered = fixture_wait(fixture, 1000);
        const char *log = fixture_log_end(fixture);
        assert_true(answered);
        assert_string_equal(answer(fake, get)->text, "v");
        assert_int_equal(answer(fake, set)->outcome, REDIS_UNCERTAIN);
        assert_int_equal(fake->accepted, 2);
        assert_int_equal(fake->sets, 1);
        assert_non_null(strstr(log, " connection lost: a"));
        assert_int_equal(occurrences(log, "\n"), 1);
        assert_null(strstr(log, "evil"));
        tear_down(&one);
    }
}

static void answer_too_much(struct peer *peer, const redisReply *command)
{
    answer_all(peer, command);
    if (peer->number == 1)
        peer_say(peer, "+unasked\r\n");
}

static void ends_at_a_reply_that_was_not_asked_for(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->handle = answer_too_much;
    fixture_log_begin(fixture);
    fixture_link(fixture);
    unsigned set = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    fixture_turn(fixture, 200);
    const char *log = fixture_log_end(fixture);
    assert_int_equal(answer(fake, set)->outcome, REDIS_REPLIED);
    assert_int_equal(answer(fake, set)->called, 1);
    assert_int_equal(fake->accepted, 2);
    assert_non_null(strstr(log, "not asked for"));
    assert_int_equal(occurrences(log, "\n"), 1);
}

static void say_nothing(struct peer *peer, const redisReply *command)
{
    (void)peer;
    (void)command;
}

static void takes_replies_byte_by_byte(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    static const char replies[] = "+OK\r\n*2\r\n$2\r\nab\r\n$-1\r\n:7\r\n-ERR no\r\n";
    fake->handle = say_nothing;
    fixture->config.command_timeout = 5;
    fixture_link(fixture);
    for (unsigned i = 0; i < 4; i++)
        fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    fixture_turn(fixture, 50);
    for (const char *byte = replies; *byte != '\0'; byte++) {
        char one[2] = {*byte, '\0'};
        peer_say(&fake->peers[0], one);
        fixture_turn(fixture, 2);
    }
    assert_int_equal(fixture->answered, 4);
    assert_string_equal(answer(fake, 0)->text, "OK");
    assert_string_equal(answer(fake, 1)->text, "[ab nil]");
    assert_string_equal(answer(fake, 2)->text, "7");
    assert_string_equal(answer(fake, 3)->text, "ERR no");
}

/* Losses */

static void hang_up(struct peer *peer, const redisReply *command)
{
    (void)command;
    peer_close(peer);
}

static void sends_a_lost_read_once_more_only(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->handle = hang_up;
    fixture_link(fixture);
    unsigned get = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    fixture_log_begin(fixture);
    bool answered = fixture_wait(fixture, 600);
    fixture_log_end(fixture);
    assert_true(answered);
    assert_int_equal(answer(fake, get)->outcome, REDIS_UNAVAILABLE);
    assert_int_equal(fake->gets, 2);
}

static void answer_from_the_second(struct peer *peer, const redisReply *command)
{
    if (peer->number > 1)
        answer_all(peer, command);
}

/* The connection is given up for the oldest read; the younger one still has time. */
static void sends_a_younger_read_again_after_a_timeout(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->handle = answer_from_the_second;
    fixture_link(fixture);
    unsigned old = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    fixture_turn(fixture, 200);
    unsigned young = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    fixture_log_begin(fixture);
    bool answered = fixture_wait(fixture, 1000);
    const char *log = fixture_log_end(fixture);
    assert_true(answered);
    assert_int_equal(answer(fake, old)->outcome, REDIS_UNAVAILABLE);
    assert_int_equal(answer(fake, young)->outcome, REDIS_REPLIED);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_TIMEOUTS), 1);
    assert_non_null(strstr(log, "no answer within 0.5 s"));
}

static void keeps_a_change_that_was_not_sent(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fixture_link(fixture);
    fixture_wait_up(fixture);
    fixture_log_begin(fixture);
    peer_close(&fake->peers[0]);
    while (fixture_metric(fixture, METRIC_REDIS_LOST) == 0)
        fixture_turn(fixture, 1);
    unsigned set = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    bool answered = fixture_wait(fixture, 1000);
    fixture_log_end(fixture);
    assert_true(answered);
    assert_int_equal(answer(fake, set)->outcome, REDIS_REPLIED);
    assert_int_equal(fake->sets, 1);
}

/* A peer that stops reading holds some of the changes in the kernel; only those are uncertain when it goes. */
static void tells_sent_changes_from_unsent_ones(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    enum { N = 2000 };
    static char value[10000];
    const char *words[] = {"SET", "a", value};
    const size_t sizes[] = {3, 1, sizeof value};
    unsigned uncertain = 0, replied = 0;
    fixture->config.command_timeout = 5;
    fixture_link(fixture);
    fixture_wait_up(fixture);
    event_del(fake->peers[0].readable);
    unsigned first = fixture->n;
    for (unsigned i = 0; i < N; i++)
        fixture_ask_words(fixture, REDIS_CHANGE, 3, words, sizes);
    fixture_turn(fixture, 50);
    fixture_log_begin(fixture);
    peer_close(&fake->peers[0]);
    bool answered = fixture_wait(fixture, 5000);
    fixture_log_end(fixture);
    assert_true(answered);
    for (unsigned i = 0; i < N; i++) {
        uncertain += answer(fake, first + i)->outcome == REDIS_UNCERTAIN;
        replied += answer(fake, first + i)->outcome == REDIS_REPLIED;
    }
    assert_true(uncertain >= 2 && uncertain < N / 2);
    assert_int_equal(uncertain + replied, N);
    assert_int_equal(fake->sets, replied);
}

static void on_nothing(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    (void)argument;
    (void)outcome;
    (void)reply;
}

/* What is cut off in the middle of a command must not run into the next connection. */
static void sends_whole_commands_on_a_new_connection(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    enum { SIZE = 4 << 20 };
    char *value = calloc(1, SIZE);
    const char *words[] = {"SET", "a", value};
    const size_t sizes[] = {3, 1, SIZE};
    assert_non_null(value);
    fixture_link(fixture);
    fixture_wait_up(fixture);
    event_del(fake->peers[0].readable);
    redis_link_command(fixture->link, REDIS_CHANGE, on_nothing, NULL, 3, words, sizes);
    fixture_turn(fixture, 20);
    unsigned get = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    fixture_log_begin(fixture);
    peer_close(&fake->peers[0]);
    bool answered = fixture_wait(fixture, 1000);
    fixture_log_end(fixture);
    assert_true(answered);
    assert_string_equal(answer(fake, get)->text, "v");
    free(value);
}

/* The same while another worker's connection is being ended: what was to be said for that dies with the connection. */
static void forgets_a_fence_that_was_not_sent(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    enum { SIZE = 4 << 20 };
    char *value = calloc(1, SIZE);
    const char *words[] = {"GET", value};
    const size_t sizes[] = {3, SIZE};
    assert_non_null(value);
    fixture_link(fixture);
    fixture_wait_up(fixture);
    event_del(fake->peers[0].readable);
    redis_link_command(fixture->link, REDIS_READ, on_nothing, NULL, 2, words, sizes);
    fixture_turn(fixture, 20);
    shared_slot_use(fixture->shared, 1);
    atomic_store(&fixture->shared->slots[1].redis_unfenced, 55);
    unsigned set = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    fixture_turn(fixture, 20);
    fixture_log_begin(fixture);
    peer_close(&fake->peers[0]);
    bool answered = fixture_wait(fixture, 1000);
    fixture_turn(fixture, 100);
    fixture_log_end(fixture);
    assert_true(answered);
    assert_string_equal(answer(fake, set)->text, "OK");
    assert_int_equal(fake->accepted, 2);
    assert_int_equal(atomic_load(&fixture->shared->slots[1].redis_unfenced), 0);
    free(value);
}

/* Nor may its answer come before it is sent whole. */
static void ends_at_an_answer_to_half_a_command(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    enum { SIZE = 4 << 20 };
    char *value = calloc(1, SIZE);
    const char *words[] = {"SET", "a", value};
    const size_t sizes[] = {3, 1, SIZE};
    assert_non_null(value);
    fixture_link(fixture);
    fixture_wait_up(fixture);
    event_del(fake->peers[0].readable);
    unsigned set = fixture_ask_words(fixture, REDIS_CHANGE, 3, words, sizes);
    fixture_turn(fixture, 20);
    fixture_log_begin(fixture);
    peer_say(&fake->peers[0], "+OK\r\n");
    bool answered = fixture_wait(fixture, 1000);
    const char *log = fixture_log_end(fixture);
    assert_true(answered);
    assert_int_equal(answer(fake, set)->outcome, REDIS_UNCERTAIN);
    assert_non_null(strstr(log, "not asked for"));
    free(value);
}

/* A process that was stopped for longer than the deadline takes the answers that came meanwhile. */
static void takes_answers_that_waited_for_it(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->handle = say_nothing;
    fixture_link(fixture);
    fixture_wait_up(fixture);
    unsigned set = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    fixture_turn(fixture, 50);
    peer_say(&fake->peers[0], "+OK\r\n");
    usleep(700000);
    assert_true(fixture_wait(fixture, 100));
    fixture_turn(fixture, 50);
    assert_int_equal(answer(fake, set)->outcome, REDIS_REPLIED);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_LOST), 0);
}

/* The handshake */

static void counts_a_refused_handshake_as_away(void **state)
{
    static const struct {
        const char *word, *reply, *logged;
    } cases[] = {
        {"PING", "-LOADING Redis is loading the dataset in memory\r\n", "PING was answered with LOADING"},
        {"PING", "-MASTERDOWN Link with MASTER is down\r\n", "PING was answered with MASTERDOWN"},
        {"AUTH", "-ERR invalid password: sesame\r\n", "AUTH was answered with ERR"},
        {"AUTH", "-WRONGPASS sesame\r\n", "AUTH was answered with WRONGPASS"},
        {"AUTH", "-sesame\r\n", "AUTH was answered with an error"},
        {"SETNAME", ":5\r\n", "CLIENT SETNAME was answered with something unexpected"},
        {"ID", "+sesame\r\n", "CLIENT ID was answered with something unexpected"},
        {"ID", ":-4\r\n", "CLIENT ID was answered with something unexpected"},
        {"LIST", "$-1\r\n", "CLIENT LIST was answered with something unexpected"},
        {"LIST", "$29\r\nid=999 name=tokenkeep-test-0\n\r\n", "CLIENT LIST was answered with something unexpected"},
        {"LIST", "$32\r\nid=101 name=tokenkeep-test-0-2\r\n\r\n", "CLIENT LIST was answered with something unexpected"},
        {"KILL", "+OK\r\n", "CLIENT KILL was answered with something unexpected"},
        {"ID", ":5\r\n:6\r\n", "was answered with something unexpected"},
        {"ID", "*2147483647\r\n", "an array over the limit"},
        {"KILL", "", "no answer to the handshake within 0.5 s"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *one;
        set_up(&one);
        struct fake *fake = one;
        struct link_fixture *fixture = &fake->fixture;
        fixture_password(fixture, "sesame");
        fake->refused = cases[i].word;
        fake->refusal = cases[i].reply;
        fixture_log_begin(fixture);
        fixture_link(fixture);
        unsigned get = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
        unsigned set = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
        bool answered = fixture_wait(fixture, 1000), open = redis_link_circuit_open(fixture->link);
        fake->refused = NULL;
        fixture_wait_up(fixture);
        const char *log = fixture_log_end(fixture);
        assert_true(answered && open);
        assert_int_equal(answer(fake, get)->outcome, REDIS_UNAVAILABLE);
        assert_int_equal(answer(fake, set)->outcome, REDIS_UNAVAILABLE);
        assert_int_equal(fake->sets + fake->gets, 0);
        assert_non_null(strstr(log, cases[i].logged));
        assert_null(strstr(log, "sesame"));
        assert_int_equal(occurrences(log, "\n"), 2);
        tear_down(&one);
    }
}

static void gives_up_on_a_handshake_that_is_not_answered(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->mute = true;
    fixture_log_begin(fixture);
    int64_t start = clock_boot();
    fixture_link(fixture);
    unsigned get = fixture_ask(fixture, REDIS_READ, "GET", "a", NULL);
    bool answered = fixture_wait(fixture, 1000);
    int64_t took = clock_boot() - start;
    const char *log = fixture_log_end(fixture);
    assert_true(answered);
    assert_int_equal(answer(fake, get)->outcome, REDIS_UNAVAILABLE);
    assert_true(took > CLOCK_SECOND * 2 / 5 && took < CLOCK_SECOND * 9 / 10);
    assert_non_null(strstr(log, "no answer to the handshake within 0.5 s"));
}

static void ends_only_what_is_its_own(void **state)
{
    static const struct {
        const char *lines;
        unsigned long own;
        const char *killed;
    } cases[] = {
        {"id=77 addr=/a:0 name=tokenkeep-test-0 db=0\n", 101, "77"},
        {"id=77 addr=/a:0 name=tokenkeep-test-0-2 db=0\n", 101, NULL},
        {"id=77 addr=/a:0 name= db=0 user=tokenkeep-test-0\n", 101, NULL},
        {"id=77 addr=/a:0 name=other lib-name=tokenkeep-test-0 db=0\n", 101, NULL},
        {"id=177 addr=/a:0 name=tokenkeep-test-0 db=0\n", 101, NULL},
        {"id=7 addr=/a:0 name=tokenkeep-test-0 db=0\nid=77 name=x\n", 101, NULL},
        {"", 101, NULL},
        {"", 77, NULL}, /* the id came back as ours */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *one;
        set_up(&one);
        struct fake *fake = one;
        fake->list = cases[i].lines;
        fake->id = cases[i].own - 1;
        atomic_store(&fake->fixture.slot->redis_unfenced, 77);
        fixture_link(&fake->fixture);
        fixture_wait_up(&fake->fixture);
        assert_string_equal(fake->killed, cases[i].killed != NULL ? cases[i].killed : "9223372036854775807");
        assert_int_equal(atomic_load(&fake->fixture.slot->redis_client), cases[i].own);
        tear_down(&one);
    }
}

/* An uncertain change is told only after the old connection was ended, and nothing is sent before that. */
static void fences_before_it_tells_and_sends(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->handle = answer_from_the_second;
    fake->list = "id=101 addr=/a:0 name=tokenkeep-test-0 db=0\n";
    fixture_link(fixture);
    unsigned held = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    fixture_turn(fixture, 100);
    assert_int_equal(fake->sets, 1);
    peer_close(&fake->peers[0]);
    fixture_log_begin(fixture);
    while (fixture_metric(fixture, METRIC_REDIS_LOST) == 0)
        fixture_turn(fixture, 1);
    unsigned deleted = fixture_ask(fixture, REDIS_CHANGE, "DEL", "a", NULL);
    bool answered = fixture_wait(fixture, 1000);
    fixture_log_end(fixture);
    assert_true(answered);
    assert_string_equal(fake->killed, "101");
    assert_int_equal(fake->answered_at_kill, 0);
    assert_int_equal(answer(fake, held)->outcome, REDIS_UNCERTAIN);
    assert_int_equal(answer(fake, deleted)->outcome, REDIS_REPLIED);
    assert_int_equal(fixture_metric(fixture, METRIC_REDIS_UNCERTAIN), 1);
}

/* Where Redis cannot be reached the change is told at once, and the old connection is ended in the handshake that
 * succeeds. */
static void fences_later_when_redis_is_away(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->handle = answer_from_the_second;
    fake->list = "id=101 addr=/a:0 name=tokenkeep-test-0 db=0\n";
    fixture_link(fixture);
    unsigned held = fixture_ask(fixture, REDIS_CHANGE, "SET", "a", "b", NULL);
    fixture_turn(fixture, 100);
    fake->refused = "PING";
    fake->refusal = "-LOADING\r\n";
    peer_close(&fake->peers[0]);
    fixture_log_begin(fixture);
    bool answered = fixture_wait(fixture, 1000);
    bool open = redis_link_circuit_open(fixture->link);
    assert_string_equal(fake->killed, "9223372036854775807");
    fixture_turn(fixture, 300);
    fake->refused = NULL;
    fixture_wait_up(fixture);
    fixture_log_end(fixture);
    assert_true(answered && open);
    assert_int_equal(answer(fake, held)->outcome, REDIS_UNCERTAIN);
    assert_string_equal(fake->killed, "101");
}

static void waits_longer_from_failure_to_failure(void **state)
{
    struct fake *fake = *state;
    struct link_fixture *fixture = &fake->fixture;
    fake->refused = "PING";
    fake->refusal = "-LOADING\r\n";
    fixture_log_begin(fixture);
    fixture_link(fixture);
    fixture_turn(fixture, 2000);
    fixture_log_end(fixture);
    /* At 0, then after 50, 100, 200, 400 and 500 ms, a quarter more or less. */
    assert_in_range(fake->accepted, 5, 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_hostile_replies),
        TEST(ends_at_a_reply_that_was_not_asked_for),
        TEST(takes_replies_byte_by_byte),
        TEST(sends_a_lost_read_once_more_only),
        TEST(sends_a_younger_read_again_after_a_timeout),
        TEST(keeps_a_change_that_was_not_sent),
        TEST(tells_sent_changes_from_unsent_ones),
        TEST(sends_whole_commands_on_a_new_connection),
        TEST(forgets_a_fence_that_was_not_sent),
        TEST(ends_at_an_answer_to_half_a_command),
        TEST(takes_answers_that_waited_for_it),
        cmocka_unit_test(counts_a_refused_handshake_as_away),
        TEST(gives_up_on_a_handshake_that_is_not_answered),
        TEST(ends_only_what_is_its_own),
        TEST(fences_before_it_tells_and_sends),
        TEST(fences_later_when_redis_is_away),
        TEST(waits_longer_from_failure_to_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
