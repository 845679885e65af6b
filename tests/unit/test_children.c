/* SPDX-License-Identifier: MIT */
/* The table of children, with a worker of the test's own in place of the real one: who is restarted, killed and
 * replaced. */
#include "master/children.h"

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/signals.h"
#include "master/child.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What the next workers do. */
static enum { WELL, DIES, STUCK, STUBBORN } behaviour;

static volatile sig_atomic_t told;

static void on_signal(int signal)
{
    told = signal;
}

/* A well one ends when it is told to; a stubborn one never does; a stuck one does not tick. All say who they are. */
int worker_main(const struct worker_setup *setup)
{
    struct shared_slot *slot = &setup->shared->slots[setup->slot];
    shared_slot_use(setup->shared, setup->slot);
    signal(SIGTERM, on_signal);
    signal(SIGUSR2, on_signal);
    signals_hear();
    atomic_store(&slot->redis_client, (uint64_t)getpid());
    if (behaviour == DIES)
        return EXIT_STATUS_CONFIG;
    while (behaviour != WELL || told == 0) {
        if (behaviour != STUCK)
            atomic_fetch_add(&slot->ticks, 1);
        usleep(20 * 1000);
    }
    return EXIT_STATUS_OK;
}

static const struct listeners listeners = {.n = 0};
static struct config config;
static struct shared *shared;
static struct children *children;

static int set_up(void **state)
{
    (void)state;
    behaviour = WELL;
    config = (struct config){.workers = 2, .drain_timeout = 1};
    shared = shared_create();
    children = shared != NULL ? children_new(shared) : NULL;
    return children != NULL ? 0 : -1;
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
    pid_t oldest[CONFIG_WORKERS_MAX];
    for (int i = 0; i < 4; i++) {
        children_replace(children, &config, &listeners, NULL);
        const int wanted = (i + 1) * CONFIG_WORKERS_MAX;
        assert_int_equal(children_running(children), wanted < SHARED_SLOTS ? wanted : SHARED_SLOTS);
        for (size_t slot = 0; i == 0 && slot < CONFIG_WORKERS_MAX; slot++)
            oldest[slot] = wait_for_start(slot, 0);
    }
    for (size_t slot = 0; slot < CONFIG_WORKERS_MAX; slot++)
        wait_for_start(slot, oldest[slot]);
}

int main(void)
{
    child_prepare();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(starts_and_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_the_dead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_at_once_who_had_lived, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_later_and_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_the_stuck_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blames_nobody_for_its_own_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_who_does_not_finish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(never_runs_out_of_slots, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
