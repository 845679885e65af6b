/* SPDX-License-Identifier: MIT */
/* What comes on the invalidation link, as bytes: announcements, and everything that is none. */
#include "keep/invalidation_message.h"

#include "keep/redis_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"

static enum invalidation_message read_bytes(const char *bytes, size_t size, size_t *n_keys)
{
    struct redis_reader *reader = redis_reader_new();
    const redisReply *keys;
    struct redis_taken taken;
    *n_keys = 0;
    if (redis_reader_take(reader, &bytes, &size, &taken) != REDIS_READING_REPLY) {
        redis_reader_free(&reader);
        return INVALIDATION_MESSAGE_ODD;
    }
    assert_int_equal(size, 0);
    enum invalidation_message message = invalidation_message_read(taken.reply, &keys);
    assert_int_equal(keys != NULL, message == INVALIDATION_MESSAGE_KEYS);
    if (keys != NULL)
        *n_keys = keys->elements;
    redis_taken_free(&taken);
    redis_reader_free(&reader);
    return message;
}

static void test_messages(void **state)
{
    static const struct {
        const char *bytes;
        enum invalidation_message message;
        size_t keys;
    } cases[] = {
        {HEAD "*1\r\n$1\r\na\r\n", INVALIDATION_MESSAGE_KEYS, 1},
        {HEAD "*2\r\n$1\r\na\r\n$0\r\n\r\n", INVALIDATION_MESSAGE_KEYS, 2},
        {HEAD "*0\r\n", INVALIDATION_MESSAGE_KEYS, 0},
        {HEAD "*-1\r\n", INVALIDATION_MESSAGE_ALL, 0},
        {HEAD "$-1\r\n", INVALIDATION_MESSAGE_ALL, 0},
        {HEAD "$1\r\na\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD ":1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "+a\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "-a\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "*1\r\n:1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "*1\r\n+a\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "*1\r\n-a\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "*1\r\n$-1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "*2\r\n$1\r\na\r\n*-1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {HEAD "*2\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidatf\r\n*1\r\n$1\r\na\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*3\r\n$7\r\nmessage\r\n*0\r\n*1\r\n$1\r\na\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*3\r\n+message\r\n$20\r\n__redis__:invalidate\r\n*0\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*3\r\n$11\r\nunsubscribe\r\n$20\r\n__redis__:invalidate\r\n:0\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*2\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*4\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*0\r\n*0\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*3\r\n$-1\r\n$-1\r\n$-1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*0\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"*-1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"$-1\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"+OK\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {"-ERR no\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {":3\r\n", INVALIDATION_MESSAGE_ODD, 0},
        {">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", INVALIDATION_MESSAGE_ODD, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t keys;
        assert_int_equal(read_bytes(cases[i].bytes, strlen(cases[i].bytes), &keys), cases[i].message);
        assert_int_equal(keys, cases[i].keys);
    }
}

static char *many(size_t n, size_t *size)
{
    char *bytes = malloc(128 + n * 16), *end = bytes + sprintf(bytes, HEAD "*%zu\r\n", n);
    for (size_t i = 0; i < n; i++)
        end += sprintf(end, "$7\r\n%07zu\r\n", i);
    *size = (size_t)(end - bytes);
    return bytes;
}

static void test_large_arrays(void **state)
{
    size_t size, keys;
    (void)state;
    char *bytes = many(100000, &size);
    assert_int_equal(read_bytes(bytes, size, &keys), INVALIDATION_MESSAGE_KEYS);
    assert_int_equal(keys, 100000);
    free(bytes);
    bytes = many(REDIS_ELEMENTS_MAX + 1, &size);
    assert_int_equal(read_bytes(bytes, size, &keys), INVALIDATION_MESSAGE_ODD);
    free(bytes);
}

static void test_a_key_that_is_thrown_away(void **state)
{
    size_t keys, size = (size_t)REDIS_BULK_MAX + 1;
    char *bytes = malloc(size + 256);
    int head = sprintf(bytes, HEAD "*1\r\n$%zu\r\n", size);
    (void)state;
    memset(bytes + head, 'k', size);
    memcpy(bytes + head + size, "\r\n", 2);
    assert_int_equal(read_bytes(bytes, (size_t)head + size + 2, &keys), INVALIDATION_MESSAGE_ODD);
    free(bytes);
}

/* Whatever bytes are turned around, nothing is read that is not there. */
static void test_damaged(void **state)
{
    static const char good[] = HEAD "*3\r\n$1\r\na\r\n$28\r\ntoken:abcdefghijklmnopqrstuv\r\n$0\r\n\r\n";
    static const char bytes_used[] = "*$+-:>0123456789\r\n\0a";
    (void)state;
    srandom(1);
    for (unsigned step = 0; step < 20000; step++) {
        char bytes[sizeof good];
        struct redis_reader *reader = redis_reader_new();
        const redisReply *keys;
        struct redis_taken taken;
        memcpy(bytes, good, sizeof good);
        for (long n = random() % 3; n >= 0; n--)
            bytes[(size_t)random() % (sizeof good - 1)] = bytes_used[(size_t)random() % (sizeof bytes_used - 1)];
        const char *data = bytes;
        size_t size = sizeof good - 1;
        if (redis_reader_take(reader, &data, &size, &taken) == REDIS_READING_REPLY) {
            if (invalidation_message_read(taken.reply, &keys) == INVALIDATION_MESSAGE_KEYS)
                for (size_t i = 0; i < keys->elements; i++)
                    assert_int_equal(keys->element[i]->type, REDIS_REPLY_STRING);
            (void)invalidation_message_subscribed(taken.reply);
            redis_taken_free(&taken);
        }
        redis_reader_free(&reader);
    }
}

static void test_subscribed(void **state)
{
    redisReply kind = {.type = REDIS_REPLY_STRING, .str = (char[]){"subscribe"}, .len = 9};
    redisReply channel = {.type = REDIS_REPLY_STRING, .str = (char[]){INVALIDATION_CHANNEL}, .len = 20};
    redisReply count = {.type = REDIS_REPLY_INTEGER, .integer = 1};
    redisReply *elements[] = {&kind, &channel, &count};
    redisReply reply = {.type = REDIS_REPLY_ARRAY, .elements = 3, .element = elements};
    (void)state;
    assert_true(invalidation_message_subscribed(&reply));
    count.integer = 2;
    assert_false(invalidation_message_subscribed(&reply));
    count = (redisReply){.type = REDIS_REPLY_NIL};
    assert_false(invalidation_message_subscribed(&reply));
    count = (redisReply){.type = REDIS_REPLY_INTEGER, .integer = 1};
    kind.str[0] = 'S';
    assert_false(invalidation_message_subscribed(&reply));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_large_arrays),
        cmocka_unit_test(test_a_key_that_is_thrown_away),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_subscribed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
