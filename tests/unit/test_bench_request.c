/* SPDX-License-Identifier: MIT */
/* The bench's requests byte by byte, values of the size that was asked for, and which token each request is for. */
#include "base/clock.h"
#include "cli/bench_request.h"
#include "cli/bench_tokens.h"
#include "cli/bench_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY   "abcdefghijklmnopqrstuv"
#define TOKEN "gt-" KEY ".ABCDEFGHIJKLMNOPQRSTUV"
#define FILL  "xxxxxxxx" /* to a value of 30 bytes */

static const struct {
    enum bench_protocol protocol;
    enum bench_kind kind;
    const char *bytes;
} requests_wanted[] = {
    {BENCH_LINE, BENCH_HIT, "GET " TOKEN "\n"},
    {BENCH_LINE, BENCH_UNKNOWN, "GET " TOKEN "\n"},
    {BENCH_LINE, BENCH_DELETE, "DELETE " KEY "\n"},
    {BENCH_RESP, BENCH_MISS, "*2\r\n$3\r\nGET\r\n$48\r\n" TOKEN "\r\n"},
    {BENCH_RESP, BENCH_DELETE, "*2\r\n$6\r\nDELETE\r\n$22\r\n" KEY "\r\n"},
    {BENCH_REDIS, BENCH_HIT, "*2\r\n$3\r\nGET\r\n$28\r\nbench:" KEY "\r\n"},
    {BENCH_REDIS, BENCH_STORE,
     "*5\r\n$3\r\nSET\r\n$28\r\nbench:" KEY "\r\n$30\r\n" KEY FILL "\r\n$2\r\nEX\r\n$2\r\n60\r\n"},
    {BENCH_REDIS, BENCH_DELETE, "*2\r\n$3\r\nDEL\r\n$28\r\nbench:" KEY "\r\n"},
    {BENCH_MEMCACHED, BENCH_HIT, "mg bench:" KEY " v\r\n"},
    {BENCH_MEMCACHED, BENCH_STORE, "ms bench:" KEY " 30 T60\r\n" KEY FILL "\r\n"},
    {BENCH_MEMCACHED, BENCH_DELETE, "md bench:" KEY "\r\n"},
};

static void requests_are_as_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests_wanted / sizeof requests_wanted[0]; i++) {
        struct bench_requests requests;
        const bool plain = requests_wanted[i].protocol >= BENCH_REDIS;
        char out[1024] = "";
        assert_int_equal(
            bench_requests_make(&requests, requests_wanted[i].protocol, plain ? 30 : 200, 7, clock_wall() + 60, NULL),
            0);
        const struct bench_request *request = &requests.of[requests_wanted[i].kind];
        assert_int_equal(request->size, strlen(requests_wanted[i].bytes));
        assert_in_range(request->size, 1, requests.size_max);
        bench_request_write(request, TOKEN, out);
        /* The second may have turned between the two looks at the clock. */
        char *lifetime = strstr(out, "59\r\n");
        if (lifetime != NULL)
            memcpy(lifetime, "60", 2);
        assert_string_equal(out, requests_wanted[i].bytes);
        bench_requests_free(&requests);
    }
}

static void stored_data_is_the_token_s(void **state)
{
    (void)state;
    for (enum bench_protocol protocol = BENCH_LINE; protocol <= BENCH_RESP; protocol++) {
        struct bench_requests requests;
        assert_int_equal(bench_requests_make(&requests, protocol, 400, 7, clock_wall() + 60, NULL), 0);
        const struct bench_request *request = &requests.of[BENCH_STORE];
        char *out = calloc(1, request->size + 1);
        assert_non_null(out);
        bench_request_write(request, TOKEN, out);
        const char *json = strchr(out, '{');
        assert_non_null(json);
        if (protocol == BENCH_LINE)
            assert_int_equal(strncmp(out, "STORE {\"token\":\"" TOKEN "\",", 65), 0);
        else
            assert_int_equal(strtol(strstr(out, "STORE\r\n$") + 8, NULL, 10), strlen(json) - 2);
        assert_int_equal(out[request->size - 1], '\n');
        free(out);
        bench_requests_free(&requests);
    }
}

static void values_have_the_size_wanted(void **state)
{
    (void)state;
    for (size_t size = BENCH_VALUE_MIN; size <= BENCH_VALUE_MAX; size += size < 1200 ? 1 : 97) {
        char *json = bench_value_make(TOKEN, size, clock_wall() + 60);
        assert_non_null(json);
        size_t has = bench_value_size(json, TOKEN);
        if (has + 12 < size || has > size)
            fail_msg("%zu bytes instead of %zu", has, size);
        free(json);
    }
    assert_int_equal(bench_value_size("{}", TOKEN), 0);
}

static struct bench_tokens tokens_make(struct bench_options *options)
{
    struct bench_tokens tokens;
    assert_int_equal(bench_options_finish(options, NULL), 0);
    assert_int_equal(bench_tokens_make(&tokens, options, NULL), 0);
    return tokens;
}

/* Over all threads: each of the reserve at most once, its own share of requests, hits among the hits. */
static void misses_never_come_twice(void **state)
{
    (void)state;
    struct bench_options options;
    bench_options_init(&options);
    options.tokens = 50;
    options.threads = 3;
    options.requests = 10007;
    memcpy(options.weight, (unsigned[]){60, 30, 5, 5}, sizeof options.weight);
    struct bench_tokens tokens = tokens_make(&options);
    unsigned *asked = calloc(tokens.hits + tokens.reserve + tokens.stores, sizeof *asked);
    size_t counts[BENCH_KINDS] = {0}, total = 0;
    struct bench_course *course = malloc(sizeof *course);
    assert_true(asked != NULL && course != NULL);
    for (uint32_t thread = 0; thread < options.threads; thread++) {
        bench_course_mix(course, &tokens, &options, thread);
        for (; course->left > 0; total++) {
            char made_up[TOKEN_SIZE];
            const char *token;
            enum bench_kind kind = bench_course_next(course, made_up, &token);
            counts[kind]++;
            struct token parsed;
            assert_true(token_parse(token, TOKEN_SIZE, &parsed));
            if (kind == BENCH_UNKNOWN)
                continue;
            size_t i = (size_t)(token - tokens.text[0]) / TOKEN_SIZE;
            size_t from = kind == BENCH_HIT ? 0 : kind == BENCH_MISS ? tokens.hits : tokens.hits + tokens.reserve;
            size_t n = kind == BENCH_HIT ? tokens.hits : kind == BENCH_MISS ? tokens.reserve : tokens.stores;
            assert_in_range(i, from, from + n - 1);
            asked[i]++;
            assert_true(kind != BENCH_MISS || asked[i] == 1);
        }
    }
    assert_int_equal(total, 10007);
    assert_in_range(counts[BENCH_MISS], 2970, 3030);
    assert_in_range(counts[BENCH_UNKNOWN], 480, 520);
    free(asked);
    free(course);
    bench_tokens_free(&tokens);
}

static void tokens_are_asked_in_order(void **state)
{
    (void)state;
    struct bench_options options;
    bench_options_init(&options);
    options.tokens = 7;
    struct bench_tokens tokens = tokens_make(&options);
    unsigned asked[7] = {0};
    struct bench_course course;
    char made_up[TOKEN_SIZE];
    const char *token;
    for (uint32_t thread = 0; thread < 9; thread++) { /* more threads than tokens: some ask the same */
        bench_course_order(&course, &tokens, BENCH_HIT, 7, 3, thread, 9);
        while (course.left > 0) {
            assert_int_equal(bench_course_next(&course, made_up, &token), BENCH_HIT);
            asked[(size_t)(token - tokens.text[0]) / TOKEN_SIZE]++;
        }
    }
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(asked[i], i < 2 ? 6 : 3);
    bench_course_order(&course, &tokens, BENCH_STORE, 0, 0, 0, 1);
    assert_int_equal(course.left, 0);
    bench_tokens_free(&tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_as_they_should), cmocka_unit_test(stored_data_is_the_token_s),
        cmocka_unit_test(values_have_the_size_wanted), cmocka_unit_test(misses_never_come_twice),
        cmocka_unit_test(tokens_are_asked_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
