/* SPDX-License-Identifier: MIT */
/* A worker's connection to Redis: pipelined commands, deadlines, reconnection, a circuit that refuses at once while
 * Redis is away, and the fence that keeps a change whose answer was lost from being applied after a later one. hiredis
 * formats commands and reads replies; the bytes go over our own socket on the event loop. */
#ifndef TK_KEEP_REDIS_LINK_H
#define TK_KEEP_REDIS_LINK_H

#include "base/config.h"
#include "base/reports.h"
#include "base/shared.h"
#include "keep/redis_access.h"

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

struct redis_link;
struct redis_master;

enum {
    REDIS_BULK_MAX = 256 * 1024,  /* a longer string in a reply is thrown away as it arrives, see REDIS_TOO_LONG */
    REDIS_ELEMENTS_MAX = 1 << 20, /* of all arrays in one reply; more, or an odd length, ends the connection */
};

/* In place of a string longer than REDIS_BULK_MAX the reply has an error with this text. */
#define REDIS_TOO_LONG "TOOLONG string over the limit"

/* What a command does, and so what its loss means. */
enum redis_kind {
    REDIS_READ,           /* sent once more when the connection is lost, never after its deadline */
    REDIS_READ_TO_CHANGE, /* the same, but what it says decides on changes: like one it waits until no lost connection
                             holds any */
    REDIS_CHANGE,         /* never repeated; once any byte of it may have been sent, its loss is uncertain */
};

enum redis_outcome {
    REDIS_REPLIED,     /* `reply` is what Redis said, errors included */
    REDIS_UNAVAILABLE, /* not executed (a change), or no answer in time (a read) */
    REDIS_UNCERTAIN,   /* a change that was sent and whose answer never came; the old connection has been ended on the
                          server, or that is done before any worker sends its next change */
};

/* Called exactly once for each command, but for those that redis_link_free finds, and never from within
 * redis_link_command. `reply` is NULL but for REDIS_REPLIED, and belongs to the link; when it is a string, there is no
 * NUL behind it. The callback may send further commands. */
typedef void redis_callback(void *argument, enum redis_outcome outcome, const redisReply *reply);

struct redis_link_settings {
    struct event_base *base;
    const struct config_redis *config;
    struct redis_access *access; /* NULL: no login and no TLS; must live as long as the link */
    struct shared
        *shared; /* must live as long as the link; connections of all its slots are ended when they may hold changes */
    struct reports *reports; /* hears when Redis goes and comes back; may be NULL */
    unsigned slot;           /* the link's own: redis_client, redis_unfenced, metrics REDIS_*. The connection's name is
                                "tokenkeep-<instance>-<slot>" */
    void (*batch_done)(void *argument); /* after the callbacks of one event of the loop; may be NULL */
    void *batch_argument;
    void (*connected)(void *argument); /* a connection is up: what this sends goes out on it before all that waits; may
                                          be NULL */
    void *connected_argument;
};

/* Starts connecting at once; commands given meanwhile wait for it. NULL when there is no memory. */
struct redis_link *redis_link_new(const struct redis_link_settings *settings) __attribute__((warn_unused_result));

/* Sends a command of `argc` binary-safe words, copied before this returns, together with all others of this turn of the
 * loop. The callback always follows, at the latest after connect-timeout + command-timeout, for a change that may have
 * been sent one attempt to connect later, for one that waits for replicas one command-timeout later; while the circuit
 * is open, in the next turn of the loop. */
void redis_link_command(struct redis_link *link, enum redis_kind kind, redis_callback *callback, void *argument,
                        int argc, const char *const *argv, const size_t *argv_sizes);

/* The words of a command, binary-safe. */
struct redis_words {
    int n;
    const char *const *texts;
    const size_t *sizes;
};

/* Sends `n` commands as one REDIS_CHANGE: all of them in this order, or none. The callback comes for each answer, `n`
 * times with REDIS_REPLIED; or, when the connection is lost or they are not sent, at last once with another outcome, in
 * place of all answers that have not come. */
void redis_link_changes(struct redis_link *link, redis_callback *callback, void *argument, size_t n,
                        const struct redis_words *commands);

/* Where it connects to, and as whom. */
const struct config_redis *redis_link_config(const struct redis_link *link);

/* Who knows where the link connects to; NULL when that never changes. Lives as long as the link. */
struct redis_master *redis_link_master(const struct redis_link *link);

/* Whether the circuit is open: Redis is away and commands are refused at once. */
bool redis_link_circuit_open(const struct redis_link *link);

/* How many connections have been lost. What spans several commands, such as a SCAN's cursor, holds only while this
 * number does. */
uint64_t redis_link_losses(const struct redis_link *link);

/* Commands whose callback is still to come. */
size_t redis_link_waiting(const struct redis_link *link);

/* Closes and frees without calling back, and sets to NULL; a NULL *link is left alone. When changes were unanswered,
 * their connection is left in redis_unfenced for others to end. May be called at any time but from within a callback of
 * the link. */
void redis_link_free(struct redis_link **link);

#endif
