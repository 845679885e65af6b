/* SPDX-License-Identifier: MIT */
/* A command for Redis on its way. */
#include "keep/redis_command.h"

#include "base/memory.h"
#include "base/number.h"
#include "base/pool.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 1 + NUMBER_DIGITS_MAX + 2 }; /* a count or length with its type byte and line end */

static struct pool pool = {.size = sizeof(struct redis_command)};

struct redis_command *redis_command_new(redis_callback *callback, void *argument, enum redis_kind kind)
{
    struct redis_command *command = pool_take(&pool);
    command->callback = callback;
    command->argument = argument;
    command->kind = kind;
    return command;
}

static char *put_header(char *at, char type, size_t number)
{
    *at++ = type;
    return mempcpy(number_put(at, number), "\r\n", 2);
}

static size_t size_at_most(const struct redis_words *words)
{
    size_t most = HEADER_MAX;
    for (int i = 0; i < words->n; i++)
        most += HEADER_MAX + words->sizes[i] + 2;
    return most;
}

/* An array of strings. hiredis' own formatter calls sprintf for each of them. */
static char *put_words(char *at, const struct redis_words *words)
{
    at = put_header(at, '*', (size_t)words->n);
    for (int i = 0; i < words->n; i++) {
        at = put_header(at, '$', words->sizes[i]);
        at = mempcpy(at, words->texts[i], words->sizes[i]);
        at = mempcpy(at, "\r\n", 2);
    }
    return at;
}

void redis_command_format_all(struct redis_command *command, size_t n, const struct redis_words *commands)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most += size_at_most(&commands[i]);
    command->bytes = most <= sizeof command->small ? command->small : malloc(most);
    if (command->bytes == NULL)
        memory_exhausted();
    char *at = command->bytes;
    for (size_t i = 0; i < n; i++)
        at = put_words(at, &commands[i]);
    command->size = (size_t)(at - command->bytes);
    command->replies = n;
}

void redis_command_format(struct redis_command *command, int argc, const char *const *argv, const size_t *argv_sizes)
{
    redis_command_format_all(command, 1, &(struct redis_words){argc, argv, argv_sizes});
}

void redis_command_hold(struct redis_command *command, const redisReply *reply)
{
    command->held = memory_zeroed(sizeof *command->held);
    command->held->type = reply->type;
    command->held->integer = reply->integer;
    if (reply->str == NULL)
        return;
    command->held->len = reply->len;
    command->held->str = memory_zeroed(reply->len + 1);
    memcpy(command->held->str, reply->str, reply->len);
}

void redis_held_free(redisReply *held)
{
    if (held == NULL)
        return;
    free(held->str);
    free(held);
}

void redis_command_free(struct redis_command *command)
{
    redis_held_free(command->held);
    if (command->bytes != command->small)
        free(command->bytes);
    pool_give(&pool, command);
}

struct redis_command *redis_commands_take(struct redis_commands *commands)
{
    struct redis_command *command = STAILQ_FIRST(commands);
    if (command != NULL)
        STAILQ_REMOVE_HEAD(commands, next);
    return command;
}

bool redis_commands_change(const struct redis_commands *commands)
{
    const struct redis_command *command;
    STAILQ_FOREACH(command, commands, next)
        if (command->kind == REDIS_CHANGE)
            return true;
    return false;
}

void redis_commands_free(struct redis_commands *commands)
{
    struct redis_command *command;
    while ((command = redis_commands_take(commands)) != NULL)
        redis_command_free(command);
}
