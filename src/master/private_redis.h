/* SPDX-License-Identifier: MIT */
/* A redis-server of our own: started and supervised by the master on a unix socket in a folder that one master at a
 * time owns, also when a master was killed and its redis-server still lives. */
#ifndef TK_MASTER_PRIVATE_REDIS_H
#define TK_MASTER_PRIVATE_REDIS_H

#include "base/config.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct private_redis;

/* What a start needs beforehand: redis-server in PATH and a safe folder, which is made when `make` is true. `config`
 * has the kind CONFIG_REDIS_PRIVATE. Returns 0, or -1 with `error` set. */
int private_redis_prepare(const struct config *config, bool make, struct error *error)
    __attribute__((warn_unused_result));

/* Locks the folder, waiting up to `patience` nanoseconds for its former owner to end. NULL with `error` set. */
struct private_redis *private_redis_new(const struct config *config, int64_t patience, struct error *error)
    __attribute__((warn_unused_result));

/* Whether the folder and the user are those of `config`: a reload cannot change them. */
bool private_redis_same(const struct private_redis *redis, const struct config *config);

/* Starts the server and waits a moment until it takes connections; when it does not, the workers will find out. */
void private_redis_start(struct private_redis *redis);

/* Notes that the child `pid` has ended, and returns true, when it is the server. It is started again in its turn. */
bool private_redis_ended(struct private_redis *redis, pid_t pid, int status);

/* Starts the server again when it is time. Returns when (clock_boot()) it wants the next turn, INT64_MAX: no wish. */
int64_t private_redis_turn(struct private_redis *redis, int64_t now);

/* Asks the server to sync and end, waits for at most `patience` nanoseconds, then kills it. */
void private_redis_stop(struct private_redis *redis, int64_t patience);

/* Whether a server takes connections on the private socket of `config`. */
bool private_redis_listens(const char *socket_path);

/* Frees and sets to NULL, which gives up the lock; a NULL *redis is left alone. The server has been stopped before. */
void private_redis_free(struct private_redis **redis);

#endif
