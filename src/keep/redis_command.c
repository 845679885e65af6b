/* SPDX-License-Identifier: MIT */
/* A command for Redis on its way. */
#include "keep/redis_command.h"

#include "base/memory.h"

#include <stdlib.h>

struct redis_command *redis_command_new(redis_callback *callback, void *argument, enum redis_kind kind)
{
    struct redis_command *command = memory_zeroed(sizeof *command);
    command->callback = callback;
    command->argument = argument;
    command->kind = kind;
    return command;
}

void redis_command_format(struct redis_command *command, int argc, const char *const *argv, const size_t *argv_sizes)
{
    int size = redisFormatCommandArgv(&command->bytes, argc, (const char **)(uintptr_t)argv, argv_sizes);
    if (size < 0)
        memory_exhausted();
    command->size = (size_t)size;
}

void redis_command_free(struct redis_command *command)
{
    if (command->bytes != NULL)
        redisFreeCommand(command->bytes);
    free(command);
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
