/* SPDX-License-Identifier: MIT */
/* The master process: start, wait for signals, reload, stop. It has no event loop: all it hears is signals. */
#include "master/master.h"

#include "base/clock.h"
#include "base/config.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "base/losses.h"
#include "base/shared.h"
#include "master/channel.h"
#include "master/check.h"
#include "master/child.h"
#include "master/children.h"
#include "master/listener.h"
#include "master/private_redis.h"
#include "master/state.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

struct master {
    const struct master_options *options;
    sigset_t signals; /* those it waits for */
    struct config *config;
    struct shared *shared;
    struct listeners listeners;
    struct children *children;
    struct channel *channel;     /* to the reporter; NULL until one is wanted for the first time */
    struct private_redis *redis; /* NULL: the configured Redis is somebody else's */
};

/* How long a start waits for a predecessor that was killed and whose children have not all ended. */
static const int64_t predecessor_patience = 5 * CLOCK_SECOND;

/* How long the reporter may take to hand on what was sent, once nobody sends any more. */
static const int64_t reporter_patience = 10 * CLOCK_SECOND;

/* ---- signals ---- */

static void signals_prepare(sigset_t *signals)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
    static const int ignored[] = {SIGPIPE, SIGUSR2};
    child_prepare();
    sigemptyset(signals);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaddset(signals, handled[i]);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        sigaction(ignored[i], &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigset_t blocked = *signals;
    sigaddset(&blocked, SIGUSR2); /* as child_prepare did */
    sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* Waits until `until` (clock_boot()), but a second at most: the watchdog has its turn then. Returns a signal or 0. */
static int signal_wait(const struct master *master, int64_t until)
{
    int64_t left = until - clock_boot();
    if (left > CLOCK_SECOND)
        left = CLOCK_SECOND;
    if (left < 0)
        left = 0;
    const struct timespec timeout = {.tv_sec = left / CLOCK_SECOND, .tv_nsec = left % CLOCK_SECOND};
    const int signal = sigtimedwait(&master->signals, NULL, &timeout);
    return signal > 0 ? signal : 0;
}

static void children_reap(struct master *master)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (!children_ended(master->children, pid, status))
            private_redis_ended(master->redis, pid, status);
}

/* ---- start ---- */

static void descriptor_limit_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("cannot raise the limit of open files: %s", strerror(errno));
}

static int fail(int status, const struct error *error)
{
    log_error("%s", error->text);
    return status;
}

static int start_config(struct master *master)
{
    struct error error;
    const struct master_options *options = master->options;
    if (options->state_directory != NULL && state_directory_ready(options->state_directory, NULL, true, &error) != 0)
        return fail(EXIT_STATUS_CONFIG, &error);
    master->config = check_config(options, true, &error);
    if (master->config == NULL)
        return fail(EXIT_STATUS_CONFIG, &error);
    log_configure(master->config->log_level, master->config->log_format);
    return 0;
}

static int start_memory(struct master *master)
{
    master->shared = shared_create();
    master->children = master->shared != NULL ? children_new(master->shared) : NULL;
    if (master->children != NULL)
        return 0;
    log_error("cannot make the shared memory: %s", strerror(errno));
    return EXIT_STATUS_FAILURE;
}

static bool reporter_wanted(const struct config *config)
{
    return config->n_hooks > 0;
}

/* Returns 0, or -1 with `error` set. */
static int channel_prepare(struct master *master, const struct config *config, struct error *error)
{
    if (reporter_wanted(config) && master->channel == NULL)
        master->channel = channel_new(master->shared, error);
    return reporter_wanted(config) && master->channel == NULL ? -1 : 0;
}

/* NULL when nobody listens. */
static struct channel *channel_used(const struct master *master)
{
    return reporter_wanted(master->config) ? master->channel : NULL;
}

static int start_state(struct master *master)
{
    struct error error;
    const struct config *config = master->config;
    if (config->redis.kind == CONFIG_REDIS_PRIVATE) {
        if (private_redis_prepare(config, true, &error) != 0)
            return fail(EXIT_STATUS_CONFIG, &error);
        master->redis = private_redis_new(config, predecessor_patience, &error);
        if (master->redis == NULL)
            return fail(EXIT_STATUS_FAILURE, &error);
    }
    if (master->options->state_directory != NULL &&
        state_keyring_ready(config->keyring, master->options->state_directory, &error) != 0)
        return fail(EXIT_STATUS_CONFIG, &error);
    if (channel_prepare(master, config, &error) != 0)
        return fail(EXIT_STATUS_FAILURE, &error);
    const int reporter = check_as_reporter(config);
    return reporter != EXIT_STATUS_OK ? reporter : check_as_worker(config, false);
}

static int start_listeners(struct master *master)
{
    struct error error;
    const struct listeners none = {.n = 0};
    const int64_t deadline = clock_boot() + predecessor_patience;
    enum listener_result result;
    while ((result = listeners_open(&master->listeners, &none, master->config, master->shared, &error)) ==
               LISTENER_BUSY &&
           clock_boot() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = CLOCK_SECOND / 10}, NULL);
    return result == LISTENER_OK ? 0 : fail(EXIT_STATUS_FAILURE, &error);
}

static void log_serving(const struct master *master, const char *what)
{
    char text[768];
    listeners_describe(&master->listeners, text, sizeof text);
    log_info("%s: %s, %u workers, Redis %s", what, text, master->config->workers, master->config->redis.url);
}

static int start(struct master *master)
{
    int status = start_config(master);
    if (status == 0)
        status = start_memory(master);
    if (status == 0)
        status = start_state(master);
    if (status == 0)
        status = start_listeners(master);
    if (status != 0)
        return status;
    if (master->redis != NULL)
        private_redis_start(master->redis);
    /* Nothing can fail from here on. It is sent before there are workers, to be recorded before what they do. */
    channel_tell_server(channel_used(master), EVENT_SERVER_START, master->config->workers);
    channel_flush(channel_used(master));
    children_replace(master->children, master->config, &master->listeners, channel_used(master));
    log_serving(master, "serving");
    return 0;
}

/* ---- reload ---- */

/* Whether the running processes could go over to `config`. */
static int reload_possible(const struct master *master, const struct config *config, struct error *error)
{
    const bool same =
        master->redis != NULL ? private_redis_same(master->redis, config) : config->redis.kind != CONFIG_REDIS_PRIVATE;
    if (!same)
        return error_set(error, "the private Redis, its folder and its user change by a restart alone");
    if (check_as_worker(config, false) != EXIT_STATUS_OK || check_as_reporter(config) != EXIT_STATUS_OK)
        return error_set(error, "the configuration has errors, see above");
    return 0;
}

static int reload_prepare(struct master *master, struct config **config, struct listeners *listeners,
                          struct error *error)
{
    *config = check_config(master->options, true, error);
    if (*config == NULL)
        return -1;
    if (reload_possible(master, *config, error) == 0 && channel_prepare(master, *config, error) == 0 &&
        listeners_open(listeners, &master->listeners, *config, master->shared, error) == LISTENER_OK)
        return 0;
    config_free(config);
    return -1;
}

static void reload(struct master *master)
{
    struct error error;
    struct config *config;
    struct listeners listeners;
    if (reload_prepare(master, &config, &listeners, &error) != 0) {
        log_error("not reloaded, nothing has changed: %s", error.text);
        return;
    }
    struct config *former_config = master->config;
    struct listeners former_listeners = master->listeners;
    master->config = config;
    master->listeners = listeners;
    log_configure(config->log_level, config->log_format);
    children_replace(master->children, config, &master->listeners, channel_used(master));
    listeners_close(&former_listeners, &master->listeners);
    config_free(&former_config);
    log_serving(master, "reloaded");
}

/* ---- serve and stop ---- */

static bool is_stop(int signal)
{
    return signal == SIGTERM || signal == SIGINT;
}

/* Does what is due. Returns when (clock_boot()) the next turn is. That a worker has died is sent before its successor
 * can send anything. */
static int64_t turn(struct master *master)
{
    children_reap(master);
    const int64_t now = clock_boot();
    const int64_t channel_next = channel_flush(master->channel) ? INT64_MAX : now + CLOCK_SECOND / 10;
    const int64_t children_next = children_turn(master->children, now);
    const int64_t redis_next = private_redis_turn(master->redis, now);
    const int64_t next = children_next < redis_next ? children_next : redis_next;
    return channel_next < next ? channel_next : next;
}

static void serve(struct master *master)
{
    for (;;) {
        const int signal = signal_wait(master, turn(master));
        if (is_stop(signal))
            return;
        if (signal == SIGHUP)
            reload(master);
        else if (signal == SIGUSR1)
            children_reopen(master->children);
    }
}

/* Takes turns until `done` says so, or the deadline has passed. Returns false when a signal says not to wait for it. */
static bool turns_until(struct master *master, bool (*done)(const struct master *master), int64_t deadline)
{
    for (;;) {
        const int64_t next = turn(master);
        if (done(master) || clock_boot() >= deadline)
            return true;
        if (is_stop(signal_wait(master, next < deadline ? next : deadline)))
            return false;
    }
}

static bool reporter_alone(const struct master *master)
{
    return children_reporter_alone(master->children);
}

static bool all_told(const struct master *master)
{
    return channel_flush(master->channel);
}

static bool all_ended(const struct master *master)
{
    return children_running(master->children) == 0;
}

/* The reporter hears what the workers tell until their end, and then that the server stops. Returns false when it has
 * to be at once. */
static bool children_stop(struct master *master)
{
    const int64_t patience = clock_from_seconds(master->config->drain_timeout) + 5 * CLOCK_SECOND;
    children_stop_workers(master->children, clock_boot() + patience);
    listeners_close(&master->listeners, NULL);
    if (!turns_until(master, reporter_alone, INT64_MAX))
        return false;
    const int64_t deadline = clock_boot() + reporter_patience;
    channel_tell_server(channel_used(master), EVENT_SERVER_STOP, master->config->workers);
    if (!turns_until(master, all_told, deadline))
        return false;
    children_stop_reporter(master->children, deadline);
    return turns_until(master, all_ended, INT64_MAX);
}

/* What no reporter has told of, because there was none in the end. */
static void losses_log(struct shared *shared)
{
    char text[LOSSES_TEXT_SIZE];
    struct losses losses = losses_take(shared);
    losses.sent += losses_under_way(shared);
    if (losses.sent + losses.dropped > 0)
        log_error("%s", losses_describe(&losses, text));
}

/* Redis ends last: what is in flight needs it. */
static void stop(struct master *master)
{
    int64_t redis_patience = 10 * CLOCK_SECOND;
    log_info("stopping");
    if (!children_stop(master)) {
        log_warning("stopping at once: %zu processes are killed", children_running(master->children));
        children_kill(master->children);
        while (!turns_until(master, all_ended, INT64_MAX))
            continue;
        redis_patience = 3 * CLOCK_SECOND;
    }
    channel_free(&master->channel);
    losses_log(master->shared);
    private_redis_stop(master->redis, redis_patience);
    log_info("stopped");
}

int master_run(const struct master_options *options)
{
    struct master master = {.options = options};
    log_name_process("master");
    if (sodium_init() < 0) {
        log_error("no random numbers: libsodium does not start");
        return EXIT_STATUS_FAILURE;
    }
    signals_prepare(&master.signals);
    descriptor_limit_raise();
    const int status = start(&master);
    if (status == 0) {
        serve(&master);
        stop(&master);
    }
    listeners_close(&master.listeners, NULL);
    private_redis_free(&master.redis);
    children_free(&master.children);
    channel_free(&master.channel);
    shared_destroy(&master.shared);
    config_free(&master.config);
    return status;
}
