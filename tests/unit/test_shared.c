/* SPDX-License-Identifier: MIT */
/* The shared memory: how far loops over slots go, and what of a slot its next process finds. */
#include "base/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void slots_in_use(void **state)
{
    (void)state;
    struct shared *shared = shared_create();
    assert_non_null(shared);
    assert_int_equal(shared_slots_used(shared), 0);
    shared_slot_use(shared, 7);
    shared_slot_use(shared, 2);
    assert_int_equal(shared_slots_used(shared), 8);
    shared_slot_use(shared, SHARED_SLOTS - 1);
    assert_int_equal(shared_slots_used(shared), SHARED_SLOTS);
    atomic_store(&shared->slots_used, UINT32_MAX); /* as a child may write it */
    assert_int_equal(shared_slots_used(shared), SHARED_SLOTS);
    shared_destroy(&shared);
    assert_null(shared);
}

static void a_dead_process_leaves_counters_alone(void **state)
{
    (void)state;
    struct shared *shared = shared_create();
    assert_non_null(shared);
    struct shared_slot *slot = &shared->slots[3];
    shared_slot_use(shared, 3);
    shared_count(slot, METRIC_REQUESTS, 5);
    atomic_store(&slot->accepting, true);
    atomic_store(&slot->connections_held, 2);
    atomic_store(&slot->connections[1], 2);
    atomic_store(&slot->cache_entries, 9);
    atomic_store(&slot->cache_bytes, 900);
    atomic_store(&slot->lua_call, 17);
    assert_int_equal(shared_listener_connections(shared, 1), 2);
    shared_slot_reset(slot);
    assert_int_equal(shared_listener_connections(shared, 1), 0);
    assert_false(atomic_load(&slot->accepting));
    assert_int_equal(atomic_load(&slot->connections_held), 0);
    assert_int_equal(atomic_load(&slot->cache_entries) + atomic_load(&slot->cache_bytes), 0);
    assert_int_equal(atomic_load(&slot->lua_call), 0);
    assert_int_equal(atomic_load(&slot->metrics[METRIC_REQUESTS]), 5);
    shared_destroy(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_in_use),
        cmocka_unit_test(a_dead_process_leaves_counters_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
