/* SPDX-License-Identifier: MIT */
/* The signals of a child process. */
#include "base/signals.h"

#include <signal.h>

void signals_hold(const int *heard, size_t n)
{
    static const int ignored[] = {SIGINT, SIGHUP, SIGUSR1, SIGPIPE};
    static const int defaults[] = {SIGTERM, SIGUSR2, SIGCHLD, SIGALRM};
    sigset_t held;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        signal(defaults[i], SIG_DFL);
    sigemptyset(&held);
    for (size_t i = 0; i < n; i++)
        sigaddset(&held, heard[i]);
    sigprocmask(SIG_SETMASK, &held, NULL);
}

void signals_hear(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
