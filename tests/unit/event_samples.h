/* SPDX-License-Identifier: MIT */
/* Events and a problem to be made records of: everything set, nothing, the greatest numbers; and what comes
 * out of a record. */
#ifndef TK_TESTS_EVENT_SAMPLES_H
#define TK_TESTS_EVENT_SAMPLES_H

#include "base/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIME_MAX INT64_C(253402300799999999)
#define TEXT(text)             \
    {                          \
        text, sizeof(text) - 1 \
    }

static const struct audit_event full = {
    .kind = EVENT_TOKEN_STORE,
    .result = EVENT_UNCERTAIN,
    .time = INT64_C(1795297066123456),
    .key = TEXT("aaaaaaaaaaaaaaaaaaaaaa"),
    .username = TEXT("some-user"),
    .token_type = TEXT("service"),
    .scopes = TEXT("exec:admin read:all"),
    .expires = 1795297099,
    .peer = {.kind = PEER_INET, .port = 50123, .address = {127, 0, 0, 1}},
    .listener = TEXT("public"),
    .tag = TEXT("r-17"),
    .worker = 3,
    .latency = 412,
    .command = TEXT("STORE"),
    .reason = TEXT("Gr\xc3\xbc\xc3\x9f"
                   "e"),
    .count = 42,
};

static const struct audit_event least = {.latency = -1};

static const struct audit_event most = {
    .kind = EVENT_KINDS - 1,
    .result = EVENT_RESULTS - 1,
    .time = TIME_MAX,
    .key = TEXT(""),
    .expires = INT64_C(253402300799),
    .peer = {.kind = PEER_UNIX, .uid = UINT32_MAX},
    .worker = UINT32_MAX,
    .latency = TIME_MAX - 1,
    .count = UINT64_MAX,
};

static const struct problem full_problem = {
    .kind = TEXT("redis.away"),
    .phase = PROBLEM_ENDS,
    .time = INT64_C(1795297066123456),
    .message = TEXT("Redis is back"),
    .key = TEXT("token:aaaaaaaaaaaaaaaaaaaaaa"),
    .error = TEXT("Connection refused"),
    .process = TEXT("worker 3"),
    .seconds = 12.25,
};

/* What came out of a record. The texts point into `record`, of which nothing behind the size is there. */
struct decoded {
    unsigned char *record;
    size_t size, used;
    enum record_kind kind;
    struct audit_event event;
    struct problem problem;
};

/* The caller frees decoded->record. */
static inline void decode(struct decoded *decoded, const void *record, size_t size)
{
    decoded->record = malloc(size > 0 ? size : 1);
    assert_non_null(decoded->record);
    memcpy(decoded->record, record, size);
    decoded->size = size;
    decoded->used = 99;
    decoded->kind = record_decode(decoded->record, size, &decoded->used, &decoded->event, &decoded->problem);
}

#endif
