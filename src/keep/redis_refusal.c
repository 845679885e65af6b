/* SPDX-License-Identifier: MIT */
/* What Redis says no with. */
#include "keep/redis_refusal.h"

#include "keep/invalidation_message.h"
#include "keep/redis_reader.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { RULE_SIZE = 32 };

/* The command as an ACL names it: "client|id". */
static const char *rule_of(const char *command, char rule[RULE_SIZE])
{
    size_t i = 0;
    for (; command[i] != '\0' && i < RULE_SIZE - 1; i++)
        rule[i] = command[i] == ' ' ? '|' : (char)tolower((unsigned char)command[i]);
    rule[i] = '\0';
    return rule;
}

static void explain_permission(const struct config_redis *config, const char *user, const char *command,
                               const redisReply *reply, struct error *text)
{
    char rule[RULE_SIZE];
    if (strstr(reply->str, "of the keys") != NULL)
        error_set(text, "NOPERM: the Redis user \"%s\" may not use the key; its ACL must have ~%s*", user,
                  config->prefix);
    else if (strstr(reply->str, "of the channels") != NULL)
        error_set(text, "NOPERM: the Redis user \"%s\" may not use the channel; its ACL must have &%s", user,
                  INVALIDATION_CHANNEL);
    else
        error_set(text, "NOPERM: the Redis user \"%s\" may not use it; its ACL must have +%s", user,
                  rule_of(command, rule));
}

static bool begins(const redisReply *reply, const char *start)
{
    const size_t size = strlen(start);
    return strncmp(reply->str, start, size) == 0 && (reply->str[size] == ' ' || reply->str[size] == '\0');
}

void redis_refusal_explain(const struct config_redis *config, const char *command, const redisReply *reply,
                           struct error *text)
{
    const char *user = config->username != NULL ? config->username : "default";
    const int word = redis_error_word(reply);
    if (word == 0)
        error_set(text, reply->type == REDIS_REPLY_ERROR ? "an error" : "something unexpected");
    else if (begins(reply, "NOPERM"))
        explain_permission(config, user, command, reply, text);
    else if (begins(reply, "WRONGPASS"))
        error_set(text,
                  "WRONGPASS: there is no Redis user \"%s\" who is on and has the password in redis.password-file",
                  user);
    else if (begins(reply, "NOAUTH"))
        error_set(text, "NOAUTH: the Redis user \"%s\" must log in; give redis.password-file", user);
    else if (begins(reply, "ERR The user executing the script"))
        error_set(text, "ERR: the Redis user \"%s\" may not use a command of the script, or its key", user);
    else
        error_set(text, "%.*s", word, reply->str);
}

static bool word_among(const redisReply *reply, const char *const *words, size_t n)
{
    const int size = redis_error_word(reply);
    for (size_t i = 0; i < n; i++)
        if ((size_t)size == strlen(words[i]) && memcmp(reply->str, words[i], (size_t)size) == 0)
            return true;
    return false;
}

bool redis_refusal_elsewhere(const redisReply *reply)
{
    static const char *const words[] = {"READONLY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK"};
    return word_among(reply, words, sizeof words / sizeof *words);
}

bool redis_refusal_by_replica(const redisReply *reply)
{
    static const char *const words[] = {"READONLY", "MASTERDOWN"};
    return word_among(reply, words, sizeof words / sizeof *words);
}
