/* SPDX-License-Identifier: MIT */
/* The table of children, with a worker and a reporter of the test's own in place of the real ones: who is restarted,
 * killed, replaced, and told what. */
#include "master/children.h"

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/signals.h"
#include "master/child.h"
#include "reporter/reporter.h"
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What the next children do. */
static enum { WELL, DIES, STUCK, STUBBORN, SPINS, CALLS } behaviour;

static const struct listeners listeners = {.n = 0};
static struct config config;
static struct shared *shared;
static struct children *children;
static struct channel *channel;

/* What a child leaves in its slot for the test to see; these values outlast it. */
enum { SAW_TOLD, SAW_REPORTS_FD };

static volatile sig_atomic_t told;

static void on_signal(int signal)
{
    told = signal;
}

static void leave_sign(struct shared_slot *slot, unsigned sign, uint64_t value)
{
    atomic_store(&slot->metrics[sign], value);
}

static uint64_t sign(size_t slot, unsigned sign)
{
    return atomic_load(&shared->slots[slot].metrics[sign]);
}

/* A well one ends when it is told to; a stubborn one never does; a stuck one does not tick; one that spins burns time
 * in one Lua call, one that calls does so in many short ones. All say who they are. */
static int child_behave(struct shared_slot *slot)
{
    signal(SIGTERM, on_signal);
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    signals_hear();
    atomic_store(&slot->redis_client, (uint64_t)getpid());
    if (behaviour == DIES)
        return EXIT_STATUS_CONFIG;
    if (behaviour == SPINS)
        atomic_fetch_add(&slot->lua_call, 1);
    while (behaviour != WELL || told == 0 || told == SIGUSR1) {
        leave_sign(slot, SAW_TOLD, (uint64_t)told);
        if (behaviour != STUCK)
            atomic_fetch_add(&slot->ticks, 1);
        if (behaviour == CALLS)
            atomic_fetch_add(&slot->lua_call, 1);
        if (behaviour != SPINS && behaviour != CALLS)
            usleep(20 * 1000);
    }
    leave_sign(slot, SAW_TOLD, (uint64_t)told);
    return EXIT_STATUS_OK;
}

int worker_main(const struct worker_setup *setup)
{
    struct shared_slot *slot = &shared->slots[setup->slot];
    leave_sign(slot, SAW_REPORTS_FD, (uint64_t)(setup->reports_fd + 1));
    return child_behave(slot);
}

/* It says that it reads, as a real one does. */
int reporter_main(const struct reporter_setup *setup)
{
    struct shared_slot *slot = &shared->slots[setup->slot];
    leave_sign(slot, SAW_REPORTS_FD, (uint64_t)(setup->fd + 1));
    atomic_store(&shared->reports_reader, setup->slot + 1);
    return child_behave(slot);
}

static int set_up(void **state)
{
    (void)state;
    behaviour = WELL;
    config = (struct config){.workers = 2, .drain_timeout = 1};
    shared = shared_create();
    children = shared != NULL ? children_new(shared) : NULL;
    channel = shared != NULL ? channel_new(shared, NULL) : NULL;
    return children != NULL && channel != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    int status;
    pid_t pid;
    children_kill(children);
    while ((pid = waitpid(-1, &status, 0)) > 0)
        children_ended(children, pid, status);
    const size_t left = children_running(children);
    children_free(&children);
    channel_free(&channel);
    shared_destroy(&shared);
    return left == 0 ? 0 : -1;
}

static pid_t slot_pid(size_t slot)
{
    return (pid_t)atomic_load(&shared->slots[slot].redis_client);
}

/* Waits until there is a worker in the slot, another than `former`. */
static pid_t wait_for_start(size_t slot, pid_t former)
{
    for (int i = 0; i < 3000 && (slot_pid(slot) == former || slot_pid(slot) == 0); i++)
        usleep(10 * 1000);
    assert_int_not_equal(slot_pid(slot), former);
    assert_int_not_equal(slot_pid(slot), 0);
    return slot_pid(slot);
}

/* Waits for the end of a worker and tells the table. Returns the wait status. */
static int reap(pid_t pid)
{
    int status;
    assert_true(child_wait(pid, 30 * CLOCK_SECOND, &status));
    assert_true(children_ended(children, pid, status));
    return status;
}

static bool is_running(pid_t pid)
{
    siginfo_t ended = {.si_pid = 0};
    usleep(50 * 1000);
    assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    return ended.si_pid == 0;
}

static void starts_and_stops(void **state)
{
    (void)state;
    config.workers = 3;
    children_replace(children, &config, &listeners, NULL);
    assert_int_equal(children_running(children), 3);
    pid_t pids[3];
    for (size_t i = 0; i < 3; i++)
        pids[i] = wait_for_start(i, 0);
    assert_int_equal(children_turn(children, clock_boot()), INT64_MAX);
    children_stop_workers(children, INT64_MAX);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(reap(pids[i]), 0);
    assert_int_equal(children_running(children), 0);
    assert_int_equal(children_turn(children, clock_boot() + 60 * CLOCK_SECOND), INT64_MAX);
    assert_int_equal(children_running(children), 0);
    assert_false(children_ended(children, pids[0], 0));
}

/* What the dead one held is forgotten, its connection to Redis is to be ended, and what everybody cached is
 * outdated. */
static void restarts_the_dead(void **state)
{
    (void)state;
    children_replace(children, &config, &listeners, NULL);
    const pid_t pid = wait_for_start(1, 0);
    const uint64_t generation = generation_now(shared, 7);
    atomic_store(&shared->slots[1].connections[3], 5);
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid);
    assert_int_equal(children_running(children), 1);
    assert_int_equal(shared_listener_connections(shared, 3), 0);
    assert_int_equal(atomic_load(&shared->slots[1].redis_client), 0);
    assert_int_equal(atomic_load(&shared->slots[1].redis_unfenced), pid);
    assert_int_not_equal(generation_now(shared, 7), generation);
    const int64_t due = children_turn(children, clock_boot() - CLOCK_SECOND);
    assert_true(due - clock_boot() <= CLOCK_SECOND / 10);
    assert_int_equal(children_turn(children, due), INT64_MAX);
    wait_for_start(1, pid);
    assert_int_equal(children_running(children), 2);
}

static void restarts_at_once_who_had_lived(void **state)
{
    (void)state;
    config.workers = 1;
    children_replace(children, &config, &listeners, NULL);
    const pid_t pid = wait_for_start(0, 0);
    usleep(1050 * 1000);
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid);
    assert_int_equal(children_turn(children, clock_boot()), INT64_MAX);
    wait_for_start(0, pid);
}

static void restarts_later_and_later(void **state)
{
    (void)state;
    static const int64_t tenths[] = {1, 2, 4, 8, 16, 32, 50, 50};
    behaviour = DIES;
    config.workers = 1;
    children_replace(children, &config, &listeners, NULL);
    pid_t pid = 0;
    for (size_t i = 0; i < sizeof tenths / sizeof *tenths; i++) {
        pid = wait_for_start(0, pid);
        const int64_t before = clock_boot();
        assert_int_equal(WEXITSTATUS(reap(pid)), EXIT_STATUS_CONFIG);
        const int64_t due = children_turn(children, 0), wanted = tenths[i] * (CLOCK_SECOND / 10);
        assert_true(due >= before + wanted && due <= clock_boot() + wanted);
        assert_int_equal(children_turn(children, due - 1), due);
        assert_int_equal(children_running(children), 0);
        assert_int_equal(children_turn(children, due), INT64_MAX);
    }
}

static void kills_the_stuck_alone(void **state)
{
    (void)state;
    behaviour = STUCK;
    children_replace(children, &config, &listeners, NULL);
    const pid_t stuck = wait_for_start(0, 0), other = wait_for_start(1, 0);
    const int64_t begun = clock_boot();
    for (int second = 1; second < 10; second++) {
        atomic_fetch_add(&shared->slots[1].ticks, 1);
        children_turn(children, begun - CLOCK_SECOND / 2 + second * CLOCK_SECOND);
    }
    assert_true(is_running(stuck));
    children_turn(children, begun + 10 * CLOCK_SECOND);
    assert_int_equal(WTERMSIG(reap(stuck)), SIGKILL);
    assert_true(is_running(other));
}

/* Hooks that loop, one after the other, up to their limits: the loop does not turn, and still it gets on. */
static void takes_lua_calls_for_ticks(void **state)
{
    (void)state;
    behaviour = STUCK;
    children_replace(children, &config, &listeners, NULL);
    const pid_t stuck = wait_for_start(0, 0), calling = wait_for_start(1, 0);
    const int64_t begun = clock_boot();
    for (int second = 1; second < 15; second++) {
        atomic_fetch_add(&shared->slots[1].lua_call, 1);
        children_turn(children, begun - CLOCK_SECOND / 2 + second * CLOCK_SECOND);
    }
    assert_int_equal(WTERMSIG(reap(stuck)), SIGKILL);
    assert_true(is_running(calling));
}

static void blames_nobody_for_its_own_stop(void **state)
{
    (void)state;
    behaviour = STUCK;
    children_replace(children, &config, &listeners, NULL);
    const pid_t pid = wait_for_start(0, 0);
    int64_t now = clock_boot() + 9 * CLOCK_SECOND;
    children_turn(children, now);
    children_turn(children, now += 60 * CLOCK_SECOND);
    for (int second = 1; second < 10; second++)
        children_turn(children, now += CLOCK_SECOND);
    assert_true(is_running(pid));
    children_turn(children, now += CLOCK_SECOND);
    assert_int_equal(WTERMSIG(reap(pid)), SIGKILL);
}

static void replaces_all(void **state)
{
    (void)state;
    struct config next = {.workers = 3, .drain_timeout = 1};
    children_replace(children, &config, &listeners, NULL);
    const pid_t first = wait_for_start(0, 0), second = wait_for_start(1, 0);
    assert_int_equal(kill(second, SIGKILL), 0);
    reap(second);
    children_replace(children, &next, &listeners, NULL);
    assert_int_equal(reap(first), 0);
    assert_int_equal(children_running(children), 3);
    /* Neither the one that finished nor the one that waited for its restart comes back. */
    assert_int_equal(children_turn(children, clock_boot() + CLOCK_SECOND), INT64_MAX);
    assert_int_equal(children_running(children), 3);
}

static void kills_who_does_not_finish(void **state)
{
    (void)state;
    struct config next = config;
    behaviour = STUBBORN;
    config.workers = next.workers = 1;
    children_replace(children, &config, &listeners, NULL);
    const pid_t pid = wait_for_start(0, 0);
    behaviour = WELL;
    children_replace(children, &next, &listeners, NULL);
    const pid_t successor = wait_for_start(1, 0);
    int64_t now = clock_boot();
    for (int second = 0; second < 5; second++) {
        usleep(50 * 1000);
        children_turn(children, now += CLOCK_SECOND);
    }
    assert_true(is_running(pid));
    children_turn(children, now += CLOCK_SECOND);
    assert_int_equal(WTERMSIG(reap(pid)), SIGKILL);
    assert_true(is_running(successor));
    assert_int_equal(children_running(children), 1);
}

/* Reload upon reload while nobody finishes: the oldest make room. */
static void never_runs_out_of_slots(void **state)
{
    (void)state;
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded != NULL && strstr(preloaded, "valgrind") != NULL)
        skip(); /* hundreds of processes under it are too many */
    behaviour = STUBBORN;
    config.workers = CONFIG_WORKERS_MAX;
    pid_t oldest[SHARED_SLOTS / 2];
    for (int i = 0; i < 3; i++) {
        children_replace(children, &config, &listeners, channel);
        assert_int_equal(children_running(children), i == 0 ? SHARED_SLOTS / 2 : SHARED_SLOTS);
        for (size_t slot = 0; i == 0 && slot < SHARED_SLOTS / 2; slot++)
            oldest[slot] = wait_for_start(slot, 0);
    }
    for (size_t slot = 0; slot < SHARED_SLOTS / 2; slot++)
        wait_for_start(slot, oldest[slot]);
}

/* ---- the reporter ---- */

/* Starts a reporter, which has slot 0, and the workers, which have the following. */
static pid_t start_with_reporter(void)
{
    children_replace(children, &config, &listeners, channel);
    const pid_t pid = wait_for_start(0, 0);
    for (size_t i = 1; i <= config.workers; i++)
        wait_for_start(i, 0);
    return pid;
}

/* The kinds of the records that the master has sent, each behind the former. */
static void read_kinds(char *kinds, size_t size)
{
    static unsigned char bytes[64 * 1024];
    ssize_t n;
    kinds[0] = '\0';
    channel_flush(channel);
    while ((n = recv(channel_receiving(channel), bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        struct datagram_head head;
        struct audit_event event;
        struct problem problem;
        size_t at = datagram_head_decode(bytes, (size_t)n, &head), used = 0;
        assert_int_equal(head.sender, SHARED_SENDER_MASTER);
        for (unsigned i = 0; i < head.count; i++, at += used) {
            const enum record_kind kind = record_decode(bytes + at, (size_t)n - at, &used, &event, &problem);
            const size_t length = strlen(kinds);
            if (kind == RECORD_EVENT)
                snprintf(kinds + length, size - length, "[%s %u: %.*s]", event_kind_name(event.kind), event.worker,
                         (int)event.reason.size, event.reason.text);
            else
                snprintf(kinds + length, size - length, "[%.*s, %.*s: %.*s]", (int)problem.kind.size, problem.kind.text,
                         (int)problem.process.size, problem.process.text, (int)problem.message.size,
                         problem.message.text);
        }
    }
}

static void process_title(pid_t pid, char *title, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(title, (int)size, file));
    fclose(file);
}

static void gives_each_its_end(void **state)
{
    (void)state;
    char title[32];
    const pid_t pid = start_with_reporter();
    assert_int_equal(children_running(children), 3);
    assert_int_equal(sign(0, SAW_REPORTS_FD), channel_receiving(channel) + 1);
    assert_int_equal(sign(1, SAW_REPORTS_FD), channel_sending(channel) + 1);
    process_title(pid, title, sizeof title);
    assert_string_equal(title, "tk-reporter\n");
    process_title(slot_pid(2), title, sizeof title);
    assert_string_equal(title, "tk-worker-2\n");
    const int64_t now = clock_boot();
    assert_int_equal(children_turn(children, now), now + CLOCK_SECOND / 20);
}

static void without_one_nobody_is_told(void **state)
{
    (void)state;
    char kinds[512];
    children_replace(children, &config, &listeners, NULL);
    const pid_t pid = wait_for_start(0, 0);
    assert_int_equal(children_running(children), 2);
    assert_int_equal(sign(0, SAW_REPORTS_FD), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    reap(pid);
    read_kinds(kinds, sizeof kinds);
    assert_string_equal(kinds, "");
}

static void tells_of_crashes(void **state)
{
    (void)state;
    char kinds[512];
    const pid_t reporter = start_with_reporter(), worker = slot_pid(2);
    const uint64_t generation = generation_now(shared, 7);
    assert_int_equal(kill(reporter, SIGKILL), 0);
    reap(reporter);
    assert_int_equal(generation_now(shared, 7), generation);
    read_kinds(kinds, sizeof kinds);
    assert_string_equal(kinds, "[reporter.crash, reporter: reporter was killed by signal 9 (Killed)]");
    assert_int_equal(kill(worker, SIGKILL), 0);
    reap(worker);
    read_kinds(kinds, sizeof kinds);
    assert_string_equal(kinds, "[worker.crash 2: was killed by signal 9 (Killed)]"
                               "[worker.crash, worker 2: worker 2 was killed by signal 9 (Killed)]");
}

static void lets_the_next_reporter_read(void **state)
{
    (void)state;
    const pid_t first = start_with_reporter();
    assert_int_equal(atomic_load(&shared->reports_reader), 1);
    const pid_t worker = slot_pid(1);
    assert_int_equal(kill(worker, SIGKILL), 0);
    reap(worker);
    assert_int_equal(atomic_load(&shared->reports_reader), 1);
    atomic_store(&shared->slots[0].lua_call, 7);
    atomic_store(&shared->slots[0].hook_running, 2);
    assert_int_equal(kill(first, SIGKILL), 0);
    reap(first);
    assert_int_equal(atomic_load(&shared->reports_reader), 0);
    assert_int_equal(atomic_load(&shared->slots[0].lua_call), 0);
    assert_int_equal(atomic_load(&shared->slots[0].hook_running), 0);
    children_turn(children, clock_boot() + CLOCK_SECOND);
    wait_for_start(0, first);
    assert_int_equal(atomic_load(&shared->reports_reader), 1);
}

/* Whoever had the slot before may have had other hooks. */
static void blames_no_hook_of_a_new_reporter(void **state)
{
    (void)state;
    atomic_store(&shared->slots[0].hook_running, 2);
    atomic_store(&shared->slots[0].hook_failures[1], 9);
    start_with_reporter();
    assert_int_equal(atomic_load(&shared->slots[0].hook_running), 0);
    assert_int_equal(atomic_load(&shared->slots[0].hook_failures[1]), 0);
}

static void replaces_the_reporter(void **state)
{
    (void)state;
    struct config next = config;
    const pid_t first = start_with_reporter();
    children_replace(children, &next, &listeners, channel);
    assert_int_equal(reap(first), 0);
    assert_int_equal(sign(0, SAW_TOLD), SIGUSR2);
    wait_for_start(3, 0);
    assert_int_equal(atomic_load(&shared->reports_reader), 4);
}

/* With nobody to follow, it hears what the old workers have to say, and is told to stop when they have ended. */
static void lets_the_last_reporter_hear_all(void **state)
{
    (void)state;
    struct config next = config;
    behaviour = STUBBORN;
    config.workers = next.workers = 1;
    config.drain_timeout = 60;
    const pid_t worker = (start_with_reporter(), slot_pid(1));
    behaviour = WELL;
    children_replace(children, &next, &listeners, NULL);
    wait_for_start(2, 0);
    assert_int_equal(children_running(children), 3);
    children_turn(children, clock_boot());
    usleep(100 * 1000);
    assert_int_equal(sign(0, SAW_TOLD), 0);
    assert_int_equal(kill(worker, SIGKILL), 0);
    reap(worker);
    children_turn(children, clock_boot());
    for (int i = 0; i < 3000 && sign(0, SAW_TOLD) == 0; i++)
        usleep(10 * 1000);
    assert_int_equal(sign(0, SAW_TOLD), SIGTERM);
}

static void stops_the_reporter_last(void **state)
{
    (void)state;
    const pid_t reporter = start_with_reporter(), workers[] = {slot_pid(1), slot_pid(2)};
    children_stop_workers(children, INT64_MAX);
    assert_false(children_reporter_alone(children));
    reap(workers[0]);
    assert_false(children_reporter_alone(children));
    reap(workers[1]);
    assert_true(children_reporter_alone(children));
    assert_true(is_running(reporter));
    children_stop_reporter(children, INT64_MAX);
    assert_int_equal(reap(reporter), 0);
    assert_int_equal(sign(0, SAW_TOLD), SIGTERM);
    assert_int_equal(children_turn(children, clock_boot() + 60 * CLOCK_SECOND), INT64_MAX);
    assert_int_equal(children_running(children), 0);
}

/* A former one still hands on what it has read: two at once would not know what the other has had. */
static void waits_for_a_former_reporter(void **state)
{
    (void)state;
    struct config next = config;
    behaviour = STUBBORN;
    config.workers = next.workers = 0;
    const pid_t former = start_with_reporter();
    children_replace(children, &next, &listeners, channel);
    wait_for_start(1, 0);
    children_stop_workers(children, INT64_MAX);
    assert_false(children_reporter_alone(children));
    assert_int_equal(kill(former, SIGKILL), 0);
    reap(former);
    assert_true(children_reporter_alone(children));
}

/* One that waits for its restart comes back for the last records. */
static void starts_a_reporter_to_stop_it(void **state)
{
    (void)state;
    const pid_t reporter = start_with_reporter(), workers[] = {slot_pid(1), slot_pid(2)};
    assert_int_equal(kill(reporter, SIGKILL), 0);
    reap(reporter);
    children_stop_workers(children, INT64_MAX);
    reap(workers[0]);
    reap(workers[1]);
    assert_int_equal(children_running(children), 0);
    children_stop_reporter(children, INT64_MAX);
    assert_int_equal(children_running(children), 1);
    assert_int_equal(reap(wait_for_start(0, reporter)), 0);
    assert_int_equal(children_running(children), 0);
}

static void kills_a_reporter_that_stays(void **state)
{
    (void)state;
    behaviour = STUBBORN;
    config.workers = 0;
    const pid_t reporter = start_with_reporter();
    children_stop_reporter(children, clock_boot() + CLOCK_SECOND);
    children_turn(children, clock_boot());
    assert_true(is_running(reporter));
    children_turn(children, clock_boot() + CLOCK_SECOND);
    assert_int_equal(WTERMSIG(reap(reporter)), SIGKILL);
}

static void has_files_reopened(void **state)
{
    (void)state;
    const pid_t reporter = start_with_reporter();
    children_reopen(children);
    for (int i = 0; i < 3000 && sign(0, SAW_TOLD) == 0; i++)
        usleep(10 * 1000);
    assert_int_equal(sign(0, SAW_TOLD), SIGUSR1);
    assert_true(is_running(reporter));
    assert_int_equal(sign(1, SAW_TOLD), 0);
}

/* Takes turns as the master does, until the child ends; false when it lives on for so many seconds. */
static bool turns_kill(pid_t pid, int64_t patience)
{
    siginfo_t ended = {.si_pid = 0};
    for (int64_t now = clock_boot(), end = now + patience * CLOCK_SECOND; now < end && ended.si_pid == 0;
         now = clock_boot()) {
        children_turn(children, now);
        usleep(50 * 1000);
        assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    }
    return ended.si_pid == pid;
}

static void kills_who_does_not_come_back_from_lua(void **state)
{
    (void)state;
    char kinds[512];
    behaviour = SPINS;
    config.workers = 0;
    const pid_t reporter = start_with_reporter();
    atomic_store(&shared->slots[0].hook_running, 2);
    assert_true(turns_kill(reporter, 30));
    assert_int_equal(WTERMSIG(reap(reporter)), SIGKILL);
    read_kinds(kinds, sizeof kinds);
    assert_string_equal(kinds,
                        "[reporter.crash, reporter: reporter has spent 250 ms of CPU time in one Lua call and was "
                        "killed]");
    assert_int_equal(atomic_load(&shared->slots[0].hook_running), 2);
}

/* Workers run Lua where there are policies, and are left in peace elsewhere. */
static void kills_a_worker_in_its_policy(void **state)
{
    (void)state;
    behaviour = SPINS;
    children_replace(children, &config, &listeners, NULL);
    assert_false(turns_kill(wait_for_start(0, 0), 1));
    config.n_policies = 1;
    children_replace(children, &config, &listeners, NULL);
    const pid_t worker = wait_for_start(2, 0);
    config.n_policies = 0;
    assert_true(turns_kill(worker, 30));
    assert_int_equal(WTERMSIG(reap(worker)), SIGKILL);
}

static void lets_many_lua_calls_be(void **state)
{
    (void)state;
    behaviour = CALLS;
    config.workers = 0;
    assert_false(turns_kill(start_with_reporter(), 2));
}

/* Children must not hear SIGTERM before they can, so the master has it blocked. */
static void block_stop(void)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

int main(void)
{
    child_prepare();
    block_stop();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(starts_and_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_the_dead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_at_once_who_had_lived, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_later_and_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_the_stuck_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_lua_calls_for_ticks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blames_nobody_for_its_own_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_who_does_not_finish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(never_runs_out_of_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_each_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_one_nobody_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_of_crashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lets_the_next_reporter_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blames_no_hook_of_a_new_reporter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_the_reporter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lets_the_last_reporter_hear_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops_the_reporter_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waits_for_a_former_reporter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(starts_a_reporter_to_stop_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_a_reporter_that_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(has_files_reopened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_who_does_not_come_back_from_lua, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_a_worker_in_its_policy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lets_many_lua_calls_be, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
