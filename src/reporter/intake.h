/* SPDX-License-Identifier: MIT */
/* The receiving end of the way to the reporter: takes datagrams, believes nothing in them, and knows how many records
 * were lost. One process reads at a time: the reporter of a new configuration waits until the old one has stopped. */
#ifndef TK_REPORTER_INTAKE_H
#define TK_REPORTER_INTAKE_H

#include "base/event.h"
#include "base/shared.h"

#include <event2/event.h>
#include <stdbool.h>

struct intake;

struct intake_settings {
    struct event_base *base;
    int fd;                /* the receiving end, non-blocking; stays the caller's */
    struct shared *shared; /* must outlive the result */
    unsigned slot;         /* the reporter's own */
    void (*on_event)(void *argument, const struct audit_event *event);
    void (*on_problem)(void *argument, const struct problem *problem);
    bool (*batch_done)(void *argument); /* after the records of one datagram, before they count as done: whether they
                                           are on the disk, where that is required */
    void (*lost)(void *argument, uint64_t records); /* found missing: sent, and never done by any reporter */
    void *argument;
};

/* Waits for its turn to read, then reads. Never NULL: without memory the process ends. */
struct intake *intake_new(const struct intake_settings *settings) __attribute__((warn_unused_result));

/* Reads until nothing is left: for a reporter that ends for good. */
void intake_drain(struct intake *intake);

/* Stops reading, so that another process may; frees, and sets to NULL; a NULL *intake is left alone. What was read has
 * been handed on. */
void intake_free(struct intake **intake);

#endif
