/* SPDX-License-Identifier: MIT */
/* A histogram of latencies: counts in buckets whose width grows with the value, so that a percentile is exact to half
 * a percent from nanoseconds to an hour and no sample is kept. */
#ifndef TK_CLI_BENCH_LATENCY_H
#define TK_CLI_BENCH_LATENCY_H

#include <stddef.h>
#include <stdint.h>

enum {
    BENCH_LATENCY_BITS = 7, /* 2^7 buckets between a power of two and the next */
    BENCH_LATENCY_TOP = 42, /* longer than 2^42 ns, 73 minutes, is counted in the last bucket */
    BENCH_LATENCY_BUCKETS = (BENCH_LATENCY_TOP - BENCH_LATENCY_BITS + 1) << BENCH_LATENCY_BITS,
};

struct bench_latency {
    uint64_t count;
    int64_t max; /* nanoseconds, exact */
    uint64_t buckets[BENCH_LATENCY_BUCKETS];
};

/* Counts a latency in nanoseconds; one below zero counts as zero. `latency` has been zeroed before the first. */
void bench_latency_add(struct bench_latency *latency, int64_t nanoseconds);

/* Adds the counts of another histogram. */
void bench_latency_merge(struct bench_latency *latency, const struct bench_latency *other);

/* The latency in nanoseconds that `percent` (0 to 100) of those counted did not exceed; 0 when none was counted. */
int64_t bench_latency_percentile(const struct bench_latency *latency, double percent);

#endif
