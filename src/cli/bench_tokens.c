/* SPDX-License-Identifier: MIT */
/* The tokens of a bench, and which request comes next. */
#include "cli/bench_tokens.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Writes a token of the low six bits of each of 2 * TOKEN_PART_SIZE bytes. */
static void token_write(char text[TOKEN_SIZE], const unsigned char *bytes)
{
    memcpy(text, "gt-", 3);
    for (size_t i = 0; i < TOKEN_PART_SIZE; i++) {
        text[3 + i] = alphabet[bytes[i] & 63];
        text[3 + TOKEN_PART_SIZE + 1 + i] = alphabet[bytes[TOKEN_PART_SIZE + i] & 63];
    }
    text[3 + TOKEN_PART_SIZE] = '.';
}

/* The misses of thread number `thread`, at most: its decks of cards, the last one whole. */
static size_t misses_max(const struct bench_options *options, uint32_t thread)
{
    if (options->weight[BENCH_MISS] == 0)
        return 0;
    uint32_t deck = bench_options_deck(options);
    return (bench_options_share(options, thread) + deck - 1) / deck * options->weight[BENCH_MISS];
}

int bench_tokens_make(struct bench_tokens *tokens, const struct bench_options *options, struct error *error)
{
    *tokens = (struct bench_tokens){.hits = options->weight[BENCH_HIT] > 0 ? options->tokens : 0};
    for (uint32_t thread = 0; thread < options->threads; thread++)
        tokens->reserve += misses_max(options, thread);
    if (options->weight[BENCH_STORE] > 0)
        tokens->stores = options->tokens > options->threads ? options->tokens : options->threads;
    size_t n = tokens->hits + tokens->reserve + tokens->stores;
    if (n > BENCH_TOKENS_MAX)
        return error_set(error, "that needs %zu tokens, and %d is the most; a miss needs one of its own", n,
                         BENCH_TOKENS_MAX);
    tokens->text = calloc(n + 1, sizeof *tokens->text);
    if (tokens->text == NULL)
        return error_set(error, "out of memory");
    enum { BATCH = 64 };
    unsigned char bytes[BATCH][2 * TOKEN_PART_SIZE];
    for (size_t i = 0; i < n; i++) {
        if (i % BATCH == 0)
            randombytes_buf(bytes, sizeof bytes);
        token_write(tokens->text[i], bytes[i % BATCH]);
    }
    sodium_memzero(bytes, sizeof bytes);
    return 0;
}

void bench_tokens_free(struct bench_tokens *tokens)
{
    if (tokens->text != NULL)
        sodium_memzero(tokens->text, (tokens->hits + tokens->reserve + tokens->stores) * sizeof *tokens->text);
    free(tokens->text);
    *tokens = (struct bench_tokens){.text = NULL};
}

void bench_course_order(struct bench_course *course, const struct bench_tokens *tokens, enum bench_kind kind,
                        size_t end, uint64_t left, uint32_t thread, uint32_t threads)
{
    const size_t first = end == 0 ? 0 : thread % end;
    *course = (struct bench_course){
        .tokens = tokens,
        .left = end == 0 ? 0 : left,
        .kind = kind,
        .next = first,
        .first = first,
        .end = end,
        .step = threads,
    };
}

void bench_course_mix(struct bench_course *course, const struct bench_tokens *tokens,
                      const struct bench_options *options, uint32_t thread)
{
    *course = (struct bench_course){
        .tokens = tokens,
        .left = bench_options_share(options, thread),
        .mixed = true,
        .thread = thread,
        .threads = options->threads,
        .store = thread,
        .random.state = options->seed + thread,
    };
    for (uint32_t before = 0; before < thread; before++)
        course->miss += misses_max(options, before);
    /* Neighbouring seeds are neighbours on one and the same sequence until they are mixed. */
    course->random.state = bench_random_next(&course->random);
    bench_keys_init(&course->keys, options->tokens, options->exponent);
    bench_deck_init(&course->deck, options->weight, BENCH_MIX_KINDS);
}

static const char *make_up(struct bench_course *course, char text[TOKEN_SIZE])
{
    uint64_t numbers[6];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        numbers[i] = bench_random_next(&course->random);
    token_write(text, (const unsigned char *)numbers);
    return text;
}

/* The next of those to store; when all have been, they are replaced one by one. */
static const char *store_next(struct bench_course *course)
{
    const struct bench_tokens *tokens = course->tokens;
    const char *text = tokens->text[tokens->hits + tokens->reserve + course->store];
    course->store += course->threads;
    if (course->store >= tokens->stores)
        course->store = course->thread;
    return text;
}

static const char *in_order(struct bench_course *course)
{
    const char *text = course->tokens->text[course->next];
    course->next += course->step;
    if (course->next >= course->end)
        course->next = course->first;
    return text;
}

enum bench_kind bench_course_next(struct bench_course *course, char made_up[TOKEN_SIZE], const char **token)
{
    const struct bench_tokens *tokens = course->tokens;
    course->left--;
    if (!course->mixed) {
        *token = in_order(course);
        return course->kind;
    }
    enum bench_kind kind = (enum bench_kind)bench_deck_next(&course->deck, &course->random);
    switch (kind) {
    case BENCH_HIT: *token = tokens->text[bench_keys_next(&course->keys, &course->random)]; break;
    case BENCH_MISS: *token = tokens->text[tokens->hits + course->miss++]; break;
    case BENCH_STORE: *token = store_next(course); break;
    case BENCH_UNKNOWN:
    case BENCH_DELETE:
    case BENCH_KINDS: *token = make_up(course, made_up); break;
    }
    return kind;
}
