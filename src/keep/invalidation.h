/* SPDX-License-Identifier: MIT */
/* The invalidation link: a connection of the worker's own on which Redis says which keys under the prefix were changed,
 * by whomever. Twice a second a key that was never used before, a beat, is set through the command link; its echo here
 * proves that everything that changed before it has been heard. That grants a lease: without one nothing is answered
 * from the cache. Needs CLIENT TRACKING as Redis has had it since 6.2; in RESP2 a connection may redirect to itself. */
#ifndef TK_KEEP_INVALIDATION_H
#define TK_KEEP_INVALIDATION_H

#include "base/clock.h"
#include "base/config.h"
#include "base/reports.h"
#include "base/shared.h"
#include "keep/redis_link.h"
#include "keep/token.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

/* How long a beat's echo is good for, counted from when the beat was sent, and how old a GET under way may be to be
 * joined: what a hit may be behind the Redis that it came from. */
#define INVALIDATION_LEASE (3 * CLOCK_SECOND / 2)

struct invalidation;

/* What look-ups go by: written by the link, read by whoever has the cache, in the same thread. */
struct invalidation_state {
    int64_t lease_until; /* boot-time clock, ns: the cache may answer while now is before this; 0: no lease. `now` is
                            read after the recv() that brought the request: a process that was stopped wakes with a
                            full cache and unread invalidations */
    uint64_t epoch;      /* moves when the link is lost and when it is up again: what was asked of Redis in one epoch is
                            not kept in another */
    bool up;             /* Redis has said that we are subscribed: what is asked from now on may be kept */
    bool refused;        /* Redis refuses the beats because another server holds the truth: then nothing that it says
                            may be answered either */
};

/* What happened to the cache. */
enum invalidation_change {
    INVALIDATION_KEY,    /* `key` was changed: forget it, and mark its GET under way */
    INVALIDATION_ALL,    /* any key may have been: forget all, mark all */
    INVALIDATION_LOST,   /* the link was lost, the lease is gone and the epoch has moved: what is in the cache is not
                            known to be outdated, and no hit any more */
    INVALIDATION_HEARING /* the link is up and the epoch has moved: forget what is from before */
};

/* `key` is NULL but for INVALIDATION_KEY. */
typedef void invalidation_callback(void *argument, enum invalidation_change change, const char *key);

struct invalidation_settings {
    struct event_base *base;
    const struct config_redis *config;
    struct redis_access *access; /* NULL: no login and no TLS */
    struct shared *shared;       /* its slot `slot` says how the link is, for STATS */
    struct reports *reports;     /* hears when the link is lost and when it is back; may be NULL */
    unsigned slot;
    struct redis_link *commands;      /* carries the beats: the connection that the GETs take */
    struct invalidation_state *state; /* zeroed by the caller */
    invalidation_callback *changed;   /* never from within invalidation_new */
    void *argument;
};

/* Starts connecting to where the command link connects to. What `settings` points to must outlive the result, but for
 * the command link, which may be freed before it in the same turn of the loop. NULL when there is no memory. */
struct invalidation *invalidation_new(const struct invalidation_settings *settings) __attribute__((warn_unused_result));

/* The command link has a new connection, perhaps to another server: sends a beat ahead of what waits for it, so that a
 * server that must not be believed says so before it says anything else. */
void invalidation_connected(struct invalidation *link);

/* Closes and frees without calling back, and sets to NULL; a NULL *link is left alone. Beats may be under way only if
 * the command link is freed first. */
void invalidation_free(struct invalidation **link);

#endif
