/* SPDX-License-Identifier: MIT */
/* Numbers as decimal digits. */
#include "base/number.h"

#include <string.h>

char *number_put(char *at, uint64_t number)
{
    char digits[NUMBER_DIGITS_MAX];
    size_t first = sizeof digits;
    do
        digits[--first] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return mempcpy(at, digits + first, sizeof digits - first);
}
