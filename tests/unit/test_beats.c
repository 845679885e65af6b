/* SPDX-License-Identifier: MIT */
/* Beats: no name twice, and an echo says when its own beat was sent, or nothing. */
#include "keep/beats.h"

#include "keep/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
    struct beats first, second;
    char name[BEAT_NAME_SIZE], other[BEAT_NAME_SIZE];
    (void)state;
    beats_init(&first, "token:");
    beats_init(&second, "token:");
    const size_t size = beats_next(&first, 1, name);
    assert_int_equal(size, strlen(name));
    assert_memory_equal(name, "token:.hb.", 10);
    beats_next(&second, 1, other);
    assert_string_not_equal(name, other);
    beats_next(&first, 1, other);
    assert_string_not_equal(name, other);
    /* No SCAN for tokens finds one. */
    assert_true(strlen(name) > strlen("token:") + TOKEN_PART_SIZE);
}

static void test_long_prefix_and_large_number(void **state)
{
    struct beats beats;
    char prefix[CONFIG_PREFIX_MAX + 1], name[BEAT_NAME_SIZE];
    (void)state;
    memset(prefix, 'p', CONFIG_PREFIX_MAX);
    prefix[CONFIG_PREFIX_MAX] = '\0';
    beats_init(&beats, prefix);
    beats.number = INT64_MAX - 1;
    size_t size = beats_next(&beats, 7, name);
    assert_int_equal(size, strlen(name));
    assert_int_equal(beats_hear(&beats, name, size), 7);
}

static void test_an_echo_is_worth_its_own_beat(void **state)
{
    struct beats beats;
    char names[12][BEAT_NAME_SIZE];
    size_t sizes[12];
    (void)state;
    beats_init(&beats, "");
    for (int i = 0; i < 12; i++)
        sizes[i] = beats_next(&beats, 100 + i, names[i]);
    /* Too old to mean anything: its place has been used again. */
    assert_int_equal(beats_hear(&beats, names[3], sizes[3]), 0);
    assert_int_equal(beats_hear(&beats, names[4], sizes[4]), 104);
    assert_int_equal(beats_hear(&beats, names[4], sizes[4]), 0);
    assert_int_equal(beats_hear(&beats, names[10], sizes[10]), 110);
    /* An array is sorted: an older one may stand behind. */
    assert_int_equal(beats_hear(&beats, names[9], sizes[9]), 0);
    assert_int_equal(beats_hear(&beats, names[11], sizes[11]), 111);
    assert_int_equal(beats.heard, 12);
}

static void test_what_is_no_beat(void **state)
{
    static const char *const tails[] = {"",
                                        "0",
                                        "4",
                                        "01",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "x",
                                        "1x",
                                        "1.1",
                                        ".1",
                                        "18446744073709551617",
                                        "99999999999999999999999"};
    struct beats beats;
    char name[BEAT_NAME_SIZE + 64];
    (void)state;
    beats_init(&beats, "token:");
    for (int i = 0; i < 3; i++)
        beats_next(&beats, 5, name);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(name, sizeof name, "%s%s", beats.stem, tails[i]);
        assert_int_equal(beats_hear(&beats, name, strlen(name)), 0);
    }
    for (size_t size = 0; size <= beats.stem_size; size++)
        assert_int_equal(beats_hear(&beats, beats.stem, size), 0);
    snprintf(name, sizeof name, "%s1", beats.stem);
    assert_int_equal(beats_hear(&beats, name, strlen(name) + 1), 0); /* with the NUL */
    name[8] ^= 1;
    assert_int_equal(beats_hear(&beats, name, strlen(name)), 0);
    name[8] ^= 1;
    assert_int_equal(beats_hear(&beats, name, strlen(name)), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_prefix_and_large_number),
        cmocka_unit_test(test_an_echo_is_worth_its_own_beat),
        cmocka_unit_test(test_what_is_no_beat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
