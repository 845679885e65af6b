/* SPDX-License-Identifier: MIT */
/* A histogram of latencies. */
#include "cli/bench_latency.h"

/* How far the values of a bucket are shifted right to make its number: by none where every value has its own. */
static unsigned value_shift(uint64_t value)
{
    unsigned top = value == 0 ? 0 : 63 - (unsigned)__builtin_clzll(value);
    return top <= BENCH_LATENCY_BITS ? 0 : top - BENCH_LATENCY_BITS;
}

void bench_latency_add(struct bench_latency *latency, int64_t nanoseconds)
{
    uint64_t value = nanoseconds < 0 ? 0 : (uint64_t)nanoseconds;
    if ((int64_t)value > latency->max)
        latency->max = (int64_t)value;
    if (value >= UINT64_C(1) << BENCH_LATENCY_TOP)
        value = (UINT64_C(1) << BENCH_LATENCY_TOP) - 1;
    unsigned shift = value_shift(value);
    latency->buckets[((size_t)shift << BENCH_LATENCY_BITS) + (value >> shift)]++;
    latency->count++;
}

void bench_latency_merge(struct bench_latency *latency, const struct bench_latency *other)
{
    latency->count += other->count;
    if (other->max > latency->max)
        latency->max = other->max;
    for (size_t i = 0; i < BENCH_LATENCY_BUCKETS; i++)
        latency->buckets[i] += other->buckets[i];
}

/* The middle of what a bucket counts. */
static int64_t bucket_value(size_t bucket)
{
    const size_t half = 1 << BENCH_LATENCY_BITS;
    if (bucket < half)
        return (int64_t)bucket;
    size_t shift = bucket / half - 1;
    return (int64_t)(((bucket % half + half) << shift) + ((UINT64_C(1) << shift) / 2));
}

int64_t bench_latency_percentile(const struct bench_latency *latency, double percent)
{
    double rank = (double)latency->count * percent / 100;
    uint64_t seen = 0;
    for (size_t i = 0; i < BENCH_LATENCY_BUCKETS && latency->count > 0; i++) {
        seen += latency->buckets[i];
        if (seen > 0 && (double)seen >= rank)
            return bucket_value(i) < latency->max ? bucket_value(i) : latency->max;
    }
    return latency->max;
}
