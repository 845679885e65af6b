/* SPDX-License-Identifier: MIT */
/* Replies from Redis: whole, in pieces of every size, over the limits, and hostile. */
#include "keep/redis_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Writes the reply as text: strings in quotes, arrays in brackets. */
static size_t render(const redisReply *reply, char *out, size_t size)
{
    size_t n = 0;
    switch (reply->type) {
    case REDIS_REPLY_STRING:
        return (size_t)snprintf(out, size, "\"%.*s\"", reply->len > 40 ? 40 : (int)reply->len, reply->str);
    case REDIS_REPLY_STATUS: return (size_t)snprintf(out, size, "+%s", reply->str);
    case REDIS_REPLY_ERROR: return (size_t)snprintf(out, size, "-%s", reply->str);
    case REDIS_REPLY_INTEGER: return (size_t)snprintf(out, size, "%lld", reply->integer);
    case REDIS_REPLY_NIL: return (size_t)snprintf(out, size, "nil");
    default:
        n += (size_t)snprintf(out, size, "[");
        for (size_t i = 0; i < reply->elements; i++) {
            if (i > 0)
                out[n++] = ' ';
            n += render(reply->element[i], out + n, size - n);
        }
        return n + (size_t)snprintf(out + n, size - n, "]");
    }
}

/* Gives the reader `data` in pieces of `piece` bytes, and writes all replies, each with a ';' behind it; "broken" ends
 * them. */
static void read_in_pieces(const char *data, size_t size, size_t piece, char *out, size_t out_size)
{
    struct redis_reader *reader = redis_reader_new();
    size_t n = 0;
    assert_non_null(reader);
    out[0] = '\0';
    for (size_t at = 0; at < size; at += piece) {
        /* A copy of its own, so that a sanitizer sees a byte read behind it. */
        size_t left = size - at < piece ? size - at : piece, all = left;
        char *copy = malloc(left);
        assert_non_null(copy);
        memcpy(copy, data + at, left);
        const char *next = copy;
        enum redis_reading reading;
        struct redis_taken taken;
        while ((reading = redis_reader_take(reader, &next, &left, &taken)) == REDIS_READING_REPLY) {
            n += render(taken.reply, out + n, out_size - n);
            n += (size_t)snprintf(out + n, out_size - n, ";");
            redis_taken_free(&taken);
        }
        assert_null(taken.reply);
        assert_true(next >= copy && next <= copy + all);
        free(copy);
        if (reading == REDIS_READING_BROKEN) {
            snprintf(out + n, out_size - n, "broken");
            assert_non_null(redis_reader_error(reader));
            break;
        }
        assert_int_equal(left, 0);
    }
    redis_reader_free(&reader);
    assert_null(reader);
}

static const struct {
    const char *data, *replies;
} cases[] = {
    {"+OK\r\n", "+OK;"},
    {"+\r\n", "+;"},
    {"+123456789012345\r\n+1234567890123456\r\n+12345678901234567\r\n:1\r\n",
     "+123456789012345;+1234567890123456;+12345678901234567;1;"},
    {"$10\r\n0123456789\r\n*1\r\n$2\r\nab\r\n$-1\r\n", "\"0123456789\";[\"ab\"];nil;"},
    {"-ERR no\r\n:12\r\n:-5\r\n", "-ERR no;12;-5;"},
    {"$5\r\nhello\r\n", "\"hello\";"},
    {"$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n", "\"\";nil;nil;[];"},
    {"$4\r\na\r\nb\r\n", "\"a\r\nb\";"},
    {"+a\rb\r\n", "+a\rb;"},
    {"*2\r\n$1\r\n0\r\n*3\r\n$1\r\na\r\n$-1\r\n:7\r\n+OK\r\n", "[\"0\" [\"a\" nil 7]];+OK;"},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "[[[[[[[1]]]]]]];"},
    {"*3\r\n*0\r\n*-1\r\n*1\r\n*0\r\n:1\r\n", "[[] nil [[]]];1;"},
    /* hostile ones */
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "broken"},
    {"*2147483647\r\n", "broken"},
    {"*1048577\r\n", "broken"},
    {"*2\r\n*1048575\r\n", "broken"},
    {"*9223372036854775807\r\n", "broken"},
    {"*99999999999999999999999999\r\n", "broken"},
    {"$2147483647\r\n", "broken"},
    {"$536870913\r\n", "broken"},
    {"$18446744073709551615\r\n", "broken"},
    {"+OK\r\n$-5\r\n", "+OK;broken"},
    {"*-7\r\n", "broken"},
    {"$-0\r\n", "broken"},
    {"$\r\n", "broken"},
    {"*\r\n", "broken"},
    {"$-\r\n", "broken"},
    {"$+5\r\nhello\r\n", "broken"},
    {"$ 5\r\nhello\r\n", "broken"},
    {"$5a\r\nhello\r\n", "broken"},
    {"$5\nhello\r\n", "broken"},
    {"$05\r\nhello\r\n", "broken"},
    {"$00\r\n\r\n", "broken"},
    {"$-1\n", "broken"},
    {"$-10\r\n", "broken"},
    {"$000000005\r\nhello\r\n", "broken"},
    {"$1\rxx\r\n", "broken"},
    {"$5\r\nhelloXX", "broken"},
    {"$5\r\nhello\rX", "broken"},
    {"$0\r\nX", "broken"},
    {"+OK\n", "broken"},
    {":\r\n", "broken"},
    {":12a\r\n", "broken"},
    {":99999999999999999999\r\n", "broken"},
    {"hello\r\n", "broken"},
    {"\r\n", "broken"},
    {"HTTP/1.1 400 Bad Request\r\n", "broken"},
    /* RESP3 */
    {"%1\r\n+a\r\n+b\r\n", "broken"},
    {"_\r\n", "broken"},
    {"#t\r\n", "broken"},
    {">2\r\n+a\r\n+b\r\n", "broken"},
    {"~0\r\n", "broken"},
    {",1.5\r\n", "broken"},
    {"*1\r\n_\r\n", "broken"},
};

static void reads_pieces_of_every_size(void **state)
{
    char out[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = strlen(cases[i].data);
        for (size_t piece = 1; piece <= size; piece++) {
            read_in_pieces(cases[i].data, size, piece, out, sizeof out);
            assert_string_equal(out, cases[i].replies);
        }
    }
}

/* Cut once at every byte, which pieces of one size do not do. */
static void reads_replies_cut_at_every_byte(void **state)
{
    char out[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = strlen(cases[i].data);
        for (size_t cut = 1; cut < size; cut++) {
            struct redis_reader *reader = redis_reader_new();
            assert_non_null(reader);
            size_t n = 0;
            out[0] = '\0';
            for (unsigned part = 0; part < 2; part++) {
                const char *data = cases[i].data + (part == 0 ? 0 : cut);
                size_t left = part == 0 ? cut : size - cut;
                enum redis_reading reading;
                struct redis_taken taken;
                while ((reading = redis_reader_take(reader, &data, &left, &taken)) == REDIS_READING_REPLY) {
                    n += render(taken.reply, out + n, sizeof out - n);
                    n += (size_t)snprintf(out + n, sizeof out - n, ";");
                    redis_taken_free(&taken);
                }
                if (reading == REDIS_READING_BROKEN && (n < 6 || strcmp(out + n - 6, "broken") != 0))
                    n += (size_t)snprintf(out + n, sizeof out - n, "broken");
            }
            assert_string_equal(out, cases[i].replies);
            redis_reader_free(&reader);
        }
    }
}

/* Appends a string of `length` bytes as Redis would send it. */
static size_t append_string(char *to, size_t length)
{
    size_t n = (size_t)sprintf(to, "$%zu\r\n", length);
    memset(to + n, 'x', length);
    memcpy(to + n + length, "\r\n", 2);
    return n + length + 2;
}

static void replaces_strings_over_the_limit(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 7, 1000, 65536, 1 << 20};
    char *data = malloc(4 * REDIS_BULK_MAX), out[512];
    size_t n = 0;
    (void)state;
    assert_non_null(data);
    n += append_string(data + n, REDIS_BULK_MAX + 1);
    n += (size_t)sprintf(data + n, "*3\r\n:1\r\n");
    n += append_string(data + n, REDIS_BULK_MAX + 3);
    n += (size_t)sprintf(data + n, "$1\r\na\r\n+OK\r\n");
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        read_in_pieces(data, n, pieces[i], out, sizeof out);
        assert_string_equal(out, "-" REDIS_TOO_LONG ";[1 -" REDIS_TOO_LONG " \"a\"];+OK;");
    }
    n = append_string(data, REDIS_BULK_MAX);
    read_in_pieces(data, n, 65536, out, sizeof out);
    assert_string_equal(out, "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\";");
    n = append_string(data, REDIS_BULK_MAX + 1);
    data[n - 2] = 'X';
    read_in_pieces(data, n, 65536, out, sizeof out);
    assert_string_equal(out, "broken");
    free(data);
}

/* A reply over the limit must be thrown away as it streams in; its bytes must not be gathered. */
static void streams_the_longest_string_through_little_memory(void **state)
{
    static char block[1 << 20];
    struct redis_reader *reader = redis_reader_new();
    struct redis_taken taken;
    const char *data = "$536870912\r\n";
    size_t size = strlen(data);
    (void)state;
    assert_non_null(reader);
    assert_int_equal(redis_reader_take(reader, &data, &size, &taken), REDIS_READING_MORE);
    for (unsigned i = 0; i < 512; i++) {
        data = block;
        size = sizeof block;
        assert_int_equal(redis_reader_take(reader, &data, &size, &taken), REDIS_READING_MORE);
    }
    data = "\r\n";
    size = 2;
    assert_int_equal(redis_reader_take(reader, &data, &size, &taken), REDIS_READING_REPLY);
    assert_string_equal(taken.reply->str, REDIS_TOO_LONG);
    redis_taken_free(&taken);
    redis_reader_free(&reader);
}

/* Gives `block` again and again, up to `times`; returns how often it was taken before the reader broke. */
static unsigned repeat_until_broken(const char *start, const char *block, size_t block_size, unsigned times)
{
    struct redis_reader *reader = redis_reader_new();
    struct redis_taken taken;
    size_t size = strlen(start);
    unsigned i = 0;
    assert_non_null(reader);
    assert_int_equal(redis_reader_take(reader, &start, &size, &taken), REDIS_READING_MORE);
    for (; i < times; i++) {
        const char *data = block;
        size = block_size;
        if (redis_reader_take(reader, &data, &size, &taken) != REDIS_READING_MORE)
            break;
    }
    assert_null(taken.reply);
    redis_reader_free(&reader);
    return i;
}

static void bounds_lines_and_whole_replies(void **state)
{
    static char line[1000], string[REDIS_BULK_MAX + 16];
    (void)state;
    memset(line, 'x', sizeof line);
    assert_int_equal(repeat_until_broken("+", line, sizeof line, 1000), REDIS_LINE_MAX / sizeof line);
    assert_int_equal(repeat_until_broken("-", line, sizeof line, 1000), REDIS_LINE_MAX / sizeof line);
    size_t size = append_string(string, REDIS_BULK_MAX - 64);
    assert_int_equal(repeat_until_broken("*1048576\r\n", string, size, 1000), REDIS_REPLY_MAX / size);
}

static void reads_the_largest_array(void **state)
{
    struct redis_reader *reader = redis_reader_new();
    struct redis_taken taken;
    const char *data = "*1048576\r\n";
    size_t size = strlen(data);
    (void)state;
    assert_non_null(reader);
    enum redis_reading reading = redis_reader_take(reader, &data, &size, &taken);
    for (unsigned i = 0; i < REDIS_ELEMENTS_MAX; i++) {
        assert_int_equal(reading, REDIS_READING_MORE);
        data = ":1\r\n";
        size = 4;
        reading = redis_reader_take(reader, &data, &size, &taken);
    }
    assert_int_equal(reading, REDIS_READING_REPLY);
    assert_int_equal(taken.reply->elements, REDIS_ELEMENTS_MAX);
    redis_taken_free(&taken);
    redis_reader_free(&reader);
}

static void stays_broken(void **state)
{
    struct redis_reader *reader = redis_reader_new();
    struct redis_taken taken;
    const char *data = "?\r\n+OK\r\n";
    size_t size = strlen(data);
    (void)state;
    assert_non_null(reader);
    assert_int_equal(redis_reader_take(reader, &data, &size, &taken), REDIS_READING_BROKEN);
    data = "+OK\r\n";
    size = strlen(data);
    assert_int_equal(redis_reader_take(reader, &data, &size, &taken), REDIS_READING_BROKEN);
    assert_null(taken.reply);
    redis_reader_free(&reader);
    redis_reader_free(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_pieces_of_every_size),
        cmocka_unit_test(reads_replies_cut_at_every_byte),
        cmocka_unit_test(replaces_strings_over_the_limit),
        cmocka_unit_test(streams_the_longest_string_through_little_memory),
        cmocka_unit_test(bounds_lines_and_whole_replies),
        cmocka_unit_test(reads_the_largest_array),
        cmocka_unit_test(stays_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
