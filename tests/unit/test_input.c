/* SPDX-License-Identifier: MIT */
/* The two framings: what is a request, where it ends, and what is never one. */
#include "worker/input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_LINE = 64 };

static struct input input;

static enum input_result read_any(const char *bytes, size_t size, size_t *used)
{
    /* A copy of just that size, so that a read beyond it is seen by the sanitizers. */
    static char *copy;
    free(copy);
    copy = malloc(size > 0 ? size : 1);
    memcpy(copy, bytes, size);
    *used = 0;
    return size > 0 && bytes[0] == '*' ? resp_read(copy, size, MAX_LINE, &input, used)
                                       : line_read(copy, size, MAX_LINE, &input, used);
}

#define LONG_8  "12345678"
#define LONG_64 LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 LONG_8
#define TAG_32  "abcdefghijklmnopqrstuvwxyz-_0123"

static const struct {
    const char *bytes;
    enum input_result result;
    size_t used;
    const char *tag;
    bool flawed;
} cases[] = {
    {"PING\n", INPUT_REQUEST, 5, "", false},
    {"PING\r\nX", INPUT_REQUEST, 6, "", false},
    {"PING", INPUT_MORE, 0, "", false},
    {"\n", INPUT_NOTHING, 1, "", false},
    {"\r\n", INPUT_NOTHING, 2, "", false},
    {"#a PING\n", INPUT_REQUEST, 8, "a", false},
    {"#a\n", INPUT_REQUEST, 3, "a", false},
    {"#" TAG_32 " P\n", INPUT_REQUEST, 36, TAG_32, false},
    {"#" TAG_32 "4 P\n", INPUT_REQUEST, 37, "", true},
    {"# PING\n", INPUT_REQUEST, 7, "", true},
    {"#a.b PING\n", INPUT_REQUEST, 10, "", true},
    {"#a PI\tNG\n", INPUT_REQUEST, 9, "a", true},
    {"PI\x7fNG\n", INPUT_REQUEST, 6, "", true},
    {"PI\xffNG\n", INPUT_REQUEST, 6, "", true},
    {"PI\xc3\xa9NG\n", INPUT_REQUEST, 7, "", false},
    {"a\rb\n", INPUT_REQUEST, 4, "", true},
    {LONG_64 "\n", INPUT_REQUEST, 65, "", false},
    {LONG_64 "\r\n", INPUT_REQUEST, 66, "", false},
    {LONG_64, INPUT_MORE, 0, "", false},
    {LONG_64 "\r", INPUT_MORE, 0, "", false},
    {LONG_64 "x", INPUT_TOO_LONG, 0, "", false},
    {LONG_64 "x\n", INPUT_TOO_LONG, 0, "", false},
    {LONG_64 "x\r\n", INPUT_TOO_LONG, 0, "", false},
    {LONG_64 "\rx", INPUT_TOO_LONG, 0, "", false},
    {"#ab " LONG_64 "\n", INPUT_TOO_LONG, 0, "ab", false},
    {"GET / HTTP/1.1\n", INPUT_FOREIGN, 15, "", false},
    {"anything HTTP/1.0\r\n", INPUT_FOREIGN, 19, "", false},
    {"GET HTTP/1.1\n", INPUT_FOREIGN, 13, "", false},
    {"PING HTTP/1.\n", INPUT_REQUEST, 13, "", false},
    {"PING HTTP/1.x\n", INPUT_REQUEST, 14, "", false},
    {"HTTP/1.1\n", INPUT_REQUEST, 9, "", false},
    {"GET /x\n", INPUT_FOREIGN, 7, "", false},
    {"delete /x\n", INPUT_FOREIGN, 10, "", false},
    {"LIST /x\n", INPUT_REQUEST, 8, "", false},
    {"Host: a\n", INPUT_FOREIGN, 8, "", false},
    {"Host:\n", INPUT_FOREIGN, 6, "", false},
    {"Ho:st a\n", INPUT_REQUEST, 8, "", false},
    {"*1\r\n$4\r\nPING\r\n", INPUT_REQUEST, 14, "", false},
    {"*1\r\n$4\r\nPING\r\nPING\n", INPUT_REQUEST, 14, "", false},
    {"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", INPUT_REQUEST, 20, "", false},
    {"*2\r\n$4\r\nECHO\r\n$2\r\na\n\r\n", INPUT_REQUEST, 22, "", true},
    {"*0\r\n", INPUT_NOTHING, 4, "", false},
    {"*-1\r\n", INPUT_BROKEN, 0, "", true},
    {"*\r\n", INPUT_BROKEN, 0, "", true},
    {"*1\n$4\nPING\n", INPUT_BROKEN, 0, "", true},
    {"*1\r\nPING\r\n", INPUT_BROKEN, 0, "", true},
    {"*1\r\n$4\r\nPINGS\r\n", INPUT_BROKEN, 0, "", true},
    {"*1\r\n$-1\r\n", INPUT_BROKEN, 0, "", true},
    {"*1\r\n$+4\r\nPING\r\n", INPUT_BROKEN, 0, "", true},
    {"*999999999\r\n", INPUT_TOO_LONG, 0, "", false},
    {"*99999999999999999999\r\n", INPUT_TOO_LONG, 0, "", false},
    {"*1\r\n$99\r\n", INPUT_TOO_LONG, 0, "", false},
    {"*1\r\n$50\r\n" LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 "12\r\n", INPUT_REQUEST, 61, "", false},
    {"*1\r\n$54\r\n" LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 LONG_8 "123456\r\n", INPUT_TOO_LONG, 0, "", false},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t used;
        enum input_result result = read_any(cases[i].bytes, strlen(cases[i].bytes), &used);
        print_message("case %zu: %.20s\n", i, cases[i].bytes);
        assert_int_equal(result, cases[i].result);
        if (result == INPUT_REQUEST || result == INPUT_NOTHING)
            assert_int_equal(used, cases[i].used);
        if (result != INPUT_MORE && result != INPUT_NOTHING) {
            assert_string_equal(input.tag, cases[i].tag);
            assert_int_equal(input.flaw != NULL, cases[i].flawed);
        }
    }
}

/* A whole request cut anywhere is unfinished, and never anything else. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t used;
        if (cases[i].result != INPUT_REQUEST)
            continue;
        for (size_t size = cases[i].bytes[0] == '*'; size < cases[i].used; size++)
            assert_int_equal(read_any(cases[i].bytes, size, &used), INPUT_MORE);
    }
}

/* What is asked for before another look never goes beyond the end, nor beyond where a mistake would show. */
static void test_needed(void **state)
{
    static const struct {
        const char *bytes;
        size_t needed;
    } partial[] = {
        {"PING", 5},
        {"*", 2},
        {"*2\r\n", 5},
        {"*2\r\n$4\r\n", 13}, /* up to the CR behind four bytes */
        {"*2\r\n$4\r\nEC", 13},
        {"*2\r\n$4\r\nECHO", 13},
        {"*2\r\n$4\r\nECHO\r", 14},
        {"*2\r\n$4\r\nECHO\r\n", 15},
        {"*2\r\n$4\r\nECHO\r\n$1", 17},
    };
    (void)state;
    for (size_t i = 0; i < sizeof partial / sizeof *partial; i++) {
        size_t used;
        print_message("case %zu\n", i);
        assert_int_equal(read_any(partial[i].bytes, strlen(partial[i].bytes), &used), INPUT_MORE);
        assert_int_equal(used, partial[i].needed);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t used;
        if (cases[i].result != INPUT_REQUEST)
            continue;
        for (size_t size = cases[i].bytes[0] == '*'; size < cases[i].used; size++) {
            assert_int_equal(read_any(cases[i].bytes, size, &used), INPUT_MORE);
            assert_in_range(used, size + 1, cases[i].used);
        }
    }
}

static void test_words(void **state)
{
    static const struct {
        const char *line;
        bool json, split;
        size_t n_words;
        const char *last;
    } lines[] = {
        {"GET a\n", false, true, 2, "a"},
        {"GET\n", false, true, 1, "GET"},
        {"CHECK a b c\n", false, true, 4, "c"},
        {"GET  a\n", false, false, 0, NULL},
        {" GET a\n", false, false, 0, NULL},
        {"GET a \n", false, false, 0, NULL},
        {"STORE {} \n", true, true, 2, "{} "},
        {"STORE  {}\n", true, true, 2, " {}"},
        {"STORE a b  c\n", true, true, 2, "a b  c"},
        {"STORE \n", true, false, 0, NULL},
        {"#t GET a\n", false, true, 2, "a"},
        {"#t  GET a\n", false, false, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t used;
        assert_int_equal(read_any(lines[i].line, strlen(lines[i].line), &used), INPUT_REQUEST);
        assert_int_equal(line_split(&input, lines[i].json), lines[i].split);
        if (!lines[i].split)
            continue;
        assert_int_equal(input.n_words, lines[i].n_words);
        assert_int_equal(input.words[input.n_words - 1].size, strlen(lines[i].last));
        assert_memory_equal(input.words[input.n_words - 1].text, lines[i].last, strlen(lines[i].last));
    }
}

/* Each byte at each place of texts of each size up to a few words of the machine, with bytes around it that are as near
 * to what is odd as can be. */
static void test_flaws_of_every_byte(void **state)
{
    char text[40];
    (void)state;
    for (size_t size = 1; size <= sizeof text; size++) {
        for (size_t at = 0; at < size; at++) {
            for (int i = 0; i < 512; i++) {
                const int c = i / 2;
                memset(text, i % 2 == 0 ? ' ' : '~', size);
                text[at] = (char)c;
                const char *flaw = input_text_flaw(text, size);
                assert_int_equal(flaw != NULL, c < 0x20 || c >= 0x7f);
                if (flaw != NULL)
                    assert_int_equal(strstr(flaw, "UTF-8") != NULL, c >= 0x80);
            }
        }
    }
    assert_null(input_text_flaw("gr\xc3\xbc\xc3\x9f dich, \xe2\x82\xac", 16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases), cmocka_unit_test(test_cut_at_every_byte),   cmocka_unit_test(test_needed),
        cmocka_unit_test(test_words), cmocka_unit_test(test_flaws_of_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
