/* SPDX-License-Identifier: MIT */
/* What `tokenkeep bench` is told to do; tokenkeep(1) says what each option means. */
#ifndef TK_CLI_BENCH_OPTIONS_H
#define TK_CLI_BENCH_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* X(constant, name, what it takes or "", help) */
#define BENCH_OPTIONS_LIST(X)                                                                            \
    X(PROTOCOL, "protocol", "NAME", "line or resp; redis or memcached to compare with (line)")           \
    X(STORE_TO, "store-to", "ADDRESS", "where tokens are stored and deleted: HOST:PORT or a path")       \
    X(CONNECTIONS, "connections", "N", "connections that ask (50)")                                      \
    X(PIPELINE, "pipeline", "N", "requests in flight on each (1)")                                       \
    X(THREADS, "threads", "N", "threads that share the connections (1)")                                 \
    X(REQUESTS, "requests", "N", "how many requests are measured (100000)")                              \
    X(SECONDS, "seconds", "N", "or for how long")                                                        \
    X(TOKENS, "tokens", "N", "tokens that are stored and asked for (10000)")                             \
    X(USERS, "users", "N", "users that the tokens belong to (1000)")                                     \
    X(MIX, "mix", "LIST", "shares of hit, miss, unknown and store, as in hit=90,miss=5,unknown=5 (hit)") \
    X(KEYS, "keys", "NAME", "how hits choose their token: uniform, zipf or zipf:EXPONENT (uniform)")     \
    X(RATE, "rate", "N", "requests a second, on a schedule; otherwise each waits for an answer")         \
    X(VALUE_SIZE, "value-size", "BYTES", "size of a stored value, 200 to 8192 (400)")                    \
    X(PID, "pid", "PID[,PID ...]", "processes whose CPU time is measured, with their children")          \
    X(SEED, "seed", "N", "repeats the choices of another run")                                           \
    X(IDLE, "idle", "N", "further connections that ask nothing (0)")                                     \
    X(WARM_UP, "warm-up", "N|Ns", "requests, or seconds, before what is measured (each token once)")     \
    X(KEEP, "keep", "", "leave the tokens, which expire after an hour or so")

enum bench_option {
#define X(constant, name, takes, help) BENCH_OPTION_##constant,
    BENCH_OPTIONS_LIST(X)
#undef X
        BENCH_OPTIONS
};

enum bench_protocol {
    BENCH_LINE,
    BENCH_RESP,
    BENCH_REDIS,     /* GET and SET of a real Redis */
    BENCH_MEMCACHED, /* mg and ms of a memcached */
};

/* What is asked; those before BENCH_MIX_KINDS are what --mix mixes. */
enum bench_kind {
    BENCH_HIT,     /* a stored token, again and again */
    BENCH_MISS,    /* a stored token that nobody has asked for yet */
    BENCH_UNKNOWN, /* a token that was never stored */
    BENCH_STORE,
    BENCH_DELETE,
    BENCH_KINDS,
    BENCH_MIX_KINDS = BENCH_DELETE,
};

enum {
    BENCH_PIDS_MAX = 64,
    BENCH_TOKENS_MAX = 20000000, /* all those of a run: 48 bytes each */
};

struct bench_options {
    const char *given; /* the last one given, for messages; NULL: none */
    enum bench_protocol protocol;
    const char *store_to; /* NULL: the measured server */
    uint32_t connections;
    uint32_t pipeline;
    uint32_t threads;
    uint64_t requests; /* 0: as many as there is time for */
    double seconds;    /* 0: until all requests are answered */
    uint32_t tokens;
    uint32_t users;
    unsigned weight[BENCH_MIX_KINDS];
    double exponent; /* of zipf; 0: uniform */
    double rate;     /* requests a second; 0: closed loop */
    uint32_t value_size;
    pid_t pids[BENCH_PIDS_MAX];
    size_t n_pids;
    bool seeded;
    uint64_t seed;
    uint32_t idle;
    bool warm_up_given;
    uint64_t warm_up; /* requests; 0 with warm_up_seconds 0: no warm-up */
    double warm_up_seconds;
    bool keep;
};

/* The option's name, "store-to", and whether it takes a value. */
const char *bench_option_name(enum bench_option option);
bool bench_option_takes(enum bench_option option);

/* Everything as it is when no option is given. */
void bench_options_init(struct bench_options *options);

/* Takes an option with its value, which must outlive `options`. Returns 0, or -1 with `error` when it will not do. */
int bench_option_take(struct bench_options *options, enum bench_option option, const char *value, struct error *error)
    __attribute__((warn_unused_result));

/* Checks what the options say together, and fills in what depends on others. Returns 0, or -1 with `error`. */
int bench_options_finish(struct bench_options *options, struct error *error) __attribute__((warn_unused_result));

/* Prints what the options mean. */
void bench_options_show(void);

/* The names of a protocol, and of a kind of request: "line", "hit". */
const char *bench_protocol_name(enum bench_protocol protocol);
const char *bench_kind_name(enum bench_kind kind);

/* How many cards the deck of the mix has. */
uint32_t bench_options_deck(const struct bench_options *options);

/* How many of the requests are thread number `thread`'s, where their number is bounded; else UINT64_MAX. */
uint64_t bench_options_share(const struct bench_options *options, uint32_t thread);

#endif
