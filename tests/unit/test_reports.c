/* SPDX-License-Identifier: MIT */
/* The way to the reporter, over a real socket: the order, the bounds, the numbers, and a reporter that does not read.
 */
#include "base/reports.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SENDER = 7 };

struct way {
    int ends[2]; /* sending, receiving */
    struct shared *shared;
    struct reports *reports;
    unsigned wanted;   /* calls */
    uint64_t expected; /* the next sequence number */
    uint64_t taken;    /* records received */
    uint64_t last;     /* the count in the last event */
    int64_t time;      /* of the last event */
};

static void on_wanted(void *argument)
{
    ((struct way *)argument)->wanted++;
}

static struct reports *new_reports(struct way *way, unsigned sender)
{
    return reports_new(&(struct reports_settings){way->ends[0], way->shared, sender, on_wanted, way});
}

static int set_up(void **state)
{
    struct way *way = calloc(1, sizeof *way);
    assert_non_null(way);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, way->ends), 0);
    way->shared = shared_create();
    assert_non_null(way->shared);
    way->reports = new_reports(way, SENDER);
    *state = way;
    return 0;
}

static int tear_down(void **state)
{
    struct way *way = *state;
    reports_free(&way->reports);
    assert_null(way->reports);
    shared_destroy(&way->shared);
    close(way->ends[0]);
    close(way->ends[1]);
    free(way);
    return 0;
}

static uint64_t sent(const struct way *way)
{
    return atomic_load(&way->shared->senders[SENDER].sent);
}

static uint64_t dropped(const struct way *way)
{
    return atomic_load(&way->shared->senders[SENDER].dropped);
}

static void tell(struct way *way, uint64_t count)
{
    reports_event(way->reports, &(struct audit_event){.kind = EVENT_TOKEN_LIST, .latency = -1, .count = count});
}

/* Events of over `size` bytes a record. */
static void tell_long(struct way *way, uint64_t count, size_t size)
{
    static char text[EVENT_SCOPES_MAX];
    memset(text, 's', sizeof text);
    reports_event(way->reports, &(struct audit_event){.scopes = {text, size}, .latency = -1, .count = count});
}

/* Takes a datagram, which has what is expected next. Returns its records, 0 when there is none. */
static unsigned take(struct way *way, unsigned sender)
{
    static unsigned char bytes[REPORTS_DATAGRAM_MAX + 1];
    struct datagram_head head;
    ssize_t size = recv(way->ends[1], bytes, sizeof bytes, 0);
    if (size < 0 && errno == EAGAIN)
        return 0;
    assert_in_range(size, DATAGRAM_HEAD_SIZE + 1, REPORTS_DATAGRAM_MAX);
    size_t at = datagram_head_decode(bytes, (size_t)size, &head);
    assert_int_not_equal(at, 0);
    assert_int_equal(head.sender, sender);
    assert_int_equal(head.first, way->expected);
    for (unsigned i = 0; i < head.count; i++) {
        size_t used;
        struct audit_event event;
        struct problem problem;
        enum record_kind kind = record_decode(bytes + at, (size_t)size - at, &used, &event, &problem);
        assert_int_not_equal(kind, RECORD_BAD);
        at += used;
        if (kind == RECORD_EVENT) {
            way->last = event.count;
            way->time = event.time;
        }
    }
    assert_int_equal(at, size);
    way->expected += head.count;
    way->taken += head.count;
    return head.count;
}

/* Standard error goes to a pipe meanwhile. */
struct captured {
    int saved, read_end;
};

static struct captured capture(void)
{
    int ends[2];
    struct captured captured = {dup(STDERR_FILENO), -1};
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    captured.read_end = ends[0];
    assert_true(captured.saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    log_reopen();
    return captured;
}

static void release(const struct captured *captured, char *text, size_t size)
{
    ssize_t n = read(captured->read_end, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    dup2(captured->saved, STDERR_FILENO);
    log_reopen();
    close(captured->saved);
    close(captured->read_end);
}

static unsigned occurrences(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        n++;
    return n;
}

static void many_leave_in_one(void **state)
{
    struct way *way = *state;
    for (uint64_t i = 1; i <= 10; i++)
        tell(way, i);
    reports_problem(way->reports, &(struct problem){.kind = event_text("redis.away"), .message = event_text("away")});
    assert_int_equal(way->wanted, 1);
    assert_int_equal(take(way, SENDER), 0);
    assert_true(reports_flush(way->reports));
    assert_int_equal(take(way, SENDER), 11);
    assert_int_equal(take(way, SENDER), 0);
    assert_int_equal(way->last, 10);
    assert_int_equal(sent(way), 11);
    assert_true(reports_flush(way->reports));
    assert_int_equal(take(way, SENDER), 0);
}

static void wanted_comes_with_the_first_alone(void **state)
{
    struct way *way = *state;
    for (unsigned turn = 1; turn <= 3; turn++) {
        for (uint64_t i = 1; i <= 3; i++)
            tell(way, i);
        assert_int_equal(way->wanted, turn);
        assert_true(reports_flush(way->reports));
        assert_int_equal(take(way, SENDER), 3);
    }
}

static void a_time_of_0_is_now(void **state)
{
    struct way *way = *state;
    int64_t before = clock_wall_microseconds();
    tell(way, 1);
    reports_flush(way->reports);
    assert_int_equal(take(way, SENDER), 1);
    assert_true(way->time >= before && way->time <= clock_wall_microseconds());
    assert_true(way->time / 1000000 - clock_wall() <= 0 && way->time / 1000000 - clock_wall() > -60);
    reports_event(way->reports, &(struct audit_event){.time = 5, .latency = -1});
    reports_flush(way->reports);
    assert_int_equal(take(way, SENDER), 1);
    assert_int_equal(way->time, 5);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct reports *none = NULL;
    reports_event(NULL, &(struct audit_event){.latency = -1});
    reports_problem(NULL, &(struct problem){.kind = event_text("x"), .message = event_text("y")});
    assert_true(reports_flush(NULL));
    reports_free(&none);
}

/* Records of all lengths, so that blocks are filled to every degree; all arrive, in their order, numbered. */
static void datagrams_are_bounded(void **state)
{
    struct way *way = *state;
    uint64_t told = 0, before;
    for (size_t size = 1; size <= EVENT_SCOPES_MAX; size += 7)
        tell_long(way, ++told, size);
    while (!reports_flush(way->reports)) {
        before = way->taken;
        while (take(way, SENDER) > 0)
            continue;
        assert_true(way->taken > before);
    }
    while (take(way, SENDER) > 0)
        continue;
    assert_int_equal(way->taken, told);
    assert_int_equal(way->last, told);
    assert_int_equal(sent(way), told);
    assert_int_equal(dropped(way), 0);
}

/* Tells more than queue and kernel take. *told counts them. */
static void drop_while_nobody_reads(struct way *way, uint64_t *told)
{
    for (unsigned i = 0; i < 5000; i++) {
        tell_long(way, ++*told, 2000);
        if (i % 50 == 0)
            (void)reports_flush(way->reports);
    }
    assert_false(reports_flush(way->reports));
    assert_true(dropped(way) > 0 && sent(way) > 0);
}

static void what_does_not_fit_is_dropped(void **state)
{
    struct way *way = *state;
    uint64_t told = 0;
    char text[4096], line[128];
    struct captured captured = capture();
    drop_while_nobody_reads(way, &told);
    const uint64_t waiting = told - sent(way) - dropped(way);
    while (!reports_flush(way->reports))
        assert_true(take(way, SENDER) > 0);
    while (take(way, SENDER) > 0)
        continue;
    snprintf(line, sizeof line, "%llu events were dropped", (unsigned long long)dropped(way));
    release(&captured, text, sizeof text);
    assert_in_range(waiting * 2000, REPORTS_QUEUE_MAX - RECORD_MAX - 2000 * 50, REPORTS_QUEUE_MAX);
    assert_int_equal(way->taken, told - dropped(way));
    assert_int_equal(way->taken, sent(way));
    assert_int_equal(occurrences(text, "events are dropped: the reporter does not take them"), 1);
    assert_int_equal(occurrences(text, line), 1);
    assert_int_equal(occurrences(text, "\n"), 2);
}

/* The first ones are kept, those told while the queue is full go, and so it works again afterwards. */
static void dropping_begins_anew(void **state)
{
    struct way *way = *state;
    uint64_t told = 0;
    char text[4096];
    struct captured captured = capture();
    for (unsigned round = 0; round < 2; round++) {
        drop_while_nobody_reads(way, &told);
        while (!reports_flush(way->reports))
            assert_true(take(way, SENDER) > 0);
        while (take(way, SENDER) > 0)
            continue;
    }
    tell(way, 1234567);
    assert_true(reports_flush(way->reports));
    assert_int_equal(take(way, SENDER), 1);
    release(&captured, text, sizeof text);
    assert_int_equal(way->last, 1234567);
    assert_int_equal(occurrences(text, "events are dropped"), 2);
    assert_int_equal(occurrences(text, "events were dropped"), 2);
}

static void a_successor_counts_on(void **state)
{
    struct way *way = *state;
    tell(way, 1);
    tell(way, 2);
    assert_true(reports_flush(way->reports));
    reports_free(&way->reports);
    way->reports = new_reports(way, SENDER);
    tell(way, 3);
    assert_true(reports_flush(way->reports));
    assert_int_equal(take(way, SENDER), 2);
    assert_int_equal(take(way, SENDER), 1);
    assert_int_equal(sent(way), 3);
}

/* One that was killed before it noted what the kernel had taken: were its numbers given again, a record would count as
 * kept because another was. */
static void a_successor_repeats_no_number(void **state)
{
    struct way *way = *state;
    tell(way, 1);
    tell(way, 2);
    assert_true(reports_flush(way->reports));
    assert_int_equal(take(way, SENDER), 2);
    reports_free(&way->reports);
    atomic_store(&way->shared->senders[SENDER].sent, 0);
    atomic_store(&way->shared->senders[SENDER].claimed, 2);
    way->reports = new_reports(way, SENDER);
    assert_int_equal(sent(way), 2);
    assert_int_equal(reports_event(way->reports, &(struct audit_event){.latency = -1}), 2);
    assert_true(reports_flush(way->reports));
    assert_int_equal(take(way, SENDER), 1);
    assert_int_equal(sent(way), 3);
}

/* What was to be sent and is dropped at the end does not count as sent as well. */
static void a_successor_claims_nothing_that_was_dropped(void **state)
{
    struct way *way = *state;
    char text[4096];
    struct captured captured = capture();
    shutdown(way->ends[1], SHUT_RD);
    tell(way, 1);
    assert_false(reports_flush(way->reports));
    assert_int_equal(atomic_load(&way->shared->senders[SENDER].claimed), 1);
    reports_free(&way->reports);
    way->reports = new_reports(way, SENDER);
    release(&captured, text, sizeof text);
    assert_int_equal(dropped(way), 1);
    assert_int_equal(sent(way), 0);
}

static void senders_are_told_apart(void **state)
{
    struct way *way = *state;
    struct reports *master = new_reports(way, SHARED_SENDER_MASTER);
    tell(way, 1);
    reports_event(master, &(struct audit_event){.kind = EVENT_SERVER_START, .latency = -1});
    assert_true(reports_flush(way->reports));
    assert_true(reports_flush(master));
    assert_int_equal(take(way, SENDER), 1);
    way->expected = 0;
    assert_int_equal(take(way, SHARED_SENDER_MASTER), 1);
    assert_int_equal(atomic_load(&way->shared->senders[SHARED_SENDER_MASTER].sent), 1);
    reports_free(&master);
}

/* A failure that is not for want of room: nothing is lost by it, no signal comes, and it is said once. */
static void failures_are_said_once(void **state)
{
    struct way *way = *state;
    char text[4096];
    struct captured captured = capture();
    shutdown(way->ends[1], SHUT_RD);
    tell(way, 1);
    for (unsigned i = 0; i < 5; i++)
        assert_false(reports_flush(way->reports));
    tell(way, 2);
    assert_false(reports_flush(way->reports));
    const uint64_t dropped_before = dropped(way);
    reports_free(&way->reports);
    release(&captured, text, sizeof text);
    assert_int_equal(dropped_before, 0);
    assert_int_equal(sent(way), 0);
    assert_int_equal(dropped(way), 2);
    assert_int_equal(occurrences(text, "events cannot be sent to the reporter: "), 1);
    assert_int_equal(occurrences(text, "2 events were dropped"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(many_leave_in_one),
        TEST(wanted_comes_with_the_first_alone),
        TEST(a_time_of_0_is_now),
        TEST(nobody_listens),
        TEST(datagrams_are_bounded),
        TEST(what_does_not_fit_is_dropped),
        TEST(dropping_begins_anew),
        TEST(a_successor_counts_on),
        TEST(a_successor_repeats_no_number),
        TEST(a_successor_claims_nothing_that_was_dropped),
        TEST(senders_are_told_apart),
        TEST(failures_are_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
