/* SPDX-License-Identifier: MIT */
/* What Redis says no with, for people. */
#ifndef TK_KEEP_REDIS_REFUSAL_H
#define TK_KEEP_REDIS_REFUSAL_H

#include "base/config.h"
#include "base/error.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>

/* Sets `text` to the first word of the error that `command`, such as "CLIENT ID", was answered with, or to "something
 * unexpected"; where it is about the user, with whom that is and what is missing. Nothing else of the reply is in it,
 * which may quote what was sent. */
void redis_refusal_explain(const struct config_redis *config, const char *command, const redisReply *reply,
                           struct error *text);

/* Whether it is an error that says that this server does not hold the truth, or may not: another may have taken its
 * place. Others, such as OOM, leave its answers true. */
bool redis_refusal_elsewhere(const redisReply *reply);

/* Whether it is an error that replicas alone answer with. */
bool redis_refusal_by_replica(const redisReply *reply);

#endif
