/* SPDX-License-Identifier: MIT */
/* A redis-server of our own. The lock on the folder is an open file that the server inherits: it lasts until the server
 * is gone, whoever dies first. */
#include "master/private_redis.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/privileges.h"
#include "base/signals.h"
#include "master/child.h"
#include "master/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct private_redis {
    char *directory;
    char *socket_path;
    char *user;         /* NULL: ours */
    int lock;           /* close-on-exec, but for the server's copy */
    pid_t pid;          /* 0: not running */
    int64_t started;    /* clock_boot() */
    int64_t restart_at; /* when pid is 0 */
    int64_t delay;      /* of the last restart */
};

static const int64_t nap = CLOCK_SECOND / 20;

static void sleep_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
}

/* ---- before the start ---- */

static bool is_program(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 && S_ISREG(file.st_mode) && access(path, X_OK) == 0;
}

static bool program_find(char program[PATH_MAX])
{
    const char *path = getenv("PATH");
    if (path == NULL)
        path = "/usr/local/bin:/usr/bin:/bin";
    while (*path != '\0') {
        const size_t n = strcspn(path, ":");
        const int length = snprintf(program, PATH_MAX, "%.*s/redis-server", (int)n, path);
        if (n > 0 && length < PATH_MAX && is_program(program))
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

int private_redis_prepare(const struct config *config, bool make, struct error *error)
{
    char program[PATH_MAX];
    if (!program_find(program))
        return error_set(error,
                         "redis-server is not in PATH; on Debian, install it with: apt-get install redis-server");
    if (strlen(config->redis.path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return error_set(error, "the path %s is too long for a socket", config->redis.path);
    return state_directory_ready(config->redis.directory, config->user, make, error);
}

/* The user's folder is not ours: no link in it is followed. Returns the descriptor or -1. */
static int lock_take(const char *directory, int64_t patience, struct error *error)
{
    char path[PATH_MAX];
    const int64_t deadline = clock_boot() + patience;
    if (snprintf(path, sizeof path, "%s/lock", directory) >= (int)sizeof path)
        return error_set(error, "the path %s is too long", directory);
    const int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, "cannot open %s: %s", path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK && clock_boot() < deadline) {
            sleep_briefly();
            continue;
        }
        if (errno == EWOULDBLOCK)
            error_set(error, "the folder %s is in use by another tokenkeepd (or its redis-server is still stopping)",
                      directory);
        else
            error_set(error, "cannot lock %s: %s", path, strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

struct private_redis *private_redis_new(const struct config *config, int64_t patience, struct error *error)
{
    struct private_redis *redis = calloc(1, sizeof *redis);
    if (redis == NULL) {
        error_set(error, "no memory");
        return NULL;
    }
    redis->lock = -1;
    redis->directory = strdup(config->redis.directory);
    redis->socket_path = strdup(config->redis.path);
    redis->user = config->user != NULL ? strdup(config->user) : NULL;
    if (redis->directory == NULL || redis->socket_path == NULL || (config->user != NULL && redis->user == NULL))
        error_set(error, "no memory");
    else
        redis->lock = lock_take(redis->directory, patience, error);
    if (redis->lock < 0)
        private_redis_free(&redis);
    return redis;
}

void private_redis_free(struct private_redis **redis)
{
    if (*redis == NULL)
        return;
    if ((*redis)->lock >= 0)
        close((*redis)->lock);
    free((*redis)->directory);
    free((*redis)->socket_path);
    free((*redis)->user);
    free(*redis);
    *redis = NULL;
}

bool private_redis_same(const struct private_redis *redis, const struct config *config)
{
    const bool same_user = redis->user == NULL || config->user == NULL ? redis->user == config->user
                                                                       : strcmp(redis->user, config->user) == 0;
    return config->redis.kind == CONFIG_REDIS_PRIVATE && same_user &&
           strcmp(redis->directory, config->redis.directory) == 0;
}

/* ---- the server ---- */

/* Appends NAME "VALUE"; quotes, backslashes and control characters are escaped as redis.conf wants them. */
static void setting_write(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s \"", name);
    for (; *value != '\0'; value++)
        if (*value == '"' || *value == '\\' || (unsigned char)*value < 0x20)
            fprintf(out, "\\x%02x", (unsigned char)*value);
        else
            fputc(*value, out);
    fputs("\"\n", out);
}

static void settings_write(const struct private_redis *redis, FILE *out)
{
    char log_file[PATH_MAX];
    snprintf(log_file, sizeof log_file, "%s/redis.log", redis->directory);
    fputs("port 0\nunixsocketperm 600\nappendonly yes\nappendfsync always\nsave \"\"\ndaemonize no\nsupervised no\n"
          "loglevel notice\nlazyfree-lazy-expire yes\n",
          out);
    setting_write(out, "dir", redis->directory);
    setting_write(out, "unixsocket", redis->socket_path);
    setting_write(out, "logfile", log_file);
}

/* In a pipe, which holds far more than the settings. Returns the end to read from, or -1 with errno set. */
static int settings_pipe(const struct private_redis *redis)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    FILE *out = fdopen(ends[1], "w");
    if (out == NULL) {
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    settings_write(redis, out);
    if (fclose(out) == 0)
        return ends[0];
    close(ends[0]);
    return -1;
}

/* Becomes the server: its settings as standard input, the lock as the only other descriptor. It has its own session:
 * the terminal's ^C is for the master, which ends the server last. */
static void server_run(const struct private_redis *redis, const char *program, int settings) __attribute__((noreturn));
static void server_run(const struct private_redis *redis, const char *program, int settings)
{
    struct error error;
    int lock = redis->lock;
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_name_process("redis");
    if (null < 0 || dup2(settings, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || fcntl(lock, F_SETFD, 0) != 0) {
        log_error("cannot prepare redis-server: %s", strerror(errno));
        _exit(1);
    }
    child_keep_descriptors((int[]){lock, log_descriptor()}, 2);
    setsid();
    umask(077);
    if (privileges_drop(redis->user, &error) != 0) {
        log_error("cannot prepare redis-server: %s", error.text);
        _exit(1);
    }
    signals_hear();
    execl(program, "redis-server", "-", (char *)NULL);
    log_error("cannot run %s: %s", program, strerror(errno));
    _exit(1);
}

static int server_fork(struct private_redis *redis)
{
    char program[PATH_MAX];
    if (!program_find(program)) {
        errno = ENOENT;
        return -1;
    }
    const int settings = settings_pipe(redis);
    if (settings < 0)
        return -1;
    const pid_t pid = child_fork();
    if (pid == 0)
        server_run(redis, program, settings);
    const int saved = errno;
    close(settings);
    errno = saved;
    redis->pid = pid > 0 ? pid : 0;
    return pid > 0 ? 0 : -1;
}

static void server_start(struct private_redis *redis)
{
    redis->started = clock_boot();
    redis->restart_at = INT64_MAX;
    if (server_fork(redis) == 0) {
        log_info("started redis-server (pid %d) in %s", (int)redis->pid, redis->directory);
        return;
    }
    redis->delay = child_restart_delay(redis->delay, 0);
    redis->restart_at = clock_boot() + redis->delay;
    log_error("cannot start redis-server: %s; next attempt in %.1f s", strerror(errno),
              (double)redis->delay / (double)CLOCK_SECOND);
}

bool private_redis_listens(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    const bool listens = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return listens;
}

void private_redis_start(struct private_redis *redis)
{
    const int64_t deadline = clock_boot() + 2 * CLOCK_SECOND;
    siginfo_t ended = {.si_pid = 0};
    server_start(redis);
    if (redis->pid == 0)
        return;
    /* The dead stay for the master's own reaping. */
    while (clock_boot() < deadline && !private_redis_listens(redis->socket_path) &&
           waitid(P_PID, (id_t)redis->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0)
        sleep_briefly();
}

bool private_redis_ended(struct private_redis *redis, pid_t pid, int status)
{
    char text[CHILD_TEXT_SIZE];
    if (redis == NULL || redis->pid != pid)
        return false;
    const int64_t now = clock_boot(), lived = now - redis->started;
    redis->pid = 0;
    redis->delay = child_restart_delay(redis->delay, lived);
    redis->restart_at = now + redis->delay;
    log_error("redis-server (pid %d) %s after %.1f s, starts again in %.1f s; see %s/redis.log", (int)pid,
              child_describe_end(status, text), (double)lived / (double)CLOCK_SECOND,
              (double)redis->delay / (double)CLOCK_SECOND, redis->directory);
    return true;
}

int64_t private_redis_turn(struct private_redis *redis, int64_t now)
{
    if (redis == NULL || redis->pid != 0)
        return INT64_MAX;
    if (redis->restart_at <= now)
        server_start(redis);
    return redis->restart_at;
}

void private_redis_stop(struct private_redis *redis, int64_t patience)
{
    int status;
    if (redis == NULL || redis->pid == 0)
        return;
    kill(redis->pid, SIGTERM);
    if (!child_wait(redis->pid, patience, &status)) {
        log_error("redis-server (pid %d) did not end in %.0f s and is killed", (int)redis->pid,
                  (double)patience / (double)CLOCK_SECOND);
        kill(redis->pid, SIGKILL);
        waitpid(redis->pid, &status, 0);
    }
    redis->pid = 0;
    redis->restart_at = INT64_MAX;
}
