/* SPDX-License-Identifier: MIT */
/* The load that one thread makes on its connections: asks, checks answers, measures how long they take. */
#ifndef TK_CLI_BENCH_LOAD_H
#define TK_CLI_BENCH_LOAD_H

#include "cli/bench_connection.h"
#include "cli/bench_options.h"
#include "cli/bench_request.h"
#include "cli/bench_tally.h"
#include "cli/bench_tokens.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What threads are told from outside. */
struct bench_stop {
    int fd;           /* an eventfd; written to whenever `asked` has changed */
    atomic_int asked; /* 1: ask no more, wait for the answers; 2: leave at once */
};

/* Two ways to ask. Closed: each connection sends as many requests as may be in flight at once, and the next ones when
 * all are answered. Open: requests are due at a rate, whatever the server does, each on the next connection that has
 * room; its latency counts from when it was due, so that those which a stall kept from being sent show it. */
struct bench_load {
    enum bench_protocol protocol;
    size_t value_size;
    const struct bench_requests *requests;
    struct bench_connection *connections;
    size_t n_connections;
    struct bench_course course;
    int64_t timeout;  /* nanoseconds without any answer, after which it gives up */
    int64_t duration; /* nanoseconds; 0: until the course has no request left */
    double interval;  /* nanoseconds from one request to the next; 0: closed */
    double offset;    /* of the first, from the start */
    struct bench_stop *stop;
    int done_fd; /* an eventfd to write to in the end */

    _Atomic uint64_t answered; /* so far, for others to read */
    struct bench_tally *tally;
    struct failure failure; /* code NULL: none */
    int64_t started, ended; /* on clock_boot() */

    /* The thread's own. */
    int epoll, timer;
    int64_t now, heard; /* the last answer, or the start */
    bool stopping;
    uint64_t sent;                    /* in the open loop */
    uint64_t in_flight, slots;        /* requests, and how many there can be */
    struct bench_connection **unsent; /* those with new requests to send, in the open loop */
    size_t n_unsent;
    size_t n_open, turn;
    char *buffer;
};

/* Runs it to its end: a thread's function, `load` a struct bench_load with the first half filled in. Returns NULL. What
 * went wrong with the whole of it is in load->failure. The connections stay open. */
void *bench_load_run(void *load);

#endif
