/* SPDX-License-Identifier: MIT */
/* A connection of the bench. */
#include "cli/bench_connection.h"

#include "cli/bench_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int bench_connection_open(struct bench_connection *connection, const struct session_target *target, int64_t deadline,
                          uint32_t pipeline, size_t request_max, struct failure *failure)
{
    *connection = (struct bench_connection){.n_slots = pipeline, .out_size = pipeline * request_max};
    connection->fd = dial(target, deadline, failure);
    if (connection->fd < 0)
        return -1;
    const int on = 1;
    int flags = fcntl(connection->fd, F_GETFL);
    if (flags < 0 || fcntl(connection->fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return failure_set(failure, "internal", "cannot set up a socket: %s", strerror(errno));
    if (target->server != NULL)
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->slots = calloc(pipeline, sizeof *connection->slots);
    connection->out = malloc(connection->out_size);
    if (connection->slots == NULL || connection->out == NULL)
        return failure_set(failure, "internal", "out of memory");
    return 0;
}

void bench_connection_add(struct bench_connection *connection, const struct bench_request *request,
                          enum bench_kind kind, const char token[TOKEN_SIZE], int64_t due)
{
    uint32_t at = connection->first + connection->used++;
    struct bench_slot *slot = &connection->slots[at < connection->n_slots ? at : at - connection->n_slots];
    slot->due = due;
    slot->end = connection->added += request->size;
    slot->kind = (uint8_t)kind;
    memcpy(slot->token, token, TOKEN_SIZE);
    /* What is not sent belongs to slots in use: once moved to the front, there is room. */
    if (connection->out_end + request->size > connection->out_size) {
        connection->out_end -= connection->out_start;
        memmove(connection->out, connection->out + connection->out_start, connection->out_end);
        connection->out_start = 0;
    }
    bench_request_write(request, token, connection->out + connection->out_end);
    connection->out_end += request->size;
}

enum bench_sent bench_connection_send(struct bench_connection *connection)
{
    while (connection->out_start < connection->out_end) {
        ssize_t n = send(connection->fd, connection->out + connection->out_start,
                         connection->out_end - connection->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            connection->out_start += (size_t)n;
        else if (errno == EAGAIN)
            return BENCH_SENT_PART;
        else if (errno != EINTR)
            return BENCH_SENT_LOST;
    }
    connection->out_start = connection->out_end = 0;
    return BENCH_SENT_ALL;
}

long bench_connection_receive(struct bench_connection *connection, char *buffer, size_t size)
{
    const size_t kept = connection->rest_size;
    ssize_t n = recv(connection->fd, buffer + kept, size - kept, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : 0;
    if (n == 0)
        return 0;
    if (kept > 0)
        memcpy(buffer, connection->rest, kept);
    connection->rest_size = 0;
    return (long)kept + n;
}

int bench_connection_keep(struct bench_connection *connection, const char *bytes, size_t size)
{
    if (connection->rest == NULL)
        connection->rest = malloc(BENCH_ANSWER_MAX);
    if (connection->rest == NULL)
        return -1;
    memcpy(connection->rest, bytes, size);
    connection->rest_size = size;
    return 0;
}

const struct bench_slot *bench_connection_take(struct bench_connection *connection)
{
    const struct bench_slot *slot = &connection->slots[connection->first];
    if (connection->used == 0 || slot->end > connection->added - (connection->out_end - connection->out_start))
        return NULL;
    connection->first = connection->first + 1 < connection->n_slots ? connection->first + 1 : 0;
    connection->used--;
    return slot;
}

void bench_connection_close(struct bench_connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    if (connection->slots != NULL)
        sodium_memzero(connection->slots, connection->n_slots * sizeof *connection->slots);
    if (connection->out != NULL)
        sodium_memzero(connection->out, connection->out_size);
    if (connection->rest != NULL)
        sodium_memzero(connection->rest, BENCH_ANSWER_MAX);
    free(connection->slots);
    free(connection->out);
    free(connection->rest);
    *connection = (struct bench_connection){.fd = -1};
}
