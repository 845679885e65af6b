/* SPDX-License-Identifier: MIT */
/* The private Redis, with a real redis-server: its settings, one owner a folder, and what happens when either side
 * dies. */
#include "master/private_redis.h"

#include "base/clock.h"
#include "master/child.h"

#include <dirent.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[80], socket_path[96];
static struct config config;

static void remove_folder(const char *path)
{
    char entry_path[PATH_MAX];
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(entry_path, sizeof entry_path, "%s/%s", path, entry->d_name);
        if (unlink(entry_path) != 0)
            remove_folder(entry_path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

/* The folder's name has what a shell or a settings file could stumble over. */
static int set_up(void **state)
{
    (void)state;
    struct error error;
    snprintf(folder, sizeof folder, "/tmp/tokenkeep \"test\\ XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/redis.sock", folder);
    config = (struct config){.redis = {.kind = CONFIG_REDIS_PRIVATE, .directory = folder, .path = socket_path}};
    return private_redis_prepare(&config, true, &error);
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

static redisReply *ask(const char *command)
{
    redisContext *context = redisConnectUnix(socket_path);
    redisReply *reply = context != NULL && context->err == 0 ? redisCommand(context, command) : NULL;
    redisFree(context);
    return reply;
}

static void assert_setting(const char *name, const char *value)
{
    char command[64];
    snprintf(command, sizeof command, "CONFIG GET %s", name);
    redisReply *reply = ask(command);
    assert_non_null(reply);
    assert_int_equal(reply->elements, 2);
    assert_string_equal(reply->element[1]->str, value);
    freeReplyObject(reply);
}

static pid_t server_pid(void)
{
    long pid = 0;
    redisReply *reply = ask("INFO server");
    assert_non_null(reply);
    const char *line = strstr(reply->str, "process_id:");
    assert_non_null(line);
    pid = atol(line + strlen("process_id:"));
    freeReplyObject(reply);
    return (pid_t)pid;
}

static void runs_as_configured(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"port", "0"}, {"appendonly", "yes"},     {"appendfsync", "always"},
        {"save", ""},  {"unixsocketperm", "600"}, {"dir", folder},
    };
    struct error error;
    struct stat file;
    struct private_redis *redis = private_redis_new(&config, 0, &error);
    assert_non_null(redis);
    assert_false(private_redis_listens(socket_path));
    private_redis_start(redis);
    assert_true(private_redis_listens(socket_path));
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        assert_setting(settings[i][0], settings[i][1]);
    assert_int_equal(lstat(socket_path, &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    private_redis_stop(redis, 30 * CLOCK_SECOND);
    assert_false(private_redis_listens(socket_path));
    private_redis_free(&redis);
    assert_null(redis);
}

static void starts_again_after_a_crash(void **state)
{
    (void)state;
    struct error error;
    int status;
    struct private_redis *redis = private_redis_new(&config, 0, &error);
    assert_non_null(redis);
    private_redis_start(redis);
    freeReplyObject(ask("SET a b"));
    assert_int_equal(private_redis_turn(redis, clock_boot()), INT64_MAX);
    const pid_t pid = server_pid();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(private_redis_ended(redis, pid + 1, status));
    assert_true(private_redis_ended(redis, pid, status));
    const int64_t due = private_redis_turn(redis, 0);
    assert_true(due - clock_boot() <= CLOCK_SECOND / 10);
    assert_int_equal(private_redis_turn(redis, due), INT64_MAX);
    for (int i = 0; i < 600 && !private_redis_listens(socket_path); i++)
        usleep(50 * 1000);
    assert_int_not_equal(server_pid(), pid);
    redisReply *reply = ask("GET a");
    assert_non_null(reply);
    assert_string_equal(reply->str, "b");
    freeReplyObject(reply);
    private_redis_stop(redis, 30 * CLOCK_SECOND);
    private_redis_free(&redis);
}

static void has_one_owner(void **state)
{
    (void)state;
    struct error error;
    struct private_redis *redis = private_redis_new(&config, 0, &error);
    assert_non_null(redis);
    assert_null(private_redis_new(&config, CLOCK_SECOND / 5, &error));
    assert_non_null(strstr(error.text, "in use"));
    assert_non_null(strstr(error.text, folder));
    private_redis_free(&redis);
    redis = private_redis_new(&config, 0, &error);
    assert_non_null(redis);
    private_redis_free(&redis);
}

static void master_that_is_killed(void) __attribute__((noreturn));
static void master_that_is_killed(void)
{
    struct error error;
    struct private_redis *redis = private_redis_new(&config, 0, &error);
    if (redis != NULL)
        private_redis_start(redis);
    raise(SIGSTOP);
    _exit(1);
}

/* The lock outlives a killed master for as long as its server lives, and the server does not live long. */
static void outlives_a_killed_master(void **state)
{
    (void)state;
    struct error error;
    int status;
    const pid_t master = fork();
    if (master == 0)
        master_that_is_killed();
    assert_int_equal(waitpid(master, &status, WUNTRACED), master);
    assert_true(WIFSTOPPED(status));
    const pid_t server = server_pid();
    assert_int_equal(kill(server, SIGSTOP), 0);
    assert_int_equal(kill(master, SIGKILL), 0);
    assert_int_equal(waitpid(master, &status, 0), master);
    struct private_redis *redis = private_redis_new(&config, CLOCK_SECOND / 2, &error);
    assert_int_equal(kill(server, SIGCONT), 0);
    assert_null(redis);
    redis = private_redis_new(&config, 30 * CLOCK_SECOND, &error);
    assert_non_null(redis);
    assert_false(private_redis_listens(socket_path));
    private_redis_start(redis);
    assert_true(private_redis_listens(socket_path));
    private_redis_stop(redis, 30 * CLOCK_SECOND);
    private_redis_free(&redis);
}

static void knows_what_a_reload_may_change(void **state)
{
    (void)state;
    struct error error;
    struct private_redis *redis = private_redis_new(&config, 0, &error);
    struct config other = config;
    char elsewhere[] = "/elsewhere", user[] = "somebody";
    assert_true(private_redis_same(redis, &other));
    other.user = user;
    assert_false(private_redis_same(redis, &other));
    other = config;
    other.redis.directory = elsewhere;
    assert_false(private_redis_same(redis, &other));
    other = config;
    other.redis.kind = CONFIG_REDIS_UNIX;
    assert_false(private_redis_same(redis, &other));
    private_redis_free(&redis);
}

static void says_what_is_missing(void **state)
{
    (void)state;
    struct error error;
    char saved[4096];
    snprintf(saved, sizeof saved, "%s", getenv("PATH"));
    setenv("PATH", folder, 1);
    assert_int_equal(private_redis_prepare(&config, true, &error), -1);
    setenv("PATH", saved, 1);
    assert_non_null(strstr(error.text, "apt-get install redis-server"));
}

int main(void)
{
    if (system("command -v redis-server >/dev/null") != 0)
        return 77;
    child_prepare();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_as_configured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(starts_again_after_a_crash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(has_one_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outlives_a_killed_master, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knows_what_a_reload_may_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_what_is_missing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
