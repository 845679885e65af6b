/* SPDX-License-Identifier: MIT */
/* Answers in each protocol, whole and cut, right and hostile; and what each is to a request. */
#include "cli/bench_answer.h"
#include "cli/bench_tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY   "abcdefghijklmnopqrstuv"
#define TOKEN "gt-" KEY ".ABCDEFGHIJKLMNOPQRSTUV"
#define OTHER "gt-" KEY ".ABCDEFGHIJKLMNOPQRSTUX"
#define JSON  "{\"token\":\"" TOKEN "\",\"username\":\"a\"}"

enum {
    VALUE = BENCH_ANSWER_VALUE,
    DONE = BENCH_ANSWER_DONE,
    NONE = BENCH_ANSWER_NONE,
    REFUSED = BENCH_ANSWER_REFUSED,
    BAD = -1
};

static const struct {
    enum bench_protocol protocol;
    const char *bytes; /* exactly one answer */
    int class;
    const char *text; /* of a value or a refusal */
} answers[] = {
    {BENCH_LINE, "OK {\"a\":1}\n", VALUE, "{\"a\":1}"},
    {BENCH_LINE, "OK \n", VALUE, ""},
    {BENCH_LINE, "OK\n", DONE, NULL},
    {BENCH_LINE, "NO invalid\n", NONE, NULL},
    {BENCH_LINE, "NO policy not now\n", REFUSED, "NO policy not now"},
    {BENCH_LINE, "ERR busy later\n", REFUSED, "ERR busy later"},
    {BENCH_LINE, "OKAY\n", BAD, NULL},
    {BENCH_LINE, "\n", BAD, NULL},
    {BENCH_LINE, "+ item\n", BAD, NULL},
    {BENCH_LINE, "HTTP/1.1 400 Bad Request\r\n", BAD, NULL},
    {BENCH_RESP, "$7\r\n{\"a\":1}\r\n", VALUE, "{\"a\":1}"},
    {BENCH_RESP, "$0\r\n\r\n", VALUE, ""},
    {BENCH_RESP, "$4\r\n\r\n\r\n\r\n", VALUE, "\r\n\r\n"},
    {BENCH_RESP, "$-1\r\n", NONE, NULL},
    {BENCH_RESP, "+OK\r\n", DONE, NULL},
    {BENCH_RESP, ":0\r\n", NONE, NULL},
    {BENCH_RESP, ":1\r\n", DONE, NULL},
    {BENCH_RESP, "-ERR busy later\r\n", REFUSED, "ERR busy later"},
    {BENCH_REDIS, "-LOADING it\r\n", REFUSED, "LOADING it"},
    {BENCH_RESP, "$7\r\n{\"a\":1}xy", BAD, NULL},
    {BENCH_RESP, "$-2\r\n", BAD, NULL},
    {BENCH_RESP, "$\r\n", BAD, NULL},
    {BENCH_RESP, "$1x\r\n", BAD, NULL},
    {BENCH_RESP, "$262145\r\n", BAD, NULL},
    {BENCH_RESP, "$262140\r\n", BAD, NULL}, /* with head and end it is too much */
    {BENCH_RESP, "$99999999999999999999999999\r\n", BAD, NULL},
    {BENCH_RESP, "*1\r\n", BAD, NULL},
    {BENCH_RESP, "\r\n", BAD, NULL},
    {BENCH_RESP, "+OK\n", BAD, NULL},
    {BENCH_RESP, "\n", BAD, NULL},
    {BENCH_MEMCACHED, "VA 3\r\nabc\r\n", VALUE, "abc"},
    {BENCH_MEMCACHED, "VA 3 t60 h1\r\nabc\r\n", VALUE, "abc"},
    {BENCH_MEMCACHED, "HD\r\n", DONE, NULL},
    {BENCH_MEMCACHED, "EN\r\n", NONE, NULL},
    {BENCH_MEMCACHED, "NF\r\n", NONE, NULL},
    {BENCH_MEMCACHED, "SERVER_ERROR out of memory\r\n", REFUSED, "SERVER_ERROR out of memory"},
    {BENCH_MEMCACHED, "VA \r\nabc\r\n", BAD, NULL},
    {BENCH_MEMCACHED, "VA 3\r\nabcd\r\n", BAD, NULL},
};

/* Every beginning is partial, or bad at once; the whole is what it is, also with more behind it. */
static void answers_are_parsed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const size_t size = strlen(answers[i].bytes);
        struct bench_answer answer;
        for (size_t cut = 0; cut <= size; cut++) {
            char *copy = malloc(cut + 1); /* of its own, so that reading beyond is seen */
            assert_non_null(copy);
            memcpy(copy, answers[i].bytes, cut);
            copy = realloc(copy, cut > 0 ? cut : 1);
            long n = bench_answer_parse(answers[i].protocol, copy, cut, &answer);
            if (answers[i].class == BAD)
                assert_true(n == BENCH_ANSWER_BAD || (n == BENCH_ANSWER_PARTIAL && cut < size));
            else if (cut < size)
                assert_int_equal(n, BENCH_ANSWER_PARTIAL);
            else
                assert_int_equal(n, size);
            free(copy);
        }
        char followed[128];
        int more = snprintf(followed, sizeof followed, "%sOK\r\n$3\r\n", answers[i].bytes);
        long n = bench_answer_parse(answers[i].protocol, followed, (size_t)more, &answer);
        if (answers[i].class == BAD) {
            assert_int_equal(n, BENCH_ANSWER_BAD);
            continue;
        }
        assert_int_equal(n, size);
        assert_int_equal((int)answer.class, answers[i].class);
        if (answers[i].text != NULL) {
            assert_int_equal(answer.size, strlen(answers[i].text));
            assert_memory_equal(answer.text, answers[i].text, answer.size);
        }
    }
}

static void an_endless_line_is_not_waited_for(void **state)
{
    (void)state;
    char *bytes = malloc(BENCH_ANSWER_MAX);
    struct bench_answer answer;
    assert_non_null(bytes);
    memset(bytes, 'x', BENCH_ANSWER_MAX);
    for (enum bench_protocol protocol = BENCH_LINE; protocol <= BENCH_MEMCACHED; protocol++) {
        assert_int_equal(bench_answer_parse(protocol, bytes, BENCH_ANSWER_MAX - 1, &answer), BENCH_ANSWER_PARTIAL);
        assert_int_equal(bench_answer_parse(protocol, bytes, BENCH_ANSWER_MAX, &answer), BENCH_ANSWER_BAD);
    }
    free(bytes);
}

static const struct {
    enum bench_protocol protocol;
    enum bench_kind kind;
    int class;
    const char *text;
    enum bench_error error;
} checks[] = {
    {BENCH_LINE, BENCH_HIT, VALUE, JSON, BENCH_NO_ERROR},
    {BENCH_RESP, BENCH_MISS, VALUE, JSON, BENCH_NO_ERROR},
    {BENCH_LINE, BENCH_HIT, VALUE, "{\"token\":\"" OTHER "\",\"username\":\"a\"}", BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_HIT, VALUE, "{\"token\":\"" TOKEN, BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_HIT, VALUE, "", BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_HIT, NONE, "", BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_HIT, DONE, "", BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_UNKNOWN, NONE, "", BENCH_NO_ERROR},
    {BENCH_LINE, BENCH_UNKNOWN, VALUE, JSON, BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_STORE, DONE, "", BENCH_NO_ERROR},
    {BENCH_LINE, BENCH_STORE, NONE, "", BENCH_ERROR_WRONG},
    {BENCH_LINE, BENCH_DELETE, NONE, "", BENCH_NO_ERROR},
    {BENCH_LINE, BENCH_DELETE, DONE, "", BENCH_NO_ERROR},
    {BENCH_LINE, BENCH_HIT, REFUSED, "ERR busy later", BENCH_ERROR_BUSY},
    {BENCH_RESP, BENCH_HIT, REFUSED, "ERR unavail", BENCH_ERROR_UNAVAIL},
    {BENCH_LINE, BENCH_HIT, REFUSED, "ERR busybody", BENCH_ERROR_OTHER},
    {BENCH_LINE, BENCH_HIT, REFUSED, "NO policy never", BENCH_ERROR_POLICY},
    {BENCH_LINE, BENCH_HIT, REFUSED, "NO malformed", BENCH_ERROR_WRONG},
    {BENCH_REDIS, BENCH_HIT, VALUE, KEY "xxxxxxxx", BENCH_NO_ERROR},
    {BENCH_MEMCACHED, BENCH_HIT, VALUE, KEY "xxxxxxxx", BENCH_NO_ERROR},
    {BENCH_REDIS, BENCH_HIT, VALUE, KEY "xxxxxxxxx", BENCH_ERROR_WRONG},
    {BENCH_REDIS, BENCH_HIT, VALUE, "x" KEY "xxxxxxx", BENCH_ERROR_WRONG},
    {BENCH_REDIS, BENCH_HIT, REFUSED, "ERR busy", BENCH_ERROR_OTHER},
};

static void answers_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        const struct bench_answer answer = {(enum bench_answer_class)checks[i].class, checks[i].text,
                                            strlen(checks[i].text)};
        enum bench_error error = bench_answer_check(checks[i].protocol, checks[i].kind, TOKEN, 30, &answer);
        if (error != checks[i].error)
            fail_msg("answer %zu is taken for %d", i, (int)error);
    }
}

static void examples_hold_no_secret(void **state)
{
    (void)state;
    struct bench_tally *tally = calloc(1, sizeof *tally), *sum = calloc(1, sizeof *sum);
    assert_true(tally != NULL && sum != NULL);
    for (int class = VALUE; class <= REFUSED; class ++) {
        const struct bench_answer answer = {(enum bench_answer_class) class, JSON, strlen(JSON)};
        bench_tally_error(tally, BENCH_ERROR_WRONG, BENCH_HIT, TOKEN, &answer);
    }
    bench_tally_error(tally, BENCH_ERROR_WRONG, BENCH_HIT, TOKEN, NULL);
    bench_tally_error(tally, BENCH_ERROR_WRONG, BENCH_HIT, TOKEN, NULL);
    bench_tally_error(tally, BENCH_ERROR_BUSY, BENCH_HIT, TOKEN, NULL);
    bench_tally_error(tally, BENCH_NO_ERROR, BENCH_HIT, TOKEN, NULL);
    tally->answered = 8;
    bench_tally_merge(sum, tally, false);
    assert_int_equal(sum->answered, 0);
    bench_tally_merge(sum, tally, true);
    assert_int_equal(sum->answered, 8);
    assert_int_equal(sum->errors[BENCH_ERROR_WRONG], 12);
    assert_int_equal(bench_tally_errors(sum), 14);
    assert_int_equal(sum->n_examples, BENCH_EXAMPLES);
    for (size_t i = 0; i < sum->n_examples; i++) {
        assert_non_null(strstr(sum->examples[i], KEY));
        assert_null(strstr(sum->examples[i], "ABCDEFGHIJKLMNOPQRSTUV"));
    }
    free(tally);
    free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_parsed),
        cmocka_unit_test(an_endless_line_is_not_waited_for),
        cmocka_unit_test(answers_are_checked),
        cmocka_unit_test(examples_hold_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
