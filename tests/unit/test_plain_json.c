/* SPDX-License-Identifier: MIT */
/* JSON that is plainly written: what is, what is left to jansson, and that whatever is read here jansson reads alike.
 */
#include "keep/plain_json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_same(const struct value *value, json_t *json);

static void assert_same_members(const struct value *value, json_t *json)
{
    struct value key, member;
    size_t n = 0;
    for (const void *at = NULL; (at = plain_json_tree.member(value->node, at, &key, &member)) != NULL; n++) {
        char name[256];
        assert_int_equal(key.kind, VALUE_TEXT);
        assert_true(key.size < sizeof name);
        memcpy(name, key.text, key.size);
        name[key.size] = '\0';
        assert_non_null(json_object_get(json, name));
        assert_same(&member, json_object_get(json, name));
    }
    assert_int_equal(n, json_object_size(json));
}

static void assert_same(const struct value *value, json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_NULL: assert_int_equal(value->kind, VALUE_NULL); return;
    case JSON_INTEGER:
        assert_int_equal(value->kind, VALUE_INTEGER);
        assert_int_equal(value->integer, json_integer_value(json));
        return;
    case JSON_STRING:
        assert_int_equal(value->kind, VALUE_TEXT);
        assert_int_equal(value->size, json_string_length(json));
        assert_memory_equal(value->text, json_string_value(json), value->size);
        return;
    case JSON_ARRAY:
        assert_int_equal(value->kind, VALUE_ARRAY);
        assert_int_equal(value->size, json_array_size(json));
        for (size_t i = 0; i < value->size; i++) {
            struct value element = plain_json_tree.element(value->node, i);
            assert_same(&element, json_array_get(json, i));
        }
        return;
    case JSON_OBJECT:
        assert_int_equal(value->kind, VALUE_MAP);
        assert_same_members(value, json);
        return;
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE: fail();
    }
}

/* Reads a copy of just that size, so that a sanitizer sees a byte read behind it. Returns whether it is plain, and
 * holds what was read against what jansson reads. */
static bool reads(const char *text, size_t size)
{
    struct plain_json json;
    char *copy = malloc(size + (size == 0));
    memcpy(copy, text, size);
    bool plain = plain_json_read(&json, copy, size);
    if (plain) {
        json_error_t error;
        json_t *all = json_loadb(copy, size, JSON_DECODE_ANY, &error);
        assert_non_null(all);
        json_t *unique = json_loadb(copy, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
        if (unique != NULL)
            assert_same(&json.values[0].value, all);
        json_decref(unique);
        json_decref(all);
    }
    free(copy);
    return plain;
}

static const char *const plain[] = {
    "{}",
    "[]",
    "0",
    "999999999999999999",
    "null",
    "\"\"",
    "[1]",
    " { \"a\" : [ 1 , null , \"x\" ] , \"b\" : { } }\r\n\t",
    "{\"a\":{\"b\":[[1],[]]},\"c\":2}",
    "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
    "[[[[]]]]",
    "{\"a\":1,\"a\":2}", /* whoever looks at the members refuses it */
};

static const char *const other[] = {
    /* JSON */
    "\"\\n\"",
    "\"\\u0041\"",
    "\"\\\"\"",
    "-1",
    "1.5",
    "1e3",
    "1000000000000000000",
    "true",
    "[false]",
    "[[[[[]]]]]",
    /* none */
    "",
    " ",
    "{",
    "}",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{,}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{1:1}",
    "{null:1}",
    "{[]:1}",
    "[1}",
    "{\"a\":1]",
    "[]]",
    "[] x",
    "1 1",
    "01",
    "00",
    "+1",
    "nul",
    "nulll",
    "NULL",
    "\"",
    "\"a",
    "\"a\nb\"",
    "\"a\x01\"",
    "\"\xc3\"",
    "\"\xc0\x80\"",
    "\"\xed\xa0\x80\"",
    "'a'",
    "\v1",
    "\xef\xbb\xbf{}",
};

static void what_is_plain(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!reads(plain[i], strlen(plain[i])))
            fail_msg("%s", plain[i]);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (reads(other[i], strlen(other[i])))
            fail_msg("%s", other[i]);
    assert_false(reads("1\0", 2));
    assert_false(reads("\"\0\"", 3));
}

static void as_many_values_as_there_is_room_for(void **state)
{
    (void)state;
    char text[2 * PLAIN_JSON_VALUES + 2] = "[1";
    for (size_t n = 2; n <= PLAIN_JSON_VALUES; n++) {
        size_t size = strlen(text);
        memcpy(text + size, "]", 2);
        assert_true(reads(text, size + 1));
        memcpy(text + size, ",1", 3);
    }
    strcat(text, "]");
    assert_false(reads(text, strlen(text)));
}

#define TYPICAL                                                                                                    \
    "{\"token\":\"gt-abc.def\",\"username\":\"a\",\"scopes\":[\"read:all\",\"x\"],\"expires\":null,\"uid\":10203," \
    "\"name\":\"N \xc3\xa4\",\"groups\":[{\"name\":\"g\",\"id\":3}, {}]}"

static void cut_and_altered_everywhere(void **state)
{
    (void)state;
    char text[sizeof TYPICAL] = TYPICAL;
    assert_true(reads(text, strlen(text)));
    for (size_t at = 0; at < strlen(TYPICAL); at++) {
        assert_false(reads(text, at));
        for (int byte = 0; byte < 256; byte++) {
            text[at] = (char)byte;
            reads(text, strlen(TYPICAL));
        }
        text[at] = TYPICAL[at];
    }
}

/* Strings are looked through eight bytes at a time. */
static void each_byte_at_each_place_of_a_string(void **state)
{
    (void)state;
    for (size_t at = 1; at <= 18; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[21] = "\"aaaaaaaaaaaaaaaaaa\"";
            text[at] = (char)byte;
            assert_int_equal(reads(text, 20), byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\');
            memcpy(text + (at < 18 ? at : 17), "\xc3\xa4", 2);
            assert_true(reads(text, 20));
        }
    }
}

/* Tokens of JSON in a row at random: most are nothing, and no two parsers may differ on the others. */
static void anything_means_the_same_to_jansson(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{", "}", "[",    "]", ",",  ":", "\"a\"", "\"b\"",
                                         "1", "0", "null", " ", "\"", "-", "."};
    size_t read = 0;
    srand(1);
    for (size_t round = 0; round < 400000; round++) {
        char text[64] = "";
        for (int n = 1 + rand() % 9; n > 0; n--)
            strcat(text, pieces[(size_t)rand() % (sizeof pieces / sizeof *pieces)]);
        read += reads(text, strlen(text));
    }
    assert_true(read > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_plain),
        cmocka_unit_test(as_many_values_as_there_is_room_for),
        cmocka_unit_test(cut_and_altered_everywhere),
        cmocka_unit_test(each_byte_at_each_place_of_a_string),
        cmocka_unit_test(anything_means_the_same_to_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
