/* SPDX-License-Identifier: MIT */
/* What Redis says on the invalidation link. */
#include "keep/invalidation_message.h"

#include <stddef.h>
#include <string.h>

static bool is_text(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0;
}

/* Three elements: a kind, our channel, and what belongs to them. */
static bool is_on_channel(const redisReply *reply, const char *kind)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && is_text(reply->element[0], kind) &&
           is_text(reply->element[1], INVALIDATION_CHANNEL);
}

static bool all_strings(const redisReply *array)
{
    for (size_t i = 0; i < array->elements; i++)
        if (array->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

enum invalidation_message invalidation_message_read(const redisReply *reply, const redisReply **keys)
{
    *keys = NULL;
    if (!is_on_channel(reply, "message"))
        return INVALIDATION_MESSAGE_ODD;
    const redisReply *payload = reply->element[2];
    if (payload->type == REDIS_REPLY_NIL)
        return INVALIDATION_MESSAGE_ALL;
    if (payload->type != REDIS_REPLY_ARRAY || !all_strings(payload))
        return INVALIDATION_MESSAGE_ODD;
    *keys = payload;
    return INVALIDATION_MESSAGE_KEYS;
}

bool invalidation_message_subscribed(const redisReply *reply)
{
    return is_on_channel(reply, "subscribe") && reply->element[2]->type == REDIS_REPLY_INTEGER &&
           reply->element[2]->integer == 1;
}
