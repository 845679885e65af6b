/* SPDX-License-Identifier: MIT */
/* What got lost on the way to the reporter: each loss is told once, whoever asks. */
#include "base/losses.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct shared *shared;

static int set_up(void **state)
{
    (void)state;
    shared = shared_create();
    if (shared == NULL)
        return -1;
    shared_slot_use(shared, 4);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shared_destroy(&shared);
    return 0;
}

static void assert_taken(uint64_t sent, uint64_t dropped)
{
    const struct losses losses = losses_take(shared);
    assert_int_equal(losses.sent, sent);
    assert_int_equal(losses.dropped, dropped);
}

static void tells_each_once(void **state)
{
    (void)state;
    assert_taken(0, 0);
    atomic_store(&shared->reports_lost, 5);
    atomic_store(&shared->senders[0].dropped, 1);
    atomic_store(&shared->senders[4].dropped, 20);
    atomic_store(&shared->senders[SHARED_SENDER_MASTER].dropped, 300);
    assert_taken(5, 321);
    assert_taken(0, 0);
    atomic_fetch_add(&shared->reports_lost, 2);
    atomic_fetch_add(&shared->senders[4].dropped, 1);
    assert_taken(2, 1);
    assert_taken(0, 0);
}

/* What a child wrote there that cannot be is no loss. */
static void takes_no_number_back(void **state)
{
    (void)state;
    atomic_store(&shared->senders[1].dropped, 9);
    assert_taken(0, 9);
    atomic_store(&shared->senders[1].dropped, 2);
    assert_taken(0, 0);
    atomic_store(&shared->senders[1].dropped, 3);
    assert_taken(0, 1);
}

static void counts_what_is_under_way(void **state)
{
    (void)state;
    assert_int_equal(losses_under_way(shared), 0);
    atomic_store(&shared->senders[0].sent, 7);
    atomic_store(&shared->senders[0].done, 7);
    atomic_store(&shared->senders[3].sent, 7);
    atomic_store(&shared->senders[3].done, 2);
    atomic_store(&shared->senders[4].done, 50);
    atomic_store(&shared->senders[SHARED_SENDER_MASTER].sent, 1);
    assert_int_equal(losses_under_way(shared), 6);
}

static void says_it_in_a_sentence(void **state)
{
    (void)state;
    char text[LOSSES_TEXT_SIZE];
    assert_string_equal(losses_describe(&(struct losses){.sent = 1}, text),
                        "1 event was lost: 1 on the way to the reporter, 0 for lack of room");
    assert_string_equal(losses_describe(&(struct losses){.sent = UINT64_MAX / 2, .dropped = UINT64_MAX / 2}, text),
                        "18446744073709551614 events were lost: 9223372036854775807 on the way to the reporter, "
                        "9223372036854775807 for lack of room");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tells_each_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_no_number_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_what_is_under_way, set_up, tear_down),
        cmocka_unit_test(says_it_in_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
