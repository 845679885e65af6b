/* SPDX-License-Identifier: MIT */
/* What every child process of the master has in common. */
#include "master/child.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void child_signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
}

void child_prepare(void)
{
    sigset_t child_signal;
    child_signal_set(&child_signal);
    sigaddset(&child_signal, SIGUSR2);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigprocmask(SIG_BLOCK, &child_signal, NULL);
}

pid_t child_fork(void)
{
    const pid_t master = getpid();
    fflush(NULL);
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    /* The master may have died before the kernel knew whom to tell. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != master)
        _exit(1);
    const struct sigaction fresh = {.sa_handler = SIG_DFL};
    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &fresh, NULL);
    return 0;
}

static int descriptor_compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

void child_keep_descriptors(int *kept, size_t n)
{
    unsigned first = STDERR_FILENO + 1;
    if (n > 0)
        qsort(kept, n, sizeof *kept, descriptor_compare);
    for (size_t i = 0; i < n; i++) {
        const unsigned fd = (unsigned)kept[i];
        if (fd > first)
            close_range(first, fd - 1, 0);
        if (fd >= first)
            first = fd + 1;
    }
    close_range(first, UINT_MAX, 0);
}

bool child_wait(pid_t pid, int64_t patience, int *status)
{
    const int64_t deadline = clock_boot() + patience;
    sigset_t child_signal;
    child_signal_set(&child_signal);
    while (waitpid(pid, status, WNOHANG) != pid) {
        const int64_t left = deadline - clock_boot();
        if (left <= 0)
            return false;
        /* Not the whole time at once: SIGCHLD does not queue, one may have been taken for this. */
        const int64_t nap = left < CLOCK_SECOND / 10 ? left : CLOCK_SECOND / 10;
        sigtimedwait(&child_signal, NULL, &(struct timespec){.tv_nsec = nap});
    }
    return true;
}

int child_run(const char *name, int (*body)(const void *argument), const void *argument, int64_t patience, int failed)
{
    int status;
    const pid_t pid = child_fork();
    if (pid < 0) {
        log_error("cannot fork the %s: %s", name, strerror(errno));
        return failed;
    }
    if (pid == 0) {
        signals_hear();
        child_keep_descriptors((int[]){log_descriptor()}, 1);
        log_name_process(name);
        exit(body(argument));
    }
    if (!child_wait(pid, patience, &status)) {
        log_error("the %s took longer than %.0f s and was ended", name, (double)patience / (double)CLOCK_SECOND);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return failed;
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    char text[CHILD_TEXT_SIZE];
    log_error("the %s %s", name, child_describe_end(status, text));
    return failed;
}

int64_t child_restart_delay(int64_t previous, int64_t lived)
{
    const int64_t first = CLOCK_SECOND / 10, last = 5 * CLOCK_SECOND;
    if (lived >= CLOCK_SECOND)
        return 0;
    if (previous == 0)
        return first;
    return previous > last / 2 ? last : 2 * previous;
}

const char *child_describe_end(int status, char *text)
{
    if (WIFSIGNALED(status))
        snprintf(text, CHILD_TEXT_SIZE, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, CHILD_TEXT_SIZE, "ended with status %d", WEXITSTATUS(status));
    return text;
}
