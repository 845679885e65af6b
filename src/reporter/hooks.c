/* SPDX-License-Identifier: MIT */
/* All hooks of the process. */
#include "reporter/hooks.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lua_keep.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "reporter/hook.h"
#include "reporter/hook_tables.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

static const int64_t dropped_interval = 10 * CLOCK_SECOND;

/* A problem that waits to be told. Its texts stand behind it. */
struct raised {
    STAILQ_ENTRY(raised) next;
    struct problem problem;
    char bytes[];
};

struct hooks {
    struct hooks_settings settings;
    size_t n;
    struct hook *table[CONFIG_HOOKS_MAX];
    struct event *tick;
    struct event *tell;
    STAILQ_HEAD(, raised) raised;
    unsigned n_raised;
    unsigned long dropped; /* problems that found the queue full, since that was told */
    int64_t next_dropped;  /* boot-time clock: until then the log hears of none */
};

void hooks_event(struct hooks *hooks, const struct audit_event *event)
{
    struct event_words words;
    event_words_set(&words, event);
    for (size_t i = 0; i < hooks->n; i++) {
        struct hook *hook = hooks->table[i];
        lua_State *lua = hook_begin(hook, HOOK_EVENT);
        if (lua != NULL) {
            hook_push_event(lua, event, &words);
            hook_call(hook, 1);
        } else if (!hook_runs(hook)) {
            hook_miss(hook);
        }
    }
}

void hooks_problem(struct hooks *hooks, const struct problem *problem)
{
    for (size_t i = 0; i < hooks->n; i++) {
        lua_State *lua = hook_begin(hooks->table[i], HOOK_PROBLEM);
        if (lua == NULL)
            continue;
        hook_push_problem(lua, problem);
        hook_call(hooks->table[i], 1);
    }
}

/* A hook that answers each problem with two fills the queue in every turn: a line every ten seconds. */
static void tell_dropped(struct hooks *hooks)
{
    const int64_t now = clock_boot();
    if (hooks->dropped == 0 || now < hooks->next_dropped)
        return;
    log_error("hooks have raised %lu problems more than can wait; they are dropped", hooks->dropped);
    hooks->dropped = 0;
    hooks->next_dropped = now + dropped_interval;
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct hooks *hooks = argument;
    (void)fd, (void)what;
    tell_dropped(hooks);
    for (size_t i = 0; i < hooks->n; i++) {
        hook_settle(hooks->table[i]);
        lua_State *lua = hook_begin(hooks->table[i], HOOK_TICK);
        if (lua == NULL)
            continue;
        lua_pushnumber(lua, lua_keep_now());
        hook_call(hooks->table[i], 1);
    }
}

/* Problems that hooks raise. */

/* Copies a text to *at, bounded and made such as the texts of all other problems are, and moves *at behind it. */
static void copy_text(struct event_text *text, char **at)
{
    if (text->text == NULL)
        return;
    const size_t size = utf8_cut(text->text, text->size, EVENT_TEXT_MAX);
    memcpy(*at, text->text, size);
    utf8_make_text(*at, size);
    *text = (struct event_text){*at, size};
    *at += size;
}

/* NULL when there is no memory. */
static struct raised *raised_new(const struct problem *problem)
{
    struct problem copy = *problem;
    struct event_text *texts[] = {&copy.kind, &copy.message, &copy.key, &copy.error, &copy.process};
    size_t size = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        size += texts[i]->size < EVENT_TEXT_MAX ? texts[i]->size : EVENT_TEXT_MAX;
    struct raised *raised = malloc(sizeof *raised + size);
    if (raised == NULL)
        return NULL;
    char *at = raised->bytes;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        copy_text(texts[i], &at);
    raised->problem = copy;
    return raised;
}

/* A timer, even one of no time at all, is looked at once a turn; an event that is made active is run at once, and one
 * hook that answers each problem with another would keep all others waiting. */
static void tell_soon(struct hooks *hooks)
{
    static const struct timeval now = {0, 0};
    if (evtimer_add(hooks->tell, &now) != 0)
        memory_exhausted();
}

void hooks_raise(struct hooks *hooks, const struct problem *problem)
{
    struct raised *raised = hooks->n_raised < HOOK_PROBLEMS_MAX ? raised_new(problem) : NULL;
    if (raised == NULL) {
        hooks->dropped++;
        return;
    }
    STAILQ_INSERT_TAIL(&hooks->raised, raised, next);
    if (hooks->n_raised++ == 0)
        tell_soon(hooks);
}

static struct raised *raised_take(struct hooks *hooks)
{
    struct raised *raised = STAILQ_FIRST(&hooks->raised);
    if (raised == NULL)
        return NULL;
    STAILQ_REMOVE_HEAD(&hooks->raised, next);
    hooks->n_raised--;
    return raised;
}

/* Tells what waits now; what is raised meanwhile waits for the next turn. */
static void on_tell(evutil_socket_t fd, short what, void *argument)
{
    struct hooks *hooks = argument;
    (void)fd, (void)what;
    for (unsigned n = hooks->n_raised; n > 0; n--) {
        struct raised *raised = raised_take(hooks);
        hooks_problem(hooks, &raised->problem);
        free(raised);
    }
    tell_dropped(hooks);
    if (hooks->n_raised > 0)
        tell_soon(hooks);
}

/* All of them. */

static struct hooks *make(const struct hooks_settings *settings)
{
    struct hooks *hooks = memory_zeroed(sizeof *hooks);
    hooks->settings = *settings;
    STAILQ_INIT(&hooks->raised);
    hooks->tell = evtimer_new(settings->base, on_tell, hooks);
    hooks->tick = event_new(settings->base, -1, EV_PERSIST, on_tick, hooks);
    if (hooks->tell == NULL || hooks->tick == NULL)
        memory_exhausted();
    for (; hooks->n < settings->config->n_hooks; hooks->n++)
        hooks->table[hooks->n] = hook_new(hooks, &hooks->settings, (unsigned)hooks->n);
    return hooks;
}

static void destroy(struct hooks *hooks)
{
    struct raised *raised;
    for (size_t i = 0; i < hooks->n; i++)
        hook_free(&hooks->table[i]);
    while ((raised = raised_take(hooks)) != NULL)
        free(raised);
    event_free(hooks->tell);
    event_free(hooks->tick);
    free(hooks);
}

struct hooks *hooks_new(const struct hooks_settings *settings)
{
    static const struct timeval second = {1, 0};
    struct hooks *hooks = make(settings);
    const uint32_t suspect = settings->slot == NULL ? 0 : atomic_exchange(&settings->slot->hook_running, 0);
    if (event_add(hooks->tick, &second) != 0)
        memory_exhausted();
    for (size_t i = 0; i < hooks->n; i++)
        if (i + 1 == suspect)
            hook_start_carefully(hooks->table[i]);
        else
            hook_start(hooks->table[i]);
    return hooks;
}

/* What was raised before is still told, and what is raised then by those that hear of it. */
static void stop(struct hooks *hooks)
{
    for (unsigned turns = 0; turns < 2 && hooks->n_raised > 0; turns++)
        on_tell(-1, 0, hooks);
    for (size_t i = 0; i < hooks->n; i++)
        hook_stop(hooks->table[i]);
    hooks->next_dropped = 0;
    tell_dropped(hooks);
}

void hooks_free(struct hooks **hooks)
{
    if (*hooks == NULL)
        return;
    stop(*hooks);
    /* A reporter that has ended well leaves its successor nothing to be careful of. */
    if ((*hooks)->settings.slot != NULL)
        shared_slot_forget_hooks((*hooks)->settings.slot);
    destroy(*hooks);
    *hooks = NULL;
}

/* "FILE:LINE: hook PATH: what is wrong", without the traceback: it would only show how a file is loaded. */
static int check_hook(struct hooks *hooks, size_t index, struct error *error)
{
    struct error why;
    const struct config *config = hooks->settings.config;
    const struct config_script *script = &config->hooks[index];
    if (hook_load(hooks->table[index], &why) == 0)
        return 0;
    char *trace = strstr(why.text, " | stack traceback:");
    if (trace != NULL)
        *trace = '\0';
    if (config->file == NULL)
        return error_set(error, "hook %s: %s", script->path, why.text);
    return error_set(error, "%s:%u: hook %s: %s", config->file, script->line, script->path, why.text);
}

int hooks_check(const struct config *config, struct error *error)
{
    int result = 0;
    struct event_base *base = event_base_new();
    if (base == NULL)
        return error_set(error, "no memory");
    struct hooks *hooks = make(&(struct hooks_settings){.base = base, .config = config});
    for (size_t i = 0; i < hooks->n && result == 0; i++)
        result = check_hook(hooks, i, error);
    destroy(hooks);
    event_base_free(base);
    return result;
}
