/* SPDX-License-Identifier: MIT */
/* keep.cidr, keep.glob, keep.set and keep.count: what matches and what does not, every wrong use, windows that slide,
 * bounds of memory and time, and each allocation failing once. */
#include "base/lua_match.h"

#include "base/clock.h"
#include "base/lua_keep.h"
#include "base/lua_sandbox.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { MEMORY = 16 * 1024 * 1024 };

static const struct sandbox_limits patient = {.cpu = 60 * CLOCK_SECOND};

/* The linker puts these in the places of clock_boot and realloc. */
int64_t __wrap_clock_boot(void);
void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);

static int64_t now = 1000 * CLOCK_SECOND;
static unsigned long allocations_left = (unsigned long)-1;

int64_t __wrap_clock_boot(void)
{
    return now;
}

void *__wrap_realloc(void *block, size_t size)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return __real_realloc(block, size);
}

static int sleep_for(lua_State *lua)
{
    now += (int64_t)(luaL_checknumber(lua, 1) * (double)CLOCK_SECOND);
    return 0;
}

static struct sandbox *make(void)
{
    static struct lua_keep keep = {.who = "policy"};
    struct error error = {""};
    struct sandbox *sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = MEMORY}, &error);
    assert_non_null(sandbox);
    lua_State *lua = sandbox_lua(sandbox);
    lua_keep_open(lua, &keep);
    lua_match_open(lua);
    lua_register(lua, "sleep", sleep_for);
    assert_int_equal(lua_gettop(lua), 1);
    return sandbox;
}

static int run(struct sandbox *sandbox, const char *chunk)
{
    if (luaL_loadbufferx(sandbox_lua(sandbox), chunk, strlen(chunk), "@chunk", "t") != LUA_OK)
        fail_msg("%s: %s", chunk, lua_tostring(sandbox_lua(sandbox), -1));
    return sandbox_call(sandbox, 0, 0, &patient);
}

static void assert_runs(struct sandbox *sandbox, const char *chunk)
{
    if (run(sandbox, chunk) != 0)
        fail_msg("%s: %s", chunk, sandbox_failure(sandbox));
}

static void addresses(void **state)
{
    static const struct {
        const char *list;
        const char *address; /* as Lua writes it */
        bool matches;
    } rows[] = {
        {"'10.0.0.0/8', '::1'", "'10.0.0.7'", true},
        {"'10.0.0.0/8', '::1'", "'10.0.0.0'", true},
        {"'10.0.0.0/8', '::1'", "'10.255.255.255'", true},
        {"'10.0.0.0/8', '::1'", "'11.0.0.0'", false},
        {"'10.0.0.0/8', '::1'", "'9.255.255.255'", false},
        {"'10.0.0.0/8', '::1'", "'::1'", true},
        {"'10.0.0.0/8', '::1'", "'::2'", false},
        {"'10.0.0.0/8', '::1'", "'0:0:0:0:0:0:0:1'", true},
        {"'10.0.0.0/8', '::1'", "'::ffff:10.0.0.7'", true},
        {"'10.0.0.0/8', '::1'", "'::FFFF:a00:7'", true},
        {"'10.0.0.0/8', '::1'", "'::10.0.0.7'", false},
        {"'10.0.0.0/8', '::1'", "'::a00:7'", false},
        {"'10.0.0.0/8', '::1'", "'1::ffff:10.0.0.7'", false},
        {"'10.0.0.7'", "'10.0.0.7'", true},
        {"'10.0.0.7/32'", "'10.0.0.7'", true},
        {"'10.0.0.7'", "'10.0.0.8'", false},
        {"'10.0.0.6/31'", "'10.0.0.7'", true},
        {"'10.0.0.6/31'", "'10.0.0.5'", false},
        {"'0.0.0.0/0'", "'255.255.255.255'", true},
        {"'0.0.0.0/0'", "'::ffff:1.2.3.4'", true},
        {"'0.0.0.0/0'", "'::1'", false},
        {"'::/0'", "'ffff::'", true},
        {"'::/0'", "'::'", true},
        {"'::/0'", "'1.2.3.4'", false},
        {"'::/0'", "'::ffff:1.2.3.4'", false},
        {"'::ffff:10.0.0.0/104'", "'10.9.9.9'", true},
        {"'::ffff:10.0.0.0/104'", "'::ffff:10.9.9.9'", true},
        {"'::ffff:10.0.0.0/104'", "'11.9.9.9'", false},
        {"'::ffff:0:0/96'", "'1.2.3.4'", true},
        {"'::/64'", "'::ffff:ffff:ffff:ffff'", true},
        {"'::/64'", "'0:0:0:1::'", false},
        {"'::/65'", "'::7fff:ffff:ffff:ffff'", true},
        {"'::/65'", "'::8000:0:0:0'", false},
        {"'2001:db8::/63'", "'2001:db8:0:1:ffff::'", true},
        {"'2001:db8::/63'", "'2001:db8:0:2::'", false},
        {"'fe80::/10'", "'febf:ffff::1'", true},
        {"'fe80::/10'", "'fec0::'", false},
        {"'10.0.0.0/8', '10.1.0.0/16', '10.1.2.3'", "'10.200.0.1'", true},
        {"'10.1.2.3', '10.1.0.0/16', '10.0.0.0/8'", "'10.1.2.4'", true},
        {"'10.0.0.0/9', '10.128.0.0/9', '10.0.0.1', '10.0.0.1'", "'10.128.0.0'", true},
        {"'10.0.0.0/16', '10.0.0.0/8', '10.0.0.0/24'", "'10.200.0.1'", true},
        {"'1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'", "'3.3.3.3'", true},
        {"'1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'", "'3.3.3.4'", false},
        {"", "'10.0.0.7'", false},
        {"'0.0.0.0/0', '::/0'", "nil", false},
        {"'0.0.0.0/0', '::/0'", "", false},
        {"'0.0.0.0/0', '::/0'", "''", false},
        {"'0.0.0.0/0', '::/0'", "'10.0.0'", false},
        {"'0.0.0.0/0', '::/0'", "'10.0.0.7:80'", false},
        {"'0.0.0.0/0', '::/0'", "'10.0.0.07'", false},
        {"'0.0.0.0/0', '::/0'", "'010.0.0.7'", false},
        {"'0.0.0.0/0', '::/0'", "' 10.0.0.7'", false},
        {"'0.0.0.0/0', '::/0'", "'10.0.0.7\\0'", false},
        {"'0.0.0.0/0', '::/0'", "'10.0.0.7\\0.example'", false},
        {"'0.0.0.0/0', '::/0'", "'10.0.0.7/8'", false},
        {"'0.0.0.0/0', '::/0'", "'[::1]'", false},
        {"'0.0.0.0/0', '::/0'", "'fe80::1%lo'", false},
        {"'0.0.0.0/0', '::/0'", "10", false},
        {"'0.0.0.0/0', '::/0'", "('1'):rep(100000)", false},
    };
    char chunk[256];
    struct sandbox *sandbox = make();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(chunk, sizeof chunk, "assert(keep.cidr{%s}(%s) == %s)", rows[i].list, rows[i].address,
                 rows[i].matches ? "true" : "false");
        assert_runs(sandbox, chunk);
    }
    sandbox_free(&sandbox);
}

static void globs(void **state)
{
    static const struct {
        const char *list;
        const char *text;
        bool matches;
    } rows[] = {
        {"'service-*', 'read:?*'", "'service-'", true},
        {"'service-*', 'read:?*'", "'service-a'", true},
        {"'service-*', 'read:?*'", "'Service-a'", false},
        {"'service-*', 'read:?*'", "'a-service-a'", false},
        {"'service-*', 'read:?*'", "'read:'", false},
        {"'service-*', 'read:?*'", "'read:x'", true},
        {"'service-*', 'read:?*'", "'read:xyz'", true},
        {"'a'", "'a'", true},
        {"'a'", "'ab'", false},
        {"'a'", "''", false},
        {"''", "''", true},
        {"''", "'a'", false},
        {"'*'", "''", true},
        {"'*'", "'anything\\0at all'", true},
        {"'**'", "''", true},
        {"'?'", "''", false},
        {"'?'", "'a'", true},
        {"'?'", "'ab'", false},
        {"'*?'", "''", false},
        {"'*?'", "'a'", true},
        {"'?*?'", "'a'", false},
        {"'?*?'", "'ab'", true},
        {"'*a'", "'aaa'", true},
        {"'*a'", "'aab'", false},
        {"'*ab'", "'aaab'", true},
        {"'a*b*c'", "'abc'", true},
        {"'a*b*c'", "'axxbxxbxxc'", true},
        {"'a*b*c'", "'axxbxxbxxcd'", false},
        {"'a*b*c'", "'acb'", false},
        {"'*aab*'", "'aaaab'", true},
        {"'*a?b*'", "'aaxbb'", true},
        {"'*abab'", "'abacababab'", true},
        {"'[a-z]'", "'b'", false},
        {"'[a-z]'", "'[a-z]'", true},
        {"'%a\\\\*'", "'%a\\\\x'", true},
        {"'a.c'", "'abc'", false},
        {"'a\\0b'", "'a\\0b'", true},
        {"'a\\0b'", "'a\\0c'", false},
        {"'a\\0?'", "'a\\0c'", true},
        {"'?'", "'\\u{e4}'", true},
        {"'?\?'", "'\\u{e4}'", false},
        {"'*?\?'", "'\\u{e4}'", false},
        {"'?\?'", "'\\u{1f600}b'", true},
        {"'*?b'", "'\\u{1f600}b'", true},
        {"'\\u{e4}?'", "'\\u{e4}\\u{e4}'", true},
        {"'?'", "'\\xff'", true},
        {"'?\?'", "'\\xff\\xff'", true},
        {"", "''", false},
        {"'*'", "nil", false},
        {"'*'", "", false},
        {"'1?'", "12", true},
        {"'x', 'y', '*z'", "'z'", true},
        {"('a'):rep(256)", "('a'):rep(256)", true},
        {"('a'):rep(256)", "('a'):rep(255)", false},
        {"('*a'):rep(128)", "('a'):rep(127)", false},
        {"('*a'):rep(128)", "('a'):rep(65536)", true},
        {"('*a'):rep(127) .. 'b'", "('a'):rep(4096)", false},
    };
    char chunk[256];
    struct sandbox *sandbox = make();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(chunk, sizeof chunk, "assert(keep.glob{%s}(%s) == %s)", rows[i].list, rows[i].text,
                 rows[i].matches ? "true" : "false");
        assert_runs(sandbox, chunk);
    }
    sandbox_free(&sandbox);
}

/* By the book: recursive and slow. */
static bool glob_oracle(const char *glob, const char *text)
{
    if (*glob == '\0')
        return *text == '\0';
    if (*glob == '*')
        return glob_oracle(glob + 1, text) || (*text != '\0' && glob_oracle(glob, text + 1));
    return *text != '\0' && (*glob == '?' || *glob == *text) && glob_oracle(glob + 1, text + 1);
}

/* Every glob of up to five characters of four against every text of up to five of two. */
static void globs_all(void **state)
{
    char glob[6], text[6], chunk[64];
    struct sandbox *sandbox = make();
    lua_State *lua = sandbox_lua(sandbox);
    (void)state;
    for (unsigned g = 0; g < 5 * 5 * 5 * 5 * 5; g++) {
        size_t n = 0;
        for (unsigned rest = g; rest > 0; rest /= 5)
            if (rest % 5 > 0)
                glob[n++] = "-*?ab"[rest % 5];
        glob[n] = '\0';
        snprintf(chunk, sizeof chunk, "matches = keep.glob{'%s'}", glob);
        assert_runs(sandbox, chunk);
        for (unsigned t = 1; t < 64; t++) {
            for (n = 0; t >> n > 1; n++)
                text[n] = t >> n & 1 ? 'a' : 'b';
            text[n] = '\0';
            lua_getglobal(lua, "matches");
            lua_pushstring(lua, text);
            assert_int_equal(sandbox_call(sandbox, 1, 1, &patient), 0);
            if (lua_toboolean(lua, -1) != glob_oracle(glob, text))
                fail_msg("glob %s, text %s", glob, text);
            lua_pop(lua, 1);
        }
    }
    sandbox_free(&sandbox);
}

/* Chunks that must do well. */
static void what_works(void **state)
{
    static const char *const chunks[] = {
        "local s = keep.set{'a', 'b', 'a'} assert(s'a' == true and s'b' and s'c' == false and not s(nil) and not s())",
        "local s = keep.set{'', 'x\\0y', ('l'):rep(1000)} assert(s'' and s'x\\0y' and not s'x' and s(('l'):rep(1000)))",
        "local s = keep.set{'1000'} assert(s(1000) and s'1000' and not s(1000.0))",
        "assert(keep.set{}'x' == false)",
        /* What is compiled stays as it was. */
        "local l = {'a'} local s, g = keep.set(l), keep.glob(l) l[1] = 'b' assert(s'a' and g'a' and not s'b' and not "
        "g'b')",
        "local l = {'1.1.1.1'} local c = keep.cidr(l) l[1] = '2.2.2.2' l = nil assert(c'1.1.1.1' and not c'2.2.2.2')",
        "local t = {} for i = 0, 9999 do t[i + 1] = ('10.%d.%d.0/24'):format(i // 256, i % 256) end "
        "local c = keep.cidr(t) for i = 0, 9999 do assert(c(('10.%d.%d.7'):format(i // 256, i % 256))) end "
        "assert(not c'10.39.16.0' and not c'9.255.255.255' and c'10.39.15.255')",
        "local t = {} for i = 0, 9999 do t[i + 1] = ('2001:db8:%x::/64'):format(i * 2) end "
        "local c = keep.cidr(t) for i = 0, 19999 do "
        "assert(c(('2001:db8:%x:0:1::'):format(i)) == (i % 2 == 0)) end",
        "local f = keep.set for k in pairs(keep) do keep[k] = nil end assert(f{'a'}'a')",
        "string = nil table = nil assert(keep.glob{'a*'}'ab')",
        "assert(type(keep.cidr) == 'function' and type(keep.cidr{}) == 'function')",
    };
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct sandbox *sandbox = make();
        assert_runs(sandbox, chunks[i]);
        sandbox_free(&sandbox);
    }
}

static void what_fails(void **state)
{
    static const struct {
        const char *chunk;
        const char *failure; /* begins with it, behind "chunk:1: " */
    } rows[] = {
        {"keep.cidr()", "bad argument #1 to 'cidr' (table expected, got no value)"},
        {"keep.cidr('10.0.0.0/8')", "bad argument #1 to 'cidr' (table expected, got string)"},
        {"keep.cidr{'1.1.1.1', 12}", "bad argument #1 to 'cidr' (element 2: string expected, got number)"},
        {"keep.cidr{'1.1.1.1', false}", "bad argument #1 to 'cidr' (element 2: string expected, got boolean)"},
        {"keep.cidr{nil, '1.1.1.1'}", "bad argument #1 to 'cidr' (element 1: string expected, got nil)"},
        {"keep.cidr{a = '1.1.1.1'}", "bad argument #1 to 'cidr' (a list, with keys from 1 on alone, expected)"},
        {"keep.cidr{'1.1.1.1', a = 1}", "bad argument #1 to 'cidr' (a list, with keys from 1 on alone, expected)"},
        {"keep.cidr{'1.1.1.1', [4] = '1.1.1.1'}", "bad argument #1 to 'cidr' (a list, with keys from 1"},
        {"keep.cidr{''}", "bad argument #1 to 'cidr' (element 1: not an address)"},
        {"keep.cidr{'::1', 'localhost'}", "bad argument #1 to 'cidr' (element 2: not an address)"},
        {"keep.cidr{'10.0.0/8'}", "bad argument #1 to 'cidr' (element 1: not an address)"},
        {"keep.cidr{'/8'}", "bad argument #1 to 'cidr' (element 1: not an address)"},
        {"keep.cidr{'10.0.0.0\\0/8'}", "bad argument #1 to 'cidr' (element 1: not an address)"},
        {"keep.cidr{('1'):rep(99)}", "bad argument #1 to 'cidr' (element 1: not an address)"},
        {"keep.cidr{'10.0.0.0/'}", "bad argument #1 to 'cidr' (element 1: not a number of bits behind the slash)"},
        {"keep.cidr{'10.0.0.0/33'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/-1'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/0008'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/4294967304'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/+8'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/ 8'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/8/8'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.0/255.0.0.0'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'::/129'}", "bad argument #1 to 'cidr' (element 1: not a number of bits"},
        {"keep.cidr{'10.0.0.1/8'}",
         "bad argument #1 to 'cidr' (element 1: an address with bits set behind its prefix)"},
        {"keep.cidr{'::1/0'}", "bad argument #1 to 'cidr' (element 1: an address with bits set behind its prefix)"},
        {"keep.cidr{'1::/8'}", "bad argument #1 to 'cidr' (element 1: an address with bits set behind its prefix)"},
        {"local f = keep.cidr{} f({})", "bad argument #1 to 'f' (string expected, got table)"},
        {"local f = keep.cidr{} f(false)", "bad argument #1 to 'f' (string expected, got boolean)"},
        {"keep.glob()", "bad argument #1 to 'glob' (table expected, got no value)"},
        {"keep.glob{'a', {}}", "bad argument #1 to 'glob' (element 2: string expected, got table)"},
        {"keep.glob{'a', ('a'):rep(257)}", "bad argument #1 to 'glob' (element 2: too long)"},
        {"local f = keep.glob{'a'} f({})", "bad argument #1 to 'f' (string expected, got table)"},
        {"local f = keep.glob{'a'} f(('a'):rep(65537))", "bad argument #1 to 'f' (too long)"},
        {"local f = keep.glob{'*' .. ('a'):rep(254) .. 'b', 'a'} f(('a'):rep(65536))",
         "bad argument #1 to 'f' (too long for so many globs)"},
        {"local f = keep.glob{'*?b'} f(('\\x80'):rep(65535) .. 'a')",
         "bad argument #1 to 'f' (too long for so many globs)"},
        {"keep.set()", "bad argument #1 to 'set' (table expected, got no value)"},
        {"keep.set{admin = true}", "bad argument #1 to 'set' (a list, with keys from 1 on alone, expected)"},
        {"keep.set{'a', 12}", "bad argument #1 to 'set' (element 2: string expected, got number)"},
        {"local f = keep.set{'a'} f({})", "bad argument #1 to 'f' (string expected, got table)"},
        {"local t = {} for i = 1, 100001 do t[i] = 'a' end keep.set(t)",
         "bad argument #1 to 'set' (too many elements)"},
        {"keep.count()", "bad argument #1 to 'count' (string expected, got no value)"},
        {"keep.count('a')", "bad argument #2 to 'count' (string expected, got no value)"},
        {"keep.count('a', nil, 60)", "bad argument #2 to 'count' (string expected, got nil)"},
        {"keep.count({}, 'a', 60)", "bad argument #1 to 'count' (string expected, got table)"},
        {"keep.count('a', 'b')", "bad argument #3 to 'count' (number expected, got no value)"},
        {"keep.count('a', 'b', 'c')", "bad argument #3 to 'count' (number expected, got string)"},
        {"keep.count('a', 'b', 0)", "bad argument #3 to 'count' (seconds from 1 to 86400 expected)"},
        {"keep.count('a', 'b', 86401)", "bad argument #3 to 'count' (seconds from 1 to 86400 expected)"},
        {"keep.count('a', 'b', math.mininteger)", "bad argument #3 to 'count' (seconds from 1 to 86400 expected)"},
        {"keep.count('a', 'b', 1.5)", "bad argument #3 to 'count' (number has no integer representation)"},
        {"keep.count('a', 'b', 0/0)", "bad argument #3 to 'count' (number has no integer representation)"},
        {"keep.count(('a'):rep(65537), 'b', 60)", "bad argument #1 to 'count' (too long)"},
        {"keep.count('a', ('b'):rep(65537), 60)", "bad argument #2 to 'count' (too long)"},
    };
    struct sandbox *sandbox = make();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(run(sandbox, rows[i].chunk), -1);
        const char *failure = sandbox_failure(sandbox);
        if (strncmp(failure, "chunk:1: ", 9) != 0 ||
            strncmp(failure + 9, rows[i].failure, strlen(rows[i].failure)) != 0)
            fail_msg("%s: %s", rows[i].chunk, failure);
    }
    sandbox_free(&sandbox);
}

static void counting(void **state)
{
    static const char *const chunks[] = {
        "for i = 1, 1000 do assert(keep.count('a', 'b', 60) == i) end",
        "assert(math.type(keep.count('a', 'b', 60)) == 'integer' and keep.count('a', 'b', 60.0) == 2)",
        "keep.count('a', 'b', 60) assert(keep.count('a', 'c', 60) == 1 and keep.count('b', 'b', 60) == 1)",
        "keep.count('a', 'bc', 60) assert(keep.count('ab', 'c', 60) == 1 and keep.count('a\\0', 'bc', 60) == 1)",
        "keep.count('', '', 60) assert(keep.count('', '', 60) == 2 and keep.count('', '\\0', 60) == 1)",
        "keep.count('a', 1000, 60) assert(keep.count('a', '1000', 60) == 2)",
        /* Each window counts by itself. */
        "keep.count('a', 'b', 60) assert(keep.count('a', 'b', 3600) == 1 and keep.count('a', 'b', 60) == 2)",
        /* Nothing is forgotten before its time, and nothing is remembered over a sixtieth longer. */
        "for _, w in ipairs{1, 2, 7, 10, 60, 61, 3600, 86400} do for i = 0, 20 do "
        "sleep(w * i / 1000) keep.count(i, 'k', w) sleep(w * 0.9999) assert(keep.count(i, 'k', w) == 2, w) "
        "sleep(w * 0.02) assert(keep.count(i, 'k', w) == 2) end end",
        "for _, w in ipairs{1, 60, 86400} do keep.count('a', 'k', w) sleep(w * 10) "
        "assert(keep.count('a', 'k', w) == 1) end",
        /* Against a list of all times, with steps of every size. */
        "local times, at, seed = {}, 0, 7 "
        "for i = 1, 5000 do "
        "  seed = (seed * 16807) % 2147483647 "
        "  local step = ({0, 0.01, 0.3, 1, 5, 70})[seed % 6 + 1] "
        "  sleep(step) at = at + step times[#times + 1] = at "
        "  local n, least, most = keep.count('walk', '', 60), 0, 0 "
        "  for j = #times, 1, -1 do "
        "    if at - times[j] < 60 then least = least + 1 end "
        "    if at - times[j] > 60 * 61 / 60 then break end "
        "    most = most + 1 "
        "  end "
        "  assert(n >= least and n <= most, n) "
        "end",
    };
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct sandbox *sandbox = make();
        assert_runs(sandbox, chunks[i]);
        sandbox_free(&sandbox);
    }
}

/* Two states count apart. */
static void counting_apart(void **state)
{
    struct sandbox *one = make(), *other = make();
    (void)state;
    assert_runs(one, "assert(keep.count('a', 'b', 60) == 1 and keep.count('a', 'b', 60) == 2)");
    assert_runs(other, "assert(keep.count('a', 'b', 60) == 1)");
    assert_runs(one, "assert(keep.count('a', 'b', 60) == 3)");
    sandbox_free(&one);
    sandbox_free(&other);
}

static void the_least_recent_is_forgotten(void **state)
{
    struct sandbox *sandbox = make();
    (void)state;
    assert_runs(sandbox, "for i = 1, 10000 do assert(keep.count('a', i, 60) == 1) end");
    const size_t full = sandbox_memory(sandbox);
    assert_in_range(full, 3000000, 8000000);
    assert_runs(sandbox, "assert(keep.count('a', 1, 60) == 2)");
    assert_runs(sandbox, "assert(keep.count('a', 'new', 60) == 1)");
    assert_runs(sandbox, "assert(keep.count('a', 1, 60) == 3 and keep.count('a', 3, 60) == 2)");
    assert_runs(sandbox, "assert(keep.count('a', 10000, 60) == 2)");
    assert_runs(sandbox, "assert(keep.count('a', 2, 60) == 1)"); /* had gone, and 4 goes for it */
    assert_runs(sandbox, "assert(keep.count('a', 4, 60) == 1 and keep.count('a', 6, 60) == 2)");
    assert_runs(sandbox, "for i = 1, 200000 do assert(keep.count('b', i, 60) == 1) end");
    assert_in_range(sandbox_memory(sandbox), full / 2, full * 3);
    assert_runs(sandbox, "for i = 190001, 200000 do assert(keep.count('b', i, 60) == 2) end");
    sandbox_free(&sandbox);
}

/* What is compiled counts as the state's, and too much of it is the call's failure alone. */
static void memory_is_counted(void **state)
{
    static const char *const chunks[] = {
        "local f = {} while true do f[#f + 1] = keep.cidr(T) end",
        "local f = {} while true do f[#f + 1] = keep.glob(T) end",
        "local f = {} while true do f[#f + 1] = keep.set(T) end",
        "local t = {} for i = 1, 30 do t[i] = ('x'):rep(5e5) end while true do t[#t + 1] = keep.count('a', #t, 9) end",
    };
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct sandbox *sandbox = make();
        assert_runs(sandbox, "T = {} for i = 1, 20000 do T[i] = '10.0.' .. i % 256 .. '.' .. i // 256 end");
        assert_int_equal(run(sandbox, chunks[i]), -1);
        if (strstr(sandbox_failure(sandbox), "not enough memory") == NULL)
            fail_msg("%s: %s", chunks[i], sandbox_failure(sandbox));
        assert_runs(sandbox, "assert(keep.set{'a'}'a' and keep.cidr{'::/0'}'::1' and keep.count('x', 'y', 60) > 0)");
        sandbox_free(&sandbox);
    }
}

static void every_allocation(void **state)
{
    static const char chunk[] =
        "local c, g, s = keep.cidr{'10.0.0.0/8', '::1'}, keep.glob{'a*', 'b'}, keep.set{'x', 'y', 'z'} "
        "assert(c'10.0.0.7' and g'ab' and s'z') "
        "for i = 1, 20 do keep.count('n', i, 60) end assert(keep.count('n', 7, 60) > 1)";
    struct sandbox *sandbox = make();
    int result = -1;
    (void)state;
    for (unsigned long n = 0; result != 0; n++) {
        assert_in_range(n, 0, 1000);
        assert_int_equal(luaL_loadstring(sandbox_lua(sandbox), chunk), LUA_OK);
        allocations_left = n;
        result = sandbox_call(sandbox, 0, 0, &patient);
        allocations_left = (unsigned long)-1;
        assert_true(result == 0 || strstr(sandbox_failure(sandbox), "not enough memory") != NULL);
    }
    assert_runs(sandbox, "for i = 1, 30000 do keep.count('n', i, 60) end");
    sandbox_free(&sandbox);
}

static double cpu_milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* No call of theirs runs for long. The bound leaves room for sanitizers and valgrind; figures are printed. */
static void time_is_bounded(void **state)
{
    static const struct {
        const char *setup;
        const char *call;
    } rows[] = {
        {"T = {} for i = 1, 100000 do T[i] = (i * 7919 % 256) .. '.' .. i * 104729 % 256 .. '.' .. i % 251 .. '.7' end",
         "return keep.cidr(T)"},
        {"T = {} for i = 1, 40000 do T[i] = ('%x::%x:%x'):format(i * 7919 % 65536, i % 256, i) end",
         "return keep.cidr(T)"},
        {"T = {} for i = 1, 100000 do T[i] = 'x' .. i end", "return keep.set(T)"},
        {"T = {} for i = 1, 100000 do T[i] = 'x' .. i end", "return keep.glob(T)"},
        {"T = {} for i = 1, 100000 do T[i] = 'x' .. i end T = keep.glob(T)", "return T('y')"},
        {"T = {} for i = 1, 100000 do T[i] = 'x*a' .. i end T = keep.glob(T)", "return T('x' .. ('a'):rep(200))"},
        {"T = keep.glob{'*' .. ('a'):rep(254) .. 'b', 'a'} S = ('a'):rep(65536)", "return T(S)"},
        {"T = {} for i = 1, 10000 do keep.count('x', i, 60) end S = ('a'):rep(65536)", "return keep.count(S, S, 60)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sandbox *sandbox = make();
        assert_runs(sandbox, rows[i].setup);
        assert_int_equal(luaL_loadstring(sandbox_lua(sandbox), rows[i].call), LUA_OK);
        const double start = cpu_milliseconds();
        const int result = sandbox_call(sandbox, 0, 0, &patient);
        const double spent = cpu_milliseconds() - start;
        print_message("%6.2f ms %s %s\n", spent, rows[i].setup, result == 0 ? "" : sandbox_failure(sandbox));
        assert_true(spent < 2000);
        sandbox_free(&sandbox);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),         cmocka_unit_test(globs),
        cmocka_unit_test(globs_all),         cmocka_unit_test(what_works),
        cmocka_unit_test(what_fails),        cmocka_unit_test(counting),
        cmocka_unit_test(counting_apart),    cmocka_unit_test(the_least_recent_is_forgotten),
        cmocka_unit_test(memory_is_counted), cmocka_unit_test(every_allocation),
        cmocka_unit_test(time_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
