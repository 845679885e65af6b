/* SPDX-License-Identifier: MIT */
/* What the options of the bench take, and what they refuse. */
#include "cli/bench_choice.h"
#include "cli/bench_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    enum bench_option option;
    const char *good[6], *bad[10];
} values[] = {
    {BENCH_OPTION_PROTOCOL, {"line", "resp", "redis", "memcached"}, {"", "RESP", "http"}},
    {BENCH_OPTION_CONNECTIONS,
     {"1", "60000"},
     {"0", "60001", "", "-1", "1 ", "+1", "0x10", "1e3", "99999999999999999999"}},
    {BENCH_OPTION_PIPELINE, {"1", "1000"}, {"0", "1001"}},
    {BENCH_OPTION_THREADS, {"1", "64"}, {"0", "65"}},
    {BENCH_OPTION_REQUESTS, {"1", "1000000000000"}, {"0", "1000000000001"}},
    {BENCH_OPTION_SECONDS, {"0.001", "86400", "2.5"}, {"0", "86401", "", "1s", "nan", "inf", "-1", "1e3", " 1"}},
    {BENCH_OPTION_TOKENS, {"1", "20000000"}, {"0", "20000001"}},
    {BENCH_OPTION_MIX,
     {"hit", "hit=90,miss=5,unknown=4,store=1", "store=10000", "hit=0,miss=1", "hit=1,miss"},
     {"", "hit=", "hit=1,", ",hit=1", "hit=0", "hit=10001", "hit=1,hit=1", "hits=1", "delete=1", "hit=-1"}},
    {BENCH_OPTION_KEYS,
     {"uniform", "zipf", "zipf:1", "zipf:0.5"},
     {"", "zipf:", "zipf:0", "zipf:11", "zipf:x", "gauss"}},
    {BENCH_OPTION_RATE, {"0.1", "20000", "100000000"}, {"0", "-5", "1k"}},
    {BENCH_OPTION_VALUE_SIZE, {"200", "8192"}, {"199", "8193"}},
    {BENCH_OPTION_PID, {"1", "1,2,3"}, {"", "0", "1,", "a", "1, 2", "99999999999"}},
    {BENCH_OPTION_SEED, {"0", "9223372036854775807"}, {"-1", "9223372036854775808"}},
    {BENCH_OPTION_IDLE, {"0", "60000"}, {"60001"}},
    {BENCH_OPTION_WARM_UP, {"0", "100", "5s", "0.5s"}, {"", "s", "5m", "-1", "5ss"}},
};

static void values_are_taken_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct bench_options options;
        struct error error = {""};
        for (size_t k = 0; k < 6 && values[i].good[k] != NULL; k++) {
            bench_options_init(&options);
            if (bench_option_take(&options, values[i].option, values[i].good[k], &error) != 0)
                fail_msg("%s is refused: %s", values[i].good[k], error.text);
            assert_string_equal(options.given, bench_option_name(values[i].option));
        }
        for (size_t k = 0; k < 10 && values[i].bad[k] != NULL; k++) {
            bench_options_init(&options);
            if (bench_option_take(&options, values[i].option, values[i].bad[k], &error) == 0)
                fail_msg("--%s takes %s", bench_option_name(values[i].option), values[i].bad[k]);
            assert_non_null(strstr(error.text, bench_option_name(values[i].option)));
        }
    }
}

static void shares_are_read(void **state)
{
    (void)state;
    struct bench_options options;
    bench_options_init(&options);
    assert_int_equal(bench_option_take(&options, BENCH_OPTION_MIX, "miss=5,store=1,hit=90", NULL), 0);
    assert_int_equal(options.weight[BENCH_HIT], 90);
    assert_int_equal(options.weight[BENCH_MISS], 5);
    assert_int_equal(options.weight[BENCH_UNKNOWN], 0);
    assert_int_equal(options.weight[BENCH_STORE], 1);
    assert_int_equal(bench_options_deck(&options), 96);
}

static void what_is_left_out_is_filled_in(void **state)
{
    (void)state;
    struct bench_options options;
    bench_options_init(&options);
    assert_int_equal(bench_options_finish(&options, NULL), 0);
    assert_int_equal(options.requests, 100000);
    assert_int_equal(options.warm_up, options.tokens);
    options.threads = 7;
    uint64_t sum = 0;
    for (uint32_t thread = 0; thread < 7; thread++)
        sum += bench_options_share(&options, thread);
    assert_int_equal(sum, 100000);

    bench_options_init(&options);
    options.seconds = 1;
    options.warm_up_given = true;
    assert_int_equal(bench_options_finish(&options, NULL), 0);
    assert_int_equal(options.requests, 0);
    assert_int_equal(options.warm_up, 0);
    assert_true(bench_options_share(&options, 0) == UINT64_MAX);

    bench_options_init(&options);
    memcpy(options.weight, (unsigned[]){0, 0, 1, 0}, sizeof options.weight);
    assert_int_equal(bench_options_finish(&options, NULL), 0);
    assert_int_equal(options.warm_up, 0); /* there is nothing to warm */
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    struct bench_options options;
    bench_options_init(&options);
    options.requests = 1;
    options.seconds = 1;
    assert_int_equal(bench_options_finish(&options, NULL), -1);
    bench_options_init(&options);
    options.weight[BENCH_MISS] = 1;
    options.seconds = 1;
    assert_int_equal(bench_options_finish(&options, NULL), -1);
    bench_options_init(&options);
    options.threads = 2;
    options.connections = 1;
    assert_int_equal(bench_options_finish(&options, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_taken_or_refused),
        cmocka_unit_test(shares_are_read),
        cmocka_unit_test(what_is_left_out_is_filled_in),
        cmocka_unit_test(what_does_not_go_together_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
