/* SPDX-License-Identifier: MIT */
/* A real redis-server of a test's own, on a unix socket in a temporary folder; it dies with the test. */
#ifndef TK_TESTS_REDIS_SERVER_H
#define TK_TESTS_REDIS_SERVER_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
    char directory[64];
    char path[96];          /* of the socket */
    uint16_t port;          /* on 127.0.0.1 too, unless 0 */
    const char *options[8]; /* more arguments, up to the first NULL */
    pid_t pid;              /* 0: not running */
};

/* Makes the folder. */
void redis_server_create(struct redis_server *server);

/* Starts it and waits until it answers; the test fails when it does not within five seconds. */
void redis_server_start(struct redis_server *server);

/* Sends it a signal; after SIGKILL it is waited for. */
void redis_server_signal(struct redis_server *server, int number);

/* Ends it and removes the folder. */
void redis_server_remove(struct redis_server *server);

/* A blocking connection beside the one that is tested; redisFree it. */
redisContext *redis_server_connect(const struct redis_server *server);

/* A TCP port of 127.0.0.1 that is free now. */
uint16_t redis_server_free_port(void);

#endif
