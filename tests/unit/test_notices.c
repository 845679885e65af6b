/* SPDX-License-Identifier: MIT */
/* The log's protection: one notice a subject a minute, ten a second, and none of those left out forgotten. */
#include "base/clock.h"
#include "keep/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_one_a_subject_a_minute(void **state)
{
    static struct notices notices;
    unsigned left_out = 99;
    const char key[] = "aaaaaaaaaaaaaaaaaaaaaa";
    int64_t start = 5 * CLOCK_SECOND;
    (void)state;
    assert_true(notices_due(&notices, key, strlen(key), start, &left_out));
    assert_int_equal(left_out, 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_false(notices_due(&notices, key, strlen(key), start + 59 * CLOCK_SECOND, &left_out));
    assert_true(notices_due(&notices, key, strlen(key), start + 60 * CLOCK_SECOND, &left_out));
    assert_int_equal(left_out, 1000);
}

static void test_ten_a_second(void **state)
{
    static struct notices notices;
    unsigned left_out, given = 0;
    int64_t start = 5 * CLOCK_SECOND;
    char key[23];
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "%022u", i);
        given += notices_due(&notices, key, strlen(key), start + i, &left_out);
    }
    assert_int_equal(given, NOTICES_A_SECOND);
    assert_true(notices_due(&notices, "zzzzzzzzzzzzzzzzzzzzzz", 22, start + 2 * CLOCK_SECOND, &left_out));
    assert_true(left_out >= 1000 - NOTICES_A_SECOND - 20 && left_out <= 1000 - NOTICES_A_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_a_subject_a_minute),
        cmocka_unit_test(test_ten_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
