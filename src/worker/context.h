/* SPDX-License-Identifier: MIT */
/* What all parts of a worker share. There is one a process. */
#ifndef TK_WORKER_CONTEXT_H
#define TK_WORKER_CONTEXT_H

#include "keep/keep.h"
#include "worker/input.h"
#include "worker/worker.h"

#include <event2/event.h>
#include <stddef.h>
#include <sys/queue.h>

struct audit;
struct connection;
struct request;
TAILQ_HEAD(connection_list, connection);
TAILQ_HEAD(request_list, request);

enum worker_phase {
    WORKER_SERVING,
    WORKER_DRAINING, /* replaced: connections go as they fall quiet */
    WORKER_STOPPING, /* connections go as their requests are answered */
};

struct worker {
    const struct worker_setup *setup;
    const struct config *config;
    struct shared_slot *slot;
    struct event_base *base;
    struct keep *keep;
    struct reports *reports;     /* NULL: nobody listens */
    struct policies *policies;   /* NULL: none is configured */
    int64_t next_policy_failure; /* boot-time clock: until then the log hears of none */
    struct audit *audit;         /* see audit.h */
    struct keep_time now;        /* read after each recv() */
    enum worker_phase phase;
    struct connection_list connections;
    struct connection_list unsettled; /* to be brought up to date before the loop waits again */
    struct request_list spare;        /* requests to be used again */
    char *scratch;                    /* where recv() puts bytes, CONNECTION_RECV_SIZE of them behind... */
    size_t received;                  /* ...those that wait to be taken in */
    struct event *settle;             /* active: worker_settle comes at the end of this turn of the loop */
    bool settles;                     /* it is active */
    struct input input;               /* the request being read */
};

/* Adds one to a metric of this worker. */
static inline void worker_count(struct worker *worker, enum metric metric)
{
    shared_count(worker->slot, metric, 1);
}

/* Reads the clocks anew. */
void worker_read_clocks(struct worker *worker);

/* Brings every unsettled connection up to date: takes in what was received, writes, closes, frees. Ends every event of
 * the loop that may have touched a connection. Reads the clocks when anything may have been received since. */
void worker_settle(struct worker *worker);

/* The same once the other events of this turn have come, so that what several clients ask for is fetched from memory
 * side by side. */
void worker_settle_soon(struct worker *worker);

/* The callback of worker->settle; the argument is the worker. */
void worker_on_settle(evutil_socket_t fd, short what, void *argument);

#endif
