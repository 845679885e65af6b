/* SPDX-License-Identifier: MIT */
/* Child processes: what they inherit, how they are waited for, and when they start again. */
#include "master/child.h"

#include "base/clock.h"
#include "base/signals.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void restarts_later_and_later(void **state)
{
    (void)state;
    static const int64_t tenths[] = {1, 2, 4, 8, 16, 32, 50, 50};
    int64_t delay = 0;
    for (size_t i = 0; i < sizeof tenths / sizeof *tenths; i++) {
        delay = child_restart_delay(delay, CLOCK_SECOND - 1);
        assert_int_equal(delay, tenths[i] * (CLOCK_SECOND / 10));
    }
    assert_int_equal(child_restart_delay(delay, CLOCK_SECOND), 0);
    assert_int_equal(child_restart_delay(0, 0), CLOCK_SECOND / 10);
}

static int exit_status(const void *argument)
{
    return *(const int *)argument;
}

static int sleep_long(const void *argument)
{
    (void)argument;
    sleep(60);
    return 0;
}

static int die(const void *argument)
{
    (void)argument;
    raise(SIGKILL);
    return 0;
}

static void runs_to_the_end(void **state)
{
    (void)state;
    const int statuses[] = {0, 1, 78};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        assert_int_equal(child_run("test", exit_status, &statuses[i], 30 * CLOCK_SECOND, 99), statuses[i]);
    assert_int_equal(child_run("test", die, NULL, 30 * CLOCK_SECOND, 99), 99);
}

static void does_not_wait_for_ever(void **state)
{
    (void)state;
    const int64_t begun = clock_boot();
    assert_int_equal(child_run("test", sleep_long, NULL, CLOCK_SECOND / 5, 99), 99);
    assert_true(clock_boot() - begun < 30 * CLOCK_SECOND);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static int is_open(const void *argument)
{
    return fcntl(*(const int *)argument, F_GETFD) >= 0;
}

static int blocked_or_changed(const void *argument)
{
    (void)argument;
    sigset_t mask;
    struct sigaction pipe_action;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    sigaction(SIGPIPE, NULL, &pipe_action);
    return sigismember(&mask, SIGCHLD) == 1 || pipe_action.sa_handler != SIG_DFL;
}

static void inherits_nothing(void **state)
{
    (void)state;
    const int fd = dup(STDERR_FILENO), standard = STDERR_FILENO;
    const struct sigaction ignore = {.sa_handler = SIG_IGN}, fresh = {.sa_handler = SIG_DFL};
    assert_true(fd > STDERR_FILENO);
    assert_int_equal(child_run("test", is_open, &fd, 30 * CLOCK_SECOND, 99), 0);
    assert_int_equal(child_run("test", is_open, &standard, 30 * CLOCK_SECOND, 99), 1);
    assert_int_equal(fcntl(fd, F_GETFD) >= 0, 1);
    close(fd);
    sigaction(SIGPIPE, &ignore, NULL);
    assert_int_equal(child_run("test", blocked_or_changed, NULL, 30 * CLOCK_SECOND, 99), 0);
    sigaction(SIGPIPE, &fresh, NULL);
}

struct kept {
    const int *fds;
    size_t n_open;
    size_t n_kept;
};

/* Keeps the first ones given; 0 when exactly these stayed open. */
static int keeps_the_first(const void *argument)
{
    const struct kept *kept = argument;
    int copy[8];
    memcpy(copy, kept->fds, kept->n_kept * sizeof *copy);
    child_keep_descriptors(copy, kept->n_kept);
    for (size_t i = 0; i < kept->n_open; i++)
        if ((fcntl(kept->fds[i], F_GETFD) >= 0) != (i < kept->n_kept))
            return 1;
    return fcntl(STDERR_FILENO, F_GETFD) < 0;
}

static int in_child(int (*body)(const void *), const void *argument)
{
    int status;
    const pid_t pid = child_fork();
    if (pid == 0)
        _exit(body(argument));
    assert_true(pid > 0);
    assert_true(child_wait(pid, 30 * CLOCK_SECOND, &status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void keeps_the_descriptors_asked_for(void **state)
{
    (void)state;
    static const size_t orders[][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}, {1, 0, 3, 2}, {2, 3, 1, 0}};
    int fds[4];
    for (size_t i = 0; i < 4; i++)
        assert_true((fds[i] = dup(STDERR_FILENO)) > STDERR_FILENO);
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        for (size_t n = 0; n <= 4; n++) {
            const int order[] = {fds[orders[i][0]], fds[orders[i][1]], fds[orders[i][2]], fds[orders[i][3]]};
            assert_int_equal(in_child(keeps_the_first, &(struct kept){order, 4, n}), 0);
        }
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
}

static void describes_an_end(void **state)
{
    (void)state;
    char text[CHILD_TEXT_SIZE];
    assert_string_equal(child_describe_end(W_EXITCODE(78, 0), text), "ended with status 78");
    assert_string_equal(child_describe_end(W_EXITCODE(0, SIGKILL), text), "was killed by signal 9 (Killed)");
}

/* The child of a master that is killed gets SIGTERM. */
static int grandchild_outlives(const void *argument)
{
    const int *ends = argument;
    char byte = 0;
    const pid_t pid = child_fork();
    if (pid == 0) {
        signals_hear();
        if (write(ends[1], &byte, 1) == 1)
            sleep(60);
        _exit(0);
    }
    if (read(ends[0], &byte, 1) == 1)
        raise(SIGKILL);
    return 0;
}

static void dies_with_the_master(void **state)
{
    (void)state;
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(in_child(grandchild_outlives, ends), -1);
    close(ends[1]);
    const int64_t begun = clock_boot();
    assert_int_equal(read(ends[0], &byte, 1), 0);
    assert_true(clock_boot() - begun < 30 * CLOCK_SECOND);
    close(ends[0]);
}

int main(void)
{
    child_prepare();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarts_later_and_later),
        cmocka_unit_test(runs_to_the_end),
        cmocka_unit_test(does_not_wait_for_ever),
        cmocka_unit_test(inherits_nothing),
        cmocka_unit_test(keeps_the_descriptors_asked_for),
        cmocka_unit_test(describes_an_end),
        cmocka_unit_test(dies_with_the_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
