/* SPDX-License-Identifier: MIT */
/* What came of a bench's requests: how many were answered, how fast, and which answers were not what they had to be. */
#ifndef TK_CLI_BENCH_TALLY_H
#define TK_CLI_BENCH_TALLY_H

#include "cli/bench_answer.h"
#include "cli/bench_latency.h"
#include "cli/bench_options.h"
#include "keep/token.h"

#include <stdint.h>

/* X(constant, name): the answers that were not what was asked for. */
#define BENCH_ERRORS_LIST(X)                                                  \
    X(BADREQ, "ERR badreq")                                                   \
    X(TOOLONG, "ERR toolong")                                                 \
    X(DENIED, "ERR denied")                                                   \
    X(NOAUTH, "ERR noauth")                                                   \
    X(BUSY, "ERR busy")                                                       \
    X(UNAVAIL, "ERR unavail")                                                 \
    X(AUDIT, "ERR audit")                                                     \
    X(CORRUPT, "ERR corrupt")                                                 \
    X(INTERNAL, "ERR internal")                                               \
    X(OTHER, "ERR other") /* none of tokenkeepd's: a Redis', a memcached's */ \
    X(POLICY, "NO policy")                                                    \
    X(CLOSED, "closed")    /* connection lost, unanswered */                  \
    X(TIMEOUT, "timeout")  /* not answered in time */                         \
    X(IDLE, "idle closed") /* an idle connection, lost */                     \
    X(WRONG, "wrong")      /* not the answer to this request */

enum bench_error {
#define X(constant, name) BENCH_ERROR_##constant,
    BENCH_ERRORS_LIST(X)
#undef X
        BENCH_ERRORS,
    BENCH_NO_ERROR = BENCH_ERRORS,
};

enum { BENCH_EXAMPLES = 5, BENCH_EXAMPLE_SIZE = 160 };

struct bench_tally {
    uint64_t answered;
    uint64_t errors[BENCH_ERRORS];
    struct bench_latency latency;
    size_t n_examples;
    char examples[BENCH_EXAMPLES][BENCH_EXAMPLE_SIZE]; /* of wrong answers, for people; no secret in them */
};

/* What an answer is to a request of this kind for this token; `value_size` as in the options. */
enum bench_error bench_answer_check(enum bench_protocol protocol, enum bench_kind kind, const char token[TOKEN_SIZE],
                                    size_t value_size, const struct bench_answer *answer);

/* Counts an error, but BENCH_NO_ERROR. Of the first wrong ones it notes which request they were for; `answer` may be
 * NULL: there was none that could be read. */
void bench_tally_error(struct bench_tally *tally, enum bench_error error, enum bench_kind kind,
                       const char token[TOKEN_SIZE], const struct bench_answer *answer);

/* Adds another tally: its errors and examples, and with `all` its answers and latencies too. */
void bench_tally_merge(struct bench_tally *tally, const struct bench_tally *other, bool all);

/* All errors. */
uint64_t bench_tally_errors(const struct bench_tally *tally);

/* An error's name, "ERR busy". */
const char *bench_error_name(enum bench_error error);

#endif
