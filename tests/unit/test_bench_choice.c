/* SPDX-License-Identifier: MIT */
/* What the bench draws is distributed as it says, and a seed repeats it. */
#include "cli/bench_choice.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 200000 };

/* Counts draws, and compares them with the ideal in two ways: chi squared over cells of at least 20 expected draws, and
 * the largest difference of the cumulative shares (Kolmogorov and Smirnov). The seed is fixed: what passes once passes
 * always. */
static void compare_with_ideal(uint32_t n, double exponent)
{
    struct bench_random random = {.state = 20261124};
    struct bench_keys keys;
    uint32_t *counts = calloc(n, sizeof *counts);
    double sum = 0, chi = 0, cell = 0, seen = 0, freedom = -1, ideal = 0, drawn = 0, distance = 0;
    assert_non_null(counts);
    bench_keys_init(&keys, n, exponent);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t key = bench_keys_next(&keys, &random);
        assert_true(key < n);
        counts[key]++;
    }
    for (uint32_t i = 0; i < n; i++)
        sum += pow(i + 1.0, -exponent);
    for (uint32_t i = 0; i < n; i++) {
        double expected = DRAWS * pow(i + 1.0, -exponent) / sum;
        ideal += expected;
        drawn += counts[i];
        distance = fmax(distance, fabs(ideal - drawn) / DRAWS);
        cell += expected;
        seen += counts[i];
        if (cell < 20 && i + 1 < n)
            continue;
        chi += (seen - cell) * (seen - cell) / cell;
        freedom++;
        cell = seen = 0;
    }
    free(counts);
    /* One in a hundred thousand of true samples would be further off. */
    double bound = freedom <= 0 ? 0.001 : freedom * pow(1 - 2 / (9 * freedom) + 4.27 * sqrt(2 / (9 * freedom)), 3);
    if (chi > bound || distance > 2.5 / sqrt(DRAWS))
        fail_msg("%u keys, exponent %g: chi squared %g of %g cells, distance %g", n, exponent, chi, freedom + 1,
                 distance);
}

static void keys_are_drawn_in_proportion(void **state)
{
    (void)state;
    static const double exponents[] = {0, 0.01, 0.5, 0.99, 1, 1.2, 2, 10};
    static const uint32_t sizes[] = {1, 2, 3, 10, 1000, 100000};
    for (size_t i = 0; i < sizeof exponents / sizeof exponents[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            compare_with_ideal(sizes[k], exponents[i]);
}

static void the_largest_numbers_come_too(void **state)
{
    (void)state;
    struct bench_random random = {.state = 1};
    struct bench_keys keys;
    uint32_t largest = 0;
    bench_keys_init(&keys, 20000000, 0);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t key = bench_keys_next(&keys, &random);
        largest = key > largest ? key : largest;
    }
    assert_in_range(largest, 19990000, 19999999);
}

static void a_deck_has_its_shares(void **state)
{
    (void)state;
    static const unsigned weights[] = {90, 5, 4, 1};
    struct bench_random random = {.state = 7};
    static struct bench_deck deck;
    uint8_t first[100], second[100];
    bench_deck_init(&deck, weights, 4);
    assert_int_equal(deck.size, 100);
    for (int round = 0; round < 50; round++) {
        unsigned counts[4] = {0};
        memcpy(second, first, sizeof second);
        for (int i = 0; i < 100; i++) {
            first[i] = bench_deck_next(&deck, &random);
            assert_in_range(first[i], 0, 3);
            counts[first[i]]++;
        }
        assert_memory_equal(counts, weights, sizeof counts);
        if (round > 0)
            assert_memory_not_equal(first, second, sizeof first);
    }
}

static void a_deck_of_one_kind(void **state)
{
    (void)state;
    static const unsigned weights[] = {0, 0, 1, 0};
    struct bench_random random = {.state = 7};
    static struct bench_deck deck;
    bench_deck_init(&deck, weights, 4);
    for (int i = 0; i < 10; i++)
        assert_int_equal(bench_deck_next(&deck, &random), 2);
}

static void a_seed_repeats(void **state)
{
    (void)state;
    struct bench_random a = {.state = 5}, b = {.state = 5}, c = {.state = 6};
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = bench_random_next(&a);
        assert_true(number == bench_random_next(&b));
        same += number == bench_random_next(&c);
    }
    assert_int_equal(same, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_drawn_in_proportion),
        cmocka_unit_test(the_largest_numbers_come_too),
        cmocka_unit_test(a_deck_has_its_shares),
        cmocka_unit_test(a_deck_of_one_kind),
        cmocka_unit_test(a_seed_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
