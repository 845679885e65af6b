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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_cut),
        cmocka_unit_test(forbidden),
        cmocka_unit_test(counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
