/* SPDX-License-Identifier: MIT */
/* The table of workers: forking, restarting, watching and replacing them. */
#include "master/workers.h"

#include "base/clock.h"
#include "base/log.h"
#include "master/child.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum state {
    STATE_FREE, /* no process, none wanted */
    STATE_SERVING,
    STATE_WAITING,  /* no process; started again at restart_at */
    STATE_DRAINING, /* of a former configuration; killed at kill_at */
};

struct worker {
    enum state state;
    pid_t pid;
    unsigned number; /* for people: 1 to the number of workers */
    int64_t started; /* all times are clock_boot() */
    int64_t restart_at;
    int64_t kill_at;
    int64_t delay;  /* of the last restart */
    uint64_t ticks; /* as last seen in the shared slot, and when they last moved */
    int64_t ticked_at;
    bool killed; /* by the watchdog, which says so once */
};

struct workers {
    struct shared *shared;
    const struct config *config;
    const struct listeners *listeners;
    int64_t last_turn;
    bool stopping;
    struct worker table[SHARED_SLOTS]; /* the index is the shared slot */
};

static const int64_t stuck_after = 10 * CLOCK_SECOND;
static const int64_t master_was_stopped = 2 * CLOCK_SECOND;
static const int64_t drain_grace = 5 * CLOCK_SECOND;

static double seconds(int64_t nanoseconds)
{
    return (double)nanoseconds / (double)CLOCK_SECOND;
}

struct workers *workers_new(struct shared *shared)
{
    struct workers *workers = calloc(1, sizeof *workers);
    if (workers != NULL) {
        workers->shared = shared;
        workers->last_turn = clock_boot();
    }
    return workers;
}

void workers_free(struct workers **workers)
{
    free(*workers);
    *workers = NULL;
}

static bool has_process(const struct worker *worker)
{
    return worker->state == STATE_SERVING || worker->state == STATE_DRAINING;
}

/* The child's side: it keeps the listeners of its own configuration alone, so that no other stays open through it. */
static void worker_run(const struct workers *workers, size_t slot) __attribute__((noreturn));
static void worker_run(const struct workers *workers, size_t slot)
{
    const struct listeners *listeners = workers->listeners;
    struct worker_listener own[CONFIG_LISTENERS_MAX];
    int descriptors[CONFIG_LISTENERS_MAX + 1];
    for (size_t i = 0; i < listeners->n; i++) {
        const struct listener *listener = &listeners->items[i];
        own[i] = (struct worker_listener){.fd = listener->fd, .id = listener->id, .config = listener->config};
        descriptors[i] = listener->fd;
    }
    descriptors[listeners->n] = log_descriptor();
    child_keep_descriptors(descriptors, listeners->n + 1);
    const struct worker_setup setup = {
        .config = workers->config,
        .shared = workers->shared,
        .slot = (unsigned)slot,
        .number = workers->table[slot].number,
        .listeners = own,
        .n_listeners = listeners->n,
    };
    exit(worker_main(&setup));
}

static void worker_wait(struct worker *worker, int64_t now, int64_t lived)
{
    worker->state = STATE_WAITING;
    worker->delay = child_restart_delay(worker->delay, lived);
    worker->restart_at = now + worker->delay;
}

static void worker_start(struct workers *workers, size_t slot)
{
    struct worker *worker = &workers->table[slot];
    const int64_t now = clock_boot();
    worker->ticks = atomic_load(&workers->shared->slots[slot].ticks);
    shared_slot_use(workers->shared, (unsigned)slot);
    worker->pid = child_fork();
    if (worker->pid == 0)
        worker_run(workers, slot);
    if (worker->pid < 0) {
        worker_wait(worker, now, 0);
        log_error("cannot fork worker %u: %s; next attempt in %.1f s", worker->number, strerror(errno),
                  seconds(worker->delay));
        return;
    }
    worker->state = STATE_SERVING;
    worker->started = worker->ticked_at = now;
    worker->killed = false;
    log_debug("started worker %u (pid %d)", worker->number, (int)worker->pid);
}

/* What a worker noted before it died may have missed a change of its own, so all that is cached counts as old; then its
 * connections stop counting, and the one to Redis is left to be ended. */
static void slot_clear(struct workers *workers, size_t slot)
{
    generation_move_all(workers->shared);
    shared_slot_reset(&workers->shared->slots[slot]);
}

static void worker_ended(struct workers *workers, size_t slot, int status)
{
    char text[CHILD_TEXT_SIZE];
    struct worker *worker = &workers->table[slot];
    const int64_t now = clock_boot(), lived = now - worker->started;
    const bool wanted = worker->state == STATE_SERVING && !workers->stopping;
    const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_OK;
    slot_clear(workers, slot);
    child_describe_end(status, text);
    worker->state = STATE_FREE;
    if (wanted) {
        worker_wait(worker, now, lived);
        log_warning("worker %u (pid %d) %s after %.1f s, starts again in %.1f s", worker->number, (int)worker->pid,
                    text, seconds(lived), seconds(worker->delay));
    } else if (!clean) {
        log_warning("worker %u (pid %d) %s while it was to finish", worker->number, (int)worker->pid, text);
    } else {
        log_debug("worker %u (pid %d) has finished", worker->number, (int)worker->pid);
    }
    worker->pid = 0;
}

bool workers_ended(struct workers *workers, pid_t pid, int status)
{
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        if (!has_process(&workers->table[i]) || workers->table[i].pid != pid)
            continue;
        worker_ended(workers, i, status);
        return true;
    }
    return false;
}

/* ---- replacing them ---- */

static size_t oldest_draining(const struct workers *workers)
{
    size_t oldest = SHARED_SLOTS;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (workers->table[i].state == STATE_DRAINING &&
            (oldest == SHARED_SLOTS || workers->table[i].kill_at < workers->table[oldest].kill_at))
            oldest = i;
    return oldest;
}

/* A free slot; when reload follows reload so fast that there is none, the oldest that still drains makes room. There is
 * one then: the slots are twice the workers that a configuration can have. */
static size_t slot_find(struct workers *workers)
{
    int status;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (workers->table[i].state == STATE_FREE)
            return i;
    const size_t oldest = oldest_draining(workers);
    if (oldest == SHARED_SLOTS)
        return oldest;
    kill(workers->table[oldest].pid, SIGKILL);
    waitpid(workers->table[oldest].pid, &status, 0);
    worker_ended(workers, oldest, status);
    return oldest;
}

static void worker_drain(struct worker *worker, int64_t deadline)
{
    if (worker->state == STATE_WAITING)
        worker->state = STATE_FREE;
    if (worker->state != STATE_SERVING)
        return;
    kill(worker->pid, SIGUSR2);
    worker->state = STATE_DRAINING;
    worker->kill_at = deadline;
}

void workers_replace(struct workers *workers, const struct config *config, const struct listeners *listeners)
{
    bool former[SHARED_SLOTS];
    const int64_t patience = workers->config != NULL ? clock_from_seconds(workers->config->drain_timeout) : 0;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        former[i] = workers->table[i].state == STATE_SERVING || workers->table[i].state == STATE_WAITING;
    workers->config = config;
    workers->listeners = listeners;
    for (unsigned number = 1; number <= config->workers; number++) {
        const size_t slot = slot_find(workers);
        if (slot == SHARED_SLOTS)
            break;
        former[slot] = false;
        workers->table[slot] = (struct worker){.number = number};
        worker_start(workers, slot);
    }
    const int64_t deadline = clock_boot() + patience + drain_grace;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (former[i])
            worker_drain(&workers->table[i], deadline);
}

/* ---- watching them ---- */

static void worker_kill(struct worker *worker, const char *why)
{
    if (worker->killed)
        return;
    worker->killed = true;
    log_error("worker %u (pid %d) %s and is killed", worker->number, (int)worker->pid, why);
    kill(worker->pid, SIGKILL);
}

static void worker_watch(struct worker *worker, const struct shared_slot *slot, int64_t now)
{
    const uint64_t ticks = atomic_load_explicit(&slot->ticks, memory_order_relaxed);
    if (ticks != worker->ticks) {
        worker->ticks = ticks;
        worker->ticked_at = now;
    }
    if (now - worker->ticked_at >= stuck_after)
        worker_kill(worker, "has not ticked for 10 s");
    else if (worker->state == STATE_DRAINING && worker->kill_at <= now)
        worker_kill(worker, "did not finish in time");
}

int64_t workers_turn(struct workers *workers, int64_t now)
{
    int64_t next = INT64_MAX;
    const bool blameless = now - workers->last_turn > master_was_stopped;
    workers->last_turn = now;
    for (size_t i = 0; i < SHARED_SLOTS; i++) {
        struct worker *worker = &workers->table[i];
        if (blameless)
            worker->ticked_at = now;
        if (has_process(worker))
            worker_watch(worker, &workers->shared->slots[i], now);
        if (worker->state == STATE_WAITING && worker->restart_at <= now)
            worker_start(workers, i);
        if (worker->state == STATE_WAITING && worker->restart_at < next)
            next = worker->restart_at;
    }
    return next;
}

void workers_stop(struct workers *workers, int signal)
{
    workers->stopping = true;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        if (has_process(&workers->table[i]))
            kill(workers->table[i].pid, signal);
}

size_t workers_running(const struct workers *workers)
{
    size_t n = 0;
    for (size_t i = 0; i < SHARED_SLOTS; i++)
        n += has_process(&workers->table[i]);
    return n;
}
