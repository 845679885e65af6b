/* SPDX-License-Identifier: MIT */
/* The watchdog of Lua calls, with children that pretend to call. */
#include "master/lua_watch.h"

#include "base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct shared *shared;
static struct shared_slot *slot;

static int set_up(void **state)
{
    (void)state;
    shared = shared_create();
    slot = shared != NULL ? &shared->slots[3] : NULL;
    return shared != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    shared_destroy(&shared);
    return 0;
}

/* A child whose lua_call reads `call` at first, and moves by `step` every ten milliseconds; it works or sleeps. */
static pid_t child(uint64_t call, uint64_t step, bool works)
{
    atomic_store(&slot->lua_call, call);
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    for (int64_t next = clock_boot() + CLOCK_SECOND / 100;;) {
        if (!works)
            usleep(10 * 1000);
        if (clock_boot() < next)
            continue;
        next += CLOCK_SECOND / 100;
        atomic_fetch_add(&slot->lua_call, step);
    }
}

/* Milliseconds of CPU time. */
static int64_t used(pid_t pid)
{
    clockid_t clock;
    struct timespec time;
    assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
    assert_int_equal(clock_gettime(clock, &time), 0);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void wait_until_used(pid_t pid, int64_t more)
{
    for (const int64_t until = used(pid) + more; used(pid) < until;)
        usleep(10 * 1000);
}

/* Looks every 20 ms for at most so many seconds. Returns the CPU time that the child had used when it was blamed, 0:
 * never. */
static int64_t watch_child(uint64_t call, uint64_t step, bool works, int64_t patience)
{
    int64_t blamed = 0;
    struct lua_watch watch = {0};
    const pid_t pid = child(call, step, works);
    assert_true(pid > 0);
    for (int64_t end = clock_boot() + patience * CLOCK_SECOND; blamed == 0 && clock_boot() < end;) {
        if (lua_watch_look(&watch, slot, pid))
            blamed = used(pid);
        usleep(20 * 1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return blamed;
}

static void blames_who_spins_in_a_call(void **state)
{
    (void)state;
    assert_true(watch_child(1, 0, true, 30) >= 250);
    assert_true(watch_child(UINT64_MAX, 0, true, 30) >= 250);
}

static void blames_nobody_else(void **state)
{
    (void)state;
    assert_int_equal(watch_child(0, 0, true, 1), 0);  /* works outside of calls */
    assert_int_equal(watch_child(1, 2, true, 1), 0);  /* one call after the other, never seen outside */
    assert_int_equal(watch_child(1, 1, true, 1), 0);  /* now and then in one */
    assert_int_equal(watch_child(1, 0, false, 1), 0); /* waits in a call, for the processor perhaps */
}

/* What was spent before the call, and after it was forgotten, does not count. */
static void counts_from_the_first_look(void **state)
{
    (void)state;
    struct lua_watch watch = {0};
    const pid_t pid = child(1, 0, true);
    wait_until_used(pid, 400);
    assert_false(lua_watch_look(&watch, slot, pid));
    wait_until_used(pid, 400);
    watch = (struct lua_watch){0};
    assert_false(lua_watch_look(&watch, slot, pid));
    wait_until_used(pid, 100);
    atomic_store(&slot->lua_call, 3);
    assert_false(lua_watch_look(&watch, slot, pid));
    wait_until_used(pid, 260);
    assert_true(lua_watch_look(&watch, slot, pid));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void knows_nothing_of_who_is_gone(void **state)
{
    (void)state;
    struct lua_watch watch = {0};
    const pid_t pid = child(1, 0, true);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(lua_watch_look(&watch, slot, pid));
    assert_false(lua_watch_look(&watch, slot, pid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blames_who_spins_in_a_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blames_nobody_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_from_the_first_look, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knows_nothing_of_who_is_gone, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
