/* SPDX-License-Identifier: MIT */
/* A connection of the bench: requests that go out, which of them are not answered yet, and the bytes of an answer that
 * is not whole yet. */
#ifndef TK_CLI_BENCH_CONNECTION_H
#define TK_CLI_BENCH_CONNECTION_H

#include "cli/bench_options.h"
#include "cli/bench_request.h"
#include "cli/dial.h"
#include "keep/token.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request without its answer. */
struct bench_slot {
    int64_t due;  /* when it was sent, or should have been; on clock_boot() */
    uint64_t end; /* where it ends among all bytes of the connection's requests */
    char token[TOKEN_SIZE];
    uint8_t kind; /* enum bench_kind */
};

struct bench_connection {
    int fd;                        /* -1: closed */
    bool waits_to_send;            /* for the one who polls */
    uint32_t n_slots, first, used; /* a ring: the oldest is slots[first] */
    struct bench_slot *slots;
    char *out; /* requests not sent yet are from out_start to out_end */
    size_t out_size, out_start, out_end;
    uint64_t added; /* bytes of all requests so far */
    char *rest;     /* of an answer that is not whole */
    size_t rest_size;
};

/* Connects, non-blocking from then on, with room for `pipeline` requests of at most `request_max` bytes. Returns 0, or
 * -1 with `failure`; bench_connection_close() is due either way. `deadline` as in dial(). */
int bench_connection_open(struct bench_connection *connection, const struct session_target *target, int64_t deadline,
                          uint32_t pipeline, size_t request_max, struct failure *failure)
    __attribute__((warn_unused_result));

/* Puts a request behind those not sent yet. There must be a slot for it: used < n_slots. */
void bench_connection_add(struct bench_connection *connection, const struct bench_request *request,
                          enum bench_kind kind, const char token[TOKEN_SIZE], int64_t due);

enum bench_sent {
    BENCH_SENT_ALL,
    BENCH_SENT_PART, /* the rest when the socket takes more */
    BENCH_SENT_LOST, /* the connection is of no more use */
};

/* Sends what the socket takes. */
enum bench_sent bench_connection_send(struct bench_connection *connection);

/* Receives into `buffer`, behind what is kept of an answer, which is copied to its front. Returns the bytes that are
 * there then; 0 when the connection has ended; -1 when nothing has come. `size` is more than BENCH_ANSWER_MAX. */
long bench_connection_receive(struct bench_connection *connection, char *buffer, size_t size);

/* Keeps the beginning of an answer for the next time, at most BENCH_ANSWER_MAX bytes. Returns 0, or -1 when there is no
 * memory. */
int bench_connection_keep(struct bench_connection *connection, const char *bytes, size_t size)
    __attribute__((warn_unused_result));

/* Takes the oldest request out of the ring; it stays readable until the next bench_connection_add(). NULL when none is
 * there that was sent: what comes then is no answer. */
const struct bench_slot *bench_connection_take(struct bench_connection *connection);

/* Closes, wipes and frees; also what was never opened. */
void bench_connection_close(struct bench_connection *connection);

#endif
