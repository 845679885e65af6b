/* SPDX-License-Identifier: MIT */
/* Trying out a configuration. Secrets are read in children alone, never here. */
#include "master/check.h"

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "master/child.h"
#include "master/listener.h"
#include "master/private_redis.h"
#include "reporter/reporter.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct config *check_config(const struct master_options *options, bool warn, struct error *error)
{
    if (options->config_file != NULL)
        return config_load(options->config_file, warn, error);
    return config_for_state(options->state_directory, options->listen, error);
}

static int without_redis(const void *config)
{
    return worker_check(config, false);
}

static int with_redis(const void *config)
{
    return worker_check(config, true);
}

int check_as_worker(const struct config *config, bool redis)
{
    const double redis_time = config->redis.connect_timeout + config->redis.command_timeout;
    /* A policy may take a second of CPU time to load, and on a busy machine that is several. */
    const int64_t loading = (int64_t)(10 + 5 * config->n_policies) * CLOCK_SECOND;
    const int64_t patience = loading + (redis ? 2 * clock_from_seconds(redis_time) : 0);
    return child_run("check", redis ? with_redis : without_redis, config, patience, EXIT_STATUS_FAILURE);
}

static int reporter(const void *config)
{
    return reporter_check(config);
}

int check_as_reporter(const struct config *config)
{
    if (config->n_hooks == 0)
        return EXIT_STATUS_OK;
    return child_run("check", reporter, config, (int64_t)(10 + config->n_hooks) * CLOCK_SECOND, EXIT_STATUS_FAILURE);
}

/* An address in use is no error: it may well be our own that is running. */
static int check_listeners(const struct config *config, bool unix_too)
{
    int status = EXIT_STATUS_OK;
    for (size_t i = 0; i < config->n_listeners; i++) {
        struct error error;
        if (!unix_too && listener_path(&config->listeners[i]) != NULL)
            continue;
        switch (listener_check(&config->listeners[i], &error)) {
        case LISTENER_OK: break;
        case LISTENER_BUSY: log_info("%s", error.text); break;
        case LISTENER_FAILED:
            log_error("%s", error.text);
            status = EXIT_STATUS_CONFIG;
            break;
        }
    }
    return status;
}

static int check_private_redis(const struct config *config)
{
    struct error error;
    if (config->redis.kind != CONFIG_REDIS_PRIVATE || private_redis_prepare(config, false, &error) == 0)
        return EXIT_STATUS_OK;
    log_error("%s", error.text);
    return EXIT_STATUS_CONFIG;
}

static int check_keyring_and_redis(const struct master_options *options, const struct config *config)
{
    struct stat file;
    if (options->state_directory != NULL && stat(config->keyring, &file) != 0 && errno == ENOENT) {
        log_info("the keyring %s is made on the first start", config->keyring);
        return EXIT_STATUS_OK;
    }
    bool redis = true;
    if (config->redis.kind == CONFIG_REDIS_PRIVATE && !private_redis_listens(config->redis.path)) {
        log_info("the private Redis in %s is not running, so it is not asked", config->redis.directory);
        redis = false;
    }
    return check_as_worker(config, redis);
}

static int check_all(const struct master_options *options, const struct config *config)
{
    struct stat folder;
    const bool first_start =
        options->state_directory != NULL && stat(options->state_directory, &folder) != 0 && errno == ENOENT;
    if (first_start)
        log_info("the folder %s is made on the first start", options->state_directory);
    const int redis_folder = check_private_redis(config);
    const int listeners = check_listeners(config, !first_start);
    const int hooks = check_as_reporter(config);
    const int worker = check_keyring_and_redis(options, config);
    const int statuses[] = {redis_folder, listeners, hooks, worker};
    int status = EXIT_STATUS_OK;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses && status == EXIT_STATUS_OK; i++)
        status = statuses[i];
    return status;
}

int master_check(const struct master_options *options)
{
    struct error error;
    log_name_process("check");
    child_prepare();
    struct config *config = check_config(options, true, &error);
    if (config == NULL) {
        log_error("%s", error.text);
        return EXIT_STATUS_CONFIG;
    }
    const int status = check_all(options, config);
    if (status == EXIT_STATUS_OK)
        puts("configuration ok");
    config_free(&config);
    return status;
}
