/* SPDX-License-Identifier: MIT */
/* UTF-8: every code point once, and what RFC 3629 forbids. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static size_t encode(uint32_t point, unsigned char *out)
{
    if (point < 0x80)
        return out[0] = (unsigned char)point, 1;
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, point >>= 6)
        out[i] = (unsigned char)(0x80 | (point & 0x3f));
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (unsigned char)(lead[size] | point);
    return size;
}

/* Code points up to what four bytes can say, in the middle of text long enough for whole words to be looked at. */
static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x200000; point++) {
        char text[32] = "0123456789";
        size_t size = 10 + encode(point, (unsigned char *)text + 10), characters = 0;
        memcpy(text + size, "abcdefgh", 8);
        bool expected = point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
        assert_int_equal(utf8_valid(text, size + 8, &characters), expected);
        assert_int_equal(characters, expected ? 19 : 0);
        assert_int_equal(utf8_is_string(text, size + 8), expected && point > 0);
    }
}

/* A byte that is no string's at every place of texts of every length, so that it meets whole words and their rests. */
static void no_nul_anywhere(void **state)
{
    (void)state;
    char text[40];
    memset(text, 'x', sizeof text);
    for (size_t size = 0; size <= sizeof text; size++) {
        assert_true(utf8_is_string(text, size));
        for (size_t at = 0; at < size; at++) {
            for (size_t i = 0; i < 3; i++) {
                text[at] = "\x00\x80\xff"[i];
                assert_false(utf8_is_string(text, size));
                text[at] = '\x01';
                assert_true(utf8_is_string(text, size));
            }
            text[at] = 'x';
        }
    }
}

static void every_cut(void **state)
{
    (void)state;
    static const uint32_t points[] = {0x80, 0x7ff, 0x800, 0xffff, 0x10000, 0x10ffff};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        unsigned char bytes[4];
        size_t size = encode(points[i], bytes);
        assert_true(utf8_valid((char *)bytes, size, NULL));
        for (size_t cut = 1; cut < size; cut++) {
            assert_false(utf8_valid((char *)bytes, cut, NULL));
            assert_false(utf8_valid((char *)bytes + cut, size - cut, NULL));
        }
    }
}

static void forbidden(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xc3(",
        "\xe2\x28\xa1",
        "\xe2\x82(",
        "\xf0\x28\x8c\xbc",
        "\xf0\x90\x28\xbc",
        "\xf0\x90\x8c\x28",
        "abc\xc3",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(utf8_valid(texts[i], strlen(texts[i]), NULL));
}

static void counts(void **state)
{
    (void)state;
    size_t characters = 7;
    assert_true(utf8_valid("", 0, &characters));
    assert_int_equal(characters, 0);
    assert_true(utf8_valid("12345678", 8, &characters));
    assert_int_equal(characters, 8);
    assert_true(utf8_valid("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 10, &characters));
    assert_int_equal(characters, 4);
    assert_true(utf8_valid("\0\0", 2, &characters));
    assert_int_equal(characters, 2);
}

/* Characters behind and before others, at every place in a word. */
static void control_characters_are_no_text(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x110000; point += point < 0x3000 ? 1 : 97) {
        char text[32];
        bool control = point < 0x20 || (point >= 0x7f && point < 0xa0);
        bool expected = !control && !(point >= 0xd800 && point <= 0xdfff);
        for (size_t at = 0; at <= 16; at++) {
            memcpy(text, "0123456789abcdef", at);
            size_t size = at + encode(point, (unsigned char *)text + at);
            assert_int_equal(utf8_is_text(text, size), expected);
            memcpy(text + size, "0123456789", 10);
            assert_int_equal(utf8_is_text(text, size + 10), expected);
        }
    }
    assert_true(utf8_is_text("", 0));
    assert_false(utf8_is_text("abc\xc3", 4));
    assert_false(utf8_is_text("0123456\xff", 8));
}

static void made_text(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"", ""},
        {"plain, all of it", "plain, all of it"},
        {"\n\x1f \x7f~", "?? ?~"},
        {"0123456\n89abcde\x7f", "0123456?89abcde?"},
        {"\xc3\xa4\xc3", "\xc3\xa4?"},
        {"\xc2\x80\xc2\xa0", "??\xc2\xa0"},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98", "\xf0\x9f\x98\x80???"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        size_t size = strlen(cases[i].from);
        memcpy(text, cases[i].from, size);
        utf8_make_text(text, size);
        assert_memory_equal(text, cases[i].to, size);
        assert_true(utf8_is_text(text, size));
    }
}

static void cuts(void **state)
{
    (void)state;
    static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";
    static const size_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t most = 0; most < sizeof kept / sizeof *kept; most++)
        assert_int_equal(utf8_cut(text, strlen(text), most), kept[most]);
    assert_int_equal(utf8_cut("\x80\x80\x80\x80\x80\x80\x80\x80", 8, 6), 3);
    assert_int_equal(utf8_cut("\x80\x80\x80", 3, 1), 0);
    assert_int_equal(utf8_cut("", 0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point), cmocka_unit_test(no_nul_anywhere),
        cmocka_unit_test(every_cut),        cmocka_unit_test(forbidden),
        cmocka_unit_test(counts),           cmocka_unit_test(control_characters_are_no_text),
        cmocka_unit_test(made_text),        cmocka_unit_test(cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
