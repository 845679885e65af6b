/* SPDX-License-Identifier: MIT */
/* The set of token keys: repeats leave, every key is walked once, marks stay. */
#include "keep/keyset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void add(struct keyset *set, unsigned number)
{
    char key[TOKEN_PART_SIZE + 1];
    snprintf(key, sizeof key, "%022u", number);
    assert_true(keyset_add(set, number * UINT64_C(2654435761), key));
}

static void make_unique(struct keyset *set)
{
    unsigned steps = 1;
    while (keyset_unique(set))
        steps++;
    assert_int_equal(steps, KEYSET_STEPS);
}

static void test_empty(void **state)
{
    uint64_t cursor = 0;
    (void)state;
    struct keyset *set = keyset_new();
    make_unique(set);
    assert_int_equal(keyset_count(set), 0);
    assert_null(keyset_next(set, &cursor));
    assert_null(keyset_next(set, &cursor));
    keyset_free(&set);
    assert_null(set);
    keyset_free(&set);
}

static void test_repeats_leave_and_all_are_walked_once(void **state)
{
    enum { KEYS = 50000 };
    static unsigned char seen[KEYS];
    uint64_t cursor = 0;
    const struct keyset_record *record;
    (void)state;
    struct keyset *set = keyset_new();
    for (unsigned i = 0; i < KEYS; i++)
        for (unsigned repeat = 0; repeat <= i % 3; repeat++)
            add(set, i);
    assert_true(keyset_count(set) > KEYS);
    make_unique(set);
    assert_int_equal(keyset_count(set), KEYS);
    while ((record = keyset_next(set, &cursor)) != NULL) {
        unsigned number = 0;
        for (unsigned i = 0; i < TOKEN_PART_SIZE; i++)
            number = number * 10 + (unsigned)(record->key[i] - '0');
        assert_int_equal(seen[number]++, 0);
    }
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(seen[i], 1);
    keyset_free(&set);
}

static void test_marks_stay(void **state)
{
    uint64_t cursor = 0;
    struct keyset_record *record;
    unsigned marked = 0;
    (void)state;
    struct keyset *set = keyset_new();
    for (unsigned i = 0; i < 100; i++)
        add(set, i);
    make_unique(set);
    while ((record = keyset_next(set, &cursor)) != NULL)
        record->mark = (uint8_t)(record->key[TOKEN_PART_SIZE - 1] == '7');
    for (cursor = 0; (record = keyset_next(set, &cursor)) != NULL;)
        marked += record->mark;
    assert_int_equal(marked, 10);
    keyset_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_repeats_leave_and_all_are_walked_once),
        cmocka_unit_test(test_marks_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
