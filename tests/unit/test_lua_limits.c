/* SPDX-License-Identifier: MIT */
/* What single calls of Lua's functions may do: each limit from both sides, the worst that each function can be made to
 * do within it, and that work in C is looked at like instructions. */
#include "base/lua_limits.h"

#include "base/clock.h"
#include "base/lua_sandbox.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { MEMORY = 64 * 1024 * 1024 };

static const struct sandbox_limits brief = {.cpu = CLOCK_SECOND / 50}, patient = {.cpu = 60 * CLOCK_SECOND};

/* What the rows use. A is a megabyte of "a". F is a table whose length is 2^62: Lua looks at powers of two. */
static const char setup[] = "function filled(n, value) local t = {} for i = 1, n do t[i] = value end return t end "
                            "function counted(n, f) local t = {} for i = 1, n do t[i] = f(i) end return t end "
                            "F = {} for i = 0, 62 do F[1 << i] = 1 end F[3] = 1 F[5] = 1";

static struct sandbox *make(void)
{
    struct error error = {""};
    struct sandbox *sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = MEMORY, .os = true}, &error);
    assert_non_null(sandbox);
    assert_int_equal(luaL_loadstring(sandbox_lua(sandbox), setup), LUA_OK);
    assert_int_equal(sandbox_call(sandbox, 0, 0, &patient), 0);
    return sandbox;
}

static void push_megabyte(lua_State *lua)
{
    luaL_Buffer buffer;
    memset(luaL_buffinitsize(lua, &buffer, 1048576), 'a', 1048576);
    luaL_pushresultsize(&buffer, 1048576);
}

static int run(struct sandbox *sandbox, const char *chunk, const struct sandbox_limits *limits)
{
    lua_State *lua = sandbox_lua(sandbox);
    if (strchr(chunk, 'A') == NULL)
        lua_pushnil(lua); /* a text so large costs looks at the clock all the time */
    else
        push_megabyte(lua);
    lua_setglobal(lua, "A");
    lua_gc(lua, LUA_GCCOLLECT);
    if (luaL_loadbufferx(sandbox_lua(sandbox), chunk, strlen(chunk), "@chunk", "t") != LUA_OK)
        fail_msg("%s: %s", chunk, lua_tostring(sandbox_lua(sandbox), -1));
    return sandbox_call(sandbox, 0, 0, limits);
}

static void what_is_allowed(void **state)
{
    static const char *const chunks[] = {
        "assert(#A:upper() == #A and #A:lower() == #A and #A:reverse() == #A)",
        "assert(utf8.len(A) == #A and utf8.offset(A, 1000000) == 1000000 and utf8.codepoint(A, -1) == 97)",
        "assert(A:find('b', 1, true) == nil and A:find('a', -1) == #A and A:find('^a*$'))",
        "assert(#('ab'):rep(524288) == 1048576 and tonumber(('1'):rep(1000)))",
        "assert(#string.format('%s', A:sub(3)) == #A - 2 and #string.format('%q', A:sub(1, 262000)) == 262002)",
        "assert(#string.format(('%d'):rep(1000), table.unpack(filled(1000, 1))) == 1000)",
        "assert(#string.pack('c1048576', '') == 1048576 and #string.pack(('x'):rep(65536)) == 65536)",
        "assert(select('#', ('x'):rep(65535):byte(1, -1)) == 65535 and #string.char(table.unpack(filled(65536, 65))) "
        "== 65536)",
        "assert(select('#', table.unpack({}, 1, 65536)) == 65536)",
        "assert(#table.concat(filled(250000, 'abc')) == 750000 and #table.concat(filled(16384, 1.5)) == 49152)",
        "assert(#table.concat({A}) == #A and #table.concat({A:sub(1, 500000), A:sub(1, 500000)}, ',') == 1000001)",
        "local t = filled(250000, 1) table.insert(t, 1, 2) assert(#t == 250001 and t[1] == 2) table.remove(t, 2)",
        "local t = filled(300000, 1) table.insert(t, 2) table.remove(t) table.insert(t, 299000, 1) assert(#t == "
        "300001)",
        "local t = table.move(filled(250000, 1), 1, 250000, 2) assert(#t == 250001)",
        "local t = counted(25000, function(i) return i * 7919 % 25013 end) table.sort(t) for i = 2, #t do assert(t[i - "
        "1] < t[i]) end",
        "local t = filled(250000, 1) table.sort(t, function() return false end)",
        "local t = counted(2000, function(i) return ('x'):rep(500) .. i end) table.sort(t)",
        "assert(#F == 1 << 62) table.insert(F, 1)",
        /* Honest work with patterns, on honest lines. */
        "local k, v = ('key = ' .. ('value '):rep(700) .. (' '):rep(99)):match('^(%w+)%s*=%s*(.-)%s*$') assert(k and "
        "#v == 4199)",
        "local k, v = ('key = ' .. ('value '):rep(10900)):match('^(%w+)%s*=%s*(.-)%s*$') assert(k and #v > 65000)",
        "assert(select(2, ('word '):rep(13000):gsub('%s+', '_')) == 13000)",
        "assert(select(2, A:sub(1, 65536):gsub('.', '%0%0')) == 65536)",
        "assert(select(2, A:sub(1, 65536):gsub('.', function(c) return c .. c end)) == 65536)",
        "assert(select(2, A:sub(1, 65536):gsub('.', string.upper)) == 65536)",
        "assert(select(2, A:sub(1, 65536):gsub('.', {a = 'b'})) == 65536)",
        "local n = 0 for w in ('key=value, '):rep(6000):gmatch('(%w+)=(%w+)') do n = n + 1 end assert(n == 6000)",
        "assert(('x, '):rep(20000):find('[^,%s]+,%s*$'))",
        "assert(select(2, ('<a>'):rep(20000):gsub('[&<>\"]', {['<'] = '&lt;', ['>'] = '&gt;'})) == 40000)",
        "assert(('%d+%-'):rep(3) and ('10.0.0.7:50123'):match('^(.-):?(%d*)$'))",
    };
    struct sandbox *sandbox = make();
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
        if (run(sandbox, chunks[i], &patient) != 0)
            fail_msg("%s: %s", chunks[i], sandbox_failure(sandbox));
    sandbox_free(&sandbox);
}

static void what_is_refused(void **state)
{
    static const char too_large[] = "resulting string too large",
                      many_steps[] = "pattern takes over 5000000 steps on this text";
    static const struct {
        const char *call;
        const char *why; /* part of the error */
    } rows[] = {
        {"math.max(A, 'a')", "bad argument #2 to 'max' (texts too long)"},
        {"math.min('a', A)", "bad argument #2 to 'min' (texts too long)"},
        {"string.char(A, '1')", "bad argument #2 to 'char' (texts too long)"},
        {"utf8.char('1', A)", "bad argument #2 to 'char' (texts too long)"},
        {"string.pack('b', '1', A)", "bad argument #3 to 'pack' (texts too long)"},
        {"('\\0%q'):format(A:sub(1, 500000))", too_large},
        {"string.upper(A .. 'a')", "bad argument #1 to 'upper' (text too long)"},
        {"string.lower(A .. 'a')", "bad argument #1 to 'lower' (text too long)"},
        {"string.reverse(A .. 'a')", "bad argument #1 to 'reverse' (text too long)"},
        {"utf8.len(A .. 'a')", "bad argument #1 to 'len' (text too long)"},
        {"utf8.codes(A .. 'a')", "bad argument #1 to 'codes' (text too long)"},
        {"utf8.offset(A .. 'a', 1)", "bad argument #1 to 'offset' (text too long)"},
        {"tonumber(A .. 'a', 36)", "bad argument #1 to 'tonumber' (text too long)"},
        {"string.find(A .. 'a', 'a', 1, true)", "bad argument #1 to 'find' (text too long to search)"},
        {"string.match(A .. 'a', 'a')", "bad argument #1 to 'match' (text too long to search)"},
        {"string.gmatch(A .. 'a', 'a')", "bad argument #1 to 'gmatch' (text too long to search)"},
        {"string.gsub(A .. 'a', 'a', '')", "bad argument #1 to 'gsub' (text too long to search)"},
        {"('x'):rep(1048577)", too_large},
        {"('x'):rep(math.maxinteger)", too_large},
        {"('x'):rep(600000, 'y')", too_large},
        {"string.format('%s', A .. 'a')", too_large},
        {"string.format('%s%s', A:sub(1, 600000), A:sub(1, 600000))", too_large},
        {"string.format('%q', A:sub(1, 262144))", too_large},
        {"string.format(('%d'):rep(1001), table.unpack(filled(1001, 1)))", "too many values to format"},
        {"string.pack('c1048577', '')", too_large},
        {"string.pack('c600000c600000', '', '')", too_large},
        {"string.pack('c' .. ('9'):rep(100), '')", too_large},
        {"string.packsize('c99999999999')", too_large},
        {"string.pack(('x'):rep(65537))", "bad argument #1 to 'pack' (format too long)"},
        {"string.unpack(('x'):rep(65537), A)", "bad argument #1 to 'unpack' (format too long)"},
        {"os.date(('%c'):rep(513))", "bad argument #1 to 'date' (format too long)"},
        {"string.char(table.unpack({}, 1, 65537))", "too many results"},
        {"table.unpack({}, 1, 65537)", "too many results"},
        {"table.unpack(F)", "too many results"},
        {"A:byte(1, -1)", "string slice too long"},
        {"A:byte(-65537, -1)", "string slice too long"},
        {"utf8.codepoint(A, 1, -1)", "string slice too long"},
        {"string.char(65, table.unpack(filled(65536, 65)))", "too many arguments"},
        {"utf8.char(65, table.unpack(filled(65536, 65)))", "too many arguments"},
        {"table.concat(filled(250001, ''))", too_large},
        {"table.concat(filled(16385, 1.5))", too_large},
        {"table.concat({A, 'a'})", too_large},
        {"table.concat({'', ''}, A .. 'a')", too_large},
        {"table.concat(filled(1000, A))", too_large},
        {"table.concat(filled(1000, ''), ('x'):rep(2000))", too_large},
        {"table.move({}, 1, 250001, 2)", "bad argument #3 to 'move' (too many elements to move)"},
        {"table.move({}, math.mininteger, math.maxinteger, 1)",
         "bad argument #3 to 'move' (too many elements to move)"},
        {"table.insert(filled(250001, 1), 1, 1)", "bad argument #1 to 'insert' (too many elements to move)"},
        {"table.remove(filled(250001, 1), 1)", "bad argument #1 to 'remove' (too many elements to move)"},
        {"table.insert(F, 1, 1)", "bad argument #1 to 'insert' (too many elements to move)"},
        {"table.insert(F, '1', 1)", "bad argument #1 to 'insert' (too many elements to move)"},
        {"table.insert(F, 1.0, 1)", "bad argument #1 to 'insert' (too many elements to move)"},
        {"table.insert(F, '0x1p0', 1)", "bad argument #1 to 'insert' (too many elements to move)"},
        {"table.remove(F, 1)", "bad argument #1 to 'remove' (too many elements to move)"},
        {"table.remove(F, 1 << 60)", "bad argument #1 to 'remove' (too many elements to move)"},
        {"table.sort(F)", "bad argument #1 to 'sort' (too many elements to sort)"},
        {"table.sort(filled(250001, 1), function() end)", "bad argument #1 to 'sort' (too many elements to sort)"},
        {"table.sort(filled(30000, 1))", "bad argument #1 to 'sort' (too many elements to sort)"},
        {"table.sort(filled(30000, 1), math.ult)", "bad argument #1 to 'sort' (too many elements to sort)"},
        {"table.sort(filled(16, ('\\0'):rep(100000)))", "bad argument #1 to 'sort' (too many elements to sort)"},
        {"table.sort(filled(100, A))", "bad argument #1 to 'sort' (too many elements to sort)"},
        {"A:find(('a-'):rep(30) .. 'b')", many_steps},
        {"A:find(('a*'):rep(30) .. 'b')", many_steps},
        {"A:find(('a?'):rep(190) .. 'b')", many_steps},
        {"A:find('a-b')", many_steps},
        {"A:find('[^b]*b')", many_steps},
        {"A:find('(a-)%1b')", many_steps},
        {"A:find('()()()()()()()()b')", many_steps},
        {"A:find('%bab')", many_steps},
        {"A:find('[' .. ('b'):rep(60000) .. ']')", many_steps},
        {"A:match(('.-'):rep(5) .. 'b')", many_steps},
        {"for w in A:gmatch('a-b') do end", many_steps},
        {"A:gsub('a-b', '')", many_steps},
        {"A:gsub('', ('%0'):rep(1000))", many_steps},
        {"A:gsub('()', '%1')", many_steps},
        {"A:gsub('.', string.upper)", many_steps},
        {"A:gsub('.', {})", many_steps},
        /* What each part of the work counts. */
        {"A:sub(1, 400000):gsub('.', {})", many_steps},
        {"A:sub(1, 150000):gsub('.', string.upper)", many_steps},
        {"A:sub(1, 60000):gsub('()', '%1')", many_steps},
        {"A:sub(1, 20000):find('^(a*)%1b')", many_steps},
        {"(('('):rep(20000)):find('%b()')", many_steps},
        {"A:gsub('a*', ('%0'):rep(5))", too_large},
        {"A:gsub('a*', A .. A .. A .. A .. 'b')", too_large},
        {"('aaaaa'):gsub('a', function() return A end)", too_large},
        {"('aaaaa'):gsub('a', {a = A})", too_large},
    };
    char chunk[256];
    struct sandbox *sandbox = make();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(chunk, sizeof chunk, "local ok, why = pcall(function() %s%s end) error(ok and 'none' or why, 0)",
                 strncmp(rows[i].call, "for ", 4) == 0 ? "" : "local _ = ", rows[i].call);
        assert_int_equal(run(sandbox, chunk, &patient), -1);
        if (strstr(sandbox_failure(sandbox), "chunk:1: ") == NULL ||
            strstr(sandbox_failure(sandbox), rows[i].why) == NULL)
            fail_msg("%s: %s", rows[i].call, sandbox_failure(sandbox));
    }
    sandbox_free(&sandbox);
}

static double cpu_milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* The worst that was found for each function, refused or not. The bound leaves room for sanitizers and valgrind; on a
 * plain build each takes under 20 ms, and the figures are printed to be looked at. */
static void the_worst_is_brief(void **state)
{
    static const char *const calls[][2] = {
        {"", "A:find(('a-'):rep(30) .. 'b')"},
        {"", "A:find(('a*'):rep(30) .. 'b')"},
        {"", "A:find(('a?'):rep(190) .. 'b')"},
        {"", "A:find(('(a'):rep(32) .. (')'):rep(32) .. 'b')"},
        {"", "A:find('[%d]*[%w]-[%s]')"},
        {"", "A:find('[' .. ('%d'):rep(30000) .. ']')"},
        {"", "A:find('%d')"},
        {"", "A:match('^(.-)%s*$')"},
        {"", "A:find('b' .. ('a'):rep(200), 1, true)"},
        {"", "A:find(('a'):rep(250000) .. 'b' .. ('a'):rep(250000), 1, true)"},
        {"", "A:gsub('a', 'b')"},
        {"", "A:gsub('', 'xx')"},
        {"", "A:gsub('()', '%1')"},
        {"", "A:gsub('.', string.upper)"},
        {"", "A:gsub('()', {})"},
        {"", "A:gmatch('a-b')()"},
        {"", "A:upper()"},
        {"", "A:reverse()"},
        {"", "utf8.len(A)"},
        {"", "tonumber(A, 36)"},
        {"", "('x'):rep(1048576)"},
        {"T = ('\\0'):rep(262000)", "('%q'):format(T)"},
        {"T = filled(1000, -1.7976931348623e308)", "('%-99.99f'):rep(1000):format(table.unpack(T))"},
        {"T = filled(65536, 0x7fffffff)", "utf8.char(table.unpack(T))"},
        {"T = filled(65536, 65)", "string.pack(('b'):rep(65536), table.unpack(T))"},
        {"", "string.pack('c1048576', '')"},
        {"", "A:byte(1, 900000)"},
        {"", "os.date(('%c'):rep(512))"},
        {"T = counted(16384, function(i) return 1.7976931348623e308 / i end)", "table.concat(T)"},
        {"T = filled(250000, '')", "table.concat(T)"},
        {"T = filled(250000, 1)", "table.insert(T, 1, 1)"},
        {"T = filled(250000, 1) T1 = {}", "table.move(T, 1, 250000, 1 << 40, T1)"},
        {"T = counted(26000, function(i) return -i end)", "table.sort(T)"},
        {"T = counted(26000, function(i) return ('x'):rep(120) .. i * 7919 % 26003 end)", "table.sort(T)"},
        {"T = counted(3000, function(i) return ('x'):rep(1000) .. i * 7919 % 26003 end)", "table.sort(T)"},
        {"T = counted(26000, function(i) return i end)", "table.sort(T, math.ult)"},
        {"local s = ('\\0'):rep(1048575) T = counted(8, function(i) return s .. i end)", "table.sort(T)"},
        {"T = counted(1800, function(i) return ('\\0'):rep(120) .. i * 7919 % 26003 end)", "table.sort(T)"},
    };
    char chunk[256];
    double worst = 0;
    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct sandbox *sandbox = make();
        assert_int_equal(run(sandbox, calls[i][0], &patient), 0);
        snprintf(chunk, sizeof chunk, "local _ = %s", calls[i][1]);
        const double start = cpu_milliseconds();
        const int result = run(sandbox, chunk, &patient);
        const double spent = cpu_milliseconds() - start;
        print_message("%7.2f ms %s%s\n", spent, calls[i][1], result == 0 ? "" : ": refused");
        worst = spent > worst ? spent : worst;
        sandbox_free(&sandbox);
    }
    assert_true(worst < 2000);
}

/* Runs a chunk in a call of which each look at the clock is counted; returns how many there were. */
static uint64_t count_looks(const char *prepare, const char *chunk)
{
    static _Atomic uint64_t calls;
    struct error error;
    struct sandbox *sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = MEMORY, .lua_call = &calls}, &error);
    assert_non_null(sandbox);
    assert_int_equal(run(sandbox, prepare, &patient), 0);
    lua_gc(sandbox_lua(sandbox), LUA_GCCOLLECT);
    const uint64_t before = calls;
    if (run(sandbox, chunk, &patient) != 0)
        fail_msg("%s: %s", chunk, sandbox_failure(sandbox));
    sandbox_free(&sandbox);
    return (calls - before) / 2 - 1; /* the call itself moves it by two, and each look does */
}

/* Calls that take long, few instructions and little memory: the time is looked at for them too. */
static void work_is_looked_at(void **state)
{
    static const char *const calls[] = {
        "pcall(string.find, S, 'a-b')",
        "S:find('b', 1, true)",
        "S:match('^a*$')",
        "S:gmatch('b')()",
        "S:sub(1, 15000):gsub('a', 'b')",
        "S:upper()",
        "utf8.len(S)",
        "tonumber(S)",
        "string.format('%s', S)",
        "string.rep('x', 15000)",
        "select('#', S:byte(1, 3000))",
        "string.packsize(P)",
        "pcall(string.unpack, P, S, -1)",
        "select('#', table.unpack(T, 1, 3000))",
        "table.move(T, 1, 3000, 2)",
        "table.insert(T, 1, 1) table.remove(T, 1)",
        "table.concat(T)",
        "table.sort(T)",
        "math.max(S, S)",
        "pcall(string.char, S, S)",
        "pcall(string.pack, 'bb', S, S)",
    };
    static const char prepare[] = "S = ('a'):rep(16000) P = ('i4'):rep(8000) T = {} for i = 1, 3000 do T[i] = 1 end";
    char chunk[256];
    (void)state;
    assert_int_equal(count_looks(prepare, "for i = 1, 100 do tostring(i) end"), 0);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        snprintf(chunk, sizeof chunk, "for i = 1, 100 do %s end", calls[i]);
        if (count_looks(prepare, chunk) == 0)
            fail_msg("%s: nobody looks", calls[i]);
    }
}

/* Where there are large texts, single instructions take long. */
static void large_states_are_looked_at_more(void **state)
{
    (void)state;
    assert_in_range(count_looks("S = 'x'", "for i = 1, 25500 do end"), 25, 27);
    assert_in_range(count_looks("S = {} for i = 1, 30000 do S[i] = i end", "for i = 1, 25500 do end"), 25, 27);
    assert_in_range(count_looks("S = {} for i = 1, 70000 do S[i] = i end", "for i = 1, 25500 do end"), 255, 259);
    assert_in_range(count_looks("S = ('x'):rep(16000)", "for i = 1, 25500 do end"), 25, 27);
    assert_in_range(count_looks("S = ('x'):rep(16384)", "for i = 1, 25500 do end"), 99, 103);
    assert_in_range(count_looks("S = ('x'):rep(1048000)", "for i = 1, 25500 do end"), 6375, 6390);
    assert_in_range(count_looks("S = ('x'):rep(1048576) S = S .. S S = S .. S", "for i = 1, 25500 do end"), 25500,
                    25520);
    assert_in_range(count_looks("S = ('x'):rep(16384) S = nil", "for i = 1, 25500 do end"), 25, 27);
}

/* Such calls without an end: the limit ends them soon. */
static void work_comes_to_an_end(void **state)
{
    static const char *const calls[] = {
        "pcall(string.find, A, 'a-b')",
        "utf8.len(A)",
        "pcall(utf8.codepoint, A, 1, 60000)",
        "pcall(table.sort, {A:sub(2), A:sub(2), A:sub(2)}, string.find)",
        "pcall(table.concat, T)",
        "A:sub(1, 60000):gsub('.', string.upper)",
        "local _ = A .. 'x' < A .. 'y'",
    };
    char chunk[256];
    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct sandbox *sandbox = make();
        snprintf(chunk, sizeof chunk, "T = filled(25000, 1) T[25000] = nil while true do %s end", calls[i]);
        const double start = cpu_milliseconds();
        assert_int_equal(run(sandbox, chunk, &brief), -1);
        const double spent = cpu_milliseconds() - start;
        print_message("%7.2f ms %s\n", spent, calls[i]);
        if (strstr(sandbox_failure(sandbox), "took over 20 ms of CPU time") == NULL)
            fail_msg("%s: %s", calls[i], sandbox_failure(sandbox));
        assert_true(spent < 2000);
        sandbox_free(&sandbox);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_allowed),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(the_worst_is_brief),
        cmocka_unit_test(work_is_looked_at),
        cmocka_unit_test(large_states_are_looked_at_more),
        cmocka_unit_test(work_comes_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
