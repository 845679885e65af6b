/* SPDX-License-Identifier: MIT */
/* The answers that a bench receives, in every protocol that it speaks, parsed where they lie. */
#ifndef TK_CLI_BENCH_ANSWER_H
#define TK_CLI_BENCH_ANSWER_H

#include "cli/bench_options.h"

#include <stddef.h>

enum { BENCH_ANSWER_MAX = 256 * 1024 }; /* bytes; a longer one is not waited for */

enum bench_answer_class {
    BENCH_ANSWER_VALUE,   /* what was asked for; `text` is it */
    BENCH_ANSWER_DONE,    /* a change was made */
    BENCH_ANSWER_NONE,    /* there is none: NO invalid, a null, EN */
    BENCH_ANSWER_REFUSED, /* `text` is the message, as in "ERR busy ..." */
};

struct bench_answer {
    enum bench_answer_class class;
    const char *text; /* in the bytes that were parsed, not terminated */
    size_t size;
};

enum { BENCH_ANSWER_PARTIAL = 0, BENCH_ANSWER_BAD = -1 };

/* Parses the answer that the `size` bytes begin with. Returns how many of them it has, BENCH_ANSWER_PARTIAL when it is
 * not whole yet, or BENCH_ANSWER_BAD when it cannot become an answer of the protocol. Nothing is believed: the bytes
 * may be anything. */
long bench_answer_parse(enum bench_protocol protocol, const char *bytes, size_t size, struct bench_answer *answer)
    __attribute__((warn_unused_result));

#endif
