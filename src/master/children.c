/* SPDX-License-Identifier: MIT */
/* The table of children: forking, restarting, watching and replacing them. */
#include "master/children.h"

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "master/child.h"
#include "master/lua_watch.h"
#include "reporter/reporter.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { NAME_SIZE = 24 };

enum child_role { CHILD_WORKER, CHILD_REPORTER };

enum state {
    STATE_FREE, /* no process, none wanted */
    STATE_SERVING,
    STATE_WAITING,  /* no process; started again at restart_at */
    STATE_LEAVING,  /* a reporter that none follows: it serves until no worker is left that may tell it something */
    STATE_DRAINING, /* told to end; killed at kill_at */
};

struct child {
    enum child_role role;
    enum state state;
    pid_t pid;
    unsigned number;      /* of a worker, for people: 1 to the number of workers */
    char name[NAME_SIZE]; /* in the log: "worker 3", "reporter" */
    int64_t started;      /* all times are clock_boot() */
    int64_t restart_at;
    int64_t kill_at;
    int64_t delay;  /* of the last restart */
    uint64_t ticks; /* child_ticks when last seen, and when they last moved */
    int64_t ticked_at;
    bool runs_lua; /* hooks or policies */
    struct lua_watch lua;
    const char *killed; /* by the watchdog: why; it says so once */
};

struct children {
    struct shared *shared;
    const struct config *config;
    const struct listeners *listeners;
    struct channel *channel; /* NULL: there is no reporter */
    int64_t last_turn;
    struct child table[SHARED_SLOTS]; /* the index is the shared slot */
};

static const char stuck_in_lua[] = "has spent 250 ms of CPU time in one Lua call";
static const int64_t stuck_after = 10 * CLOCK_SECOND;
static const int64_t master_was_stopped = 2 * CLOCK_SECOND;
static const int64_t drain_grace = 5 * CLOCK_SECOND;
static const int64_t reporter_patience = 10 * CLOCK_SECOND;

static double seconds(int64_t nanoseconds)
{
    return (double)nanoseconds / (double)CLOCK_SECOND;
}

struct children *children_new(struct shared *shared)
{
    struct children *children = calloc(1, sizeof *children);
    if (children != NULL) {
        children->shared = shared;
        children->last_turn = clock_boot();
    }
    return children;
}

void children_free(struct children **children)
{
    free(*children);
    *children = NULL;
}

static bool has_process(const struct child *child)
{
    return child->state == STATE_SERVING || child->state == STATE_LEAVING || child->state == STATE_DRAINING;
}

/* ---- the child's side ---- */

/* It keeps the listeners of its own configuration alone, so that no other stays open through it. */
static int worker_run(const struct children *children, size_t slot)
{
    const struct listeners *listeners = children->listeners;
    struct worker_listener own[CONFIG_LISTENERS_MAX];
    int descriptors[CONFIG_LISTENERS_MAX + 2];
    size_t n = 0;
    for (size_t i = 0; i < listeners->n; i++) {
        const struct listener *listener = &listeners->items[i];
        own[i] = (struct worker_listener){.fd = listener->fd, .id = listener->id, .config = listener->config};
        descriptors[n++] = listener->fd;
    }
    descriptors[n++] = log_descriptor();
    if (children->channel != NULL)
        descriptors[n++] = channel_sending(children->channel);
    child_keep_descriptors(descriptors, n);
    return worker_main(&(struct worker_setup){
        .config = children->config,
        .shared = children->shared,
        .slot = (unsigned)slot,
        .number = children->table[slot].number,
        .listeners = own,
        .n_listeners = listeners->n,
        .reports_fd = channel_sending(children->channel),
    });
}

/* It keeps neither a listener nor the sending end. */
static int reporter_run(const struct children *children, size_t slot)
{
    const int fd = channel_receiving(children->channel);
    child_keep_descriptors((int[]){log_descriptor(), fd}, 2);
    return reporter_main(&(struct reporter_setup){
        .config = children->config,
        .shared = children->shared,
        .slot = (unsigned)slot,
        .fd = fd,
    });
}

/* What ps and top call the process is "tk-worker-3" or "tk-reporter": short enough for the kernel's 15 bytes. */
static void child_become(const struct children *children, size_t slot) __attribute__((noreturn));
static void child_become(const struct children *children, size_t slot)
{
    const struct child *child = &children->table[slot];
    char title[NAME_SIZE + 3];
    snprintf(title, sizeof title, "tk-%s", child->name);
    if (child->role == CHILD_WORKER)
        *strchr(title, ' ') = '-';
    prctl(PR_SET_NAME, title);
    exit(child->role == CHILD_WORKER ? worker_run(children, slot) : reporter_run(children, slot));
}

/* ---- starting and ending ---- */

static void child_postpone(struct child *child, int64_t now, int64_t lived)
{
    child->state = STATE_WAITING;
    child->delay = child_restart_delay(child->delay, lived);
    child->restart_at = now + child->delay;
}

/* Moves while it gets on. One turn of the reporter's loop may hold calls of many hooks, each up to its limit. */
static uint64_t child_ticks(const struct shared_slot *slot)
{
    return atomic_load_explicit(&slot->ticks, memory_order_relaxed) +
           atomic_load_explicit(&slot->lua_call, memory_order_relaxed);
}

static void child_start(struct children *children, size_t slot)
{
    struct child *child = &children->table[slot];
    const int64_t now = clock_boot();
    child->ticks = child_ticks(&children->shared->slots[slot]);
    child->lua = (struct lua_watch){0};
    shared_slot_use(children->shared, (unsigned)slot);
    child->pid = child_fork();
    if (child->pid == 0)
        child_become(children, slot);
    if (child->pid < 0) {
        child_postpone(child, now, 0);
        log_error("cannot fork %s: %s; next attempt in %.1f s", child->name, strerror(errno), seconds(child->delay));
        return;
    }
    child->state = STATE_SERVING;
    child->started = child->ticked_at = now;
    child->killed = NULL;
    log_debug("started %s (pid %d)", child->name, (int)child->pid);
}

/* What a worker noted before it died may have missed a change of its own, so all that is cached counts as old; then its
 * connections stop counting, and the one to Redis is left to be ended. A reporter lets another read. */
static void slot_clear(struct children *children, size_t slot)
{
    struct shared *shared = children->shared;
    uint32_t reader = (uint32_t)slot + 1;
    if (children->table[slot].role == CHILD_WORKER)
        generation_move_all(shared);
    shared_slot_reset(&shared->slots[slot]);
    if (atomic_compare_exchange_strong(&shared->reports_reader, &reader, 0))
        atomic_store(&shared->audit_ready, false);
}

static void crash_tell(const struct children *children, const struct child *child, const char *how)
{
    char text[CHILD_TEXT_SIZE];
    if (child->killed != NULL)
        snprintf(text, sizeof text, "%s and was killed", child->killed);
    channel_tell_crash(children->channel, child->number, child->name, child->killed != NULL ? text : how);
}

/* A successor starts the hook that its predecessor ended in with care; but one that was killed from outside was in a
 * hook by chance. */
static void suspect_clear(struct shared_slot *slot, const struct child *child, int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && child->killed != stuck_in_lua)
        atomic_store(&slot->hook_running, 0);
}

static void child_ended(struct children *children, size_t slot, int status)
{
    char text[CHILD_TEXT_SIZE];
    struct child *child = &children->table[slot];
    const int64_t now = clock_boot(), lived = now - child->started;
    const bool wanted = child->state == STATE_SERVING;
    const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STATUS_OK;
    slot_clear(children, slot);
    suspect_clear(&children->shared->slots[slot], child, status);
    child_describe_end(status, text);
    child->state = STATE_FREE;
    if (wanted) {
        child_postpone(child, now, lived);
        crash_tell(children, child, text);
        log_warning("%s (pid %d) %s after %.1f s, starts again in %.1f s", child->name, (int)child->pid, text,
                    seconds(lived), seconds(child->delay));
    } else if (!clean) {
        log_warning("%s (pid %d) %s while it was to finish", child->name, (int)child->pid, text);
    } else {
        log_debug("%s (pid %d) has finished", child->name, (int)child->pid);
    }
    child->pid = 0;
}

bool children_ended(struct children *children, pid_t pid, int status)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        if (!has_process(&children->table[i]) || children->table[i].pid != pid)
            continue;
        child_ended(children, i, status);
        return true;
    }
    return false;
}

/* ---- replacing them ---- */

static size_t oldest_draining(const struct children *children)
{
    size_t oldest = SHARED_SLOTS;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (children->table[i].state == STATE_DRAINING &&
            (oldest == SHARED_SLOTS || children->table[i].kill_at < children->table[oldest].kill_at))
            oldest = i;
    return oldest;
}

/* A free slot; when reload follows reload so fast that there is none, the oldest that still drains makes room. There is
 * one then: the slots are twice the children that a configuration can have. */
static size_t slot_find(struct children *children)
{
    int status;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (children->table[i].state == STATE_FREE)
            return i;
    const size_t oldest = oldest_draining(children);
    if (oldest == SHARED_SLOTS)
        return oldest;
    kill(children->table[oldest].pid, SIGKILL);
    waitpid(children->table[oldest].pid, &status, 0);
    child_ended(children, oldest, status);
    return oldest;
}

/* Returns its slot, SHARED_SLOTS when there was none. `number` 0 is the reporter. */
static size_t child_add(struct children *children, unsigned number)
{
    const size_t slot = slot_find(children);
    if (slot == SHARED_SLOTS)
        return slot;
    struct child *child = &children->table[slot];
    *child = (struct child){.role = number == 0 ? CHILD_REPORTER : CHILD_WORKER, .number = number};
    child->runs_lua = child->role == CHILD_REPORTER || children->config->n_policies > 0;
    if (child->role == CHILD_REPORTER)
        snprintf(child->name, sizeof child->name, "reporter");
    else
        snprintf(child->name, sizeof child->name, "worker %u", number);
    /* Those of an earlier configuration. */
    shared_slot_forget_hooks(&children->shared->slots[slot]);
    child_start(children, slot);
    return slot;
}

/* Tells a child to end, and forgets one that is not there. */
static void child_dismiss(struct child *child, int signal, int64_t kill_at)
{
    if (child->state == STATE_WAITING)
        child->state = STATE_FREE;
    if (!has_process(child))
        return;
    kill(child->pid, signal);
    if (child->state != STATE_DRAINING || kill_at < child->kill_at)
        child->kill_at = kill_at;
    child->state = STATE_DRAINING;
}

/* The reporter goes on reading only while none follows: two at once would not know what the other has had. */
static void former_dismiss(const struct children *children, struct child *child, int64_t now, int64_t patience)
{
    if (child->role == CHILD_WORKER)
        child_dismiss(child, SIGUSR2, now + patience + drain_grace);
    else if (children->channel != NULL || child->state == STATE_WAITING)
        child_dismiss(child, SIGUSR2, now + reporter_patience);
    else
        child->state = STATE_LEAVING;
}

static bool is_current(const struct child *child)
{
    return child->state == STATE_SERVING || child->state == STATE_WAITING || child->state == STATE_LEAVING;
}

void children_replace(struct children *children, const struct config *config, const struct listeners *listeners,
                      struct channel *channel)
{
    bool former[SHARED_SLOTS];
    const int64_t patience = children->config != NULL ? clock_from_seconds(children->config->drain_timeout) : 0;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        former[i] = is_current(&children->table[i]);
    children->config = config;
    children->listeners = listeners;
    children->channel = channel;
    for (unsigned number = channel != NULL ? 0 : 1; number <= config->workers; number++) {
        const size_t slot = child_add(children, number);
        if (slot == SHARED_SLOTS)
            break;
        former[slot] = false;
    }
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (former[i])
            former_dismiss(children, &children->table[i], clock_boot(), patience);
}

/* ---- watching them ---- */

static void child_kill(struct child *child, const char *why)
{
    if (child->killed != NULL)
        return;
    child->killed = why;
    log_error("%s (pid %d) %s and is killed", child->name, (int)child->pid, why);
    kill(child->pid, SIGKILL);
}

static void child_watch(struct child *child, const struct shared_slot *slot, int64_t now)
{
    const uint64_t ticks = child_ticks(slot);
    if (ticks != child->ticks) {
        child->ticks = ticks;
        child->ticked_at = now;
    }
    if (now - child->ticked_at >= stuck_after)
        child_kill(child, "has not ticked for 10 s");
    else if (child->runs_lua && lua_watch_look(&child->lua, slot, child->pid))
        child_kill(child, stuck_in_lua);
    else if (child->state == STATE_DRAINING && child->kill_at <= now)
        child_kill(child, "did not finish in time");
}

/* When its next turn is due. */
static int64_t child_next(const struct child *child, int64_t now)
{
    if (child->state == STATE_WAITING)
        return child->restart_at;
    return child->runs_lua && has_process(child) ? now + LUA_WATCH_INTERVAL : INT64_MAX;
}

static bool workers_drain(const struct children *children)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (children->table[i].role == CHILD_WORKER && children->table[i].state == STATE_DRAINING)
            return true;
    return false;
}

int64_t children_turn(struct children *children, int64_t now)
{
    int64_t next = INT64_MAX;
    const bool blameless = now - children->last_turn > master_was_stopped;
    const bool heard_all = !workers_drain(children);
    children->last_turn = now;
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        struct child *child = &children->table[i];
        if (blameless) {
            child->ticked_at = now;
            child->lua = (struct lua_watch){0};
        }
        if (child->state == STATE_LEAVING && heard_all)
            child_dismiss(child, SIGTERM, now + reporter_patience);
        if (has_process(child))
            child_watch(child, &children->shared->slots[i], now);
        if (child->state == STATE_WAITING && child->restart_at <= now)
            child_start(children, i);
        const int64_t due = child_next(child, now);
        if (due < next)
            next = due;
    }
    return next;
}

void children_reopen(struct children *children)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (children->table[i].role == CHILD_REPORTER && has_process(&children->table[i]))
            kill(children->table[i].pid, SIGUSR1);
}

/* ---- stopping them ---- */

void children_stop_workers(struct children *children, int64_t deadline)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (children->table[i].role == CHILD_WORKER)
            child_dismiss(&children->table[i], SIGTERM, deadline);
}

bool children_reporter_alone(const struct children *children)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        const struct child *child = &children->table[i];
        if (has_process(child) && !(child->role == CHILD_REPORTER && child->state == STATE_SERVING))
            return false;
    }
    return true;
}

void children_stop_reporter(struct children *children, int64_t deadline)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        struct child *child = &children->table[i];
        if (child->state == STATE_WAITING)
            child_start(children, i);
        child_dismiss(child, SIGTERM, deadline);
    }
}

void children_kill(struct children *children)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        child_dismiss(&children->table[i], SIGKILL, INT64_MAX);
}

size_t children_running(const struct children *children)
{
    size_t n = 0;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        n += has_process(&children->table[i]);
    return n;
}
