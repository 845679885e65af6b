/* SPDX-License-Identifier: MIT */
/* `tokenkeep bench`: its parts in their order, and what they share. */
#include "cli/bench.h"

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench_cpu.h"
#include "cli/bench_load.h"
#include "cli/bench_phase.h"
#include "cli/bench_report.h"
#include "cli/bench_request.h"
#include "cli/bench_tokens.h"
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    STORE_CONNECTIONS = 4, /* that tokens are stored and deleted on */
    STORE_PIPELINE = 64,
    TOKEN_LIFETIME =
        3600, /* seconds beyond the longest that is known: nothing stays for ever when the bench is killed */
};

struct bench {
    struct bench_options options;
    struct session_target target, store_target;
    int64_t timeout;
    struct bench_tokens tokens;
    struct bench_requests requests;
    struct bench_watch watch;
    struct bench_connection *connections;
    int *idle;
    size_t n_idle;
    struct bench_load *loads; /* one a thread */
    struct bench_tally *tallies;
    size_t stored; /* of the table of tokens, from its start, at most */
    struct bench_result *result;
};

/* HOST:PORT, or a path, with or without "unix:" before it. */
static struct session_target target_parse(const char *text)
{
    if (strncmp(text, "unix:", 5) == 0)
        return (struct session_target){.socket = text + 5};
    if (strchr(text, '/') != NULL || strchr(text, ':') == NULL)
        return (struct session_target){.socket = text};
    return (struct session_target){.server = text};
}

/* Each connection needs one, and the limit that programs start with is low. */
static void descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int bench_prepare(struct bench *bench, struct failure *failure)
{
    struct bench_options *options = &bench->options;
    struct error error;
    if (sodium_init() < 0)
        return failure_set(failure, "internal", "libsodium cannot start");
    if (!options->seeded)
        options->seed = randombytes_random();
    double planned = options->rate > 0 ? (double)options->requests / options->rate : 0;
    int64_t expires = clock_wall() + TOKEN_LIFETIME + (int64_t)(options->seconds + options->warm_up_seconds + planned);
    if (bench_tokens_make(&bench->tokens, options, &error) != 0 ||
        bench_requests_make(&bench->requests, options->protocol, options->value_size, options->users, expires,
                            &error) != 0)
        return failure_set(failure, "usage", "%s", error.text);
    if (bench_cpu_read(&bench->result->cpu, options->pids, options->n_pids, &error) != 0)
        return failure_set(failure, "usage", "%s", error.text);
    descriptors_raise();
    bench->connections = memory_zeroed(options->connections * sizeof *bench->connections);
    bench->idle = memory_zeroed((options->idle + 1) * sizeof *bench->idle);
    bench->loads = memory_zeroed(options->threads * sizeof *bench->loads);
    bench->tallies = memory_zeroed(options->threads * sizeof *bench->tallies);
    for (uint32_t i = 0; i < options->connections; i++)
        bench->connections[i].fd = -1;
    return 0;
}

static int bench_connect(struct bench *bench, struct failure *failure)
{
    const struct bench_options *options = &bench->options;
    for (uint32_t i = 0; i < options->connections; i++)
        if (bench_connection_open(&bench->connections[i], &bench->target, clock_boot() + bench->timeout,
                                  options->pipeline, bench->requests.size_max, failure) != 0)
            return -1;
    for (; bench->n_idle < options->idle; bench->n_idle++) {
        bench->idle[bench->n_idle] = dial(&bench->target, clock_boot() + bench->timeout, failure);
        if (bench->idle[bench->n_idle] < 0)
            return -1;
    }
    return 0;
}

static void bench_close(struct bench *bench)
{
    for (uint32_t i = 0; bench->connections != NULL && i < bench->options.connections; i++)
        bench_connection_close(&bench->connections[i]);
    for (size_t i = 0; i < bench->n_idle; i++)
        close(bench->idle[i]);
    free(bench->connections);
    free(bench->idle);
    free(bench->loads);
    free(bench->tallies);
    bench_requests_free(&bench->requests);
    bench_tokens_free(&bench->tokens);
    bench_watch_close(&bench->watch);
    free(bench->result);
}

static void load_init(const struct bench *bench, struct bench_load *load, struct bench_tally *tally)
{
    *load = (struct bench_load){
        .protocol = bench->options.protocol,
        .value_size = bench->options.value_size,
        .requests = &bench->requests,
        .timeout = bench->timeout,
        .tally = tally,
    };
    memset(tally, 0, sizeof *tally);
}

/* Why a part did not do all that it had to: the load's own failure, or that some answers were errors. */
static int part_fail(const struct bench_load *load, const char *what, struct failure *failure)
{
    const struct bench_tally *tally = load->tally;
    if (load->failure.code != NULL)
        return failure_set(failure, load->failure.code, "cannot %s tokens: %s", what, load->failure.error.text);
    for (enum bench_error error = 0; error < BENCH_ERRORS; error++)
        if (tally->errors[error] > 0)
            return failure_set(failure, error == BENCH_ERROR_DENIED ? "denied" : "protocol",
                               "cannot %s tokens: the server answered %" PRIu64 " requests with: %s%s", what,
                               tally->errors[error], bench_error_name(error),
                               error == BENCH_ERROR_DENIED ? "; name a listener of role manage with --store-to" : "");
    return 0;
}

/* Stores, or deletes, the first `n` tokens of the table. Returns 0, or -1 with `failure`; an interruption is none. */
static int tokens_change(struct bench *bench, enum bench_kind kind, size_t n, struct failure *failure)
{
    struct bench_connection connections[STORE_CONNECTIONS] = {{.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1}};
    struct bench_load *load = memory_zeroed(sizeof *load);
    struct bench_tally *tally = memory_zeroed(sizeof *tally);
    const char *what = kind == BENCH_STORE ? "store" : "delete";
    load_init(bench, load, tally);
    int bad = 0;
    for (size_t i = 0; i < STORE_CONNECTIONS && bad == 0; i++)
        bad = bench_connection_open(&connections[i], &bench->store_target, clock_boot() + bench->timeout,
                                    STORE_PIPELINE, bench->requests.size_max, failure);
    if (bad == 0) {
        load->connections = connections;
        load->n_connections = STORE_CONNECTIONS;
        bench_course_order(&load->course, &bench->tokens, kind, n, n, 0, 1);
        bench_phase_run(&bench->watch, load, 1, kind == BENCH_STORE ? "storing tokens" : "deleting tokens");
        bench->stored = tally->answered == bench_tally_errors(tally) ? 0 : n - load->course.left;
        bad = part_fail(load, what, failure);
    }
    for (size_t i = 0; i < STORE_CONNECTIONS; i++)
        bench_connection_close(&connections[i]);
    free(load);
    free(tally);
    return bad;
}

/* The loads of all threads, with their shares of the connections. */
static void loads_init(struct bench *bench)
{
    const struct bench_options *options = &bench->options;
    size_t first = 0;
    for (uint32_t thread = 0; thread < options->threads; thread++) {
        struct bench_load *load = &bench->loads[thread];
        load_init(bench, load, &bench->tallies[thread]);
        load->connections = bench->connections + first;
        load->n_connections =
            options->connections / options->threads + (thread < options->connections % options->threads ? 1 : 0);
        first += load->n_connections;
    }
}

/* Adds what the threads have counted; with `measured`, answers and latencies too. Their failures are told at once: what
 * was measured until then is reported all the same. */
static void loads_merge(struct bench *bench, bool measured)
{
    for (uint32_t thread = 0; thread < bench->options.threads; thread++) {
        const struct bench_load *load = &bench->loads[thread];
        bench_tally_merge(&bench->result->tally, load->tally, measured);
        if (load->failure.code != NULL)
            fprintf(stderr, "tokenkeep: bench: %s\n", load->failure.error.text);
    }
}

/* Returns 0, or -1 with `failure` when not all of it was done: answers that are still to come would be taken for those
 * to what is measured. */
static int warm_up(struct bench *bench, struct failure *failure)
{
    const struct bench_options *options = &bench->options;
    if (options->warm_up == 0 && options->warm_up_seconds <= 0)
        return 0;
    loads_init(bench);
    for (uint32_t thread = 0; thread < options->threads; thread++) {
        struct bench_load *load = &bench->loads[thread];
        uint64_t share = options->warm_up / options->threads + (thread < options->warm_up % options->threads ? 1 : 0);
        load->duration = clock_from_seconds(options->warm_up_seconds);
        bench_course_order(&load->course, &bench->tokens, BENCH_HIT, bench->tokens.hits,
                           load->duration > 0 ? UINT64_MAX : share, thread, options->threads);
    }
    bench_phase_run(&bench->watch, bench->loads, options->threads, "warming up");
    for (uint32_t thread = 0; thread < options->threads; thread++) {
        const struct failure *why = &bench->loads[thread].failure;
        if (why->code != NULL)
            return failure_set(failure, why->code, "cannot warm up: %s", why->error.text);
    }
    loads_merge(bench, false);
    return 0;
}

static int64_t own_cpu(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * CLOCK_SECOND + used.tv_nsec;
}

/* An idle connection has nothing to read, unless the server has closed it, or says that it is full. */
static void idle_check(struct bench *bench)
{
    char byte;
    for (size_t i = 0; i < bench->n_idle; i++)
        if (recv(bench->idle[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
            bench->result->tally.errors[BENCH_ERROR_IDLE]++;
}

static int measure(struct bench *bench, struct failure *failure)
{
    const struct bench_options *options = &bench->options;
    struct bench_result *result = bench->result;
    struct bench_cpu *before = memory_zeroed(sizeof *before);
    struct error error;
    loads_init(bench);
    for (uint32_t thread = 0; thread < options->threads; thread++) {
        struct bench_load *load = &bench->loads[thread];
        load->duration = clock_from_seconds(options->seconds);
        load->interval = options->rate > 0 ? 1e9 / options->rate * options->threads : 0;
        load->offset = load->interval / options->threads * thread;
        bench_course_mix(&load->course, &bench->tokens, options, thread);
    }
    int bad = bench_cpu_read(before, options->pids, options->n_pids, &error);
    int64_t used = own_cpu();
    if (bad == 0)
        bench_phase_run(&bench->watch, bench->loads, options->threads, "measuring");
    result->own_cpu = own_cpu() - used;
    if (bad == 0)
        bad = bench_cpu_read(&result->cpu, options->pids, options->n_pids, &error);
    bench_cpu_subtract(&result->cpu, before);
    free(before);
    if (bad != 0)
        return failure_set(failure, "internal", "%s", error.text);
    loads_merge(bench, true);
    idle_check(bench);
    int64_t started = INT64_MAX, ended = 0;
    for (uint32_t thread = 0; thread < options->threads; thread++) {
        const struct bench_load *load = &bench->loads[thread];
        if (load->started == 0) /* there was no thread for it */
            continue;
        started = load->started < started ? load->started : started;
        ended = load->ended > ended ? load->ended : ended;
    }
    result->seconds = (double)(ended - started) / (double)CLOCK_SECOND;
    result->interrupted = bench->watch.interrupted;
    return 0;
}

/* Stores what is needed, asks it once, measures. */
static int bench_measure(struct bench *bench, struct failure *failure)
{
    if (tokens_change(bench, BENCH_STORE, bench->tokens.hits + bench->tokens.reserve, failure) != 0)
        return -1;
    if (!bench->watch.interrupted && warm_up(bench, failure) != 0)
        return -1;
    if (bench->watch.interrupted)
        return failure_set(failure, "internal", "interrupted before anything was measured");
    bench->stored += bench->tokens.stores;
    return measure(bench, failure);
}

/* Deletes what was stored. Returns 0, or -1 when some of it is left. */
static int bench_clean(struct bench *bench)
{
    struct failure failure;
    if (bench->stored == 0 || bench->options.keep)
        return 0;
    bench->watch.interrupted = bench->watch.abandoned;
    if (!bench->watch.abandoned && tokens_change(bench, BENCH_DELETE, bench->stored, &failure) != 0)
        fprintf(stderr, "tokenkeep: bench: %s\n", failure.error.text);
    else if (!bench->watch.interrupted)
        return 0;
    fputs("tokenkeep: bench: tokens are left behind; they expire within an hour or so\n", stderr);
    return -1;
}

enum bench_outcome bench_run(const struct bench_options *options, const struct session_target *target, int64_t timeout,
                             bool json, struct failure *failure)
{
    struct bench bench = {
        .options = *options,
        .target = *target,
        .store_target = options->store_to == NULL ? *target : target_parse(options->store_to),
        .timeout = timeout,
        .watch = {.signals = -1, .done = -1, .stop.fd = -1},
        .result = memory_zeroed(sizeof *bench.result),
    };
    enum bench_outcome outcome = BENCH_FAILED;
    bench.result->server = target->server != NULL ? target->server : target->socket;
    if (bench_prepare(&bench, failure) == 0 && bench_connect(&bench, failure) == 0 &&
        bench_watch_open(&bench.watch, failure) == 0) {
        bool measured = bench_measure(&bench, failure) == 0;
        bool left = bench_clean(&bench) != 0;
        if (measured && bench_report(&bench.options, bench.result, json) == 0)
            outcome = bench_tally_errors(&bench.result->tally) > 0 || left ? BENCH_ERRORS_FOUND : BENCH_RIGHT;
        else if (measured)
            failure_set(failure, "internal", "out of memory");
    }
    bench_close(&bench);
    return outcome;
}
