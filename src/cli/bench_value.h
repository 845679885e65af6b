/* SPDX-License-Identifier: MIT */
/* Token data of a wanted size, for the bench to store. */
#ifndef TK_CLI_BENCH_VALUE_H
#define TK_CLI_BENCH_VALUE_H

#include <stddef.h>
#include <stdint.h>

/* Whose the token is: a name and a number of so many digits. */
#define BENCH_USER      "bench-"
#define BENCH_USER_ZERO BENCH_USER "000000"

enum { BENCH_USER_DIGITS = sizeof BENCH_USER_ZERO - sizeof BENCH_USER };

enum { BENCH_VALUE_MIN = 200, BENCH_VALUE_MAX = 8192 };

/* The JSON of token data for the token `token` of BENCH_USER_ZERO that expires at `expires` (seconds since the epoch),
 * padded with groups and with its name so that it is stored in `size` bytes, BENCH_VALUE_MIN to BENCH_VALUE_MAX, to
 * within a few. NULL when there is no memory. The caller frees it. */
char *bench_value_make(const char *token, size_t size, int64_t expires) __attribute__((warn_unused_result));

/* The bytes that such a JSON takes in Redis, sealed; 0 when it is not token data. `token` stands in it as above. */
size_t bench_value_size(const char *json, const char *token);

#endif
