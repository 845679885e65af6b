/* SPDX-License-Identifier: MIT */
/* A hook that does not come back from a function in C, in a process of its own: the master's watchdog sees it, and who
 * comes after the dead process knows which hook it was. One that is long in Lua itself is left alone. */
#include "master/lua_watch.h"
#include "reporter/hooks.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* One instruction, which takes seconds. */
#define STUCK "local _ = 'stuck' < 'x'"

static char folder[] = "/tmp/tk-watch-XXXXXX";
static char paths[2][64];
static struct config config;
static struct shared_slot *slot;

/* What Lua compares texts with, in the place of the C library's: every function in C that the daemon gives to scripts
 * comes to an end soon. */
int strcoll(const char *a, const char *b)
{
    const clock_t end = clock() + 5 * CLOCKS_PER_SEC;
    while (strcmp(a, "stuck") == 0 && clock() < end)
        continue;
    return strcmp(a, b);
}

static void write_hook(unsigned index, const char *text)
{
    FILE *file = fopen(paths[index], "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    static char application[] = "tokenkeep";
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    config = (struct config){.slack_application = application, .n_hooks = 2};
    for (unsigned i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%u.lua", folder, i);
        config.hooks[i] = (struct config_script){.name = paths[i], .path = paths[i]};
    }
    slot = mmap(NULL, sizeof *slot, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return slot == MAP_FAILED ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    munmap(slot, sizeof *slot);
    unlink(paths[0]);
    unlink(paths[1]);
    return rmdir(folder);
}

/* Runs the hooks and tells them of one event, in another process. */
static pid_t run(void)
{
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct event_base *base = event_base_new();
    struct hooks *hooks = hooks_new(&(struct hooks_settings){.base = base, .config = &config, .slot = slot});
    hooks_event(hooks, &(struct audit_event){.kind = EVENT_TOKEN_GET});
    _exit(0);
}

/* Watches the process as the master does, until it ends or is found stuck. Returns whether it was. */
static bool watch(pid_t pid)
{
    struct lua_watch watch = {0};
    bool stuck = false;
    int status;
    while (!stuck && waitpid(pid, &status, WNOHANG) == 0) {
        usleep(LUA_WATCH_INTERVAL / 1000);
        stuck = lua_watch_look(&watch, slot, pid);
    }
    if (stuck) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    return stuck;
}

static void stuck_in_c(void **state)
{
    (void)state;
    write_hook(0, "return {event = function() end}");
    write_hook(1, "return {event = function() " STUCK " end}");
    assert_true(watch(run()));
    assert_int_equal(atomic_load(&slot->lua_call) % 2, 1);
    assert_int_equal(atomic_load(&slot->hook_running), 2);
    /* The next does not start it at once. */
    shared_slot_reset(slot);
    write_hook(1, "return {start = function() " STUCK " end}");
    assert_false(watch(run()));
    assert_int_equal(atomic_load(&slot->hook_running), 0);
    assert_int_equal(atomic_load(&slot->hook_failures[0]), 0);
    assert_int_equal(atomic_load(&slot->hook_failures[1]), 1);
}

/* Until its limit of a second has passed: four times as much as the watchdog allows a function in C. */
static void long_in_lua(void **state)
{
    (void)state;
    atomic_store(&slot->hook_failures[0], 0);
    write_hook(0, "return {start = function() while true do end end}");
    write_hook(1, "return {}");
    assert_false(watch(run()));
    assert_int_equal(atomic_load(&slot->hook_failures[0]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuck_in_c),
        cmocka_unit_test(long_in_lua),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
