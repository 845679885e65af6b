/* SPDX-License-Identifier: MIT */
/* The bytes of a connection to Redis: commands go out in order and as many as there are in one send; replies come in
 * and find their command. What a loss means, and when a command has waited too long, its owner decides. */
#ifndef TK_KEEP_REDIS_CONNECTION_H
#define TK_KEEP_REDIS_CONNECTION_H

#include "base/tls.h"
#include "keep/redis_command.h"
#include "keep/redis_reader.h"

#include <event2/event.h>

enum { REDIS_INPUT_SIZE = 64 * 1024 /* bytes of one recv */ };

/* What the owner hears. Within these it may send, close and open; not destroy. */
struct redis_connection_owner {
    /* What was queued in this turn of the loop is about to be sent; more may be queued. NULL: of no interest. */
    void (*sending)(void *argument);
    /* The first byte of something other than a REDIS_READ is about to be sent. False: not now; the owner has taken away
     * what is in `unsent`. */
    bool (*may_change)(void *argument);
    /* The kernel took the first bytes of `command` at `now` (clock_boot). */
    void (*sent)(void *argument, struct redis_command *command, int64_t now);
    /* `reply` is the answer to `command`, which is the owner's again when no more `replies` are to come; the reply is
     * not. */
    void (*replied)(void *argument, struct redis_command *command, const redisReply *reply);
    /* A reply that no command waits for; NULL: there must be none. */
    void (*pushed)(void *argument, const redisReply *reply);
    /* The connection is of no more use: the owner closes it. `reason` is for people, with nothing in it of what came.
     */
    void (*failed)(void *argument, const char *reason);
    /* The end of an event of the loop in which others of these may have been called. */
    void (*event_done)(void *argument);
};

/* Part of its owner's struct, which reads the queues and `fd`. */
struct redis_connection {
    struct event_base *base;
    const struct redis_connection_owner *owner;
    void *argument;
    int fd;          /* -1: closed */
    struct tls *tls; /* what goes over the socket; NULL: our bytes as they are */
    struct event *readable;
    struct event *writable; /* added while the socket takes no more */
    struct event *flush;    /* made active: send at the end of this turn of the loop */
    struct redis_reader *reader;
    struct redis_commands unsent;    /* no byte was given to the kernel */
    struct redis_commands in_flight; /* the others, in the order of their answers */
    struct redis_command *partial;   /* the last in flight, when it is not sent whole */
    size_t partial_sent;
    char input[REDIS_INPUT_SIZE];
};

/* Prepares a closed connection; `owner` is constant. Returns 0, or -1 when there is no memory; it is destroyed in both
 * cases. */
int redis_connection_init(struct redis_connection *connection, struct event_base *base,
                          const struct redis_connection_owner *owner, void *argument)
    __attribute__((warn_unused_result));

/* Takes over the connected non-blocking socket `fd`, and the `tls` over it, if any. Returns 0, or -1 when there is no
 * memory; the owner closes in both cases. */
int redis_connection_open(struct redis_connection *connection, int fd, struct tls *tls)
    __attribute__((warn_unused_result));

/* Queues a command, or all of a queue, which is empty then. They go out at the end of this turn of the loop. */
void redis_connection_send(struct redis_connection *connection, struct redis_command *command);
void redis_connection_send_all(struct redis_connection *connection, struct redis_commands *commands);

/* Reads what is there now. */
void redis_connection_read(struct redis_connection *connection);

/* Closes the socket, if it is open. The queues stay as they are, for the owner to take. */
void redis_connection_close(struct redis_connection *connection);

/* Closes, and frees all that is queued without calling anybody back. */
void redis_connection_destroy(struct redis_connection *connection);

#endif
