/* SPDX-License-Identifier: MIT */
/* The receiving end: what is handed on, what counts as lost, whose turn it is to read, and datagrams that lie. */
#include "event_samples.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/reports.h"
#include "reporter/intake.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOT = 3, OTHER_SLOT = 4, SENDER = 1 };

struct way {
    int ends[2]; /* sending, receiving */
    struct event_base *base;
    struct shared *shared;
    struct intake *intake;
    struct reports *reports;
    unsigned events, problems, batches;
    uint64_t last;        /* the count in the last event */
    uint64_t lost;        /* as the callback says */
    unsigned losses;      /* calls of it */
    uint64_t done_before; /* `done` when the last batch was handed on and did not count yet */
    bool disk_full;       /* what batch_done says */
    int read_end, saved;  /* of standard error */
};

static void on_event(void *argument, const struct audit_event *event)
{
    struct way *way = argument;
    way->events++;
    way->last = event->count;
}

static void on_problem(void *argument, const struct problem *problem)
{
    (void)problem;
    ((struct way *)argument)->problems++;
}

static bool on_batch_done(void *argument)
{
    struct way *way = argument;
    way->batches++;
    way->done_before = atomic_load(&way->shared->senders[SENDER].done);
    return !way->disk_full;
}

static void on_lost(void *argument, uint64_t records)
{
    struct way *way = argument;
    way->lost += records;
    way->losses++;
}

static struct intake *new_intake(struct way *way, unsigned slot)
{
    return intake_new(&(struct intake_settings){
        .base = way->base,
        .fd = way->ends[1],
        .shared = way->shared,
        .slot = slot,
        .on_event = on_event,
        .on_problem = on_problem,
        .batch_done = on_batch_done,
        .lost = on_lost,
        .argument = way,
    });
}

/* Standard error goes to a pipe. */
static void capture(struct way *way)
{
    int ends[2];
    way->saved = dup(STDERR_FILENO);
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    way->read_end = ends[0];
    assert_true(way->saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    log_reopen();
}

static void release(struct way *way)
{
    dup2(way->saved, STDERR_FILENO);
    log_reopen();
    close(way->saved);
    close(way->read_end);
}

/* How many lines were logged since the last call. */
static unsigned lines_logged(struct way *way)
{
    char text[8192];
    unsigned lines = 0;
    ssize_t n = read(way->read_end, text, sizeof text);
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

static int set_up(void **state)
{
    struct way *way = calloc(1, sizeof *way);
    assert_non_null(way);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, way->ends), 0);
    way->base = event_base_new();
    assert_non_null(way->base);
    way->shared = shared_create();
    assert_non_null(way->shared);
    shared_slot_use(way->shared, OTHER_SLOT);
    way->reports = reports_new(&(struct reports_settings){way->ends[0], way->shared, SENDER, NULL, NULL});
    way->intake = new_intake(way, SLOT);
    capture(way);
    *state = way;
    return 0;
}

static int tear_down(void **state)
{
    struct way *way = *state;
    release(way);
    intake_free(&way->intake);
    assert_null(way->intake);
    reports_free(&way->reports);
    event_base_free(way->base);
    shared_destroy(&way->shared);
    close(way->ends[0]);
    close(way->ends[1]);
    free(way);
    return 0;
}

/* Turns the loop for a while, so that what can happen has. */
static void turn(const struct way *way)
{
    const struct timeval while_long = {0, 20000};
    event_base_loopexit(way->base, &while_long);
    event_base_dispatch(way->base);
}

static struct shared_sender *sender(const struct way *way)
{
    return &way->shared->senders[SENDER];
}

static uint64_t done(const struct way *way)
{
    return atomic_load(&sender(way)->done);
}

static void tell(struct way *way, unsigned n)
{
    for (unsigned i = 1; i <= n; i++)
        reports_event(way->reports, &(struct audit_event){.kind = EVENT_TOKEN_LIST, .latency = -1, .count = i});
    assert_true(reports_flush(way->reports));
}

/* A datagram of a head and `records` good records, as a sender may make it up. */
static void send_made(const struct way *way, unsigned place, uint64_t first, unsigned count, unsigned records)
{
    static unsigned char bytes[REPORTS_DATAGRAM_MAX];
    size_t size = DATAGRAM_HEAD_SIZE;
    datagram_head_encode(&(struct datagram_head){place, first, count}, bytes);
    for (unsigned i = 0; i < records; i++)
        size += event_encode(&least, bytes + size);
    assert_int_equal(send(way->ends[0], bytes, size, 0), size);
}

static void assert_lost(const struct way *way, uint64_t lost)
{
    assert_int_equal(way->lost, lost);
    assert_int_equal(atomic_load(&way->shared->reports_lost), lost);
}

static void hands_on(void **state)
{
    struct way *way = *state;
    tell(way, 3);
    reports_problem(way->reports, &full_problem);
    tell(way, 1);
    turn(way);
    assert_int_equal(way->events, 4);
    assert_int_equal(way->problems, 1);
    assert_int_equal(way->batches, 2);
    assert_int_equal(way->done_before, 3);
    assert_int_equal(way->last, 1);
    assert_int_equal(done(way), 5);
    assert_lost(way, 0);
    assert_int_equal(lines_logged(way), 0);
}

/* What a worker learns that answers a change only once its record is on the disk. */
static void assert_fate(const struct way *way, uint64_t failed, uint64_t kept)
{
    assert_int_equal(atomic_load(&sender(way)->failed), failed);
    assert_int_equal(atomic_load(&sender(way)->kept), kept);
}

static void records_kept_and_failed(void **state)
{
    struct way *way = *state;
    assert_int_equal(reports_event(way->reports, &(struct audit_event){.kind = EVENT_TOKEN_LIST}), 0);
    assert_int_equal(reports_event(way->reports, &(struct audit_event){.kind = EVENT_TOKEN_LIST}), 1);
    assert_true(reports_flush(way->reports));
    turn(way);
    assert_fate(way, 0, 2);
    way->disk_full = true;
    assert_int_equal(reports_event(way->reports, &(struct audit_event){.kind = EVENT_TOKEN_LIST}), 2);
    assert_true(reports_flush(way->reports));
    turn(way);
    assert_fate(way, 3, 3);
    way->disk_full = false;
    tell(way, 2);
    turn(way);
    assert_fate(way, 3, 5);
    sender(way)->sent = 9; /* a reporter took four records and was killed */
    send_made(way, SENDER, 9, 1, 1);
    turn(way);
    assert_fate(way, 9, 10);
    send_made(way, SENDER, 9, 3, 1); /* two of three cannot be read */
    turn(way);
    assert_fate(way, 12, 12);
}

static void the_last_place_and_the_master(void **state)
{
    struct way *way = *state;
    const unsigned places[] = {SHARED_SENDER_MASTER, SHARED_SLOTS - 1};
    for (unsigned i = 0; i < 2; i++) {
        struct shared_sender *at = &way->shared->senders[places[i]];
        atomic_store(&at->sent, 1);
        send_made(way, places[i], 0, 1, 1);
        turn(way);
        assert_int_equal(way->events, i + 1);
        assert_int_equal(atomic_load(&at->done), 1);
    }
    assert_lost(way, 0);
}

/* More than a turn takes: the loop's other business comes in between. */
static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct way *way = *(struct way **)argument;
    (void)fd, (void)what;
    assert_true(way->events < 200);
    *(struct way **)argument = NULL;
}

static void the_loop_turns_meanwhile(void **state)
{
    struct way *way = *state, *seen = way;
    struct event *timer = event_new(way->base, -1, 0, on_timer, &seen);
    const struct timeval at_once = {0, 0};
    const int size = 1 << 20;
    setsockopt(way->ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    for (unsigned i = 0; i < 200; i++)
        tell(way, 1);
    event_base_loop(way->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    event_add(timer, &at_once);
    event_base_loop(way->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    event_base_loop(way->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_null(seen);
    turn(way);
    assert_int_equal(way->events, 200);
    event_free(timer);
}

static void gaps_are_lost(void **state)
{
    struct way *way = *state;
    atomic_store(&sender(way)->sent, 10);
    tell(way, 2);
    turn(way);
    assert_int_equal(way->events, 2);
    assert_int_equal(way->losses, 1);
    assert_lost(way, 10);
    assert_int_equal(done(way), 12);
    atomic_store(&sender(way)->sent, 17);
    tell(way, 1);
    tell(way, 1);
    turn(way);
    assert_int_equal(way->losses, 2);
    assert_lost(way, 15);
    assert_int_equal(way->events, 4);
}

/* The sender was killed after the kernel took its datagram and before it could note that. */
static void repeated_numbers_are_no_loss(void **state)
{
    struct way *way = *state;
    tell(way, 20);
    turn(way);
    atomic_store(&sender(way)->sent, 5);
    tell(way, 3);
    turn(way);
    assert_int_equal(way->events, 23);
    assert_int_equal(done(way), 8);
    tell(way, 4);
    turn(way);
    assert_int_equal(done(way), 12);
    assert_lost(way, 0);
    atomic_store(&sender(way)->sent, 14);
    tell(way, 1);
    turn(way);
    assert_lost(way, 2);
}

/* A reporter before took these with it. */
static void an_empty_socket_tells_of_losses(void **state)
{
    struct way *way = *state;
    atomic_store(&sender(way)->sent, 7);
    atomic_store(&way->shared->senders[SHARED_SENDER_MASTER].sent, 2);
    turn(way); /* nothing comes: the first look is enough */
    assert_lost(way, 9);
    assert_int_equal(done(way), 7);
    assert_int_equal(atomic_load(&way->shared->senders[SHARED_SENDER_MASTER].done), 2);
    turn(way);
    assert_int_equal(way->losses, 2);
    atomic_store(&way->shared->senders[OTHER_SLOT].sent, 1);
    tell(way, 1); /* of another sender; behind it the socket is empty */
    turn(way);
    assert_lost(way, 10);
    assert_int_equal(way->events, 1);
}

/* One that has sent and not yet noted it is no loss, and nothing is taken back. */
static void what_is_not_noted_yet_is_no_loss(void **state)
{
    struct way *way = *state;
    send_made(way, SENDER, 0, 3, 3);
    turn(way);
    assert_int_equal(done(way), 3);
    atomic_store(&sender(way)->sent, 3);
    tell(way, 1);
    turn(way);
    assert_int_equal(way->events, 4);
    assert_lost(way, 0);
}

static void a_bad_record_ends_the_datagram(void **state)
{
    struct way *way = *state;
    send_made(way, SENDER, 0, 5, 3);
    atomic_store(&sender(way)->sent, 5);
    turn(way);
    assert_int_equal(way->events, 3);
    assert_int_equal(way->batches, 1);
    assert_lost(way, 2);
    assert_int_equal(done(way), 5);
    assert_int_equal(lines_logged(way), 1);
    tell(way, 1);
    turn(way);
    assert_int_equal(way->events, 4);
    assert_lost(way, 2);
}

/* Refused whole: nothing is handed on, nothing is counted, and what follows is read. */
static void bad_datagrams(void **state)
{
    struct way *way = *state;
    static unsigned char bytes[REPORTS_DATAGRAM_MAX + 10000];
    const struct datagram_head heads[] = {
        {SHARED_SENDERS, 0, 1}, {65535, 0, 1}, {SENDER, 1, 1}, {SENDER, UINT64_MAX, 1}, {SENDER, 0, 65535},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        send_made(way, heads[i].sender, heads[i].first, heads[i].count, 1);
    send_made(way, SENDER, 0, 1, 0);
    for (size_t size = 0; size < DATAGRAM_HEAD_SIZE; size++)
        assert_int_equal(send(way->ends[0], memset(bytes, 0x91, sizeof bytes), size, 0), size);
    datagram_head_encode(&(struct datagram_head){SENDER, 0, 1}, bytes);
    event_encode(&least, bytes + DATAGRAM_HEAD_SIZE);
    assert_int_equal(send(way->ends[0], bytes, sizeof bytes, 0), sizeof bytes);
    turn(way);
    assert_int_equal(way->events + way->problems + way->batches, 0);
    assert_lost(way, 0);
    assert_int_equal(done(way), 0);
    assert_int_equal(lines_logged(way), 1);
    tell(way, 2);
    turn(way);
    assert_int_equal(way->events, 2);
    assert_lost(way, 0);
}

static void more_than_the_records(void **state)
{
    struct way *way = *state;
    send_made(way, SENDER, 0, 1, 3);
    atomic_store(&sender(way)->sent, 1);
    turn(way);
    assert_int_equal(way->events, 1);
    assert_int_equal(done(way), 1);
    assert_lost(way, 0);
    assert_int_equal(lines_logged(way), 1);
}

/* Random bytes behind a good head: nothing but counts can come of it. */
static void random_records(void **state)
{
    struct way *way = *state;
    unsigned char bytes[256];
    uint64_t seed = 88172645463325252, first = 0;
    for (unsigned round = 0; round < 2000; round++) {
        datagram_head_encode(&(struct datagram_head){SENDER, first, 5}, bytes);
        for (size_t i = DATAGRAM_HEAD_SIZE; i < sizeof bytes; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            bytes[i] = (unsigned char)seed;
        }
        assert_int_equal(send(way->ends[0], bytes, sizeof bytes, 0), sizeof bytes);
        atomic_store(&sender(way)->sent, first += 5);
        while (round % 50 == 0 && done(way) < first)
            event_base_loop(way->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    intake_drain(way->intake);
    assert_int_equal(done(way), first);
    assert_lost(way, first - way->events - way->problems);
}

static void one_reads_at_a_time(void **state)
{
    struct way *way = *state;
    turn(way);
    assert_int_equal(atomic_load(&way->shared->reports_reader), SLOT + 1);
    struct intake *second = new_intake(way, OTHER_SLOT);
    turn(way);
    assert_int_equal(atomic_load(&way->shared->reports_reader), SLOT + 1);
    intake_free(&way->intake);
    assert_int_equal(atomic_load(&way->shared->reports_reader), 0);
    tell(way, 2); /* nobody reads: they wait */
    turn(way);
    assert_int_equal(atomic_load(&way->shared->reports_reader), OTHER_SLOT + 1);
    assert_int_equal(way->events, 2);
    assert_lost(way, 0);
    intake_free(&second);
    assert_int_equal(atomic_load(&way->shared->reports_reader), 0);
}

/* One whose turn has not come takes nothing, and gives nothing back that is not its own. */
static void whoever_waits_takes_nothing(void **state)
{
    struct way *way = *state;
    atomic_store(&way->shared->reports_reader, OTHER_SLOT + 1);
    tell(way, 1);
    atomic_store(&sender(way)->sent, 5);
    turn(way);
    assert_int_equal(way->events, 0);
    assert_lost(way, 0);
    intake_free(&way->intake);
    assert_int_equal(atomic_load(&way->shared->reports_reader), OTHER_SLOT + 1);
    way->intake = new_intake(way, SLOT);
    atomic_store(&way->shared->reports_reader, 0); /* the other one died */
    turn(way);
    assert_int_equal(way->events, 1);
    assert_lost(way, 4);
}

static void drains(void **state)
{
    struct way *way = *state;
    for (unsigned i = 0; i < 150; i++)
        tell(way, 1);
    atomic_store(&sender(way)->sent, 153);
    intake_drain(way->intake);
    assert_int_equal(way->events, 150);
    assert_lost(way, 3);
    intake_drain(way->intake);
    assert_lost(way, 3);
}

static void drains_not_for_another(void **state)
{
    struct way *way = *state;
    atomic_store(&way->shared->reports_reader, OTHER_SLOT + 1);
    tell(way, 1);
    const int64_t start = clock_boot();
    intake_drain(way->intake);
    assert_in_range(clock_boot() - start, CLOCK_SECOND / 2, 20 * CLOCK_SECOND);
    assert_int_equal(way->events, 0);
    assert_int_equal(lines_logged(way), 1);
}

/* Neither spins nor ends, nor is it worth a line: the master has died, and the workers have ended. */
static void nobody_sends(void **state)
{
    struct way *way = *state;
    turn(way);
    tell(way, 1);
    assert_int_equal(send(way->ends[0], "", 0, 0), 0);
    close(way->ends[0]);
    way->ends[0] = -1;
    const clock_t start = clock();
    for (unsigned i = 0; i < 20; i++)
        turn(way);
    assert_true(clock() - start < CLOCKS_PER_SEC / 10);
    assert_int_equal(way->events, 1);
    assert_int_equal(lines_logged(way), 0);
    intake_drain(way->intake);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(hands_on),
        TEST(records_kept_and_failed),
        TEST(the_last_place_and_the_master),
        TEST(the_loop_turns_meanwhile),
        TEST(gaps_are_lost),
        TEST(repeated_numbers_are_no_loss),
        TEST(an_empty_socket_tells_of_losses),
        TEST(what_is_not_noted_yet_is_no_loss),
        TEST(a_bad_record_ends_the_datagram),
        TEST(bad_datagrams),
        TEST(more_than_the_records),
        TEST(random_records),
        TEST(one_reads_at_a_time),
        TEST(whoever_waits_takes_nothing),
        TEST(drains),
        TEST(drains_not_for_another),
        TEST(nobody_sends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
