/* SPDX-License-Identifier: MIT */
/* Events, problems and settings as hooks see them. Every hook gets a table of its own, as it may keep it. */
#include "reporter/hook_tables.h"

#include "base/accounts.h"
#include "reporter/hook_library.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MICROSECONDS = 1000000 };

/* Writes a time in UTC. Most are of the second that the one before was of. */
static void write_time(char *out, int64_t time)
{
    static char cached[HOOK_TIME_SIZE];
    static time_t cached_second = -1;
    const int64_t latest = INT64_C(253402300799999999); /* in the year 9999 */
    time = time < 0 ? 0 : time > latest ? latest : time;
    const time_t second = (time_t)(time / MICROSECONDS);
    struct tm utc;
    if (second != cached_second && gmtime_r(&second, &utc) != NULL) {
        strftime(cached, sizeof cached, "%Y-%m-%dT%H:%M:%S.000000Z", &utc);
        cached_second = second;
    }
    memcpy(out, cached, HOOK_TIME_SIZE);
    char *digit = out + strlen("2026-11-23T21:37:46.123456");
    for (int64_t rest = time % MICROSECONDS; rest > 0; rest /= 10)
        *--digit = (char)('0' + rest % 10);
}

static void write_peer(char *out, size_t size, const struct event_peer *peer)
{
    char address[INET6_ADDRSTRLEN];
    out[0] = '\0';
    if (peer->kind != PEER_INET && peer->kind != PEER_INET6)
        return;
    const bool six = peer->kind == PEER_INET6;
    inet_ntop(six ? AF_INET6 : AF_INET, peer->address, address, sizeof address);
    snprintf(out, size, six ? "[%s]:%u" : "%s:%u", address, (unsigned)peer->port);
}

void event_words_set(struct event_words *words, const struct audit_event *event)
{
    write_time(words->time, event->time);
    write_peer(words->peer, sizeof words->peer, &event->peer);
    words->user = event->peer.kind == PEER_UNIX ? account_name(event->peer.uid) : NULL;
}

/* Each sets a field of the table on top of the stack, unless it is absent. */

static void set_text(lua_State *lua, const char *name, struct event_text text)
{
    if (text.text == NULL)
        return;
    lua_pushlstring(lua, text.text, text.size);
    lua_setfield(lua, -2, name);
}

static void set_string(lua_State *lua, const char *name, const char *string)
{
    if (string == NULL)
        return;
    lua_pushstring(lua, string);
    lua_setfield(lua, -2, name);
}

static void set_integer(lua_State *lua, const char *name, int64_t integer, int64_t absent)
{
    if (integer == absent)
        return;
    lua_pushinteger(lua, integer);
    lua_setfield(lua, -2, name);
}

void hook_push_event(lua_State *lua, const struct audit_event *event, const struct event_words *words)
{
    lua_createtable(lua, 0, 16);
    set_string(lua, "event", event_kind_name(event->kind));
    lua_pushlstring(lua, words->time, HOOK_TIME_SIZE - 1);
    lua_setfield(lua, -2, "time");
    set_string(lua, "result", event_result_name(event->result));
    set_text(lua, "key", event->key);
    set_text(lua, "username", event->username);
    set_text(lua, "token_type", event->token_type);
    set_text(lua, "scopes", event->scopes);
    set_integer(lua, "expires", event->expires, 0);
    set_string(lua, "peer", words->peer[0] == '\0' ? NULL : words->peer);
    if (event->peer.kind == PEER_UNIX)
        set_integer(lua, "uid", event->peer.uid, -1);
    set_string(lua, "user", words->user);
    set_text(lua, "listener", event->listener);
    set_text(lua, "tag", event->tag);
    set_integer(lua, "worker", event->worker, 0);
    set_integer(lua, "latency_us", event->latency, -1);
    set_text(lua, "command", event->command);
    set_text(lua, "reason", event->reason);
    set_integer(lua, "count", (int64_t)event->count, 0);
    if (event->stale) {
        lua_pushboolean(lua, true);
        lua_setfield(lua, -2, "stale");
    }
}

void hook_push_problem(lua_State *lua, const struct problem *problem)
{
    static const char *const phases[] = {[PROBLEM_BEGINS] = "begin", [PROBLEM_ENDS] = "end"};
    char time[HOOK_TIME_SIZE];
    write_time(time, problem->time);
    lua_createtable(lua, 0, 8);
    set_text(lua, "kind", problem->kind);
    set_string(lua, "phase", phases[problem->phase]);
    set_string(lua, "time", time);
    set_text(lua, "message", problem->message);
    set_text(lua, "key", problem->key);
    set_text(lua, "error", problem->error);
    set_text(lua, "process", problem->process);
    if (problem->phase == PROBLEM_ENDS) {
        lua_pushnumber(lua, problem->seconds);
        lua_setfield(lua, -2, "seconds");
    }
}

void hook_push_settings(lua_State *lua, const struct config *config, const struct config_script *script)
{
    lua_createtable(lua, 0, (int)script->n_settings + 2);
    for (size_t i = 0; i < script->n_settings; i++)
        set_string(lua, script->settings[i].name, script->settings[i].value);
    lua_createtable(lua, 0, 3);
    set_string(lua, "file", config->audit_file);
    set_string(lua, "mode", config->audit_mode == AUDIT_REQUIRED ? "required" : "best-effort");
    lua_pushboolean(lua, config->audit_reads);
    lua_setfield(lua, -2, "reads");
    lua_setfield(lua, -2, "audit");
    lua_createtable(lua, 0, 3);
    set_string(lua, "application", config->slack_application);
    lua_pushnumber(lua, config->slack_group_interval);
    lua_setfield(lua, -2, "group_interval");
    hook_webhook_push(lua);
    lua_setfield(lua, -2, "webhook");
    lua_setfield(lua, -2, "slack");
}
