/* SPDX-License-Identifier: MIT */
/* What is said on each new connection to Redis before it carries anything else. */
#include "keep/redis_handshake.h"

#include "keep/redis_refusal.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_TEXT_SIZE = 24 };

/* No connection ever has this id. Ending it shows that we may, before there is need to. */
#define NOBODYS_ID "9223372036854775807"

enum step { STEP_AUTH, STEP_SELECT, STEP_SETNAME, STEP_ID, STEP_PING, STEP_ROLE, STEP_LIST, STEP_KILL };

typedef bool step_check(struct redis_handshake *handshake, const redisReply *reply);

static step_check status_check, id_check, role_check, list_check, kill_check;

static const struct {
    const char *command;
    step_check *check; /* of a reply that is no error; sends what follows from it */
} steps[] = {
    [STEP_AUTH] = {"AUTH", status_check},
    [STEP_SELECT] = {"SELECT", status_check},
    [STEP_SETNAME] = {"CLIENT SETNAME", status_check},
    [STEP_ID] = {"CLIENT ID", id_check},
    [STEP_PING] = {"PING", status_check},
    [STEP_ROLE] = {"ROLE", role_check},
    [STEP_LIST] = {"CLIENT LIST", list_check},
    [STEP_KILL] = {"CLIENT KILL", kill_check},
};

static void step_send(struct redis_handshake *handshake, enum step step, int argc, const char *const *argv)
{
    handshake->steps[handshake->sent++] = step;
    handshake->send(handshake->argument, argc, argv);
}

#define STEP_SEND(handshake, step, ...)                                                                  \
    step_send(handshake, step, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)), \
              (const char *const[]){__VA_ARGS__})

void redis_handshake_start(struct redis_handshake *handshake)
{
    if (handshake->password != NULL && handshake->config->username != NULL)
        STEP_SEND(handshake, STEP_AUTH, "AUTH", handshake->config->username, handshake->password);
    else if (handshake->password != NULL)
        STEP_SEND(handshake, STEP_AUTH, "AUTH", handshake->password);
    if (handshake->config->database != 0) {
        char database[ID_TEXT_SIZE];
        snprintf(database, sizeof database, "%u", handshake->config->database);
        STEP_SEND(handshake, STEP_SELECT, "SELECT", database);
    }
    STEP_SEND(handshake, STEP_SETNAME, "CLIENT", "SETNAME", handshake->name);
    STEP_SEND(handshake, STEP_ID, "CLIENT", "ID");
    /* All of the above is answered by a Redis that still loads its data; this is not. */
    STEP_SEND(handshake, STEP_PING, "PING");
    /* What a sentinel said may be outdated. */
    if (handshake->config->kind == CONFIG_REDIS_SENTINEL)
        STEP_SEND(handshake, STEP_ROLE, "ROLE");
}

static bool status_check(struct redis_handshake *handshake, const redisReply *reply)
{
    (void)handshake;
    return reply->type == REDIS_REPLY_STATUS;
}

static bool role_check(struct redis_handshake *handshake, const redisReply *reply)
{
    static const char word[] = "master";
    (void)handshake;
    return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[0]->len == sizeof word - 1 && memcmp(reply->element[0]->str, word, sizeof word - 1) == 0;
}

static void list_send(struct redis_handshake *handshake)
{
    char id[ID_TEXT_SIZE], fence[ID_TEXT_SIZE];
    snprintf(id, sizeof id, "%" PRIu64, handshake->id);
    snprintf(fence, sizeof fence, "%" PRIu64, handshake->fence.id);
    if (handshake->fence.id != 0)
        STEP_SEND(handshake, STEP_LIST, "CLIENT", "LIST", "ID", id, fence);
    else
        STEP_SEND(handshake, STEP_LIST, "CLIENT", "LIST", "ID", id);
}

static bool id_check(struct redis_handshake *handshake, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer <= 0)
        return false;
    handshake->id = (uint64_t)reply->integer;
    list_send(handshake);
    return true;
}

void redis_handshake_fence(struct redis_handshake *handshake)
{
    handshake->sent = handshake->answered = 0;
    list_send(handshake);
}

/* Whether one of the line's words, which single spaces part, is exactly `field` and `value`. */
static bool line_has(const char *line, size_t size, const char *field, const char *value)
{
    size_t field_size = strlen(field), value_size = strlen(value);
    for (const char *end = line + size; line < end;) {
        const char *space = memchr(line, ' ', (size_t)(end - line));
        size_t word = (size_t)((space == NULL ? end : space) - line);
        if (word == field_size + value_size && memcmp(line, field, field_size) == 0 &&
            memcmp(line + field_size, value, value_size) == 0)
            return true;
        line += word + 1;
    }
    return false;
}

/* Whether CLIENT LIST shows a connection with this id and this name: one with this id alone may be anybody's. */
static bool list_shows(const redisReply *list, uint64_t id, const char *name)
{
    char text[ID_TEXT_SIZE];
    snprintf(text, sizeof text, "%" PRIu64, id);
    for (const char *line = list->str, *end = list->str + list->len; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t size = (size_t)((newline == NULL ? end : newline) - line);
        if (line_has(line, size, "id=", text) && line_has(line, size, "name=", name))
            return true;
        line += size + 1;
    }
    return false;
}

/* A Redis that was started anew may have given the id to be ended to this very connection. */
static bool list_check(struct redis_handshake *handshake, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_STRING || !list_shows(reply, handshake->id, handshake->name))
        return false;
    char id[ID_TEXT_SIZE] = NOBODYS_ID;
    if (handshake->fence.id != handshake->id && list_shows(reply, handshake->fence.id, handshake->fence.name))
        snprintf(id, sizeof id, "%" PRIu64, handshake->fence.id);
    STEP_SEND(handshake, STEP_KILL, "CLIENT", "KILL", "ID", id);
    return true;
}

/* How many were ended: it may have gone by itself meanwhile. */
static bool kill_check(struct redis_handshake *handshake, const redisReply *reply)
{
    (void)handshake;
    return reply->type == REDIS_REPLY_INTEGER;
}

enum redis_handshake_result redis_handshake_reply(struct redis_handshake *handshake, const redisReply *reply,
                                                  struct error *error)
{
    if (handshake->answered == handshake->sent) {
        error_set(error, "a reply that was not asked for");
        return REDIS_HANDSHAKE_FAILED;
    }
    unsigned step = handshake->steps[handshake->answered++];
    if (reply->type == REDIS_REPLY_ERROR) {
        struct error said;
        redis_refusal_explain(handshake->config, steps[step].command, reply, &said);
        error_set(error, "%s was answered with %s", steps[step].command, said.text);
        return REDIS_HANDSHAKE_FAILED;
    }
    if (!steps[step].check(handshake, reply)) {
        error_set(error,
                  step == STEP_ROLE ? "the server that the sentinels name is no master by its %s"
                                    : "%s was answered with something unexpected",
                  steps[step].command);
        return REDIS_HANDSHAKE_FAILED;
    }
    return step == STEP_KILL ? REDIS_HANDSHAKE_DONE : REDIS_HANDSHAKE_MORE;
}
