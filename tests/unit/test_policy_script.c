/* SPDX-License-Identifier: MIT */
/* The scripts of policies: what does not load and what is said of it, limits and what comes after them, shadows, and
 * scripts that mean harm. */
#include "keep/policy_script.h"

#include "base/clock.h"
#include "base/log.h"

#include "policy_files.h"

#include <string.h>
#include <sys/stat.h>

/* Loading. */

static void assert_does_not_load(const char *script, size_t size, const char *reason)
{
    struct error error = {""};
    char expected[PATH_MAX + 512];
    script_write(0, script, size);
    struct policies *policies = policies_new(&config, NULL, &error);
    snprintf(expected, sizeof expected, "%s%s", paths[0], reason);
    if (policies != NULL || strncmp(error.text, expected, strlen(expected)) != 0)
        fail_msg("%.*s\n expected: %s\n      got: %s", (int)size, script, expected, error.text);
    policies_free(&policies);
}

static void what_does_not_load(void **state)
{
    static const struct {
        const char *script, *reason;
    } cases[] = {
        {"", ": the file returns nil, not a table of functions"},
        {"return 7", ": the file returns number, not a table of functions"},
        {"\n\nreturn {", ":3: unexpected symbol near <eof>"},
        {"\nlocal a = = 1", ":2: unexpected symbol near '='"},
        {"\nerror('oh')", ":2: oh"},
        {"\n\n\nlocal x = nothing.here", ":4: attempt to index a nil value (global 'nothing')"},
        {"error('oh', 0)", ": oh | stack traceback:"},
        {"error({})", ": threw a table"},
        {"return { get = 1 }", ": 'get' in the table is not a function"},
        {"return { load = {} }", ": 'load' in the table is not a function"},
        {"return { tick = 1 }", ": 'tick' in the table is unknown; known are load, get, check, "},
        {"return {\nget = function() end,\ngett = function() end }", ":3: 'gett' in the table is unknown; known are"},
        {"return { GET = print }", ": 'GET' in the table is unknown; "},
        {"return { function() end }", ":1: '1' in the table is unknown; "},
        {"return { [true] = print }", ": 'true' in the table is unknown; "},
        {"return { [{}] = print }", ": 'table: 0x"},
        {"return { get = print,\nload = function() error('bad setting') end }", ":2: bad setting"},
        {"return { load = function(settings) keep.cidr(settings.none) end }", ":1: "},
        {"while true do end", ":1: took over 1000 ms of CPU time"},
        {"return { load = function() while true do pcall(error) end end }", ":1: took over 1000 ms of CPU time"},
        {"local text = 'x' while true do text = text .. text end", ": not enough memory"},
        {"\033Lua", ": attempt to load a binary chunk (mode is 't')"},
    };
    (void)state;
    configure((const char *[]){""}, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_does_not_load(cases[i].script, strlen(cases[i].script), cases[i].reason);
    assert_does_not_load("return {}\0", 10, ":1: ");
}

static void files(void **state)
{
    struct error error;
    char expected[PATH_MAX + 64];
    char *large = malloc(POLICY_FILE_MAX + 1);
    (void)state;
    assert_non_null(large);
    memset(large, ' ', POLICY_FILE_MAX + 1);
    memcpy(large, "return {}", 9);
    configure((const char *[]){"return {}"}, 1);
    assert_does_not_load(large, POLICY_FILE_MAX + 1, ": longer than 1048576 bytes");
    script_write(0, large, POLICY_FILE_MAX);
    struct policies *policies = load_configured();
    policies_free(&policies);
    free(large);
    config.policies[0].path = folder;
    assert_null(policies_new(&config, NULL, &error));
    snprintf(expected, sizeof expected, "%s: not a file", folder);
    assert_string_equal(error.text, expected);
    config.policies[0].path = paths[SCRIPTS - 1];
    assert_null(policies_new(&config, NULL, &error));
    snprintf(expected, sizeof expected, "%s: No such file or directory", paths[SCRIPTS - 1]);
    assert_string_equal(error.text, expected);
}

static void settings(void **state)
{
    static struct config_setting given[] = {{(char *)(uintptr_t) "networks", (char *)(uintptr_t) "10.0.0.0/8 ::1"},
                                            {(char *)(uintptr_t) "time-zone", (char *)(uintptr_t) ""}};
    struct policy_answer answer;
    (void)state;
    configure((const char *[]){"local kept return { load = function(...) kept = table.pack(...) end, "
                               "get = function() assert(kept.n == 1) local names = {} "
                               "for name, value in pairs(kept[1]) do names[#names + 1] = name .. '=' .. value end "
                               "table.sort(names) return false, table.concat(names, ',') end }"},
              1);
    config.policies[0].settings = given;
    config.policies[0].n_settings = 2;
    struct policies *policies = load_configured();
    ask_of(policies, POLICY_GET, NULL, &answer);
    assert_verdict(&answer, POLICY_REFUSES, "networks=10.0.0.0/8 ::1,time-zone=", "settings");
    policies_free(&policies);
}

/* The second does not load: the first, which did, is freed. */
static void one_of_two(void **state)
{
    struct error error;
    (void)state;
    configure((const char *[]){"return {}", "return"}, 2);
    assert_null(policies_new(&config, NULL, &error));
    assert_non_null(strstr(error.text, "q.lua: the file returns nil"));
}

/* Limits. */

/* A text of 8 MiB: twice of it, which takes no time to refuse, is too much. */
#define LARGE "local text = ('x'):rep(1048576) for i = 1, 3 do text = text .. text end "

/* Asks until the policy has a state again; that it has not is a failure, too. */
static void ask_again(struct policies *policies, enum policy_point point, struct policy_answer *answer)
{
    const int64_t end = clock_boot() + 20 * CLOCK_SECOND;
    do
        ask_of(policies, point, WHOLE, answer);
    while (answer->verdict == POLICY_FAILS && strstr(answer->failure.text, "not loaded again yet") != NULL &&
           clock_boot() < end);
}

static void limits_pass(void **state)
{
    static const struct {
        const char *body, *text;
    } cases[] = {
        {"while true do end", "p.lua:1: took over "},
        {"while true do pcall(function() while true do end end) end", "took over "},
        {"pcall(function() while true do end end) return true", "took over "},
        {"xpcall(function() while true do end end, function() return true end) return true", "took over "},
        {"local function f() return pcall(f) end while true do pcall(f) end", "took over "},
        {"while true do local text = ('x'):rep(1000000) end", "took over "},
        {"local t = {} while true do t = { t } end", "took over "},
        {"local function f() return f() + 1 end f()", ""},
        {"return text .. text", "not enough memory"},
        {"keep.json.encode(setmetatable({}, {}))", "attempt to call a nil value (global 'setmetatable')"},
    };
    char script[512];
    uint64_t instructions;
    int64_t cpu;
    struct policy_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(script, sizeof script,
                 LARGE "return { get = function(request, token) %s end, list = function() return true end }",
                 cases[i].body);
        struct policies *policies = load_one(script);
        for (int again = 0; again < 2; again++) {
            ask_again(policies, POLICY_GET, &answer);
            assert_verdict(&answer, POLICY_FAILS, cases[i].text, script);
            assert_string_equal(answer.policy, "p.lua");
            policies_cost(policies, &instructions, &cpu);
            assert_in_range(instructions, 1, POLICY_INSTRUCTIONS_MAX + 2000);
            ask_again(policies, POLICY_LIST, &answer);
            assert_verdict(&answer, POLICY_PERMITS, "", script);
        }
        policies_free(&policies);
    }
}

/* A parser can be slow about what it reads: it is looked at all the while; and what it says is kept. */
static void loading_has_limits(void **state)
{
    static char script[100000];
    static _Atomic uint64_t calls;
    struct error error = {""};
    const char *const text = script;
    (void)state;
    memset(script, ' ', sizeof script - 1);
    memcpy(script, GET("return true"), sizeof GET("return true") - 1);
    configure(&text, 1);
    struct policies *policies = policies_new(&config, &calls, &error);
    assert_non_null(policies);
    assert_in_range(calls / 2, sizeof script / 512, sizeof script / 512 + 10);
    policies_free(&policies);
    memset(script, '(', 250);
    script[250] = '\0';
    configure(&text, 1);
    assert_null(policies_new(&config, NULL, &error));
    assert_non_null(strstr(error.text, "p.lua: C stack overflow"));
}

/* What is done with the results of a call has limits as well, and little in a call can cost much. */
static void limits_without_instructions(void **state)
{
    static const char *const cases[] = {
        "store = function() return true, { scopes = list } end",
        "store = function() return true, { list } end",
        "store = function() pcall(keep.json.encode, list) return true end",
        "store = function() for _ = 1, 30 do local _ = nuls < nuls end return true end",
        "store = function() local s = ('\\0'):rep(1048576) for _ = 1, 30 do local _ = s < s end return true end",
        "store = function() for _ = 1, 9000 do next(empty) end return true end",
        "store = function() for _ = 1, 9000 do pcall(keep.set, empty) end return true end",
    };
    char script[1024];
    const struct policy_request request = request_of(POLICY_STORE);
    struct policy_answer answer;
    uint64_t instructions;
    int64_t cpu;
    struct token_data *data = data_of(WHOLE);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(script, sizeof script,
                 "local list, empty = {}, {} for i = 1, 200000 do empty[i * 7] = i end "
                 "for k in pairs(empty) do empty[k] = nil end for i = 1, 60000 do list[i] = empty end "
                 "%s return { %s }",
                 strstr(cases[i], "nuls") == NULL ? "" : "local nuls = ('\\0'):rep(1048576)", cases[i]);
        struct policies *policies = load_one(script);
        policies_measure(policies);
        policies_ask(policies, &request, NULL, data, &answer);
        policies_cost(policies, &instructions, &cpu);
        print_message("%6.1f ms %s\n", (double)cpu / 1e6, cases[i]);
        assert_verdict(&answer, POLICY_FAILS, "took over 50 ms of CPU time", cases[i]);
        assert_true(cpu < 2 * CLOCK_SECOND);
        policies_free(&policies);
    }
    token_data_free(&data);
}

/* The state that ran out of memory is gone, with its globals; load has run again. Other failures leave the state. */
static void memory_comes_back(void **state)
{
    static const char script[] = LARGE "local loaded, calls = 0, 0 local function fill() return text .. text end "
                                       "return { load = function() loaded = loaded + 1 end, "
                                       "list = function() calls = calls + 1 return false, loaded .. ' ' .. calls end, "
                                       "get = function() fill() end, check = function() pcall(fill) return true end, "
                                       "delete = function() error('oh') end }";
    static const struct {
        enum policy_point point;
        enum policy_verdict verdict;
        const char *text;
    } cases[] = {
        {POLICY_LIST, POLICY_REFUSES, "1 1"},        {POLICY_LIST, POLICY_REFUSES, "1 2"},
        {POLICY_DELETE, POLICY_FAILS, "oh"},         {POLICY_LIST, POLICY_REFUSES, "1 3"},
        {POLICY_GET, POLICY_FAILS, "enough memory"}, {POLICY_LIST, POLICY_REFUSES, "1 1"},
        {POLICY_LIST, POLICY_REFUSES, "1 2"},        {POLICY_CHECK, POLICY_FAILS, "enough memory"},
        {POLICY_LIST, POLICY_REFUSES, "1 1"},        {POLICY_GET, POLICY_FAILS, "enough memory"},
        {POLICY_GET, POLICY_FAILS, "enough memory"}, {POLICY_LIST, POLICY_REFUSES, "1 1"},
    };
    struct policy_answer answer;
    struct policies *policies = load_one(script);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask_again(policies, cases[i].point, &answer);
        assert_verdict(&answer, cases[i].verdict, cases[i].text, "memory");
    }
    policies_free(&policies);
}

/* Loading takes milliseconds here, so it does not come with every call. */
static void not_at_once(void **state)
{
    struct policy_answer answer;
    struct policies *policies = load_one(LARGE GET("return text .. text"));
    (void)state;
    for (int i = 0; i < 2; i++) {
        ask_of(policies, POLICY_GET, NULL, &answer);
        assert_verdict(&answer, POLICY_FAILS, "not enough memory", "not at once");
    }
    ask_of(policies, POLICY_GET, NULL, &answer);
    assert_verdict(&answer, POLICY_FAILS, "it used up its memory, and is not loaded again yet", "not at once");
    ask_again(policies, POLICY_GET, &answer);
    assert_verdict(&answer, POLICY_FAILS, "not enough memory", "not at once");
    policies_free(&policies);
}

/* What is on the disk by now does not matter, and a script that changes its mind is a failure. */
static void loaded_again(void **state)
{
    static struct config_setting given[] = {{(char *)(uintptr_t) "mood", (char *)(uintptr_t) "good"}};
    static const char *const scripts[] = {
        LARGE "local t = { get = function() return text .. text end } "
              "if keep.now() < moment then t.check = t.get end return t",
        LARGE "return { load = function(settings) if keep.now() > moment then error(settings.mood) end end, "
              "get = function() return text .. text end }",
    };
    static const char *const reasons[] = {
        ": the table has other functions than when it was loaded first",
        ":1: good",
    };
    char script[512];
    struct policy_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        const double then = (double)clock_wall_microseconds() / 1e6 + 1;
        snprintf(script, sizeof script, "local moment = %f %s", then, scripts[i]);
        configure((const char *[]){script}, 1);
        config.policies[0].settings = given;
        config.policies[0].n_settings = 1;
        struct policies *policies = load_configured();
        script_write(0, "return", 6);
        ask_again(policies, POLICY_GET, &answer);
        assert_verdict(&answer, POLICY_FAILS, "not enough memory", script);
        usleep(1100000);
        ask_again(policies, POLICY_GET, &answer);
        assert_verdict(&answer, POLICY_FAILS, "cannot be loaded again: ", script);
        assert_non_null(strstr(answer.failure.text, paths[0]));
        assert_non_null(strstr(answer.failure.text, reasons[i]));
        policies_free(&policies);
    }
}

static void costs(void **state)
{
    uint64_t instructions;
    int64_t cpu;
    struct policy_answer answer;
    struct policies *policies = load_one("return { get = function() for i = 1, 20500 do end return true end }");
    (void)state;
    for (int again = 0; again < 2; again++) {
        ask_of(policies, POLICY_GET, WHOLE, &answer);
        policies_cost(policies, &instructions, &cpu);
        assert_int_equal(instructions, 21000);
        assert_int_equal(cpu, 0);
    }
    policies_measure(policies);
    ask_of(policies, POLICY_GET, WHOLE, &answer);
    policies_cost(policies, &instructions, &cpu);
    assert_in_range(cpu, 1000, CLOCK_SECOND);
    ask_of(policies, POLICY_LIST, WHOLE, &answer);
    policies_cost(policies, &instructions, &cpu);
    assert_int_equal(instructions, 0);
    assert_int_equal(cpu, 0);
    policies_free(&policies);
}

/* The master sees calls begin and end, after whoever died in one. */
static void watched(void **state)
{
    _Atomic uint64_t calls = 3;
    struct error error;
    struct policy_answer answer;
    (void)state;
    configure((const char *[]){"return { get = function() return true end }"}, 1);
    struct policies *policies = policies_new(&config, &calls, &error);
    const uint64_t loaded = calls;
    assert_true(loaded > 3 && loaded % 2 == 0);
    ask_of(policies, POLICY_GET, WHOLE, &answer);
    assert_int_equal(calls, loaded + 2);
    policies_free(&policies);
}

/* Shadows. */

/* What is written to standard error while policies are asked `n` times. */
static const char *logged(struct policies *policies, enum policy_point point, unsigned n, struct policy_answer *answer)
{
    static char text[65536];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_reopen();
    for (unsigned i = 0; i < n; i++)
        ask_of(policies, point, WHOLE, answer);
    dup2(saved, STDERR_FILENO);
    close(saved);
    log_reopen();
    const ssize_t size = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    text[size > 0 ? size : 0] = '\0';
    return text;
}

static void shadows(void **state)
{
    static const char *const scripts[] = {
        "return { get = function() return false, 'p\\27' end, getkey = function() error('oh') end }",
        "return { get = function() return false, 'q' end, check = function() return true end }",
        "return { get = function() return 7 end, getkey = function() return true end }",
    };
    struct policy_answer answer;
    (void)state;
    configure(scripts, 3);
    config.policies[0].shadow = true;
    config.policies[2].shadow = true;
    struct policies *policies = load_configured();
    const char *log = logged(policies, POLICY_GET, 1, &answer);
    assert_verdict(&answer, POLICY_REFUSES, "q", "shadows");
    assert_string_equal(answer.policy, "q.lua");
    assert_int_equal(answer.shadow_refusals, 1);
    assert_int_equal(answer.shadow_failures, 0);
    assert_non_null(strstr(log, "policy p.lua (shadow) would refuse GET: p?\n"));
    assert_null(strstr(log, "q.lua"));
    log = logged(policies, POLICY_GETKEY, 1, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "shadows");
    assert_int_equal(answer.shadow_refusals, 0);
    assert_int_equal(answer.shadow_failures, 1);
    assert_non_null(strstr(log, "policy p.lua (shadow) fails at GETKEY: p.lua:1: oh"));
    log = logged(policies, POLICY_CHECK, 1, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "shadows");
    assert_int_equal(answer.shadow_refusals + answer.shadow_failures, 0);
    assert_string_equal(log, "");
    policies_free(&policies);
}

static void shadows_change_nothing(void **state)
{
    static const char *const scripts[] = {
        "return { store = function() return true, { username = 'bob' } end }",
        "return { store = function(request, token) return token.username == 'joe' end }",
        "return { store = function() return true, { username = 'B' } end }",
    };
    const struct policy_request request = request_of(POLICY_STORE);
    struct policy_answer answer;
    struct token_data *data = data_of(BARE);
    (void)state;
    configure(scripts, 3);
    config.policies[0].shadow = true;
    config.policies[2].shadow = true;
    struct policies *policies = load_configured();
    policies_ask(policies, &request, NULL, data, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "shadows");
    assert_int_equal(answer.shadow_failures, 1);
    token_data_free(&data);
    policies_free(&policies);
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        n++;
    return n;
}

static void shadows_are_brief(void **state)
{
    struct policy_answer answer;
    (void)state;
    configure((const char *[]){"return { get = function() return false end }"}, 1);
    config.policies[0].shadow = true;
    struct policies *policies = load_configured();
    assert_in_range(count_lines(logged(policies, POLICY_GET, 100, &answer)), 10, 30);
    assert_verdict(&answer, POLICY_PERMITS, "", "brief");
    assert_int_equal(answer.shadow_refusals, 1);
    usleep(1100000);
    assert_non_null(strstr(logged(policies, POLICY_GET, 1, &answer), "lines before this one were left out)\n"));
    policies_free(&policies);
}

/* Scripts that mean harm. */

static void out_of_reach(void **state)
{
    static const char *const bodies[] = {
        "setmetatable == nil and getmetatable == nil and collectgarbage == nil and debug == nil",
        "coroutine == nil and load == nil and loadstring == nil and loadfile == nil and dofile == nil",
        "require == nil and package == nil and io == nil and os == nil and string.dump == nil",
        "keep.file == nil and keep.http == nil and keep.timer == nil and keep.problem == nil",
        "not pcall(function() ('x').y.z = 1 end) and ('x').y == nil",
        "not pcall(function() local s = 'x' s.y = 1 end)",
        "not pcall(keep.json.array, 'x') and not pcall(rawset, 'x', 1, 1)",
        "not pcall(table.move, {}, 1, 1 << 40, 2) and not pcall(string.rep, 'x', 1 << 40)",
        "not pcall(table.concat, {}, 'x', 1, 1 << 40)",
        "not pcall(table.unpack, {}, 1, 1 << 40) and not pcall(table.sort, {2, 1}, 1)",
        "request.__index == nil and token.__index == nil and token.__pairs == nil and request.__gc == nil",
        "rawget(request, 'address') == nil and next(request) == nil and rawlen(token) == 0",
        "not pcall(function() for k in pairs(request) do request[k .. 'x'] = 1 end end) or true",
        "#tostring(request) > 0 and not pcall(function() return request < token end)",
        "not pcall(function() return request() end) and not pcall(function() return request .. '' end)",
    };
    char script[512];
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        snprintf(script, sizeof script, GET("return %s"), bodies[i]);
        permits(script, POLICY_GET, WHOLE);
    }
}

/* What one does to its libraries, another does not see; a table with the name of a metamethod in it is none. */
static void apart(void **state)
{
    static const char *const scripts[] = {
        "string.format, keep.json, keep.now, _G.tostring = nil, nil, nil, nil "
        "mark = { __gc = function() error('gc') end, __mode = 'k' } for k in pairs(math) do math[k] = nil end " GET(
            "request.address = '1.1.1.1' token.username = 'eve' return true"),
        "assert(string.format and ('%d'):format(7) == '7' and keep.json and keep.now and tostring and math.max) "
        "assert(mark == nil) " GET("return request.address == '10.1.2.3' and token.username == 'joe'"),
    };
    struct policy_answer answer;
    (void)state;
    configure(scripts, 2);
    struct policies *policies = load_configured();
    for (int again = 0; again < 2; again++) {
        ask_of(policies, POLICY_GET, WHOLE, &answer);
        assert_verdict(&answer, POLICY_PERMITS, "", "apart");
    }
    policies_free(&policies);
}

/* A token of many scopes and groups, all looked at, and one whose data are not JSON. */
static void odd_tokens(void **state)
{
    struct policy_answer answer;
    struct policies *policies = load_one(GET("return token.email == nil"));
    (void)state;
    ask_of(policies, POLICY_GET, "{", &answer);
    assert_verdict(&answer, POLICY_FAILS, "the token's data cannot be read", "odd");
    ask_of(policies, POLICY_GET, BARE, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "odd");
    policies_free(&policies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_load),
        cmocka_unit_test(files),
        cmocka_unit_test(settings),
        cmocka_unit_test(one_of_two),
        cmocka_unit_test(limits_pass),
        cmocka_unit_test(limits_without_instructions),
        cmocka_unit_test(loading_has_limits),
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(not_at_once),
        cmocka_unit_test(loaded_again),
        cmocka_unit_test(costs),
        cmocka_unit_test(watched),
        cmocka_unit_test(shadows),
        cmocka_unit_test(shadows_change_nothing),
        cmocka_unit_test(shadows_are_brief),
        cmocka_unit_test(out_of_reach),
        cmocka_unit_test(apart),
        cmocka_unit_test(odd_tokens),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
