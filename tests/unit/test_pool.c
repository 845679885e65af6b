/* SPDX-License-Identifier: MIT */
/* Small things of one size: always zeroed, never two at once in one place, whatever was in them. */
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { THINGS = 20, SIZE = 48 };

static void assert_zero(const unsigned char *thing)
{
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(thing[i], 0);
}

static void hands_out_zeroed_memory(void **state)
{
    (void)state;
    struct pool pool = {.size = SIZE};
    unsigned char *things[THINGS];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < THINGS; i++) {
            things[i] = pool_take(&pool);
            assert_zero(things[i]);
            memset(things[i], (int)i + 1, SIZE);
        }
        for (size_t i = 0; i < THINGS; i++) {
            assert_int_equal(things[i][0], i + 1);
            assert_int_equal(things[i][SIZE - 1], i + 1);
        }
        for (size_t i = round; i < THINGS; i++)
            pool_give(&pool, things[i]);
        for (size_t i = 0; i < round; i++)
            pool_give(&pool, things[i]);
    }
    pool_empty(&pool);
    pool_empty(&pool);
}

static void takes_back_what_is_out_when_it_is_emptied(void **state)
{
    (void)state;
    struct pool pool = {.size = SIZE};
    void *out = pool_take(&pool);
    pool_empty(&pool);
    pool_give(&pool, out);
    void *again = pool_take(&pool);
    assert_zero(again);
    pool_give(&pool, again);
    pool_empty(&pool);
    assert_null(pool.spare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_zeroed_memory),
        cmocka_unit_test(takes_back_what_is_out_when_it_is_emptied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
