/* SPDX-License-Identifier: MIT */
/* The tokens of a bench: those that hits choose from, a reserve of which each miss takes one, and those that stores
 * store; and, for each thread, which request comes next. */
#ifndef TK_CLI_BENCH_TOKENS_H
#define TK_CLI_BENCH_TOKENS_H

#include "cli/bench_choice.h"
#include "cli/bench_options.h"
#include "keep/token.h"

#include <stddef.h>
#include <stdint.h>

/* One table: hits, behind them the reserve, behind it what is stored while measuring. */
struct bench_tokens {
    size_t hits, reserve, stores;
    char (*text)[TOKEN_SIZE]; /* "gt-...", not terminated; secret */
};

/* Makes as many tokens as the options need, from libsodium's generator: the server that is measured may be in use, and
 * nobody shall guess them. Returns 0, or -1 with `error`. */
int bench_tokens_make(struct bench_tokens *tokens, const struct bench_options *options, struct error *error)
    __attribute__((warn_unused_result));

/* Wipes and frees the table. */
void bench_tokens_free(struct bench_tokens *tokens);

/* The requests of one thread, in one part of a run. */
struct bench_course {
    const struct bench_tokens *tokens;
    uint64_t left; /* requests to come; UINT64_MAX: until time is up */
    bool mixed;    /* else all are of `kind`, over the table in order, again from its start */
    enum bench_kind kind;
    size_t next, first, end, step; /* of the table, in order */
    size_t miss, store;            /* the next of the reserve, and of those to store */
    size_t thread, threads;
    struct bench_random random;
    struct bench_keys keys;
    struct bench_deck deck;
};

/* A course of `left` requests of one kind over the numbers 0 to end - 1 of the table, of which thread number `thread`
 * of `threads` takes each one in `threads`. */
void bench_course_order(struct bench_course *course, const struct bench_tokens *tokens, enum bench_kind kind,
                        size_t end, uint64_t left, uint32_t thread, uint32_t threads);

/* The course that is measured, as the options mix it. */
void bench_course_mix(struct bench_course *course, const struct bench_tokens *tokens,
                      const struct bench_options *options, uint32_t thread);

/* The next request's kind; *token is its token, in the table or in `made_up`. `left` must not be 0. */
enum bench_kind bench_course_next(struct bench_course *course, char made_up[TOKEN_SIZE], const char **token);

#endif
