/* SPDX-License-Identifier: MIT */
/* The hooks of the configuration, each in a Lua state of its own, within limits of memory and time. One that throws,
 * loops or leaks is stopped, said in the log with its traceback, and started again after a wait that doubles; the
 * others go on. tokenkeep-lua(7) is the manual of what a hook may be and call. */
#ifndef TK_REPORTER_HOOKS_H
#define TK_REPORTER_HOOKS_H

#include "base/config.h"
#include "base/error.h"
#include "base/event.h"
#include "base/shared.h"
#include "reporter/file.h"
#include "reporter/http.h"

#include <event2/event.h>

struct hooks;

enum {
    HOOK_MEMORY_MAX = 64 * 1024 * 1024, /* bytes of one state */
    HOOK_TIME_MAX = 100,                /* milliseconds of CPU time of one call */
    HOOK_START_TIME_MAX = 1000,         /* the same of loading the file, and of its start function */
    HOOK_PROBLEMS_MAX = 256,            /* problems that hooks have raised and that wait to be told */
};

struct hooks_settings {
    struct event_base *base;
    const struct config *config; /* its hooks, audit and slack */
    struct shared_slot *slot;    /* lua_call and metrics; NULL: none are kept */
    struct http *http;           /* for keep.http; NULL: posting fails */
    struct files *files;         /* for keep.file; NULL: opening fails */
    const char *webhook;         /* of Slack; the hooks get a handle, never the text; NULL: none */
};

/* Loads the file of every hook as a start would, without calling any function in it. Returns 0, or -1 with `error`
 * saying file, line and what is wrong: it does not compile, throws, returns no table, or has an unknown name in it. */
int hooks_check(const struct config *config, struct error *error) __attribute__((warn_unused_result));

/* Loads and starts all hooks, and calls their ticks every second. A hook that fails to start is tried again later.
 * Never NULL: without memory the process ends. */
struct hooks *hooks_new(const struct hooks_settings *settings) __attribute__((warn_unused_result));

/* Tells every hook that runs and has the function. */
void hooks_event(struct hooks *hooks, const struct audit_event *event);
void hooks_problem(struct hooks *hooks, const struct problem *problem);

/* Queues a problem to be told in the next turn of the loop: what a hook raises, or what befell a hook. Dropped and
 * counted when HOOK_PROBLEMS_MAX wait. */
void hooks_raise(struct hooks *hooks, const struct problem *problem);

/* Calls the stop functions, frees and sets to NULL; a NULL *hooks is left alone. */
void hooks_free(struct hooks **hooks);

#endif
