/* SPDX-License-Identifier: MIT */
/* A worker process. */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/privileges.h"
#include "base/reports.h"
#include "base/signals.h"
#include "keep/policy.h"
#include "keep/redis_probe.h"
#include "worker/accept.h"
#include "worker/audit.h"
#include "worker/connection.h"
#include "worker/context.h"
#include "worker/request.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPORTS_LAST_TRIES = 100 };

/* What only a worker may know. */
struct secrets {
    struct vault *vault;
    struct redis_access *access;
};

static void secrets_free(struct secrets *secrets)
{
    vault_free(&secrets->vault);
    redis_access_free(&secrets->access);
}

/* Opens the secrets, as root where there is one, and then gives up root. */
static bool take_secrets(const struct config *config, struct secrets *secrets)
{
    struct error error = {""};
    *secrets = (struct secrets){NULL, NULL};
    if (sodium_init() < 0)
        error_set(&error, "cannot start libsodium");
    else if ((secrets->vault = vault_open_keyring(config->keyring, &error)) != NULL &&
             (secrets->access = redis_access_open(&config->redis, &error)) != NULL &&
             privileges_drop(config->user, &error) == 0)
        return true;
    log_error("%s", error.text);
    secrets_free(secrets);
    return false;
}

/* Loads the policies, where there are any. `lua_call` as in lua_sandbox.h. */
static bool take_policies(const struct config *config, _Atomic uint64_t *lua_call, struct policies **policies)
{
    struct error error;
    *policies = NULL;
    if (config->n_policies == 0)
        return true;
    *policies = policies_new(config, lua_call, &error);
    if (*policies == NULL)
        log_error("%s", error.text);
    return *policies != NULL;
}

void worker_read_clocks(struct worker *worker)
{
    worker->now = (struct keep_time){clock_boot(), clock_wall()};
}

void worker_settle(struct worker *worker)
{
    struct connection *connection;
    if (worker->settles || worker->received > 0)
        worker_read_clocks(worker);
    while ((connection = TAILQ_FIRST(&worker->unsettled)) != NULL) {
        TAILQ_REMOVE(&worker->unsettled, connection, unsettled_link);
        connection->unsettled = false;
        connection_settle(connection);
    }
    worker->received = 0;
    worker->settles = false;
    keep_foresee_nothing(worker->keep);
}

void worker_settle_soon(struct worker *worker)
{
    if (!worker->settles)
        event_active(worker->settle, EV_TIMEOUT, 0);
    worker->settles = true;
}

void worker_on_settle(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    worker_settle(argument);
}

static void on_batch_done(void *argument)
{
    struct worker *worker = argument;
    worker_read_clocks(worker);
    worker_settle(worker);
}

/* The process itself: signals, and a tick that shows the master that the loop turns. */
struct process {
    struct worker worker;
    struct acceptor *acceptor;
    struct event *stop, *drain, *tick, *sweep, *report;
    int64_t ends;    /* boot-time clock: when a worker that drains stops all the same */
    int64_t swept;   /* boot-time clock: when the time limits were last looked at */
    int64_t patient; /* ns: after that long without a look it is we who were away... */
    bool excused;    /* ...which excuses one look, not two in a row */
};

static void stop_accepting(struct process *process, enum worker_phase phase)
{
    acceptor_free(&process->acceptor);
    process->worker.phase = phase;
    worker_read_clocks(&process->worker);
}

static void stop_connections(struct process *process)
{
    struct connection *connection, *next;
    worker_settle(&process->worker);
    stop_accepting(process, WORKER_STOPPING);
    for (connection = TAILQ_FIRST(&process->worker.connections); connection != NULL; connection = next) {
        next = TAILQ_NEXT(connection, link);
        connection_stop(connection);
    }
    worker_settle(&process->worker);
}

static void end_when_empty(struct process *process)
{
    if (process->worker.phase != WORKER_SERVING && TAILQ_EMPTY(&process->worker.connections))
        event_base_loopbreak(process->worker.base);
}

static void on_stop(evutil_socket_t signal, short what, void *argument)
{
    struct process *process = argument;
    (void)signal, (void)what;
    stop_connections(process);
    end_when_empty(process);
}

static void on_drain(evutil_socket_t signal, short what, void *argument)
{
    struct process *process = argument;
    (void)signal, (void)what;
    if (process->worker.phase != WORKER_SERVING)
        return;
    stop_accepting(process, WORKER_DRAINING);
    process->ends = process->worker.now.boot + clock_from_seconds(process->worker.config->drain_timeout);
    end_when_empty(process);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct process *process = argument;
    (void)fd, (void)what;
    atomic_fetch_add(&process->worker.slot->ticks, 1);
    keep_publish(process->worker.keep);
}

/* The first event since the last flush: the others of this turn of the loop go with it. */
static void on_reports_wanted(void *argument)
{
    struct process *process = argument;
    event_active(process->report, EV_TIMEOUT, 0);
}

static void on_report(evutil_socket_t fd, short what, void *argument)
{
    static const struct timeval soon = {0, 20000};
    struct process *process = argument;
    (void)fd, (void)what;
    if (!reports_flush(process->worker.reports))
        evtimer_add(process->report, &soon);
}

/* The last events of a worker that ends, with a second for a reporter that does not keep up. */
static void flush_last_reports(struct reports *reports)
{
    static const struct timespec pause = {0, 10000000};
    for (int i = 0; i < REPORTS_LAST_TRIES && !reports_flush(reports); i++)
        nanosleep(&pause, NULL);
}

/* Looks at every connection's time limits. What came in this turn came in time; and who was away itself, stopped or
 * without a processor, first looks what has come meanwhile. */
static void on_sweep(evutil_socket_t fd, short what, void *argument)
{
    struct process *process = argument;
    struct worker *worker = &process->worker;
    struct connection *connection, *next;
    (void)fd, (void)what;
    worker_settle(worker);
    worker_read_clocks(worker);
    const bool away = !process->excused && worker->now.boot - process->swept > process->patient;
    process->swept = worker->now.boot;
    process->excused = away;
    for (connection = TAILQ_FIRST(&worker->connections); connection != NULL && !away; connection = next) {
        next = TAILQ_NEXT(connection, link);
        connection_check_time(connection, worker->now.boot);
    }
    if (worker->phase == WORKER_DRAINING && worker->now.boot > process->ends)
        stop_connections(process);
    worker_settle(worker);
    end_when_empty(process);
}

/* Often enough for the shortest limit to be kept to a quarter, and at most once a second. */
static struct timeval sweep_interval(const struct config *config)
{
    double shortest = 4;
    const double limits[] = {config->idle_timeout, config->request_timeout, config->write_timeout};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i] < shortest)
            shortest = limits[i];
    double interval = shortest / 4 > 0.01 ? shortest / 4 : 0.01;
    time_t seconds = (time_t)interval;
    return (struct timeval){seconds, (suseconds_t)((interval - (double)seconds) * 1e6)};
}

static bool add_event(struct event **event, struct event *made, const struct timeval *interval)
{
    *event = made;
    return made != NULL && event_add(made, interval) == 0;
}

static bool process_start(struct process *process, const struct worker_setup *setup, const struct secrets *secrets)
{
    static const struct timeval tick = {0, 500000};
    struct worker *worker = &process->worker;
    struct timeval sweep = sweep_interval(setup->config);
    worker->setup = setup;
    worker->config = setup->config;
    worker->slot = &setup->shared->slots[setup->slot];
    TAILQ_INIT(&worker->connections);
    TAILQ_INIT(&worker->unsettled);
    TAILQ_INIT(&worker->spare);
    worker->scratch = malloc(CONNECTION_SCRATCH_SIZE);
    worker->base = event_base_new();
    if (worker->scratch == NULL || worker->base == NULL)
        return false;
    worker->settle = evtimer_new(worker->base, worker_on_settle, worker);
    if (worker->settle == NULL)
        return false;
    worker->audit = audit_new(worker);
    process->report = evtimer_new(worker->base, on_report, process);
    if (process->report == NULL)
        return false;
    if (setup->reports_fd >= 0)
        worker->reports = reports_new(&(struct reports_settings){
            .fd = setup->reports_fd,
            .shared = setup->shared,
            .sender = setup->slot,
            .wanted = on_reports_wanted,
            .argument = process,
        });
    worker_read_clocks(worker);
    process->swept = worker->now.boot;
    process->patient = 2 * (sweep.tv_sec * CLOCK_SECOND + sweep.tv_usec * 1000);
    worker->keep = keep_new(&(struct keep_settings){
        .base = worker->base,
        .config = setup->config,
        .shared = setup->shared,
        .slot = setup->slot,
        .vault = secrets->vault,
        .access = secrets->access,
        .reports = worker->reports,
        .batch_done = on_batch_done,
        .batch_argument = worker,
        .fixed = audit_fixed,
        .progress = answer_progress,
    });
    return worker->keep != NULL &&
           add_event(&process->stop, evsignal_new(worker->base, SIGTERM, on_stop, process), NULL) &&
           add_event(&process->drain, evsignal_new(worker->base, SIGUSR2, on_drain, process), NULL) &&
           add_event(&process->tick, event_new(worker->base, -1, EV_PERSIST, on_tick, process), &tick) &&
           add_event(&process->sweep, event_new(worker->base, -1, EV_PERSIST, on_sweep, process), &sweep) &&
           (process->acceptor = acceptor_new(worker)) != NULL;
}

static void process_free(struct process *process)
{
    struct worker *worker = &process->worker;
    struct event *events[] = {process->stop,  process->drain,  process->tick,
                              process->sweep, process->report, worker->settle};
    acceptor_free(&process->acceptor);
    if (worker->audit != NULL)
        audit_stop(worker->audit);
    keep_free(&worker->keep);
    if (worker->reports != NULL)
        flush_last_reports(worker->reports);
    reports_free(&worker->reports);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i] != NULL)
            event_free(events[i]);
    audit_free(&worker->audit);
    policies_free(&worker->policies);
    request_free_spare(worker);
    buffer_pool_free();
    if (worker->base != NULL)
        event_base_free(worker->base);
    if (worker->scratch != NULL)
        sodium_memzero(worker->scratch, CONNECTION_SCRATCH_SIZE);
    free(worker->scratch);
}

int worker_main(const struct worker_setup *setup)
{
    struct secrets secrets;
    struct process *process = memory_zeroed(sizeof *process);
    struct shared_slot *slot = &setup->shared->slots[setup->slot];
    char name[32];
    snprintf(name, sizeof name, "worker %u", setup->number);
    log_name_process(name);
    signals_hold((int[]){SIGTERM, SIGUSR2}, 2);
    shared_slot_own(slot);
    if (!take_secrets(setup->config, &secrets)) {
        free(process);
        return EXIT_STATUS_CONFIG;
    }
    if (!take_policies(setup->config, &slot->lua_call, &process->worker.policies)) {
        secrets_free(&secrets);
        free(process);
        return EXIT_STATUS_CONFIG;
    }
    int status = EXIT_STATUS_OK;
    bool started = process_start(process, setup, &secrets);
    signals_hear();
    if (!started) {
        log_error("cannot start: no memory or no event loop");
        status = EXIT_STATUS_FAILURE;
    } else if (event_base_dispatch(process->worker.base) < 0) {
        log_error("the event loop failed: %s", strerror(errno));
        status = EXIT_STATUS_FAILURE;
    }
    process_free(process);
    free(process);
    secrets_free(&secrets);
    return status;
}

int worker_check(const struct config *config, bool redis)
{
    struct policies *policies;
    struct secrets secrets;
    log_name_process("check");
    signals_hold(NULL, 0);
    if (!take_secrets(config, &secrets))
        return EXIT_STATUS_CONFIG;
    log_info("the keyring %s holds %zu key%s", config->keyring, vault_keys(secrets.vault),
             vault_keys(secrets.vault) == 1 ? "" : "s");
    redis_access_note_unreadable(secrets.access);
    const bool loaded = take_policies(config, NULL, &policies);
    policies_free(&policies);
    const bool reached = !redis || redis_probe(&config->redis, secrets.access);
    secrets_free(&secrets);
    if (!loaded)
        return EXIT_STATUS_CONFIG;
    return reached ? EXIT_STATUS_OK : EXIT_STATUS_FAILURE;
}
