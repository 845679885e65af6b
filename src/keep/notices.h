/* SPDX-License-Identifier: MIT */
/* Keeps what anybody can provoke from flooding the log and the audit log: one notice a subject (a key, an address) a
 * minute and ten a second in all, with a count of those left out. */
#ifndef TK_KEEP_NOTICES_H
#define TK_KEEP_NOTICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NOTICES_REMEMBERED = 1024, NOTICES_A_SECOND = 10 };

/* Zeroed is empty. Subjects that share a place push each other out, which costs a line more, never one too few; who
 * shares one with whom cannot be known from outside. */
struct notices {
    struct {
        uint64_t subject; /* its seeded hash */
        int64_t due;      /* boot-time clock, ns: until then no further notice for this subject; 0: free */
        unsigned left_out;
    } places[NOTICES_REMEMBERED];
    int64_t second;     /* boot-time clock, ns: when the current second began */
    unsigned in_second; /* notices given in it */
    unsigned left_out;  /* because the second was full */
    bool seeded;
    unsigned char seed[16];
};

/* Whether a notice about the subject, any `size` bytes, is due now; then *left_out says how many were left out since
 * the last, about this subject or because there were too many. `now` is the boot-time clock, ns. */
bool notices_due(struct notices *notices, const void *subject, size_t size, int64_t now, unsigned *left_out);

/* What to add to a notice: nothing, or how many were left out before it. Lives until the next call. */
const char *notices_left_out(unsigned left_out);

#endif
