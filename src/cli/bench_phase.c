/* SPDX-License-Identifier: MIT */
/* One part of a bench. */
#include "cli/bench_phase.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cli/output.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { PROGRESS_INTERVAL = 200 }; /* milliseconds */

int bench_watch_open(struct bench_watch *watch, struct failure *failure)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    *watch = (struct bench_watch){.signals = -1};
    watch->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch->stop.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0)
        watch->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (watch->signals >= 0 && watch->done >= 0 && watch->stop.fd >= 0)
        return 0;
    return failure_set(failure, "internal", "cannot wait for signals: %s", strerror(errno));
}

void bench_watch_close(struct bench_watch *watch)
{
    const int fds[] = {watch->signals, watch->done, watch->stop.fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    watch->signals = watch->done = watch->stop.fd = -1;
}

/* Whether there was a signal; it has been taken then. */
static bool signal_take(const struct bench_watch *watch)
{
    struct signalfd_siginfo info;
    return read(watch->signals, &info, sizeof info) == (ssize_t)sizeof info;
}

static void stop_ask(struct bench_watch *watch)
{
    const uint64_t one = 1;
    watch->interrupted = true;
    watch->abandoned = atomic_fetch_add(&watch->stop.asked, 1) > 0;
    if (write(watch->stop.fd, &one, sizeof one) < 0)
        abort(); /* nobody signals so often */
}

static uint64_t event_take(int fd)
{
    uint64_t n;
    return read(fd, &n, sizeof n) == (ssize_t)sizeof n ? n : 0;
}

/* How much of a hundred is done: of the requests, or of the time. */
static double percent_done(const struct bench_load *loads, uint64_t wanted, uint64_t answered, double seconds)
{
    double share = loads[0].duration > 0 ? seconds * CLOCK_SECOND / (double)loads[0].duration
                                         : (double)answered / (double)(wanted > 0 ? wanted : 1);
    return share < 1 ? share * 100 : 100;
}

static void progress_show(const struct bench_load *loads, size_t n, uint64_t wanted, const char *title, int64_t started)
{
    char text[160];
    uint64_t answered = 0;
    for (size_t i = 0; i < n; i++)
        answered += atomic_load_explicit(&loads[i].answered, memory_order_relaxed);
    double seconds = (double)(clock_boot() - started) / (double)CLOCK_SECOND;
    double percent = percent_done(loads, wanted, answered, seconds);
    double left = percent > 0 ? seconds * (100 - percent) / percent : 0;
    snprintf(text, sizeof text, "%s: %.0f %%, %.0f/s, %.0f s left", title, percent, (double)answered / seconds, left);
    output_progress_text(text);
}

static void loads_wait(struct bench_watch *watch, const struct bench_load *loads, size_t n, uint64_t wanted,
                       const char *title)
{
    struct pollfd polled[] = {{.fd = watch->done, .events = POLLIN}, {.fd = watch->signals, .events = POLLIN}};
    const int64_t started = clock_boot();
    const int interval = isatty(STDERR_FILENO) ? PROGRESS_INTERVAL : -1;
    for (uint64_t done = 0; done < n; done += event_take(watch->done)) {
        if (poll(polled, 2, interval) == 0)
            progress_show(loads, n, wanted, title, started);
        if (signal_take(watch))
            stop_ask(watch);
    }
}

void bench_phase_run(struct bench_watch *watch, struct bench_load *loads, size_t n, const char *title)
{
    pthread_t *threads = memory_zeroed(n * sizeof *threads);
    uint64_t wanted = 0;
    size_t n_threads = 0;
    atomic_store(&watch->stop.asked, 0);
    event_take(watch->stop.fd);
    for (size_t i = 0; i < n; i++) {
        wanted += loads[i].course.left;
        loads[i].stop = &watch->stop;
        loads[i].done_fd = watch->done;
    }
    for (; n_threads < n; n_threads++)
        if (pthread_create(&threads[n_threads], NULL, bench_load_run, &loads[n_threads]) != 0)
            break;
    if (n_threads < n) {
        failure_set(&loads[n_threads].failure, "internal", "cannot start a thread");
        stop_ask(watch);
    }
    loads_wait(watch, loads, n_threads, wanted, title);
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    output_progress_clear();
}
