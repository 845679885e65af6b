/* SPDX-License-Identifier: MIT */
/* The sending end of the way to the reporter. Records wait in a bounded queue until the loop's turn is over, leave
 * many in one datagram, and are dropped and counted when the queue is full: nothing here ever waits.
 *
 * A datagram is a msgpack array of three numbers (the sender's place in shared->senders, the sequence number of its
 * first record, how many there are) and then the records, see event.h. Sequence numbers count the records of a place,
 * whoever sits in it, so that whoever reads can tell how many were lost. */
#ifndef TK_BASE_REPORTS_H
#define TK_BASE_REPORTS_H

#include "base/event.h"
#include "base/shared.h"

#include <stdbool.h>

struct reports;

enum {
    REPORTS_DATAGRAM_MAX = 32 * 1024,
    REPORTS_QUEUE_MAX = 4 * 1024 * 1024, /* bytes of records that wait in one process */
};

struct reports_settings {
    int fd;                         /* the sending end: SOCK_SEQPACKET, non-blocking; stays the caller's */
    struct shared *shared;          /* must outlive the result */
    unsigned sender;                /* index in shared->senders: a worker's slot, or SHARED_SENDER_MASTER */
    void (*wanted)(void *argument); /* the first record waits: call reports_flush soon; may be NULL */
    void *argument;
};

/* Never NULL: without memory the process ends. */
struct reports *reports_new(const struct reports_settings *settings) __attribute__((warn_unused_result));

/* What reports_event returns for a record that was dropped. */
#define REPORTS_DROPPED UINT64_MAX

/* Queues an event or a problem. With `reports` NULL nothing happens: nobody listens. A time of 0 means now, an absent
 * process this one. For an event, returns the sequence number that its record has, or REPORTS_DROPPED. */
uint64_t reports_event(struct reports *reports, const struct audit_event *event);
void reports_problem(struct reports *reports, const struct problem *problem);

/* Sends what waits, with `reports` NULL nothing. Returns false when some of it still does, because the reporter does
 * not keep up: call again in 20 milliseconds or so. */
bool reports_flush(struct reports *reports);

/* Frees without sending, counts what still waits as dropped, and sets to NULL; a NULL *reports is left alone. */
void reports_free(struct reports **reports);

#endif
