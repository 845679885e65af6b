/* SPDX-License-Identifier: MIT */
/* Numbers as decimal digits, where snprintf would cost more than all else that is done there. */
#ifndef TK_BASE_NUMBER_H
#define TK_BASE_NUMBER_H

#include <stdint.h>

enum { NUMBER_DIGITS_MAX = 20 }; /* of UINT64_MAX */

/* Writes a number's digits, at most NUMBER_DIGITS_MAX bytes and no NUL, to `at`. Returns where they end. */
char *number_put(char *at, uint64_t number);

#endif
