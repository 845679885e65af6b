/* SPDX-License-Identifier: MIT */
/* Hooks that fail: what is said of it, that the others go on, and when they come back. */
#include "hook_files.h"

/* The linker puts this in the place of clock_boot, so that minutes pass when a test says so. */
int64_t __real_clock_boot(void);
int64_t __wrap_clock_boot(void);

static int64_t seconds_passed;

int64_t __wrap_clock_boot(void)
{
    return __real_clock_boot() + seconds_passed * CLOCK_SECOND;
}

static void one_fails_the_others_go_on(void **state)
{
    static const char *const bad[] = {
        "error('boom')",
        "error({})",
        "while true do end",
        "pcall(function() while true do end end)",
        MEGABYTE "local t = {} while true do t[#t + 1] = m .. #t end",
        "local function f(...) f(1, ...) end f()",
        "keep.json.encode(print)",
        "keep.timer(-1, print)",
        "keep.file.open(1)",
        "local s = ('x'):rep(1000000) while true do s = s:upper():lower() end",
    };
    char text[512];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "return {event = function() %s end}", bad[i]);
        char name[32];
        snprintf(name, sizeof name, "bad%zu.lua", i);
        add_hook(name, text);
    }
    add_hook("good.lua", LISTENER_HOOK);
    begin();
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    hooks_event(hooks, &event);
    assert_said("hook good.lua: heard\n", 2);
    assert_said("; it is started again in 1 s: ", 10);
    assert_said("bad0.lua: failed; it is started again in 1 s: bad0.lua:1: boom | stack traceback: | [C]: in ", 1);
    assert_said("bad2.lua:1: took over 100 ms of CPU time", 1);
    assert_said("bad3.lua:1: took over 100 ms of CPU time", 1);
    assert_in_range(times_said("took over 100 ms"), 3, 10); /* on a slow machine others take long as well */
    turn(0.1);
    assert_said("good.lua: hook.failed The hook bad", 10);
    assert_said("bad0.lua failed; it is started again in 1 s bad0.lua:1: boom | stack traceback:", 1);
    turn(1.1);
    assert_said("runs again, and has missed 1 events\n", 10);
    assert_int_equal(slot.lua_call % 2, 0);
    assert_int_equal(slot.hook_running, 0);
    assert_int_equal(slot.hook_failures[0], 1);
    assert_int_equal(slot.hook_failures[10], 0);
    hooks_event(hooks, &event);
    assert_said("; it is started again in 2 s: ", 10);
    hooks_free(&hooks);
    assert_int_equal(slot.hook_failures[0], 0);
}

static void memory_ends(void **state)
{
    (void)state;
    add_hook("a.lua", MEGABYTE "local t = {} for i = 1, 60 do t[i] = m .. i end "
                               "return {event = function() while true do t[#t + 1] = m .. #t end end}");
    begin();
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    assert_said("hook a.lua: failed; it is started again in 1 s: not enough memory\n", 1);
}

static void starting_fails(void **state)
{
    (void)state;
    add_hook("a.lua",
             "return {start = function() error('which file?', 0) end, stop = function() print('not this') end}");
    add_hook("b.lua", "x = =");
    add_hook("c.lua",
             "return {start = function() local x = 0 for i = 1, 3e6 do x = x + i end print('slow start') end}");
    begin();
    assert_said("hook a.lua: does not start; it is started again in 1 s: which file? | stack traceback", 1);
    assert_said("hook b.lua: does not load; it is started again in 1 s: b.lua:1: unexpected symbol", 1);
    assert_said("slow start", 1);
    write_text("own/b.lua", "return {start = function() print('mended') end}");
    turn(1.3);
    assert_said("hook a.lua: does not start; it is started again in 2 s: which file?", 1);
    assert_said("hook b.lua: mended\n", 1);
    assert_said("hook b.lua: runs again, and has missed no event\n", 1);
    assert_int_equal(slot.hook_failures[0], 2);
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    hooks_free(&hooks);
    assert_said("hook a.lua: does not run, and has missed 1 events\n", 1);
    assert_said("not this", 0);
}

static void the_wait_has_an_end(void **state)
{
    (void)state;
    add_hook("a.lua", "return {event = error}");
    slot.hook_failures[0] = 8;
    begin();
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    assert_said("hook a.lua: failed; it is started again in 256 s: ", 1);
    hooks_free(&hooks);
    static const uint32_t many[] = {9, 999, 5000, UINT32_MAX - 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        slot.hook_failures[0] = many[i];
        begin();
        hooks_event(hooks, &event);
        assert_said("hook a.lua: failed; it is started again in 300 s: ", i + 1);
        hooks_free(&hooks);
    }
}

static void running_well(void **state)
{
    (void)state;
    add_hook("a.lua", "return {event = function() error('x') end}");
    slot.hook_failures[0] = 3;
    begin();
    seconds_passed += 58;
    turn(1.1);
    assert_int_equal(slot.hook_failures[0], 3);
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    assert_said("it is started again in 8 s", 1);
    hooks_free(&hooks);
    slot.hook_failures[0] = 3;
    begin();
    seconds_passed += 60;
    turn(1.1);
    assert_int_equal(slot.hook_failures[0], 0);
    hooks_event(hooks, &event);
    assert_said("it is started again in 1 s", 1);
}

/* A reporter was killed in a call of the second hook. */
static void a_reporter_died(void **state)
{
    (void)state;
    add_hook("a.lua", LISTENER_HOOK);
    add_hook("b.lua", "return {start = function() print('started') end}");
    slot.hook_running = 2;
    slot.hook_failures[0] = 5;
    slot.lua_call = 17;
    begin();
    assert_said("hook b.lua: did not come back from a call; it is started again in 1 s: the reporter before", 1);
    assert_said("hook b.lua: started", 0);
    assert_int_equal(slot.hook_running, 0);
    assert_int_equal(slot.hook_failures[1], 1);
    assert_int_equal(slot.hook_failures[0], 5);
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    assert_said("hook a.lua: heard\n", 1);
    turn(1.1);
    assert_said("a.lua: hook.failed The hook b.lua did not come back", 1);
    assert_said("hook b.lua: started", 1);
    assert_said("hook b.lua: runs again, and has missed 1 events\n", 0); /* it has no function for them */
    /* And once more. */
    hooks_free(&hooks);
    slot.hook_running = 2;
    slot.hook_failures[1] = 1;
    begin();
    assert_said("hook b.lua: did not come back from a call; it is started again in 2 s: the reporter before", 1);
    assert_int_equal(slot.hook_failures[1], 2);
    slot.hook_running = 77; /* whatever stands there */
}

/* A timer that was set before its hook failed does not come to the hook that runs again. */
static void timers_die_with_their_state(void **state)
{
    (void)state;
    add_hook("a.lua",
             "keep.timer(1.2, function() print('ghost') end) keep.timer(0, function() error('x') end) return {}");
    begin();
    turn(1.1);
    write_text("own/a.lua", "return {}");
    turn(0.5);
    assert_said("ghost", 0);
}

/* Hooks that make garbage: the memory of one and the same state stays as it is. */
static void memory_stays(void **state)
{
    (void)state;
    add_hook("a.lua", "return {event = function(e) e.x = {e, keep.json.encode(e)} local s = ('x'):rep(5000) .. e.time "
                      "kept = s end}");
    begin();
    struct audit_event event = an_event();
    for (int i = 0; i < 20000; i++)
        hooks_event(hooks, &event);
    assert_said("failed", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(one_fails_the_others_go_on),  TEST(memory_ends),  TEST(starting_fails),
        TEST(the_wait_has_an_end),         TEST(running_well), TEST(a_reporter_died),
        TEST(timers_die_with_their_state), TEST(memory_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
