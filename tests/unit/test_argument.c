/* SPDX-License-Identifier: MIT */
/* The client's arguments: what may become a word or a JSON object of a request, and what may not. */
#include "cli/argument.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "abcdefghijklmnopqrstuv"

static void keys_and_tokens(void **state)
{
    (void)state;
    assert_true(argument_is_key(KEY));
    assert_true(argument_is_key("-_bcdefghijklmnopqrst9"));
    assert_true(argument_is_token("gt-" KEY "." KEY));
    static const char *const keys[] = {"", "x", KEY "x", "abcdefghijklmnopqrstu", "abcdefghijklmnopqrstu/"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_false(argument_is_key(keys[i]));
    static const char *const tokens[] = {
        "",
        "gt-",
        KEY,
        "gt-" KEY,
        "gt-" KEY ".",
        "gt-" KEY "-" KEY,
        "gt-" KEY "." KEY "x",
        "gt_" KEY "." KEY,
        "gt-" KEY "x." KEY,
    };
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        assert_false(argument_is_token(tokens[i]));
}

static void words(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        bool good;
    } cases[] = {
        {"x", true},         {"gt-" KEY "." KEY, true},
        {"-x", true},        {"a/b", true},
        {"~", true},         {"", false},
        {"a b", false},      {"a\nb", false},
        {"a\rb", false},     {"a\tb", false},
        {"\n", false},       {"/etc/token", false},
        {"a\x7f", false},    {"a\x1b[m", false},
        {"\xc3\xa9", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {""};
        int result = argument_check("TOKEN", cases[i].word, strlen(cases[i].word), &error);
        assert_int_equal(result, cases[i].good ? 0 : -1);
        assert_int_equal(strncmp(error.text, "TOKEN", 5) == 0, !cases[i].good);
    }
    assert_int_equal(argument_check("TOKEN", "a\0b", 3, NULL), -1);
}

static void json_becomes_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"{}", "{}"},
        {" {\r\n\t\"a\" : [ 1 , 2 ]\n}\n", "{\"a\":[1,2]}"},
        {"{\"a b\": \"c  d\"}", "{\"a b\":\"c  d\"}"},
        {"{\"a\": \"\\\" \\\\\", \"b\" : 1}", "{\"a\":\"\\\" \\\\\",\"b\":1}"},
        {"{\"n\": 9223372036854775807}", "{\"n\":9223372036854775807}"},
        {"{\"n\": 1.10, \"m\": -0, \"e\": 1E2}", "{\"n\":1.10,\"m\":-0,\"e\":1E2}"},
        {"{\"a\": \"\\n\\u007f\xc3\xa9\"}", "{\"a\":\"\\n\\u007f\xc3\xa9\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *line = argument_json_compact(cases[i].text, strlen(cases[i].text), NULL);
        assert_non_null(line);
        assert_string_equal(line, cases[i].line);
        free(line);
    }
}

static void json_is_refused_unquoted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "line 1"},
        {"{", "line 1, column 1: the text ends too early"},
        {"{\n  \"token\" sesame\n}", "line 2"},
        {"{\"sesame\": 1, \"sesame\": 2}", "twice"},
        {"{} sesame", "follows the end"},
        {"[\"sesame\"]", "must be an object"},
        {"\"sesame\"", "must be an object"},
        {"{\"sesame\": 9223372036854775808}", "too large"},
        {"{\"sesame\": \"\xff\"}", "invalid UTF-8"},
        {"{\"sesame\": \"\\u0000\"}", "NUL"},
        {"{\"sesame\": \"a\nb\"}", "not JSON"},
        {"{\"sesame\": \"\x7f\"}", "control character"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {""};
        assert_null(argument_json_compact(cases[i].text, strlen(cases[i].text), &error));
        if (strstr(error.text, cases[i].says) == NULL)
            fail_msg("case %zu: %s", i, error.text);
        assert_null(strstr(error.text, "sesame"));
    }
    assert_null(argument_json_compact("{}\0", 3, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_tokens),
        cmocka_unit_test(words),
        cmocka_unit_test(json_becomes_a_line),
        cmocka_unit_test(json_is_refused_unquoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
