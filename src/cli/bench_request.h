/* SPDX-License-Identifier: MIT */
/* The bench's requests as bytes. All of a kind differ in their token alone, so each kind is made once, and a request is
 * a copy of it with a token put in. */
#ifndef TK_CLI_BENCH_REQUEST_H
#define TK_CLI_BENCH_REQUEST_H

#include "base/error.h"
#include "cli/bench_options.h"
#include "keep/token.h"

#include <stddef.h>
#include <stdint.h>

struct bench_request {
    char *text;
    size_t size;
    size_t part, part_size; /* what of a token is put in: all of it, or the key */
    size_t places[2];       /* where; the second is 0 when there is only one */
    size_t user;            /* where the number of the token's user goes; 0: nowhere */
    uint32_t users;
};

struct bench_requests {
    struct bench_request of[BENCH_KINDS];
    size_t size_max;
};

/* Makes the requests of a protocol. What is stored has `value_size` bytes: for tokenkeepd when it is sealed, to within
 * a few bytes, for others as it is; belongs to one of `users`, chosen by the token's key; and expires at `expires`,
 * seconds since the epoch, or so many seconds from now.
 * Returns 0, or -1 with `error`. */
int bench_requests_make(struct bench_requests *requests, enum bench_protocol protocol, size_t value_size,
                        uint32_t users, int64_t expires, struct error *error) __attribute__((warn_unused_result));

/* Frees what was made. */
void bench_requests_free(struct bench_requests *requests);

/* Writes a request for a token, request->size bytes. */
void bench_request_write(const struct bench_request *request, const char token[TOKEN_SIZE], char *out);

#endif
