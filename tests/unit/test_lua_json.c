/* SPDX-License-Identifier: MIT */
/* keep.json both ways, with hostile values and texts; keep.log and keep.now. */
#include "base/lua_json.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/lua_keep.h"
#include "base/lua_sandbox.h"

#include <jansson.h>
#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const struct sandbox_limits patient = {.cpu = 60 * CLOCK_SECOND};
static struct sandbox *sandbox;
static struct lua_keep keep;
static _Atomic uint64_t looks;

static int set_up(void **state)
{
    struct error error;
    (void)state;
    keep = (struct lua_keep){.who = "hook test.lua"};
    sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = 64 * 1024 * 1024, .lua_call = &looks}, &error);
    lua_keep_open(sandbox_lua(sandbox), &keep);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sandbox_free(&sandbox);
    return 0;
}

/* Runs a chunk; its result, which `result` points to until the next, is the text "ERROR: ..." when it fails. */
static const char *run(const char *chunk)
{
    static char result[4096];
    lua_State *lua = sandbox_lua(sandbox);
    lua_settop(lua, 1);
    assert_int_equal(luaL_loadbufferx(lua, chunk, strlen(chunk), "@chunk", "t"), LUA_OK);
    if (sandbox_call(sandbox, 0, 1, &patient) != 0) {
        snprintf(result, sizeof result, "ERROR: %s", sandbox_failure(sandbox));
        char *trace = strstr(result, " | stack");
        if (trace != NULL)
            *trace = '\0';
        return result;
    }
    return lua_tostring(lua, -1);
}

static void values_to_json(void **state)
{
    static const struct {
        const char *value;
        const char *json; /* or the error */
    } rows[] = {
        {"1", "1"},
        {"-0x8000000000000000", "-9223372036854775808"},
        {"math.maxinteger", "9223372036854775807"},
        {"1.0", "1.0"},
        {"-0.0", "-0.0"},
        {"0.1", "0.10000000000000001"},
        {"1e300", "1.0000000000000001e300"},
        {"5e-324", "4.9406564584124654e-324"},
        {"true", "true"},
        {"false", "false"},
        {"keep.json.null", "null"},
        {"''", "\"\""},
        {"'1'", "\"1\""},
        {"'\\0\\1\\n\\31\\\"\\\\/'", "\"\\u0000\\u0001\\n\\u001F\\\"\\\\/\""},
        {"'a\\127b\\u{80}c\\u{9f}\\u{a0}\\u{e4}\\u{c2}'", "\"a\\u007Fb\\u0080c\\u009F\xc2\xa0\xc3\xa4\xc3\x82\""},
        {"'\\u{85}\\127'", "\"\\u0085\\u007F\""},
        {"'\\127\\127\\u{9b}\\u{9b}x'", "\"\\u007F\\u007F\\u009B\\u009Bx\""},
        {"{['\\127'] = 1}", "{\"\\u007F\":1}"},
        {"'\\u{10ffff}\\u{20ac}'", "\"\xf4\x8f\xbf\xbf\xe2\x82\xac\""},
        {"{}", "{}"},
        {"keep.json.array({})", "[]"},
        {"keep.json.array({1})", "[1]"},
        {"{1, 2, 'x', {}}", "[1,2,\"x\",{}]"},
        {"{[2] = 2, [1] = 1}", "[1,2]"},
        {"{b = 1, a = 2, ['a.b'] = 3, B = 4, [''] = 5}", "{\"\":5,\"B\":4,\"a\":2,\"a.b\":3,\"b\":1}"},
        {"{a = {b = {1, {c = keep.json.null}}}}", "{\"a\":{\"b\":[1,{\"c\":null}]}}"},
        {"{['\\u{e4}'] = true}", "{\"\xc3\xa4\":true}"},
        {"nil", "ERROR: chunk:1: no JSON: value: nil, which JSON has as keep.json.null"},
        {"print", "ERROR: chunk:1: no JSON: value: a function"},
        {"{a = print}", "ERROR: chunk:1: no JSON: value.a: a function"},
        {"0/0", "ERROR: chunk:1: no JSON: value: not a finite number"},
        {"{a = {1, {b = -1/0}}}", "ERROR: chunk:1: no JSON: value.a[2].b: not a finite number"},
        {"'\\xff'", "ERROR: chunk:1: no JSON: value: not UTF-8"},
        {"{'\\xed\\xa0\\x80'}", "ERROR: chunk:1: no JSON: value[1]: not UTF-8"},
        {"{['\\xff'] = 1}", "ERROR: chunk:1: no JSON: value.?: a key that is not UTF-8, or holds U+0000"},
        {"{['a\\0b'] = 1}", "ERROR: chunk:1: no JSON: value.?: a key that is not UTF-8, or holds U+0000"},
        {"{['two words'] = print}", "ERROR: chunk:1: no JSON: value.?: a function"},
        {"{[''] = print}", "ERROR: chunk:1: no JSON: value.?: a function"},
        {"{[('k'):rep(33)] = print}", "ERROR: chunk:1: no JSON: value.?: a function"},
        {"{1, nil, 3}", "ERROR: chunk:1: no JSON: value: an array with other keys than 1..n"},
        {"{1, a = 2}", "ERROR: chunk:1: no JSON: value: an array with other keys than 1..n"},
        {"{1, [2.5] = 2}", "ERROR: chunk:1: no JSON: value: an array with other keys than 1..n"},
        {"{x = {[0] = 1}}", "ERROR: chunk:1: no JSON: value.x: a key that is neither a string nor in 1..n"},
        {"{[true] = 1}", "ERROR: chunk:1: no JSON: value: a key that is neither a string nor in 1..n"},
        {"{[{}] = 1}", "ERROR: chunk:1: no JSON: value: a key that is neither a string nor in 1..n"},
        {"keep.json.array({a = 1})", "ERROR: chunk:1: no JSON: value: an array with other keys than 1..n"},
        {"('x'):rep(1048576)", "ERROR: chunk:1: no JSON: value: too large"},
        {"('\\1'):rep(200000)", "ERROR: chunk:1: no JSON: value: too large"},
    };
    char chunk[256];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(chunk, sizeof chunk, "return keep.json.encode(%s)", rows[i].value);
        assert_string_equal(run(chunk), rows[i].json);
    }
}

/* Chunks that must return "ok". */
static void what_holds(void **state)
{
    static const char *const chunks[] = {
        /* Depth. */
        "local t = {} for i = 1, 31 do t = {t} end return #keep.json.encode(t) == 64 and 'ok'",
        "local t = {} for i = 1, 32 do t = {t} end local ok, e = pcall(keep.json.encode, t) "
        "return not ok and e:find('value' .. ('%[1%]'):rep(32) .. ': nested too deeply') and 'ok'",
        "local t = {} t.t = t local ok, e = pcall(keep.json.encode, t) return e:find('%.t%.t: nested') and 'ok'",
        "return keep.json.decode(('['):rep(32) .. (']'):rep(32)) and 'ok'",
        "local v, e = keep.json.decode(('['):rep(33) .. (']'):rep(33)) return v == nil and e == 'nested too deeply' "
        "and 'ok'",
        "local v, e = keep.json.decode(('['):rep(1000000)) return v == nil and e == 'nested too deeply' and 'ok'",
        "local v, e = keep.json.decode(('{\"a\":'):rep(100000)) return v == nil and e == 'nested too deeply' and 'ok'",
        "return keep.json.decode('[\"' .. ('['):rep(100) .. '\"]')[1] == ('['):rep(100) and 'ok'",
        "return keep.json.decode('[\"\\\\\\\"' .. ('['):rep(100) .. '\"]')[1] == '\"' .. ('['):rep(100) and 'ok'",
        /* Sizes. */
        "local t = {} for i = 1, 65535 do t[i] = i end return #keep.json.encode(t) == 382105 and 'ok'",
        "local t = {} for i = 1, 65536 do t[i] = i end local ok, e = pcall(keep.json.encode, t) "
        "return e:find('value%[65536%]: too large') and 'ok'",
        "local t = {} for i = 1, 30 do t = {t, t} end local ok, e = pcall(keep.json.encode, t) "
        "return e:find('too large') and 'ok'",
        "local s = ('x'):rep(100000) local t = {} for i = 1, 60000 do t[i] = s end "
        "local ok, e = pcall(keep.json.encode, t) return e:find('value%[11%]: too large') and 'ok'",
        "local s = ('x'):rep(1048574) return #keep.json.encode(s) == 1048576 and keep.json.decode(keep.json.encode(s)) "
        "== s and 'ok'",
        "local v, e = keep.json.decode('\"' .. ('x'):rep(1048574) .. '\" ') return not v and e:find('longer') and 'ok'",
        "local v, e = keep.json.decode('[0' .. (',0'):rep(65534) .. ']') return #v == 65535 and 'ok'",
        "local v, e = keep.json.decode('[0' .. (',0'):rep(65535) .. ']') return not v and e == 'too many values' and "
        "'ok'",
        "local v, e = keep.json.decode((','):rep(1000000)) return not v and e == 'too many values' and 'ok'",
        "local s = ('\\127\\u{80}'):rep(50000) local j = keep.json.encode(s) "
        "return #j == 600002 and not j:find('[\\127-\\255]') and keep.json.decode(j) == s and 'ok'",
        /* There and back. */
        "local j = '{\"a\":[],\"b\":{},\"c\":[null,true,1,1.5,\"x\"]}' "
        "return keep.json.encode(keep.json.decode(j)) == j and 'ok'",
        "local t = keep.json.decode('[1]') t[1] = nil return keep.json.encode(t) == '[]' and 'ok'",
        "return keep.json.decode('null') == keep.json.null and keep.json.decode('[null]')[1] == keep.json.null and "
        "'ok'",
        "local v = keep.json.decode('\"\\\\u0000x\"') return v == '\\0x' and 'ok'",
        "return math.type(keep.json.decode('1')) == 'integer' and math.type(keep.json.decode('1.0')) == 'float' and "
        "'ok'",
        "for _, x in ipairs{0.1, 1/3, 2^53 + 0.0, 1795470943.123456} do "
        "assert(keep.json.decode(keep.json.encode(x)) == x) end return 'ok'",
        "local t = {} return keep.json.array(t) == t and 'ok'",
        "local k, e, d = keep, keep.json.encode, keep.json.decode keep = nil local v = d(e({1})) keep = k "
        "return v[1] == 1 and 'ok'",
        /* Misuse. */
        "local ok, e = pcall(keep.json.encode) return e:find('bad argument #1') and 'ok'",
        "local ok, e = pcall(keep.json.decode) return e:find('bad argument #1') and 'ok'",
        "local ok, e = pcall(keep.json.decode, {}) return e:find('string expected') and 'ok'",
        "local ok, e = pcall(keep.json.array, 'x') return e:find('table expected') and 'ok'",
        "local ok, e = pcall(keep.log, 'loud', 'x') return e:find('bad argument #1') and 'ok'",
        "local ok, e = pcall(keep.log, 'info') return e:find('bad argument #2') and 'ok'",
        "local ok, e = pcall(keep.log, 'info', {}) return e:find('bad argument #2') and 'ok'",
        "local now = keep.now() return math.type(now) == 'float' and now > 1.7e9 and 'ok'",
    };
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        const char *result = run(chunks[i]);
        if (result == NULL || strcmp(result, "ok") != 0)
            fail_msg("%s: %s", chunks[i], result);
    }
}

static void json_refused(void **state)
{
    static const struct {
        const char *json;
        const char *reason;
    } rows[] = {
        {"", "not valid at byte 0"},
        {"secret", "not valid at byte 6"},
        {"{\"a\":1,}", "not valid at byte 8"},
        {"[1] 2", "not valid at byte 5"},
        {"{\"a\":1,\"a\":2}", "a repeated key"},
        {"{\"a\":1,\"\\u0061\":2}", "a repeated key"},
        {"{\"\\u0000\":1}", "U+0000 in a key"},
        {"[99999999999999999999]", "a number out of range"},
        {"[1e999]", "a number out of range"},
        {"[NaN]", "not valid at byte 4"},
        {"[01]", "not valid at byte 2"},
        {"\"\xff\"", "not UTF-8"},
        {"\"\xed\xa0\x80\"", "not UTF-8"},
        {"\"\\ud800\"", "not valid at byte 8"},
        {"\"a\nb\"", "not valid at byte 2"},
        {"\"unclosed", "not valid at byte 9"},
        {"'x'", "not valid at byte 1"},
        {"]", "not valid at byte 1"},
        {"\"\\", "not valid at byte 2"},
    };
    lua_State *lua = sandbox_lua(sandbox);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        luaL_loadstring(lua, "return keep.json.decode(...)");
        lua_pushstring(lua, rows[i].json);
        assert_int_equal(sandbox_call(sandbox, 1, 2, &patient), 0);
        assert_true(lua_isnil(lua, -2));
        assert_string_equal(lua_tostring(lua, -1), rows[i].reason);
        lua_pop(lua, 2);
    }
}

/* The sandbox has no memory left while a tree is held: the next decoding lets go of it, or the end does. */
static void memory_ends_while_decoding(void **state)
{
    (void)state;
    const char *result = run("local j = '[' .. ('{\"abc\":[0,1,2]},'):rep(10000) .. '0]' local t = {} "
                             "for i = 1, 1000 do t[i] = keep.json.decode(j) end");
    assert_non_null(strstr(result, "not enough memory"));
    assert_string_equal(run("return #keep.json.decode('[1, 2]')"), "2");
}

/* A table that was emptied has as many slots as before, which must be gone through. */
static void encoding_has_limits(void **state)
{
    static const struct sandbox_limits brief = {.cpu = CLOCK_SECOND / 50};
    static const char *const chunks[] = {
        "keep.json.encode(list)",
        "pcall(keep.json.encode, list) done = true",
        "while true do pcall(keep.json.encode, {}) end",
        "while true do pcall(keep.json.encode, 'x') end",
        "while true do keep.json.decode('[1,2,3]') end",
    };
    lua_State *lua = sandbox_lua(sandbox);
    (void)state;
    assert_string_equal(run("list = {} for i = 1, 1000 do list[i] = {} end return 'well'"), "well");
    uint64_t before = looks;
    run("keep.json.encode(list)");
    assert_in_range((looks - before) / 2, 10, 15);
    assert_string_equal(run("number = '[' .. ('0,'):rep(8000) .. '0]' return 'well'"), "well");
    before = looks;
    run("for i = 1, 10 do keep.json.decode(number) end");
    assert_in_range((looks - before) / 2, 16, 30);
    assert_string_equal(run("local t = {} for i = 1, 131072 do t[i] = i end for i = 1, 131072 do t[i] = nil end "
                            "list = {} for i = 1, 60000 do list[i] = t end return 'well'"),
                        "well");
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        assert_int_equal(luaL_loadstring(lua, chunks[i]), LUA_OK);
        const clock_t start = clock();
        assert_int_equal(sandbox_call(sandbox, 0, 0, &brief), -1);
        assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
        if (strstr(sandbox_failure(sandbox), "took over 20 ms of CPU time") == NULL)
            fail_msg("%s: %s", chunks[i], sandbox_failure(sandbox));
    }
    assert_string_equal(run("return tostring(done)"), "nil");
}

static unsigned long allocations_left;

static void *allocate(size_t size)
{
    if (allocations_left > 0 && --allocations_left == 0)
        return NULL;
    return malloc(size);
}

static void every_allocation_of_jansson(void **state)
{
    (void)state;
    json_set_alloc_funcs(allocate, free);
    unsigned long n = 1;
    for (bool reached = true; reached; n++) {
        allocations_left = n;
        const char *result = run("local t = {1, 2.5, 'x', true, {a = {}, b = {'y'}, c = keep.json.null}} "
                                 "local j = keep.json.encode(t) "
                                 "local v, e = keep.json.decode(j) if not v then error(e) end "
                                 "return keep.json.encode(v)");
        reached = allocations_left == 0;
        allocations_left = 0;
        /* jansson does not always know why it could not go on. */
        if (reached && strstr(result, "not enough memory") == NULL)
            assert_non_null(strstr(result, "not valid at byte"));
        if (!reached)
            assert_string_equal(result, "[1,2.5,\"x\",true,{\"a\":{},\"b\":[\"y\"],\"c\":null}]");
    }
    assert_in_range(n, 20, 1000);
    json_set_alloc_funcs(malloc, free);
}

/* What is written to standard error while the chunk runs. */
static const char *logged(const char *chunk)
{
    static char text[65536];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_reopen();
    const char *result = run(chunk);
    dup2(saved, STDERR_FILENO);
    close(saved);
    log_reopen();
    const ssize_t n = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    assert_string_equal(result, "done");
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void lines_of_the_log(void **state)
{
    static const struct {
        const char *chunk;
        const char *line; /* ends so; NULL: none is there */
    } rows[] = {
        {"keep.log('error', 'x')", "hook test.lua: x\n"},
        {"keep.log('info', 'a\\nb\\0c\\27d\\127\\u{9b}e\\u{e4}')", "hook test.lua: a?b?c?d???e\xc3\xa4\n"},
        {"keep.log('info', 'a\\xffb\\u{e4}')", "hook test.lua: a?b\xc3\xa4\n"},
        {"keep.log('info', '%s%n')", "hook test.lua: %s%n\n"},
        {"keep.log('info', 12)", "hook test.lua: 12\n"},
        {"keep.log('debug', 'x')", NULL},
        {"print(1, nil, 'x', true)", "hook test.lua: 1 nil x true\n"},
        {"print()", "hook test.lua: \n"},
        {"print(('x'):rep(5000))", "xxx\n"},
        {"print(('x'):rep(1022) .. '\\u{e4}')", "xxx\n"},
    };
    (void)state;
    char chunk[256];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(chunk, sizeof chunk, "%s return 'done'", rows[i].chunk);
        keep.lines = 0;
        const char *text = logged(chunk);
        if (rows[i].line == NULL)
            assert_string_equal(text, "");
        else
            assert_string_equal(text + strlen(text) - strlen(rows[i].line), rows[i].line);
    }
}

static void lines_are_limited(void **state)
{
    (void)state;
    keep.second = clock_boot() / CLOCK_SECOND;
    keep.lines = LUA_KEEP_LINES_MAX;
    keep.left_out = 4;
    /* Should a second begin while the test runs, the first row of lines is written after all. */
    const char *text = logged("for i = 1, 30 do keep.log('info', 'line ' .. i) end return 'done'");
    if (*text == '\0')
        assert_int_equal(keep.left_out, 34);
    keep.second--;
    keep.left_out = 34;
    text = logged("for i = 1, 30 do keep.log('info', 'line ' .. i) end return 'done'");
    assert_non_null(strstr(text, "hook test.lua: (34 lines before this one were left out) line 1\n"));
    assert_non_null(strstr(text, "hook test.lua: line 20\n"));
    assert_true(strstr(text, "line 21\n") == NULL || keep.left_out < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_to_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_ends_while_decoding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(encoding_has_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_allocation_of_jansson, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_of_the_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_are_limited, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
