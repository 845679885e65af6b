/* SPDX-License-Identifier: MIT */
/* Keyring lines: 32 bytes in padded standard base64, never the same twice. */
#include "cli/keygen.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void lines_are_keys(void **state)
{
    (void)state;
    char before[KEYGEN_LINE_SIZE + 1] = "";
    for (int i = 0; i < 200; i++) {
        char line[KEYGEN_LINE_SIZE + 1];
        unsigned char key[64];
        size_t size = 0;
        assert_int_equal(keygen_line(line), 0);
        assert_int_equal(strlen(line), KEYGEN_LINE_SIZE);
        assert_int_equal(line[KEYGEN_LINE_SIZE - 1], '=');
        assert_int_equal(sodium_base642bin(key, sizeof key, line, KEYGEN_LINE_SIZE, NULL, &size, NULL,
                                           sodium_base64_VARIANT_ORIGINAL),
                         0);
        assert_int_equal(size, 32);
        assert_string_not_equal(line, before);
        strcpy(before, line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
