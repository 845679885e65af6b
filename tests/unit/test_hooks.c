/* SPDX-License-Identifier: MIT */
/* Hooks, as files in a folder: what they hear and may call, and what is refused. */
#include "hook_files.h"

static struct error error;

#define PRINT_EVENT "return {event = function(e) print('event ' .. keep.json.encode(e)) end}"

static void what_events_are(void **state)
{
    (void)state;
    add_hook("a.lua", PRINT_EVENT);
    begin();
    struct audit_event event = {
        .kind = EVENT_TOKEN_ISSUE,
        .result = EVENT_UNCERTAIN,
        .time = INT64_C(1795469866000007),
        .key = {"9wey4A895wHjs9kZdz9GnQ.", 22},
        .username = event_text("alice"),
        .token_type = event_text("user"),
        .scopes = event_text("exec:admin read:all"),
        .expires = INT64_C(1795550400),
        .peer = {.kind = PEER_INET, .port = 50123, .address = {127, 0, 0, 1}},
        .listener = event_text("public"),
        .tag = event_text("t1"),
        .worker = 3,
        .latency = 0,
        .command = event_text("ISSUE"),
        .reason = event_text("why"),
        .count = 2,
        .stale = true,
    };
    hooks_event(hooks, &event);
    assert_said(
        "event {\"command\":\"ISSUE\",\"count\":2,\"event\":\"token.issue\",\"expires\":1795550400,"
        "\"key\":\"9wey4A895wHjs9kZdz9GnQ\",\"latency_us\":0,\"listener\":\"public\","
        "\"peer\":\"127.0.0.1:50123\",\"reason\":\"why\",\"result\":\"uncertain\","
        "\"scopes\":\"exec:admin read:all\",\"stale\":true,\"tag\":\"t1\",\"time\":\"2026-11-23T21:37:46.000007Z\","
        "\"token_type\":\"user\",\"username\":\"alice\",\"worker\":3}\n",
        1);
    event = an_event();
    hooks_event(hooks, &event);
    assert_said("event {\"event\":\"token.get\",\"result\":\"ok\",\"time\":\"2026-11-23T21:37:46.123456Z\"}\n", 1);
    event.peer = (struct event_peer){.kind = PEER_UNIX, .uid = 0};
    hooks_event(hooks, &event);
    assert_said("\"uid\":0,\"user\":\"root\"}\n", 1);
    event.peer.uid = 3999999999;
    hooks_event(hooks, &event);
    assert_said("\"uid\":3999999999}\n", 1);
    event.peer = (struct event_peer){.kind = PEER_INET6, .port = 1, .address = {[15] = 1}};
    hooks_event(hooks, &event);
    assert_said("\"peer\":\"[::1]:1\"", 1);
}

static void what_times_are(void **state)
{
    static const struct {
        int64_t time;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {-5, "1970-01-01T00:00:00.000000Z"},
        {INT64_C(999999), "1970-01-01T00:00:00.999999Z"},
        {INT64_C(1000000), "1970-01-01T00:00:01.000000Z"},
        {INT64_C(1709208000100000), "2024-02-29T12:00:00.100000Z"},
        {INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999999Z"},
    };
    (void)state;
    char text[64];
    add_hook("a.lua", PRINT_EVENT);
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(truncate(log_path, 0), 0);
        struct audit_event event = an_event();
        event.time = rows[i].time;
        hooks_event(hooks, &event);
        snprintf(text, sizeof text, "\"time\":\"%s\"", rows[i].text);
        assert_said(text, 1);
    }
}

static void what_problems_are(void **state)
{
    (void)state;
    add_hook("a.lua", "return {problem = function(p) print('problem ' .. keep.json.encode(p)) end}");
    begin();
    struct problem problem = {
        .kind = event_text("redis.away"),
        .phase = PROBLEM_ENDS,
        .time = INT64_C(1795469866123456),
        .message = event_text("Redis is back"),
        .key = event_text("token:x"),
        .error = event_text("none"),
        .process = event_text("worker 3"),
        .seconds = 1.5,
    };
    hooks_problem(hooks, &problem);
    assert_said(
        "problem {\"error\":\"none\",\"key\":\"token:x\",\"kind\":\"redis.away\",\"message\":\"Redis is back\","
        "\"phase\":\"end\",\"process\":\"worker 3\",\"seconds\":1.5,\"time\":\"2026-11-23T21:37:46.123456Z\"}\n",
        1);
    problem = (struct problem){.kind = event_text("k"), .phase = PROBLEM_BEGINS, .message = event_text("m")};
    hooks_problem(hooks, &problem);
    assert_said("problem {\"kind\":\"k\",\"message\":\"m\",\"phase\":\"begin\",\"time\":\"1970-", 1);
    problem.phase = PROBLEM_ONCE;
    hooks_problem(hooks, &problem);
    assert_said("problem {\"kind\":\"k\",\"message\":\"m\",\"time\":\"1970-", 1);
}

static void what_settings_are(void **state)
{
    static char file[] = "/var/log/audit";
    struct config_setting settings[] = {{(char[]){"group-interval"}, (char[]){"5"}},
                                        {(char[]){"audit"}, (char[]){"x"}}};
    (void)state;
    add_hook("a.lua", "return {start = function(s) local w = s.slack.webhook s.slack.webhook = nil "
                      "print(tostring(w), keep.json.encode(s)) assert(type(w) == 'userdata' and not pcall(function() "
                      "return w.x end)) end}");
    config.hooks[0].settings = settings;
    config.hooks[0].n_settings = 2;
    config.audit_file = file;
    config.audit_reads = true;
    begin();
    assert_said("webhook {\"audit\":{\"file\":\"/var/log/audit\",\"mode\":\"best-effort\",\"reads\":true},"
                "\"group-interval\":\"5\",\"slack\":{\"application\":\"tokenkeep\",\"group_interval\":300.0}}\n",
                1);
    assert_said("failed", 0);
    assert_said("secret", 0);
}

/* Files that hooks_check refuses, and why. */
static void what_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *why; /* follows "FILE:7: hook PATH: " */
    } rows[] = {
        {"return {}", NULL},
        {"return {start = print, event = print, problem = print, tick = print, stop = print}", NULL},
        {"keep.timer(1, print) keep.problem{kind = 'k', message = 'm'} print('loads') "
         "local f, why = keep.file.open('/x') assert(not f and why) return {}",
         NULL},
        {"return {evnt = print}", "'evnt' in the table is unknown; start, event, problem, tick and stop are known"},
        {"return {event = 1}", "'event' in the table is a number, not a function"},
        {"return {[1] = print}", "'1' in the table is unknown"},
        {"return {[print] = print}", "'function: "},
        {"", "the file returns nil; it must return a table of functions"},
        {"return 1", "the file returns number; it must return a table of functions"},
        {"x = = 1", "a.lua:1: unexpected symbol near '='"},
        {"\n\nerror('no')", "a.lua:3: no"},
        {"error({})", "threw a table, not a text"},
        {"\x1bLua", "attempt to load a binary chunk (mode is 't')"},
        {"while true do end", "a.lua:1: took over 1000 ms of CPU time"},
        {MEGABYTE "local t = {} while true do t[#t + 1] = m .. #t end", "not enough memory"},
        {"io.open('/etc/passwd')", "a.lua:1: attempt to index a nil value (global 'io')"},
        {"require 'nothing'", "a.lua:1: there is no nothing.lua beside the hook, beside the configuration, nor in /"},
    };
    char expected[1024];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        config.n_hooks = 0;
        add_hook("a.lua", rows[i].text);
        assert_int_equal(hooks_check(&config, &error), rows[i].why == NULL ? 0 : -1);
        snprintf(expected, sizeof expected, "%s:7: hook %s: %s", config.file, paths[0], rows[i].why);
        if (rows[i].why != NULL && strncmp(error.text, expected, strlen(expected)) != 0)
            FAIL("%s\n%s", error.text, expected);
        if (rows[i].why != NULL)
            assert_null(strstr(error.text, "traceback"));
    }
    assert_said("hook a.lua: loads\n", 1);
}

static int write_chunk(lua_State *lua, const void *bytes, size_t size, void *argument)
{
    (void)lua;
    return fwrite(bytes, 1, size, argument) != size;
}

static void other_files(void **state)
{
    char path[PATH_MAX];
    (void)state;
    add_hook("a.lua", "");
    path_of(path, sizeof path, "own/a.lua");
    /* Bytecode that Lua itself has made. */
    lua_State *lua = luaL_newstate();
    FILE *file = fopen(path, "w");
    luaL_loadstring(lua, "return {}");
    assert_int_equal(lua_dump(lua, write_chunk, file, 0), 0);
    fclose(file);
    lua_close(lua);
    assert_int_equal(hooks_check(&config, &error), -1);
    assert_non_null(strstr(error.text, "attempt to load a binary chunk"));
    unlink(path);
    assert_int_equal(hooks_check(&config, &error), -1);
    assert_non_null(strstr(error.text, "there is no file"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(hooks_check(&config, &error), -1);
    assert_non_null(strstr(error.text, "Invalid argument"));
    unlink(path);
    write_text("own/a.lua", "return {}");
    assert_int_equal(truncate(path, 1024 * 1024 + 1), 0);
    assert_int_equal(hooks_check(&config, &error), -1);
    assert_non_null(strstr(error.text, "File too large"));
}

static void modules(void **state)
{
    (void)state;
    char path[PATH_MAX];
    path_of(path, sizeof path, "own/sub");
    mkdir(path, 0700);
    write_text("own/one.lua", "print('own one', ...) return {n = 1}");
    write_text("one.lua", "print('other one')");
    write_text("own/sub/two_2.lua", "print('sub two') return require('one')");
    write_text("beside.lua", "print('beside') return false");
    write_text("installed/beside.lua", "print('not this')");
    write_text("installed/far.lua", "print('far')");
    write_text("own/loop.lua", "return require 'loop'");
    write_text("own/broken.lua", "x = = 1");
    write_text("own/throws.lua", "error('thrown')");
    write_text("own/bytes.lua", "\x1bLua");
    write_text("own/endless.lua", "while true do end");
    write_text("secret.lua", "print('secret')");
    add_hook("a.lua",
             "local function no(name, why) local ok, e = pcall(require, name) "
             "if ok or not tostring(e):find(why, 1, true) then error(tostring(e)) end end "
             "assert(require 'one' == require 'one' and require 'one'.n == 1) "
             "assert(require 'sub.two_2' == require 'one') "
             "assert(require 'beside' == true and require 'far' == true and require 'far' == true) "
             "no('loop', 'requires itself') no('broken', 'broken.lua:1: unexpected symbol') "
             "no('throws', 'throws.lua:1: thrown') no('bytes', 'binary chunk') no('none', 'there is no none.lua') "
             "no('one.lua', 'there is no one/lua.lua') "
             "for _, name in ipairs{'', '.', 'a.', '.a', 'a..b', '../secret', '/etc/x', 'a/b', 'a-b', 'a b', "
             "'a\\0b', '..secret', ('a'):rep(101)} do no(name, 'bad argument #1') end "
             "no(nil, 'string expected') no({}, 'string expected') "
             "print('all well') return {event = function() require 'endless' end}");
    begin();
    assert_said("own one one\n", 1);
    assert_said("sub two\n", 1);
    assert_said("beside\n", 1);
    assert_said("far\n", 1);
    assert_said("all well\n", 1);
    assert_said("not this", 0);
    assert_said("other one", 0);
    assert_said("secret", 0);
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    assert_said(
        "hook a.lua: failed; it is started again in 1 s: endless.lua:1: took over 100 ms of CPU time | "
        "stack traceback: | endless.lua:1: in main chunk | [C]: in global 'require' | a.lua:1: in function <a.lua:1>",
        1);
}

static void timers(void **state)
{
    (void)state;
    add_hook(
        "a.lua",
        "local t, u return {start = function() "
        "keep.timer(0.05, function(...) print('second', select('#', ...)) end) keep.timer(0, function() print('first') "
        "t:cancel() t:cancel() end) "
        "t = keep.timer(0.1, function() print('not this') end) u = keep.timer(0, function() end) "
        "for _, s in ipairs{-1, 0/0, 31536001, math.huge} do assert(not pcall(keep.timer, s, print)) end "
        "assert(not pcall(keep.timer, 'x', print)) assert(not pcall(keep.timer, 1)) "
        "assert(not pcall(t.cancel, keep)) assert(not pcall(t.cancel)) "
        "local all = {} for i = 1, 996 do all[i] = keep.timer(31536000, print) end "
        "local ok, why = pcall(keep.timer, 1, print) assert(not ok and why:find('too many timers')) "
        "for _, x in ipairs(all) do x:cancel() end "
        "for i = 1, 996 do all[i] = keep.timer(1000, print) end "
        "end, tick = function() u:cancel() print('ticks') keep.timer(0.01, function() error('late') end) end}");
    begin();
    turn(0.3);
    assert_said("hook a.lua: first\n", 1);
    assert_said("hook a.lua: second 0\n", 1);
    turn(1);
    assert_said("hook a.lua: ticks\n", 1);
    assert_said("hook a.lua: failed; it is started again in 1 s: a.lua:1: late", 1);
    assert_said("not this", 0);
    turn(1.2); /* the 996 are gone with their state */
    assert_said("hook a.lua: first\n", 2);
}

static void problems_of_hooks(void **state)
{
    (void)state;
    add_hook(
        "a.lua",
        "local function no(p, why) local ok, e = pcall(keep.problem, p) "
        "if ok or not e:find(why, 1, true) then error(tostring(e)) end end "
        "return {event = function() "
        "keep.problem{kind = 'k1', message = 'm\\n\\xff' .. ('x'):rep(2000), phase = 'end', seconds = 1.5, key = 'k', "
        "error = ''} print('raised') end, "
        "problem = function(p) print('a', p.kind, #p.message, p.message:sub(1, 4), p.phase, p.seconds, p.key, p.error, "
        "p.process) "
        "if p.kind == 'k1' then keep.problem{kind = 'k2', message = 'm'} end end, "
        "start = function() no({}, \"'kind' is missing\") no({kind = 'k'}, \"'message' is missing\") "
        "no({kind = 'k', message = ''}, \"'message' is missing\") "
        "no({kind = 1, message = 'm'}, \"'kind' is not a string\") "
        "no({kind = 'k', message = 'm', extra = 1}, \"'extra' is unknown\") "
        "no({kind = 'k', message = 'm', phase = 'x'}, \"neither 'begin' nor 'end'\") "
        "no({kind = 'k', message = 'm', seconds = 0/0}, \"'seconds' is not\") "
        "no({kind = 'k', message = 'm', seconds = -1}, \"'seconds' is not\") "
        "no({kind = 'k', message = 'm', seconds = '1'}, \"'seconds' is not\") "
        "no({'k'}, 'fields have names') no('k', 'table expected') no(nil, 'table expected') end}");
    add_hook("b.lua", LISTENER_HOOK);
    begin();
    struct audit_event event = an_event();
    hooks_event(hooks, &event);
    assert_said("raised\n", 1);
    assert_said("hook b.lua: k1", 0);
    turn(0.1);
    assert_said("hook a.lua: a k1 1024 m??x end 1.5 k  reporter\n", 1);
    assert_said("hook b.lua: k1 m??x", 1);
    assert_said("hook a.lua: a k2 1 m nil nil nil nil reporter\n", 1);
    assert_said("failed", 0);
    for (int i = 0; i < HOOK_PROBLEMS_MAX + 4; i++)
        hooks_raise(hooks, &(struct problem){.kind = event_text("k3"), .message = event_text("m")});
    turn(0.1);
    assert_said("hooks have raised 4 problems more than can wait; they are dropped\n", 1);
    for (int i = 0; i < HOOK_PROBLEMS_MAX + 4; i++)
        hooks_raise(hooks, &(struct problem){.kind = event_text("k3"), .message = event_text("m")});
    turn(0.1);
    assert_said("hooks have raised", 1);
    hooks_free(&hooks);
    assert_said("hooks have raised", 2);
}

static int quiet;

static void on_quiet(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what, (void)argument;
    quiet++;
}

/* A hook that raises a problem because of a problem, without end, is one of many things in the loop. */
static void problems_without_end(void **state)
{
    (void)state;
    add_hook("a.lua", "return {problem = function(p) keep.problem{kind = 'k', message = 'm'} end}");
    begin();
    hooks_raise(hooks, &(struct problem){.kind = event_text("k"), .message = event_text("m")});
    struct event *timer = event_new(base, -1, EV_PERSIST, on_quiet, NULL);
    event_add(timer, &(struct timeval){0, 10000});
    turn(0.3);
    event_free(timer);
    assert_in_range(quiet, 3, 40);
}

static void stopping(void **state)
{
    (void)state;
    add_hook("a.lua", "return {stop = function() print('stops') keep.timer(0, function() print('not this') end) end, "
                      "event = function() print('not this') end, tick = function() print('not this') end}");
    add_hook("b.lua", "return {stop = function() error('cannot') end}");
    add_hook("c.lua", "return {problem = function(p) print(p.kind) end, stop = function() print('c stops') "
                      "while true do end end}");
    begin();
    hooks_raise(hooks, &(struct problem){.kind = event_text("last"), .message = event_text("m")});
    hooks_free(&hooks);
    assert_said("hook c.lua: last\n", 1); /* what was raised before is still told */
    assert_said("hook a.lua: stops\n", 1);
    assert_said("hook b.lua: failed: b.lua:1: cannot", 1);
    assert_said("hook c.lua: failed: c.lua:1: took over 100 ms", 1);
    turn(1.2);
    assert_said("not this", 0);
    assert_said("started again", 0);
    assert_null(hooks);
    hooks_free(&hooks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_events_are),   TEST(what_times_are),       TEST(what_problems_are), TEST(what_settings_are),
        TEST(what_is_refused),   TEST(other_files),          TEST(modules),           TEST(timers),
        TEST(problems_of_hooks), TEST(problems_without_end), TEST(stopping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
