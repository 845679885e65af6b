/* SPDX-License-Identifier: MIT */
/* What tests of hooks share: a folder with hooks in it, and a log in a file, where what hooks print is read. */
#ifndef TK_TESTS_HOOK_FILES_H
#define TK_TESTS_HOOK_FILES_H

#include "reporter/hooks.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/script.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/tk-hooks-XXXXXX";
static char own_folder[64], installed_folder[64], log_path[64];
static int saved_stderr;
static struct config config;
static char paths[CONFIG_HOOKS_MAX][96];
static struct shared_slot slot;
static struct event_base *base;
static struct hooks *hooks;

static inline void path_of(char *path, size_t size, const char *name)
{
    assert_in_range(snprintf(path, size, "%s/%s", folder, name), 1, size - 1);
}

static inline void write_bytes(const char *name, const char *bytes, size_t size)
{
    char path[PATH_MAX];
    path_of(path, sizeof path, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

/* Adds a hook of this text to the configuration, as own/NAME. */
static inline void add_hook(const char *name, const char *text)
{
    char file[64];
    snprintf(file, sizeof file, "own/%s", name);
    write_text(file, text);
    path_of(paths[config.n_hooks], sizeof paths[0], file);
    config.hooks[config.n_hooks] =
        (struct config_script){.name = paths[config.n_hooks], .path = paths[config.n_hooks], .line = 7};
    config.n_hooks++;
}

static inline void begin(void)
{
    hooks = hooks_new(&(struct hooks_settings){.base = base, .config = &config, .slot = &slot, .webhook = "secret"});
}

static inline void turn(double seconds)
{
    const struct timeval time = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    event_base_loopexit(base, &time);
    event_base_dispatch(base);
}

static inline const char *log_text(void)
{
    static char text[1 << 20];
    int fd = open(log_path, O_RDONLY);
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static inline unsigned times_said(const char *what)
{
    unsigned n = 0;
    for (const char *at = log_text(); (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

/* Says it on the real standard error. */
#define FAIL(...)                          \
    do {                                   \
        dup2(saved_stderr, STDERR_FILENO); \
        fail_msg(__VA_ARGS__);             \
    } while (0)

#define assert_said(what, n)                                                              \
    do {                                                                                  \
        if (times_said(what) != (n))                                                      \
            FAIL("\"%s\" was said %u times in:\n%s", what, times_said(what), log_text()); \
    } while (0)

static inline int set_up(void **state)
{
    static char config_file[64], application[] = "tokenkeep";
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    path_of(own_folder, sizeof own_folder, "own");
    path_of(installed_folder, sizeof installed_folder, "installed");
    path_of(log_path, sizeof log_path, "log");
    path_of(config_file, sizeof config_file, "tokenkeepd.conf");
    mkdir(own_folder, 0700);
    mkdir(installed_folder, 0700);
    script_installed_folder = installed_folder;
    config = (struct config){.file = config_file, .slack_application = application, .slack_group_interval = 300};
    memset(&slot, 0, sizeof slot);
    base = event_base_new();
    saved_stderr = dup(STDERR_FILENO);
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    log_reopen();
    return 0;
}

static inline int tear_down(void **state)
{
    char command[128];
    (void)state;
    hooks_free(&hooks);
    event_base_free(base);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    log_reopen();
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static inline struct audit_event an_event(void)
{
    return (struct audit_event){.kind = EVENT_TOKEN_GET, .time = INT64_C(1795469866123456), .latency = -1};
}

/* A text of 1,000,000 bytes, without taking time. */
#define MEGABYTE "local m = ('x'):rep(1000):rep(1000) "

/* Hears of all, and says so. */
#define LISTENER_HOOK \
    "return {event = function() print('heard') end, problem = function(p) print(p.kind, p.message, p.error) end}"

#endif
