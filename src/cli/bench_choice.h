/* SPDX-License-Identifier: MIT */
/* Chance, as the bench needs it: which token is asked for next, and which kind of request comes next. */
#ifndef TK_CLI_BENCH_CHOICE_H
#define TK_CLI_BENCH_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fast random numbers that a seed repeats (splitmix64). Good for choosing, never for secrets. */
struct bench_random {
    uint64_t state; /* any value is a seed */
};

/* The next 64 bits. */
static inline uint64_t bench_random_next(struct bench_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number from 0 to n - 1, n from 1 to 2^32 - 1. */
static inline uint32_t bench_random_below(struct bench_random *random, uint32_t n)
{
    return (uint32_t)(((bench_random_next(random) >> 32) * n) >> 32);
}

/* How the numbers 0 to n - 1 are drawn. */
struct bench_keys {
    uint32_t n;
    double exponent; /* 0: all equally often */
    double first, last, cut;
};

/* Prepares the drawing of numbers from 0 to n - 1, n at least 1: all equally often when `exponent` is 0, else number i
 * in proportion to 1 / (i + 1)^exponent (a Zipf distribution; the exponent at most 10). */
void bench_keys_init(struct bench_keys *keys, uint32_t n, double exponent);

/* Draws a number. */
uint32_t bench_keys_next(const struct bench_keys *keys, struct bench_random *random);

enum { BENCH_DECK_MAX = 10000 }; /* cards */

/* A deck of cards that is shuffled each time it has been dealt: so often as there are cards, chance has no say in how
 * many of each kind come. */
struct bench_deck {
    uint32_t size;
    uint32_t dealt;
    uint8_t cards[BENCH_DECK_MAX];
};

/* Makes a deck of weights[i] cards of each kind i, i < n_kinds <= 256; their sum is 1 to BENCH_DECK_MAX. */
void bench_deck_init(struct bench_deck *deck, const unsigned *weights, size_t n_kinds);

/* Deals a card. */
uint8_t bench_deck_next(struct bench_deck *deck, struct bench_random *random);

#endif
