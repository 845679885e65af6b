/* SPDX-License-Identifier: MIT */
/* What `tokenkeep bench` is told to do. */
#include "cli/bench_options.h"

#include "cli/bench_choice.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 60000, PIPELINE_MAX = 1000, THREADS_MAX = 64 };
#define REQUESTS_MAX UINT64_C(1000000000000)
#define SECONDS_MAX  86400.0
#define RATE_MAX     1e8

static const struct {
    const char *name, *takes, *help;
} descriptions[] = {
#define X(constant, name, takes, help) {name, takes, help},
    BENCH_OPTIONS_LIST(X)
#undef X
};

static const char *const protocol_names[] = {"line", "resp", "redis", "memcached"};
static const char *const kind_names[] = {"hit", "miss", "unknown", "store", "delete"};

const char *bench_option_name(enum bench_option option)
{
    return descriptions[option].name;
}

bool bench_option_takes(enum bench_option option)
{
    return *descriptions[option].takes != '\0';
}

const char *bench_protocol_name(enum bench_protocol protocol)
{
    return protocol_names[protocol];
}

const char *bench_kind_name(enum bench_kind kind)
{
    return kind_names[kind];
}

void bench_options_init(struct bench_options *options)
{
    *options = (struct bench_options){
        .connections = 50,
        .pipeline = 1,
        .threads = 1,
        .tokens = 10000,
        .users = 1000,
        .value_size = 400,
        .weight = {[BENCH_HIT] = 100},
    };
}

void bench_options_show(void)
{
    for (size_t i = 0; i < BENCH_OPTIONS; i++) {
        char left[40];
        snprintf(left, sizeof left, "--%s%s%s", descriptions[i].name, *descriptions[i].takes == '\0' ? "" : " ",
                 descriptions[i].takes);
        printf("  %-21s%s\n", left, descriptions[i].help);
    }
}

/* A whole number of exactly `size` digits. */
static bool digits_read(const char *text, size_t size, uint64_t *number)
{
    *number = 0;
    if (size == 0 || size > 19)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(text[i] - '0');
    }
    return true;
}

static int number_take(enum bench_option option, const char *text, uint64_t low, uint64_t high, uint64_t *number,
                       struct error *error)
{
    if (digits_read(text, strlen(text), number) && *number >= low && *number <= high)
        return 0;
    return error_set(error, "--%s takes a whole number from %" PRIu64 " to %" PRIu64, descriptions[option].name, low,
                     high);
}

static int count_take(enum bench_option option, const char *text, uint32_t low, uint32_t high, uint32_t *count,
                      struct error *error)
{
    uint64_t number;
    int result = number_take(option, text, low, high, &number, error);
    if (result == 0)
        *count = (uint32_t)number;
    return result;
}

static bool fraction_read(const char *text, size_t size, double low, double high, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return end == text + size && size > 0 && strspn(text, "0123456789.") >= size && *number >= low && *number <= high;
}

static int fraction_take(enum bench_option option, const char *text, double low, double high, double *number,
                         struct error *error)
{
    if (fraction_read(text, strlen(text), low, high, number))
        return 0;
    return error_set(error, "--%s takes a number from %g to %g", descriptions[option].name, low, high);
}

static int protocol_take(const char *text, enum bench_protocol *protocol, struct error *error)
{
    for (enum bench_protocol each = BENCH_LINE; each <= BENCH_MEMCACHED; each++)
        if (strcmp(text, protocol_names[each]) == 0) {
            *protocol = each;
            return 0;
        }
    return error_set(error, "--protocol takes line, resp, redis or memcached");
}

static int keys_take(const char *text, double *exponent, struct error *error)
{
    *exponent = 0;
    if (strcmp(text, "uniform") == 0)
        return 0;
    *exponent = 0.99;
    if (strcmp(text, "zipf") == 0)
        return 0;
    if (strncmp(text, "zipf:", 5) == 0 && fraction_read(text + 5, strlen(text + 5), 0.01, 10, exponent))
        return 0;
    return error_set(error, "--keys takes uniform, zipf, or zipf:EXPONENT with an exponent from 0.01 to 10");
}

/* One NAME=WEIGHT. */
static bool share_read(const char *text, size_t size, unsigned weights[BENCH_MIX_KINDS])
{
    const char *equals = memchr(text, '=', size);
    uint64_t weight = 1;
    size_t name = equals == NULL ? size : (size_t)(equals - text);
    if (equals != NULL && !digits_read(equals + 1, size - name - 1, &weight))
        return false;
    for (size_t kind = 0; kind < BENCH_MIX_KINDS; kind++)
        if (strlen(kind_names[kind]) == name && memcmp(text, kind_names[kind], name) == 0 && weights[kind] == 0) {
            weights[kind] = weight > BENCH_DECK_MAX ? BENCH_DECK_MAX + 1 : (unsigned)weight;
            return true;
        }
    return false;
}

static int mix_take(const char *text, struct bench_options *options, struct error *error)
{
    memset(options->weight, 0, sizeof options->weight);
    for (;;) {
        size_t size = strcspn(text, ",");
        if (!share_read(text, size, options->weight))
            return error_set(error, "--mix takes NAME=SHARE of hit, miss, unknown and store, commas between them");
        if (text[size] == '\0')
            break;
        text += size + 1;
    }
    uint32_t deck = bench_options_deck(options);
    if (deck >= 1 && deck <= BENCH_DECK_MAX)
        return 0;
    return error_set(error, "the shares of --mix must add up to 1 to %d", BENCH_DECK_MAX);
}

static int pids_take(const char *text, struct bench_options *options, struct error *error)
{
    for (;;) {
        size_t size = strcspn(text, ",");
        uint64_t pid;
        if (!digits_read(text, size, &pid) || pid < 1 || pid > INT32_MAX)
            return error_set(error, "--pid takes process ids, commas between them");
        if (options->n_pids == BENCH_PIDS_MAX)
            return error_set(error, "--pid takes at most %d process ids", BENCH_PIDS_MAX);
        options->pids[options->n_pids++] = (pid_t)pid;
        if (text[size] == '\0')
            return 0;
        text += size + 1;
    }
}

static int warm_up_take(const char *text, struct bench_options *options, struct error *error)
{
    size_t size = strlen(text);
    options->warm_up_given = true;
    options->warm_up = 0;
    options->warm_up_seconds = 0;
    if (size > 1 && text[size - 1] == 's' && fraction_read(text, size - 1, 0, SECONDS_MAX, &options->warm_up_seconds))
        return 0;
    if (digits_read(text, size, &options->warm_up) && options->warm_up <= REQUESTS_MAX)
        return 0;
    return error_set(error, "--warm-up takes a number of requests, or of seconds as in 5s");
}

int bench_option_take(struct bench_options *options, enum bench_option option, const char *value, struct error *error)
{
    options->given = descriptions[option].name;
    switch (option) {
    case BENCH_OPTION_PROTOCOL: return protocol_take(value, &options->protocol, error);
    case BENCH_OPTION_STORE_TO: options->store_to = value; return 0;
    case BENCH_OPTION_CONNECTIONS: return count_take(option, value, 1, CONNECTIONS_MAX, &options->connections, error);
    case BENCH_OPTION_PIPELINE: return count_take(option, value, 1, PIPELINE_MAX, &options->pipeline, error);
    case BENCH_OPTION_THREADS: return count_take(option, value, 1, THREADS_MAX, &options->threads, error);
    case BENCH_OPTION_REQUESTS: return number_take(option, value, 1, REQUESTS_MAX, &options->requests, error);
    case BENCH_OPTION_SECONDS: return fraction_take(option, value, 0.001, SECONDS_MAX, &options->seconds, error);
    case BENCH_OPTION_TOKENS: return count_take(option, value, 1, BENCH_TOKENS_MAX, &options->tokens, error);
    case BENCH_OPTION_USERS: return count_take(option, value, 1, 1000000, &options->users, error);
    case BENCH_OPTION_MIX: return mix_take(value, options, error);
    case BENCH_OPTION_KEYS: return keys_take(value, &options->exponent, error);
    case BENCH_OPTION_RATE: return fraction_take(option, value, 0.1, RATE_MAX, &options->rate, error);
    case BENCH_OPTION_VALUE_SIZE: return count_take(option, value, 200, 8192, &options->value_size, error);
    case BENCH_OPTION_PID: return pids_take(value, options, error);
    case BENCH_OPTION_SEED:
        options->seeded = true;
        return number_take(option, value, 0, INT64_MAX, &options->seed, error);
    case BENCH_OPTION_IDLE: return count_take(option, value, 0, CONNECTIONS_MAX, &options->idle, error);
    case BENCH_OPTION_WARM_UP: return warm_up_take(value, options, error);
    case BENCH_OPTION_KEEP: options->keep = true; return 0;
    case BENCH_OPTIONS: break;
    }
    return -1;
}

int bench_options_finish(struct bench_options *options, struct error *error)
{
    if (options->requests > 0 && options->seconds > 0)
        return error_set(error, "--requests and --seconds exclude each other");
    if (options->weight[BENCH_MISS] > 0 && options->seconds > 0)
        return error_set(error,
                         "a --mix with misses needs --requests: each is for a token that is stored for it alone");
    if (options->threads > options->connections)
        return error_set(error, "there must be a connection for each of the --threads");
    if (options->requests == 0 && options->seconds <= 0)
        options->requests = 100000;
    if (!options->warm_up_given && options->weight[BENCH_HIT] > 0)
        options->warm_up = options->tokens;
    if (options->weight[BENCH_HIT] == 0)
        options->warm_up = 0, options->warm_up_seconds = 0;
    return 0;
}

uint32_t bench_options_deck(const struct bench_options *options)
{
    uint32_t size = 0;
    for (size_t kind = 0; kind < BENCH_MIX_KINDS; kind++)
        size += options->weight[kind];
    return size;
}

uint64_t bench_options_share(const struct bench_options *options, uint32_t thread)
{
    if (options->requests == 0)
        return UINT64_MAX;
    return options->requests / options->threads + (thread < options->requests % options->threads ? 1 : 0);
}
