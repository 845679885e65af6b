/* SPDX-License-Identifier: MIT */
/* Tokens: what is one and what is not, there and back, and that no two are alike. */
#include "keep/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define KEY    "abcdefghijklmnopqrstuv"
#define SECRET "ABCDEFGHIJKLMNOP0189-_"

static void accepts_a_token(void **state)
{
    (void)state;
    const char *text = "gt-" KEY "." SECRET;
    struct token token;
    char out[TOKEN_SIZE + 1];
    assert_true(token_parse(text, strlen(text), &token));
    assert_memory_equal(token.key, KEY, TOKEN_PART_SIZE);
    assert_memory_equal(token.secret, SECRET, TOKEN_PART_SIZE);
    token_format(&token, out);
    assert_string_equal(out, text);
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "gt-",
        "gt-" KEY,
        "gt-" KEY ".",
        "gt-" KEY "." SECRET "x",
        "gt-" KEY "." SECRET "\n",
        " gt-" KEY "." SECRET,
        "GT-" KEY "." SECRET,
        "gt_" KEY "." SECRET,
        "xt-" KEY "." SECRET,
        "gt-" KEY "-" SECRET,
        "gt-" KEY "x."
        "ABCDEFGHIJKLMNOP0189-",
        "gt-"
        "abcdefghijklmnopqrstu"
        "." SECRET "x",
        "gt-" KEY "."
        "ABCDEFGHIJKLMNOP0189-",
        KEY "." SECRET,
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct token token, untouched;
        memset(&token, 0x55, sizeof token);
        memset(&untouched, 0x55, sizeof untouched);
        assert_false(token_parse(texts[i], strlen(texts[i]), &token));
        assert_memory_equal(&token, &untouched, sizeof token);
    }
}

/* Every byte value at every place of a token: only the alphabet passes, and only where it belongs. */
static void every_byte_everywhere(void **state)
{
    (void)state;
    static const char good[] = "gt-" KEY "." SECRET;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t at = 0; at < TOKEN_SIZE; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[TOKEN_SIZE];
            struct token token;
            memcpy(text, good, TOKEN_SIZE);
            text[at] = (char)byte;
            bool fixed = at < 3 || at == 3 + TOKEN_PART_SIZE;
            bool expected = fixed ? text[at] == good[at] : memchr(alphabet, byte, sizeof alphabet - 1) != NULL;
            assert_int_equal(token_parse(text, sizeof text, &token), expected);
        }
    }
}

/* What stands alone in the bytes, in either framing, and nothing that is cut. */
static void glimpses(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        {"GET gt-" KEY "." SECRET "\n", 1},
        {"GET gt-" KEY "." SECRET, 0},
        {"gt-" KEY "." SECRET "\n", 0},
        {"*2\r\n$3\r\nGET\r\n$48\r\ngt-" KEY "." SECRET "\r\n", 1},
        {"#1 GET gt-" KEY "." SECRET "\nPING\nCHECK gt-" KEY "." SECRET " a.b c.d\nGET gt-" KEY "." SECRET "\r\n", 3},
        {"STORE {\"token\":\"gt-" KEY "." SECRET "\",\"email\":\"a.b@c.d\"}\nGET gt-" KEY "." SECRET "\n", 1},
        {"GET gt_" KEY "." SECRET "\n", 0},
        {"GET gt-x" KEY "." SECRET "\n", 0},
        {"...... . . .\n.", 0},
        {"", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *at = cases[i].bytes, *end = at + strlen(at), *key;
        size_t n = 0;
        for (; (key = token_glimpse(&at, end)) != NULL; n++) {
            assert_memory_equal(key, KEY "." SECRET, 1 + 2 * TOKEN_PART_SIZE);
            assert_true(at > key && at < end);
        }
        assert_int_equal(n, cases[i].n);
        assert_ptr_equal(at, end);
    }
}

static void parts(void **state)
{
    (void)state;
    assert_true(token_part_valid(KEY, 22));
    assert_true(token_part_valid(SECRET, 22));
    assert_false(token_part_valid(KEY, 21));
    assert_false(token_part_valid(KEY "x", 23));
    assert_false(token_part_valid("", 0));
    assert_false(token_part_valid("abcdefghijklmnopqrstu+", 22));
    assert_false(token_part_valid("abcdefghijklmnopqrstu/", 22));
    assert_false(token_part_valid("abcdefghijklmnopqrstu=", 22));
    assert_false(token_part_valid("abcdefghijklmnopqrstu\0", 22));
}

static void generates(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct token tokens[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        token_generate(&tokens[i]);
        assert_true(token_part_valid(tokens[i].key, TOKEN_PART_SIZE));
        assert_true(token_part_valid(tokens[i].secret, TOKEN_PART_SIZE));
        assert_memory_not_equal(tokens[i].key, tokens[i].secret, TOKEN_PART_SIZE);
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(tokens[i].key, tokens[j].key, TOKEN_PART_SIZE);
            assert_memory_not_equal(tokens[i].secret, tokens[j].secret, TOKEN_PART_SIZE);
        }
    }
    /* Every place of a part varies, the last one too, over the four characters that its two bits can be. */
    for (size_t at = 0; at < TOKEN_PART_SIZE; at++) {
        bool seen[256] = {false};
        size_t different = 0;
        for (size_t i = 0; i < COUNT; i++) {
            different += !seen[(unsigned char)tokens[i].secret[at]];
            seen[(unsigned char)tokens[i].secret[at]] = true;
        }
        assert_true(at == TOKEN_PART_SIZE - 1 ? different == 4 : different > 32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_a_token),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(every_byte_everywhere),
        cmocka_unit_test(glimpses),
        cmocka_unit_test(parts),
        cmocka_unit_test(generates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
