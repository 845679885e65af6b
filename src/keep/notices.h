/* SPDX-License-Identifier: MIT */
/* Keeps what anybody can provoke from flooding the log: one notice a key a minute, with a count of those left out. */
#ifndef TK_KEEP_NOTICES_H
#define TK_KEEP_NOTICES_H

#include "keep/token.h"

#include <stdbool.h>
#include <stdint.h>

enum { NOTICES_REMEMBERED = 1024 };

/* Zeroed is empty. Keys that share a place push each other out, which costs a line more, never one too few. */
struct notices {
    struct {
        char key[TOKEN_PART_SIZE];
        int64_t due; /* boot-time clock, ns: until then no further notice for this key; 0: free */
        unsigned left_out;
    } places[NOTICES_REMEMBERED];
};

/* Whether a notice about `key` is due now; then *left_out says how many were left out since the last. */
bool notices_due(struct notices *notices, const char key[TOKEN_PART_SIZE], int64_t now, unsigned *left_out);

#endif
