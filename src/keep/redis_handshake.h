/* SPDX-License-Identifier: MIT */
/* What is said on each new connection to Redis before it carries anything else: who we are, which database, and the
 * fence, which ends an earlier connection of ours whose unanswered changes Redis might still apply. The fence alone can
 * be said again later, for another worker's. Needs Redis 6.2. */
#ifndef TK_KEEP_REDIS_HANDSHAKE_H
#define TK_KEEP_REDIS_HANDSHAKE_H

#include "base/config.h"
#include "base/error.h"
#include "keep/redis_fence.h"

#include <hiredis/hiredis.h>
#include <stdint.h>

enum { REDIS_HANDSHAKE_STEPS = 8 };

/* Puts a command on the connection, behind those given before; the words are copied before it returns. */
typedef void redis_handshake_send(void *argument, int argc, const char *const *argv);

struct redis_handshake {
    const struct config_redis *config;
    const char *password;
    char name[REDIS_NAME_SIZE]; /* of this connection from now on */
    redis_handshake_send *send;
    void *argument;
    struct redis_fence fence;              /* the connection to be ended */
    uint64_t id;                           /* of this connection, once Redis said it */
    unsigned steps[REDIS_HANDSHAKE_STEPS]; /* those sent, in order; private to redis_handshake.c */
    unsigned sent;
    unsigned answered;
};

enum redis_handshake_result { REDIS_HANDSHAKE_MORE, REDIS_HANDSHAKE_DONE, REDIS_HANDSHAKE_FAILED };

/* Sends the first commands. The caller has set `config`, `password` (NULL: none), `name`, `send`, `argument` and
 * `fence`, and zeroed the rest. */
void redis_handshake_start(struct redis_handshake *handshake);

/* Once all is DONE: sends what ends the connection that the caller has put into `fence`. DONE follows again. */
void redis_handshake_fence(struct redis_handshake *handshake);

/* Takes the next reply. DONE: `id` is set, and the connection to be ended is ended. FAILED: `error` says which command,
 * the first word of Redis' error (its text may quote what was sent), and what to look at. */
enum redis_handshake_result redis_handshake_reply(struct redis_handshake *handshake, const redisReply *reply,
                                                  struct error *error);

#endif
