/* SPDX-License-Identifier: MIT */
/* A command for Redis on its way: as bytes, with whom to call back and until when. */
#ifndef TK_KEEP_REDIS_COMMAND_H
#define TK_KEEP_REDIS_COMMAND_H

#include "keep/redis_link.h"

#include <stdint.h>
#include <sys/queue.h>

enum { REDIS_COMMAND_SMALL = 128 /* bytes that a command holds without further memory: most GETs */ };

struct redis_command {
    STAILQ_ENTRY(redis_command) next;
    redis_callback *callback; /* NULL: the handshake's */
    void *argument;
    enum redis_kind kind;
    enum redis_outcome outcome; /* once it is decided */
    bool repeated;              /* a read that was lost with a connection before */
    bool waits;                 /* the WAIT behind changes, which is nobody's */
    redisReply *held;           /* a change's answer, until replicas have the change; else NULL */
    size_t replies;             /* that are still to come */
    int64_t expires;            /* clock_boot: when it is given up wherever it is */
    int64_t deadline;           /* clock_boot: of the answer, once it is sent */
    char *bytes;                /* NULL: not formatted; `small`, or malloc'd */
    size_t size;
    char small[REDIS_COMMAND_SMALL];
};

STAILQ_HEAD(redis_commands, redis_command);

/* A command without bytes. Without memory the process ends, as in all that follows. */
struct redis_command *redis_command_new(redis_callback *callback, void *argument, enum redis_kind kind)
    __attribute__((returns_nonnull, warn_unused_result));

/* Sets the bytes from `argc` binary-safe words; or from `n` commands, at least one, that are sent as one. */
void redis_command_format(struct redis_command *command, int argc, const char *const *argv, const size_t *argv_sizes);
void redis_command_format_all(struct redis_command *command, size_t n, const struct redis_words *commands);

/* Keeps a copy of an answer that is no array. */
void redis_command_hold(struct redis_command *command, const redisReply *reply);

/* Frees such a copy; NULL is left alone. */
void redis_held_free(redisReply *held);

/* Frees it without calling back. */
void redis_command_free(struct redis_command *command);

/* Takes the first out of the queue; NULL when there is none. */
struct redis_command *redis_commands_take(struct redis_commands *commands);

/* Whether there is a change in the queue. */
bool redis_commands_change(const struct redis_commands *commands);

/* Frees all in the queue. */
void redis_commands_free(struct redis_commands *commands);

#endif
