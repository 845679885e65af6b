/* SPDX-License-Identifier: MIT */
/* Chance, as the bench needs it. */
#include "cli/bench_choice.h"

#include <math.h>
#include <string.h>

/* Zipf by rejection-inversion (W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates from monotone
 * discrete distributions", 1996): no table, and hardly ever a second try. The weight of x is x^-exponent, `integral` is
 * its antiderivative and `inverse` the function that undoes that; both hold for an exponent of 1 as well. */

static double weight(const struct bench_keys *keys, double x)
{
    return exp(-keys->exponent * log(x));
}

static double integral(const struct bench_keys *keys, double x)
{
    double log_x = log(x), t = (1 - keys->exponent) * log_x;
    return log_x * (fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2);
}

static double inverse(const struct bench_keys *keys, double y)
{
    double t = fmax(y * (1 - keys->exponent), -1); /* rounding may have gone beyond */
    return exp(y * (fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2));
}

void bench_keys_init(struct bench_keys *keys, uint32_t n, double exponent)
{
    *keys = (struct bench_keys){.n = n, .exponent = exponent};
    if (exponent <= 0)
        return;
    keys->first = integral(keys, 1.5) - 1;
    keys->last = integral(keys, n + 0.5);
    keys->cut = 2 - inverse(keys, integral(keys, 2.5) - weight(keys, 2));
}

uint32_t bench_keys_next(const struct bench_keys *keys, struct bench_random *random)
{
    if (keys->exponent <= 0)
        return bench_random_below(random, keys->n);
    for (;;) {
        double unit = (double)(bench_random_next(random) >> 11) * 0x1p-53;
        double y = keys->last + unit * (keys->first - keys->last);
        double x = inverse(keys, y), k = floor(x + 0.5);
        k = fmin(fmax(k, 1), keys->n);
        if (k - x <= keys->cut || y >= integral(keys, k + 0.5) - weight(keys, k))
            return (uint32_t)k - 1;
    }
}

void bench_deck_init(struct bench_deck *deck, const unsigned *weights, size_t n_kinds)
{
    deck->size = 0;
    for (size_t kind = 0; kind < n_kinds; kind++) {
        memset(deck->cards + deck->size, (int)kind, weights[kind]);
        deck->size += weights[kind];
    }
    deck->dealt = deck->size;
}

static void deck_shuffle(struct bench_deck *deck, struct bench_random *random)
{
    for (uint32_t i = deck->size - 1; i > 0; i--) {
        uint32_t other = bench_random_below(random, i + 1);
        uint8_t card = deck->cards[i];
        deck->cards[i] = deck->cards[other];
        deck->cards[other] = card;
    }
    deck->dealt = 0;
}

uint8_t bench_deck_next(struct bench_deck *deck, struct bench_random *random)
{
    if (deck->dealt == deck->size)
        deck_shuffle(deck, random);
    return deck->cards[deck->dealt++];
}
