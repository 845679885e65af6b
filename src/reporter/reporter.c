/* SPDX-License-Identifier: MIT */
/* The reporter process. */
#include "reporter/reporter.h"

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "base/losses.h"
#include "base/memory.h"
#include "base/privileges.h"
#include "base/secret_file.h"
#include "base/signals.h"
#include "reporter/file.h"
#include "reporter/hooks.h"
#include "reporter/http.h"
#include "reporter/intake.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WEBHOOK_MAX = 2048 };

static const int64_t losses_interval = 10 * CLOCK_SECOND; /* between two lines about losses */
static const int64_t posts_patience = 3 * CLOCK_SECOND;   /* for posts that are under way at the end */

struct process {
    const struct reporter_setup *setup;
    struct shared_slot *slot;
    pid_t master;
    char *webhook; /* NULL: none */
    struct event_base *base;
    struct files *files;
    struct http *http;
    struct hooks *hooks;
    struct intake *intake; /* NULL once it has read its last */
    struct event *stop, *hand_over, *reopen, *tick;
    int64_t losses_told; /* boot-time clock */
};

/* Opens the webhook, as root where there is one. Sets *webhook, to NULL when none is configured. */
static int webhook_open(const struct config *config, char **webhook, struct error *error)
{
    struct error reason;
    *webhook = NULL;
    if (config->slack_webhook_file == NULL)
        return 0;
    *webhook = secret_file_line(config->slack_webhook_file, "Slack webhook", WEBHOOK_MAX, error);
    if (*webhook == NULL)
        return -1;
    if (http_address_check(*webhook, &reason) == 0)
        return 0;
    sodium_free(*webhook);
    *webhook = NULL;
    return error_set(error, "%s: the Slack webhook: %s", config->slack_webhook_file, reason.text);
}

/* Returns false after a line in the log. */
static bool take_secrets(const struct config *config, char **webhook)
{
    struct error error = {""};
    *webhook = NULL;
    if (sodium_init() < 0)
        error_set(&error, "cannot start libsodium");
    else if (webhook_open(config, webhook, &error) == 0 && privileges_drop(config->user, &error) == 0)
        return true;
    log_error("%s", error.text);
    return false;
}

/* ---- what it hears ---- */

static void on_event(void *argument, const struct audit_event *event)
{
    struct process *process = argument;
    hooks_event(process->hooks, event);
}

static void on_problem(void *argument, const struct problem *problem)
{
    struct process *process = argument;
    hooks_problem(process->hooks, problem);
}

/* Whether it is this reporter's turn, see intake.h. */
static bool reads(const struct process *process)
{
    return atomic_load(&process->setup->shared->reports_reader) == process->setup->slot + 1;
}

/* Tells workers whether the audit log takes records, where they ask; with `sync`, makes sure that the disk has those
 * that it took. While one configuration follows another, workers may ask though this reporter's own does not: to them
 * an audit log that is written will do, and none will not. */
static bool audit_look(struct process *process, bool sync)
{
    const struct config *config = process->setup->config;
    if (config->audit_file == NULL)
        return false;
    if (config->audit_mode != AUDIT_REQUIRED) {
        files_flush(process->files);
        return files_take(process->files, config->audit_file, false);
    }
    const bool takes = files_take(process->files, config->audit_file, sync);
    atomic_store(&process->setup->shared->audit_ready, takes);
    return takes;
}

/* Records count as handed on when they are in the files. */
static bool on_batch_done(void *argument)
{
    struct process *process = argument;
    const bool kept = audit_look(process, true); /* first: another flush would forget what was dropped before it */
    files_flush(process->files);
    return kept;
}

/* ---- losses ---- */

/* Each loss is told once: only the one who reads does. */
static void losses_tell(struct process *process)
{
    char text[LOSSES_TEXT_SIZE];
    const struct losses losses = losses_take(process->setup->shared);
    if (losses.sent + losses.dropped == 0)
        return;
    process->losses_told = clock_boot();
    log_error("%s", losses_describe(&losses, text));
    hooks_raise(process->hooks, &(struct problem){
                                    .kind = event_text("events.lost"),
                                    .phase = PROBLEM_ONCE,
                                    .time = clock_wall_microseconds(),
                                    .message = event_text(text),
                                    .process = event_text(log_process()),
                                });
}

/* ---- the loop ---- */

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct process *process = argument;
    (void)fd, (void)what;
    atomic_fetch_add(&process->slot->ticks, 1);
    files_flush(process->files);
    if (!reads(process))
        return;
    (void)audit_look(process, false);
    if (clock_boot() - process->losses_told >= losses_interval)
        losses_tell(process);
}

/* When the master dies, the kernel tells all its children to stop at once. Workers then still answer what they have
 * received, so it hears them out: until the last has closed its end. */
static void workers_hear_out(struct process *process)
{
    const double patience = process->setup->config->drain_timeout;
    const int64_t deadline = clock_boot() + clock_from_seconds(patience) + 5 * CLOCK_SECOND;
    struct pollfd other = {.fd = process->setup->fd, .events = POLLIN};
    do
        intake_drain(process->intake);
    while (poll(&other, 1, 100) >= 0 && (other.revents & POLLHUP) == 0 && clock_boot() < deadline);
}

static void on_stop(evutil_socket_t signal, short what, void *argument)
{
    struct process *process = argument;
    (void)signal, (void)what;
    if (process->intake != NULL && getppid() != process->master)
        workers_hear_out(process);
    if (process->intake != NULL)
        intake_drain(process->intake);
    event_base_loopbreak(process->base);
}

static void on_hand_over(evutil_socket_t signal, short what, void *argument)
{
    struct process *process = argument;
    (void)signal, (void)what;
    event_base_loopbreak(process->base);
}

static void on_reopen(evutil_socket_t signal, short what, void *argument)
{
    struct process *process = argument;
    (void)signal, (void)what;
    files_reopen(process->files);
}

/* ---- the process ---- */

static bool add_event(struct event **event, struct event *made, const struct timeval *interval)
{
    *event = made;
    return made != NULL && event_add(made, interval) == 0;
}

static bool loop_start(struct process *process)
{
    static const struct timeval tick = {0, 100000};
    process->base = event_base_new();
    return process->base != NULL &&
           add_event(&process->stop, evsignal_new(process->base, SIGTERM, on_stop, process), NULL) &&
           add_event(&process->hand_over, evsignal_new(process->base, SIGUSR2, on_hand_over, process), NULL) &&
           add_event(&process->reopen, evsignal_new(process->base, SIGUSR1, on_reopen, process), NULL) &&
           add_event(&process->tick, event_new(process->base, -1, EV_PERSIST, on_tick, process), &tick);
}

static void hooks_begin(struct process *process)
{
    const struct reporter_setup *setup = process->setup;
    process->files = files_new();
    process->http = http_new(process->base);
    process->hooks = hooks_new(&(struct hooks_settings){
        .base = process->base,
        .config = setup->config,
        .slot = process->slot,
        .http = process->http,
        .files = process->files,
        .webhook = process->webhook,
    });
    process->intake = intake_new(&(struct intake_settings){
        .base = process->base,
        .fd = setup->fd,
        .shared = setup->shared,
        .slot = setup->slot,
        .on_event = on_event,
        .on_problem = on_problem,
        .batch_done = on_batch_done,
        .argument = process,
    });
}

/* The hooks hear what is left to tell, and stop; then the next reporter may read. One turn of the loop, and not until
 * nothing is left to do: a hook whose timers set each other going always has something to do. */
static void hooks_end(struct process *process)
{
    if (reads(process))
        losses_tell(process);
    event_base_loop(process->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    hooks_free(&process->hooks);
    intake_free(&process->intake);
}

static void posts_wait(struct process *process)
{
    const int64_t deadline = clock_boot() + posts_patience;
    while (http_waiting(process->http) > 0 && clock_boot() < deadline)
        if (event_base_loop(process->base, EVLOOP_ONCE) != 0)
            break;
}

static int process_run(struct process *process)
{
    if (!loop_start(process)) {
        log_error("cannot start: no memory or no event loop");
        return EXIT_STATUS_FAILURE;
    }
    hooks_begin(process);
    signals_hear();
    const bool failed = event_base_dispatch(process->base) < 0;
    if (failed)
        log_error("the event loop failed: %s", strerror(errno));
    hooks_end(process);
    posts_wait(process);
    return failed ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

static void process_free(struct process *process)
{
    struct event *events[] = {process->stop, process->hand_over, process->reopen, process->tick};
    intake_free(&process->intake);
    hooks_free(&process->hooks);
    http_free(&process->http);
    files_free(&process->files);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i] != NULL)
            event_free(events[i]);
    if (process->base != NULL)
        event_base_free(process->base);
    sodium_free(process->webhook);
    free(process);
}

int reporter_main(const struct reporter_setup *setup)
{
    struct process *process = memory_zeroed(sizeof *process);
    log_name_process("reporter");
    signals_hold((int[]){SIGTERM, SIGUSR1, SIGUSR2}, 3);
    process->setup = setup;
    process->master = getppid();
    process->slot = &setup->shared->slots[setup->slot];
    shared_slot_own(process->slot);
    const int status = take_secrets(setup->config, &process->webhook) ? process_run(process) : EXIT_STATUS_CONFIG;
    process_free(process);
    return status;
}

int reporter_check(const struct config *config)
{
    struct error error;
    char *webhook;
    log_name_process("check");
    signals_hold(NULL, 0);
    if (!take_secrets(config, &webhook))
        return EXIT_STATUS_CONFIG;
    sodium_free(webhook);
    if (hooks_check(config, &error) == 0)
        return EXIT_STATUS_OK;
    log_error("%s", error.text);
    return EXIT_STATUS_CONFIG;
}
