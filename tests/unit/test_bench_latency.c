/* SPDX-License-Identifier: MIT */
/* The histogram of latencies: percentiles to half a percent, whatever the size of what is measured. */
#include "cli/bench_latency.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bench_latency *make(void)
{
    struct bench_latency *latency = calloc(1, sizeof *latency);
    assert_non_null(latency);
    return latency;
}

static void assert_near(int64_t value, double wanted, double part)
{
    if (fabs((double)value - wanted) > wanted * part + 0.5)
        fail_msg("%lld is not within %g of %g", (long long)value, part, wanted);
}

static void one_value_is_every_percentile(void **state)
{
    (void)state;
    for (double value = 1; value < 4e12; value *= 1.037) {
        struct bench_latency *latency = make();
        int64_t exact = (int64_t)value;
        bench_latency_add(latency, exact);
        bench_latency_add(latency, exact * 2); /* so that the percentile is not cut at the largest */
        assert_near(bench_latency_percentile(latency, 1), (double)exact, 0.004);
        assert_int_equal(latency->max, exact * 2);
        free(latency);
    }
}

static void percentiles_are_those_of_the_samples(void **state)
{
    (void)state;
    static const double percents[] = {0, 0.1, 1, 25, 50, 90, 99, 99.9, 99.999};
    struct bench_latency *latency = make();
    for (int64_t i = 1; i <= 1000000; i++)
        bench_latency_add(latency, i * 1000);
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++)
        assert_near(bench_latency_percentile(latency, percents[i]), fmax(percents[i] * 1e7, 1000), 0.005);
    assert_int_equal(bench_latency_percentile(latency, 100), 1000000000);
    free(latency);
}

static void a_few_slow_ones_show_where_they_are(void **state)
{
    (void)state;
    struct bench_latency *latency = make(), *other = make();
    for (int i = 0; i < 9990; i++)
        bench_latency_add(latency, 100000);
    for (int i = 0; i < 10; i++)
        bench_latency_add(other, 300000000);
    bench_latency_merge(latency, other);
    assert_int_equal(latency->count, 10000);
    assert_int_equal(latency->max, 300000000);
    assert_near(bench_latency_percentile(latency, 99.9), 100000, 0.005);
    assert_near(bench_latency_percentile(latency, 99.91), 300000000, 0.005);
    free(latency);
    free(other);
}

static void the_ends_are_kept(void **state)
{
    (void)state;
    struct bench_latency *latency = make();
    assert_int_equal(bench_latency_percentile(latency, 50), 0);
    bench_latency_add(latency, -5);
    bench_latency_add(latency, 0);
    assert_int_equal(bench_latency_percentile(latency, 100), 0);
    bench_latency_add(latency, INT64_MAX);
    assert_int_equal(latency->max, INT64_MAX);
    assert_near(bench_latency_percentile(latency, 100), exp2(BENCH_LATENCY_TOP), 0.005);
    free(latency);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_is_every_percentile),
        cmocka_unit_test(percentiles_are_those_of_the_samples),
        cmocka_unit_test(a_few_slow_ones_show_where_they_are),
        cmocka_unit_test(the_ends_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
