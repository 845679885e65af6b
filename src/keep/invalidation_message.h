/* SPDX-License-Identifier: MIT */
/* What Redis says on the invalidation link, RESP2: the handshake's answers, then messages on one channel whose payload
 * is an array of keys, or a null for all of them. Whatever is odd is said to be so: the caller then trusts nothing. */
#ifndef TK_KEEP_INVALIDATION_MESSAGE_H
#define TK_KEEP_INVALIDATION_MESSAGE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

/* The channel, see "Client-side caching" in Redis' manual. */
#define INVALIDATION_CHANNEL "__redis__:invalidate"

enum invalidation_message {
    INVALIDATION_MESSAGE_KEYS, /* `keys` is an array of strings, perhaps empty */
    INVALIDATION_MESSAGE_ALL,  /* every key may have changed */
    INVALIDATION_MESSAGE_ODD,
};

/* Reads a message. `keys` is set with INVALIDATION_MESSAGE_KEYS alone, and belongs to `reply`. */
enum invalidation_message invalidation_message_read(const redisReply *reply, const redisReply **keys);

/* Whether this is SUBSCRIBE's answer. */
bool invalidation_message_subscribed(const redisReply *reply);

#endif
