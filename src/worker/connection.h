/* SPDX-License-Identifier: MIT */
/* A client's connection: bytes in, requests executed in their order, answers out in theirs. */
#ifndef TK_WORKER_CONNECTION_H
#define TK_WORKER_CONNECTION_H

#include "base/event.h"
#include "worker/buffer.h"
#include "worker/context.h"

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CONNECTION_UNANSWERED_MAX = 256, /* requests; beyond it nothing is read */
    CONNECTION_OUT_MAX = 64 * 1024,  /* bytes that wait to be sent; beyond it nothing is read or executed */
    CONNECTION_RECV_SIZE = 64 * 1024,
    CONNECTION_SCRATCH_SIZE = 2 * CONNECTION_RECV_SIZE, /* for as many reads as fit in half of it, and one more */
};

enum connection_state {
    CONNECTION_OPEN,
    CONNECTION_FINISHING, /* nothing more is executed; answers still go out */
    CONNECTION_LINGERING, /* our side is shut; what the client still sends is thrown away, so that no reset eats an
                             answer */
    CONNECTION_CLOSED,    /* only requests under way still hold the memory */
};

/* Why a connection ends. */
enum connection_end {
    CONNECTION_END_CLIENT, /* the client closed, or its connection failed */
    CONNECTION_END_QUIT,
    CONNECTION_END_IDLE,
    CONNECTION_END_REQUEST_TIMEOUT,
    CONNECTION_END_WRITE_TIMEOUT,
    CONNECTION_END_BAD_FRAMING, /* too long, or RESP that cannot be told where it ends */
    CONNECTION_END_FOREIGN,
    CONNECTION_END_SHUTDOWN,
};

struct connection {
    TAILQ_ENTRY(connection) link; /* in worker->connections */
    TAILQ_ENTRY(connection) unsettled_link;
    struct worker *worker;
    const struct worker_listener *listener;
    int fd;
    struct event_peer peer;
    uint64_t number; /* for CLIENT ID */
    enum connection_state state;
    enum connection_end end;
    bool unsettled, reading, writing; /* on the list; events added */
    bool eof;                         /* the client has sent its last byte */
    bool ended;                       /* nothing more will be read: so, or because the worker stops */
    bool parked;                      /* an untagged request waits for a barrier before it */
    unsigned unanswered;              /* requests begun and not freed: they hold the connection's memory */
    unsigned barriers;                /* of these, changes and requests over all tokens under way */
    unsigned writes;                  /* of these, STORE and ISSUE */
    struct request *streaming;        /* its answer is being written piece by piece; others wait */
    struct request *quit;             /* waits for all the others */
    struct request_list untagged;     /* unanswered, in the order of their arrival */
    struct request_list held;         /* tagged and done, behind a streaming answer */
    size_t held_size;                 /* bytes that its requests hold: answers before their turn, arguments */
    const char *fresh;                /* received in this turn of the loop, in the worker's scratch; NULL: nothing */
    size_t fresh_size;
    size_t fresh_foreseen; /* of these bytes, how many the keep was told of */
    struct buffer in;      /* not yet executed */
    size_t in_needed;      /* bytes that must be in it before it can hold a whole request */
    struct buffer out;     /* not yet sent */
    int64_t active;        /* boot-time clock, ns: when the newest request was read or answer sent */
    int64_t partial;       /* when the first byte of an unfinished request came; 0: there is none */
    int64_t blocked;       /* since when the client takes none of our bytes; 0: it does */
    int unsent;            /* while blocked: bytes that the kernel holds for it */
    struct event read_event, write_event;
};

/* Takes a connected, non-blocking socket, counted by the caller, and begins to read it. */
void connection_open(struct worker *worker, const struct worker_listener *listener, int fd,
                     const struct event_peer *peer);

/* Puts it on the list for worker_settle. */
void connection_unsettle(struct connection *connection);

/* What worker_settle does to each: executes what may be executed, writes, changes state; frees it when it is closed and
 * nothing holds it. */
void connection_settle(struct connection *connection);

/* Executes nothing more, sends what is being answered, then closes. */
void connection_finish(struct connection *connection, enum connection_end end);

/* Closes now. Requests under way still run; their answers go nowhere. */
void connection_close(struct connection *connection, enum connection_end end);

/* Ends it when a time limit has passed. `now` is the boot-time clock. */
void connection_check_time(struct connection *connection, int64_t now);

/* Reads what has arrived and nothing after it; when all of it is answered, the connection ends: for a worker that
 * stops. */
void connection_stop(struct connection *connection);

#endif
