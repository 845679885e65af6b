/* SPDX-License-Identifier: MIT */
/* The way to the reporter as the master holds it: the ends, and what the master says itself. */
#include "master/channel.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct shared *shared;
static struct channel *channel;
static unsigned char bytes[64 * 1024];

static int set_up(void **state)
{
    struct error error;
    (void)state;
    shared = shared_create();
    channel = shared != NULL ? channel_new(shared, &error) : NULL;
    return channel != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    channel_free(&channel);
    shared_destroy(&shared);
    return channel == NULL ? 0 : -1;
}

static void keeps_both_ends(void **state)
{
    (void)state;
    const int ends[] = {channel_sending(channel), channel_receiving(channel)};
    for (size_t i = 0; i < 2; i++) {
        assert_true((fcntl(ends[i], F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(ends[i], F_GETFD) & FD_CLOEXEC) != 0);
    }
    assert_int_equal(send(ends[0], "a", 1, 0), 1);
    assert_int_equal(send(ends[0], "bc", 2, 0), 2);
    assert_int_equal(recv(ends[1], bytes, sizeof bytes, 0), 1);
    assert_int_equal(recv(ends[1], bytes, sizeof bytes, 0), 2);
    channel_free(&channel);
    assert_null(channel);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(fcntl(ends[i], F_GETFD), -1);
    channel_free(&channel);
}

/* As root it holds the whole size; others have what the system allows. */
static void holds_much(void **state)
{
    (void)state;
    size_t held = 0;
    while (send(channel_sending(channel), bytes, 1000, MSG_DONTWAIT) == 1000)
        held += 1000;
    assert_true(held > (geteuid() == 0 ? CHANNEL_BUFFER_SIZE / 2 : 50 * 1000));
}

static void tells_when_the_server_starts(void **state)
{
    (void)state;
    struct datagram_head head;
    struct audit_event event;
    struct problem problem;
    size_t used;
    channel_tell_server(channel, EVENT_SERVER_START, 4);
    assert_true(channel_flush(channel));
    const ssize_t size = recv(channel_receiving(channel), bytes, sizeof bytes, 0);
    assert_true(size > 0);
    const size_t start = datagram_head_decode(bytes, (size_t)size, &head);
    assert_int_equal(head.sender, SHARED_SENDER_MASTER);
    assert_int_equal(head.count, 1);
    assert_int_equal(record_decode(bytes + start, (size_t)size - start, &used, &event, &problem), RECORD_EVENT);
    assert_int_equal(event.kind, EVENT_SERVER_START);
    assert_int_equal(event.result, EVENT_OK);
    assert_int_equal(event.count, 4);
    assert_int_equal(event.worker, 0);
    assert_int_equal(event.latency, -1);
    assert_true(event.time > 0);
}

static void tells_nobody_without_a_channel(void **state)
{
    (void)state;
    channel_tell_server(NULL, EVENT_SERVER_STOP, 1);
    channel_tell_crash(NULL, 1, "worker 1", "ended with status 1");
    assert_true(channel_flush(NULL));
    assert_int_equal(channel_sending(NULL), -1);
    assert_int_equal(channel_receiving(NULL), -1);
}

static void counts_what_it_could_not_send(void **state)
{
    (void)state;
    while (send(channel_sending(channel), bytes, 1000, MSG_DONTWAIT) == 1000)
        continue;
    channel_tell_server(channel, EVENT_SERVER_STOP, 4);
    channel_tell_crash(channel, 2, "worker 2", "ended with status 1");
    assert_false(channel_flush(channel));
    assert_int_equal(atomic_load(&shared->senders[SHARED_SENDER_MASTER].dropped), 0);
    channel_free(&channel);
    assert_int_equal(atomic_load(&shared->senders[SHARED_SENDER_MASTER].dropped), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_both_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holds_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_when_the_server_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_nobody_without_a_channel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_what_it_could_not_send, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
