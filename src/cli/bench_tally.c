/* SPDX-License-Identifier: MIT */
/* What came of a bench's requests. */
#include "cli/bench_tally.h"

#include <stdio.h>
#include <string.h>

static const char *const error_names[] = {
#define X(constant, name) name,
    BENCH_ERRORS_LIST(X)
#undef X
};

#define VALUE_START "{\"token\":\""

const char *bench_error_name(enum bench_error error)
{
    return error_names[error];
}

/* Whether the value is this token's own: token data that hold the token, or what bench_requests_make() has others
 * store. */
static bool value_is_of(enum bench_protocol protocol, const char *token, size_t value_size,
                        const struct bench_answer *answer)
{
    if (protocol == BENCH_REDIS || protocol == BENCH_MEMCACHED)
        return answer->size == value_size && memcmp(answer->text, token + 3, TOKEN_PART_SIZE) == 0;
    const size_t start = sizeof VALUE_START - 1;
    if (answer->size > start + TOKEN_SIZE && memcmp(answer->text + start, token, TOKEN_SIZE) == 0)
        return answer->text[0] == '{' && answer->text[answer->size - 1] == '}';
    return false;
}

static enum bench_error refusal_kind(enum bench_protocol protocol, const struct bench_answer *answer)
{
    if (protocol == BENCH_REDIS || protocol == BENCH_MEMCACHED)
        return BENCH_ERROR_OTHER;
    for (enum bench_error error = 0; error <= BENCH_ERROR_POLICY; error++) {
        size_t size = strlen(error_names[error]);
        if (answer->size >= size && memcmp(answer->text, error_names[error], size) == 0 &&
            (answer->size == size || answer->text[size] == ' '))
            return error;
    }
    return answer->size >= 2 && memcmp(answer->text, "NO", 2) == 0 ? BENCH_ERROR_WRONG : BENCH_ERROR_OTHER;
}

enum bench_error bench_answer_check(enum bench_protocol protocol, enum bench_kind kind, const char token[TOKEN_SIZE],
                                    size_t value_size, const struct bench_answer *answer)
{
    const bool hit = kind == BENCH_HIT || kind == BENCH_MISS;
    bool right = false;
    switch (answer->class) {
    case BENCH_ANSWER_VALUE: right = hit && value_is_of(protocol, token, value_size, answer); break;
    case BENCH_ANSWER_NONE: right = kind == BENCH_UNKNOWN || kind == BENCH_DELETE; break;
    case BENCH_ANSWER_DONE: right = kind == BENCH_STORE || kind == BENCH_DELETE; break;
    case BENCH_ANSWER_REFUSED: return refusal_kind(protocol, answer);
    }
    return right ? BENCH_NO_ERROR : BENCH_ERROR_WRONG;
}

static const char *answer_words(const struct bench_answer *answer)
{
    if (answer == NULL)
        return "an answer that is not of the protocol";
    switch (answer->class) {
    case BENCH_ANSWER_VALUE: return "the data of another token, or no token data";
    case BENCH_ANSWER_DONE: return "OK alone";
    case BENCH_ANSWER_NONE: return "that there is none";
    case BENCH_ANSWER_REFUSED: return "another refusal than can come";
    }
    return "";
}

void bench_tally_error(struct bench_tally *tally, enum bench_error error, enum bench_kind kind,
                       const char token[TOKEN_SIZE], const struct bench_answer *answer)
{
    if (error == BENCH_NO_ERROR)
        return;
    tally->errors[error]++;
    if (error == BENCH_ERROR_WRONG && tally->n_examples < BENCH_EXAMPLES)
        snprintf(tally->examples[tally->n_examples++], BENCH_EXAMPLE_SIZE, "%s of the token with the key %.*s: %s",
                 bench_kind_name(kind), TOKEN_PART_SIZE, token + 3, answer_words(answer));
}

void bench_tally_merge(struct bench_tally *tally, const struct bench_tally *other, bool all)
{
    if (all) {
        tally->answered += other->answered;
        bench_latency_merge(&tally->latency, &other->latency);
    }
    for (size_t error = 0; error < BENCH_ERRORS; error++)
        tally->errors[error] += other->errors[error];
    for (size_t i = 0; i < other->n_examples && tally->n_examples < BENCH_EXAMPLES; i++)
        memcpy(tally->examples[tally->n_examples++], other->examples[i], BENCH_EXAMPLE_SIZE);
}

uint64_t bench_tally_errors(const struct bench_tally *tally)
{
    uint64_t errors = 0;
    for (size_t error = 0; error < BENCH_ERRORS; error++)
        errors += tally->errors[error];
    return errors;
}
