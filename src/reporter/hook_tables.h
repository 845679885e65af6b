/* SPDX-License-Identifier: MIT */
/* Events, problems and settings as hooks see them; tokenkeep-lua(7) describes the fields. */
#ifndef TK_REPORTER_HOOK_TABLES_H
#define TK_REPORTER_HOOK_TABLES_H

#include "base/config.h"
#include "base/event.h"

#include <lua.h>

enum { HOOK_TIME_SIZE = sizeof "2026-11-23T21:37:46.123456Z" };

/* What is written out once for all hooks that hear of an event. */
struct event_words {
    char time[HOOK_TIME_SIZE];
    char peer[64];    /* of TCP, else empty */
    const char *user; /* of a unix socket; NULL: none is known */
};

/* Writes them out. The user's name is valid until the next call. */
void event_words_set(struct event_words *words, const struct audit_event *event);

/* Each pushes one table. They raise no error; outside a call there is memory for them, or none for the process. */
void hook_push_event(lua_State *lua, const struct audit_event *event, const struct event_words *words);
void hook_push_problem(lua_State *lua, const struct problem *problem);

/* With settings.slack.webhook, hook_webhook_push pushes its value. */
void hook_push_settings(lua_State *lua, const struct config *config, const struct config_script *script);

#endif
