/* SPDX-License-Identifier: MIT */
/* Scripts that crash, hang or break out of Lua 5.4.4 where nobody keeps them from it, in a state with a policy's limits
 * and library. Each ends soon; what it may not do fails; afterwards a state works, and another one has noticed nothing.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/lua_keep.h"
#include "base/lua_match.h"
#include "base/lua_sandbox.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { MEMORY = 16 * 1024 * 1024 };

static const struct sandbox_limits limits = {.cpu = CLOCK_SECOND / 20, .instructions = 1000000},
                                   patient = {.cpu = 60 * CLOCK_SECOND};

static struct lua_keep keep = {.who = "policy"};

static struct sandbox *make(void)
{
    struct error error = {""};
    struct sandbox *sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = MEMORY}, &error);
    assert_non_null(sandbox);
    lua_keep_open(sandbox_lua(sandbox), &keep);
    lua_match_open(sandbox_lua(sandbox));
    return sandbox;
}

static void compile(struct sandbox *sandbox, const char *chunk)
{
    if (luaL_loadbufferx(sandbox_lua(sandbox), chunk, strlen(chunk), "@chunk", "t") != LUA_OK)
        fail_msg("%s: %s", chunk, lua_tostring(sandbox_lua(sandbox), -1));
}

/* With functions that were there at the beginning: scripts may have removed or replaced the globals. */
static const char use[] = "local s, t, c, e, f = string, table, keep, error, ipairs "
                          "return function() "
                          "  local x = {} "
                          "  for i = 1, 20 do x[i] = ('%s-%d'):format('k', 21 - i) end "
                          "  t.sort(x) "
                          "  if t.concat(x, ','):find('^k%-1,k%-10,') ~= 1 then e('concat') end "
                          "  if s.rep('ab', 3) ~= 'ababab' or s.upper('ab') ~= 'AB' then e('rep') end "
                          "  if not c.cidr{'10.0.0.0/8'}'10.0.0.7' or not c.glob{'a*'}'ab' then e('match') end "
                          "  return 42 "
                          "end";

/* Leaves a function on the stack that assert_works calls. */
static void prepare(struct sandbox *sandbox)
{
    compile(sandbox, use);
    assert_int_equal(sandbox_call(sandbox, 0, 1, &patient), 0);
}

static void assert_works(struct sandbox *sandbox, const char *after)
{
    lua_State *lua = sandbox_lua(sandbox);
    lua_pushvalue(lua, -1);
    if (sandbox_call(sandbox, 0, 1, &patient) != 0)
        fail_msg("after %s: %s", after, sandbox_failure(sandbox));
    assert_int_equal(lua_tointeger(lua, -1), 42);
    lua_pop(lua, 1);
}

static double cpu_milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static struct sandbox *other; /* for the whole time */
static char failure[256];     /* of the last script */
static double spent;          /* by it, ms of CPU time */
static double worst;
static const char *worst_chunk;

/* Returns whether the script came to a good end. `changes`: it may have broken its own state for good. */
static bool survive(const char *chunk, bool changes, const struct sandbox_limits *within)
{
    struct sandbox *sandbox = make();
    prepare(sandbox);
    compile(sandbox, chunk);
    const double start = cpu_milliseconds();
    const bool good = sandbox_call(sandbox, 0, 0, within) == 0;
    spent = cpu_milliseconds() - start;
    if (spent > worst) {
        worst = spent;
        worst_chunk = chunk;
    }
    if (spent > 5000)
        fail_msg("%s: took %.0f ms", chunk, spent);
    snprintf(failure, sizeof failure, "%s", sandbox_failure(sandbox));
    assert_true(good || failure[0] != '\0');
    if (!changes && !sandbox_was_full(sandbox))
        assert_works(sandbox, chunk);
    assert_works(other, chunk);
    sandbox_free(&sandbox);
    return good;
}

static void survive_all(const char *const *chunks, bool changes, bool good)
{
    for (; *chunks != NULL; chunks++)
        if (survive(*chunks, changes, good ? &patient : &limits) != good)
            fail_msg("%s: %s", *chunks, good ? failure : "came to a good end");
}

/* What it takes to break out is not there. */
static void nothing_to_break_out_with(void **state)
{
    static const char *const chunks[] = {
        /* Weak tables and finalizers: with a capped allocator the collector of 5.4.4 crashes on them. */
        "local t = setmetatable({}, {__mode = 'k'}) for i = 1, 1e9 do t[{}] = {} end",
        "setmetatable({}, {__gc = function() while true do end end})",
        "setmetatable(_G, {__index = function() while true do end end}) local _ = nothing",
        "getmetatable('').__index = nil",
        "getmetatable('').__gc = print",
        "local x <close> = {}",
        "local x <close> = 'x'",
        "local x <close> = keep.json.null",
        "debug.setmetatable('', nil)",
        "debug.sethook()",
        "debug.getregistry()",
        "debug.upvaluejoin(print, 1, error, 1)",
        /* Coroutines: a chain of coroutine.close ends on the C stack. */
        "coroutine.wrap(function() end)()",
        "local co for i = 1, 1e5 do local c = co co = coroutine.create(function() local x <close> = c end) end",
        "coroutine.close(coroutine.running())",
        "local function f() return coroutine.wrap(f)() end f()",
        /* Bytecode, which 5.4 does not verify. */
        "load('\\27Lua', 'x', 'b')",
        "load(function() return 'x' end)",
        "loadstring('x')",
        "local s = string.dump(function() end)",
        "local s = (''):dump()",
        "loadfile('/etc/passwd')",
        "dofile('/etc/passwd')",
        "require('os')",
        "package.loadlib('libc.so.6', 'system')",
        "io.open('/etc/passwd')",
        "io.popen('id')",
        "os.exit()",
        "os.execute('id')",
        "os.getenv('HOME')",
        "os.remove('x')",
        "collectgarbage('stop')",
        "collectgarbage('step', -1)",
        "error(_G.debug or _G.io or _G.package or _G.os or _G.coroutine or _G.load or 'none')",
        "keep.json.null.x = 1",
        "local _ = keep.json.null + 1",
        "local _ = #keep.json.null",
        "local _ = keep.json.null .. ''",
        "local _ = keep.json.null < keep.json.null",
        "keep.json.null()",
        "keep.cidr{}.x = 1",
        "rawset('', 'x', 1)",
        "rawset(keep.json.null, 'x', 1)",
        "rawlen(keep.json.null)",
        "string.find('x', 'x', {})",
        "('').x.y = 1",
        "('x').y = 1",
        NULL,
    };
    (void)state;
    survive_all(chunks, false, false);
}

/* Whatever a script does to its own globals is its own affair. */
static void changes_stay_inside(void **state)
{
    static const char *const chunks[] = {
        "string.rep = function() return 'evil' end string.upper = string.rep assert(('x'):rep(3) == 'evil')",
        "string.format = nil string.find = nil assert(not pcall(function() return (''):find('') end))",
        "for k in pairs(string) do string[k] = function() return 'evil' end end assert((''):len() == 'evil')",
        "string = nil table = nil keep = nil",
        "local g = _G for k in pairs(g) do g[k] = nil end",
        "local _ENV = {} x = 1",
        "pcall = function() end error = pcall assert(pcall(error) == nil)",
        "_G._G = nil _G = {} _VERSION = 'x'",
        "keep.json.encode = nil keep.log = print keep.x = keep keep.json.null = 'evil'",
        "keep.json.array({}).x = 1",
        "table.sort = table.concat table.concat = table.sort",
        "rawset(_G, 'print', nil) rawset(_G, 0/1, 1)",
        "utf8.charpattern = '%' math.huge = 1 math.pi = nil",
        NULL,
    };
    (void)state;
    survive_all(chunks, true, true);
}

/* Without an end, or as good as. */
static void nothing_hangs(void **state)
{
    static const char *const chunks[] = {
        "while true do end",
        "::a:: goto a",
        "::a:: do goto b end ::b:: goto a",
        "repeat until false",
        "for i = 1, math.huge do end",
        "for i = 1, math.maxinteger do end",
        "for i = math.maxinteger, math.mininteger, -1 do end",
        "for i = 1.0, 2^53 do end",
        "for i = 0, 1, 1e-300 do end",
        "for i = 2.0^53, 2.0^53 + 8 do end",
        "local function f() return f() end f()",
        "pcall(function() while true do end end) pcall(function() while true do end end) error('still here')",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "xpcall(error, function() while true do end end)",
        "xpcall(string.rep, function() while true do end end)",
        "local function f() while true do end end pcall(pcall, pcall, xpcall, f, f)",
        "local ok, e = pcall(function() while true do end end) while not ok do ok, e = pcall(error, e) ok = nil end",
        "local function f() pcall(f) while true do end end f()",
        "table.sort({3, 2, 1}, function() while true do end end)",
        "('xx'):gsub('x', function() while true do end end)",
        "for w in function() return 1 end do end",
        "for w in ('x'):rep(100000):gmatch('()') do while true do end end",
        "local t = {} for k in next, {1}, nil do while true do t[k] = k end end",
        "while true do pcall(string.find, ('a'):rep(1000), ('a-'):rep(30) .. 'b') end",
        "while true do pcall(string.gsub, ('a'):rep(60000), 'a-b', '') end",
        "while true do pcall(string.match, ('a'):rep(60000), '(.-)(.-)(.-)(.-)b') end",
        "local s = ('x'):rep(1000000) while true do utf8.len(s) end",
        "local s = ('\\u{7ff}'):rep(400000) while true do utf8.offset(s, 300000) end",
        "local s = ('x'):rep(1000000) while true do local _ = s:find('y', 1, true) end",
        "local s = ('x'):rep(1000000) while true do tonumber(s, 36) end",
        "local s = ('x'):rep(1000000) local a, b = s .. 'a', s .. 'b' while true do local _ = a < b end",
        "local s = ('x'):rep(1000000) local a, b = s .. 'a', s .. 'b' while a ~= b do end",
        "local t = {} for i = 1, 20000 do t[i] = i end while true do table.sort(t) end",
        "local t = {} for i = 1, 20000 do t[i] = '' end while true do table.concat(t) end",
        "local t = {} for i = 1, 20000 do t[i] = 1 end while true do table.insert(t, 1, 1) table.remove(t, 1) end",
        "local t = {} while true do table.move(t, 1, 100000, 2) end",
        "local t = {} while true do select('#', table.unpack(t, 1, 60000)) end",
        "local function f(...) while true do local _ = select('#', ...) end end f(table.unpack({}, 1, 60000))",
        "local function f(...) while true do local t = {...} end end f(table.unpack({}, 1, 60000))",
        "while true do string.packsize(('i4'):rep(20000)) end",
        "while true do string.format(('%99.99f'):rep(100), table.unpack({}, 1, 0)) end",
        "while true do pcall(keep.json.encode, {}) end",
        "local t = {} t.t = t while true do pcall(keep.json.encode, t) end",
        "local s = '[' .. ('0,'):rep(60000) .. '0]' while true do keep.json.decode(s) end",
        "local i = 0 while true do i = i + 1 keep.count('x', i, 60) end",
        "local g = keep.glob{'*' .. ('a'):rep(254) .. 'b'} local s = ('a'):rep(65536) while true do pcall(g, s) end",
        "local l = {} for i = 1, 20000 do l[i] = '10.0.0.7' end while true do keep.cidr(l) end",
        "local l = {} for i = 1, 20000 do l[i] = 'x' .. i end while true do keep.set(l) keep.glob(l) end",
        "while true do print() end",
        "while true do keep.log('debug', 'x') end",
        "local t = {} for i = 1, 100000 do t[i] = i end for i = 1, 100000 do t[i] = nil end while true do next(t) end",
        NULL,
    };
    (void)state;
    survive_all(chunks, false, false);
}

/* What a function has done before it fails counts as what it does when it does not. */
static void failures_take_time_too(void **state)
{
    static const char *const chunks[] = {
        "local t = ('a'):rep(1400) .. 'zq' while true do pcall(string.find, t, '[az]-a-q%') end",
        "local t = ('a'):rep(1400) .. 'zq' while true do pcall(string.match, t, '[az]-a-q(') end",
        "local t = ('a'):rep(1400) .. 'zq' while true do pcall(t:gmatch('[az]-a-q(')) end",
        "local t = ('a'):rep(1400) .. 'zq' while true do pcall(string.gsub, t, '[az]-a-q', '%2') end",
        "local t = ('a'):rep(1400) .. 'zq' while true do pcall(string.gsub, t, '[az]-a-q', error) end",
        "local t = ('a'):rep(1400) .. 'zq' while true do pcall(string.gsub, t, '[az]-a-q', {zq = {}}) end",
        "local t = ('a'):rep(700) .. 'zq' while true do pcall(string.find, t, '[az]-a-q%') end",
        NULL,
    };
    (void)state;
    for (const char *const *chunk = chunks; *chunk != NULL; chunk++) {
        if (survive(*chunk, false, &limits))
            fail_msg("%s: came to a good end", *chunk);
        if (spent > 250)
            fail_msg("%s: took %.0f ms", *chunk, spent);
    }
}

/* More memory than there is, in one piece and in many. */
static void memory_is_bounded(void **state)
{
    static const char *const chunks[] = {
        "local t = {} for i = 1, 1 << 26 do t[i] = i end",
        "local t = {} for i = 1, 1 << 26 do t[i * 1.5] = i end",
        "local t = {} for i = 1, 1 << 26 do t['k' .. i] = t end",
        "local t = {} while true do t = {t, t} end",
        "local s = 'x' while true do s = s .. s end",
        "local s = 'x' for i = 1, 100 do s = s .. s .. s .. s end",
        "local t, s = {}, ('x'):rep(1048576) for i = 1, 100 do t[s .. i] = i end",
        "local t, s = {}, ('x'):rep(1048576) for i = 1, 100 do t[i] = s .. i end",
        "local s = ('x'):rep(1048576) local t = s..s..s..s..s..s..s..s..s..s..s..s..s..s..s..s..s..s",
        "kept = {} while true do pcall(function() while true do kept[#kept + 1] = ('x'):rep(1000) end end) end",
        "local function f() local t = {} for i = 1, 100 do t[i] = {} end return f() .. '' end f()",
        "local function f(...) return f(1, ...) end f()",
        "local f = function() end while true do local g = f f = function() return g end end",
        "local t = {} for i = 1, 1e6 do t[i] = keep.set{'a'} end",
        "local t = {} for i = 1, 1e6 do t[i] = ('x'):gmatch('x') end",
        "local t = {} for i = 1, 1e6 do t[i] = keep.json.decode('[[[[]]]]') end",
        "error(('x'):rep(1048576):rep(16))",
        NULL,
    };
    (void)state;
    survive_all(chunks, false, false);
}

/* The stacks of Lua and of C. */
static void stacks_are_bounded(void **state)
{
    static const char *const failing[] = {
        "local function f() return 1 + f() end f()",
        "local function f(...) return 1 + f(1, ...) end f()",
        "local function f() return (('x'):gsub('x', f)) end f()",
        "local function f() table.sort({1, 2}, f) end f()",
        "local function f() return select(2, assert(xpcall(f, f))) end error(f())",
        "string.rep(table.unpack({}, 1, 1e6))",
        "table.unpack({}, 1, math.maxinteger)",
        "table.unpack({}, math.mininteger, math.maxinteger)",
        "string.byte(('x'):rep(1048576), 1, -1)",
        "('x'):find(('('):rep(100000))",
        "('x'):rep(300):find(('(x'):rep(200))",
        "(('x'):rep(1000)):find(('x?'):rep(1000) .. ('x'):rep(1000))",
        "('x'):gsub('x', ('%1'):rep(1000) .. '%9')",
        "local t = {} for i = 1, 40 do t = {t} end keep.json.encode(t)",
        "select(math.mininteger)",
        NULL,
    };
    static const char *const harmless[] = {
        "local function f() return pcall(f) end f()",
        "local function f() return xpcall(f, f) end f()",
        "local function f(n) return n == 0 or pcall(f, n - 1) end f(150)",
        "local ok = pcall(string.find, ('x'):rep(1000), ('x?'):rep(1000))",
        "keep.json.decode(('['):rep(100000))",
        "keep.json.decode(('{\"a\":'):rep(100000))",
        NULL,
    };
    (void)state;
    survive_all(failing, false, false);
    survive_all(harmless, false, true);
}

/* Comparators and callbacks that lie, and change what is being worked on. */
static void callbacks_that_lie(void **state)
{
    static const char *const chunks[] = {
        "for n = 1, 300, 7 do local t = {} for i = 1, n do t[i] = i end "
        "pcall(table.sort, t, function() return true end) end",
        "for n = 1, 300, 7 do local t = {} for i = 1, n do t[i] = i end "
        "pcall(table.sort, t, function() return math.random() < 0.5 end) end",
        "local t = {} for i = 1, 200 do t[i] = i end "
        "pcall(table.sort, t, function(a, b) t[#t] = nil return (a or 0) < (b or 0) end)",
        "local t = {} for i = 1, 200 do t[i] = i end "
        "pcall(table.sort, t, function(a, b) t[#t + 1] = 1 for i = 1, 9 do t[i] = nil end return false end)",
        "local t = {} for i = 1, 200 do t[i] = -i end pcall(table.sort, t, function(a, b) table.sort(t) return a < b "
        "end)",
        "local t = {0/0, 1, 0/0, 2, 0/0} pcall(table.sort, t)",
        "local t = {} for i = 1, 100 do t[i] = i % 3 == 0 and 0/0 or i end pcall(table.sort, t)",
        "local t = {x = 1} for k in pairs(t) do t[k] = nil for i = 1, 100 do t['y' .. i] = 1 end pcall(next, t, 'x') "
        "break end",
        "local s = ('ab'):rep(100) pcall(string.gsub, s, '(a)(b)', function(a, b) s = nil return b .. a end)",
        "local f f = ('abc'):gmatch('.') for c in f do f() f() end assert(f() == nil)",
        "local it = ('abc'):gmatch('') while it() do end for i = 1, 10 do assert(it() == nil) end",
        "local a, b = ('aaa'):gmatch('a'), ('bbb'):gmatch('b') assert(a() == 'a' and b() == 'b' and a() == 'a')",
        "local l = {'a'} for i = 1, 100 do l[i] = 'x' .. i end local s = keep.set(l) for i = 1, 100 do l[i] = nil end "
        "assert(s'x1')",
        "local f, s, v = utf8.codes('abc') pcall(f, s, -1) pcall(f, s, 1e9) pcall(f, '\\xff', 0) pcall(f, nil, nil) "
        "pcall(f)",
        "local f, s, v = ipairs({}) pcall(f, 'x', 1) pcall(f) pcall(f, {}, math.maxinteger) pcall(next, {}, {})",
        NULL,
    };
    (void)state;
    survive_all(chunks, false, true);
}

/* Numbers at their ends. */
static void ends_of_numbers(void **state)
{
    static const char *const chunks[] = {
        "local n = 0 for i = math.maxinteger - 1, math.maxinteger do n = n + 1 end assert(n == 2)",
        "local n = 0 for i = math.mininteger, math.mininteger + 1 do n = n + 1 end assert(n == 2)",
        "local n = 0 for i = math.mininteger, math.maxinteger, math.maxinteger do n = n + 1 end assert(n == 3)",
        "for i = 1, -math.huge do error() end for i = 1, 0/0 do error() end",
        "for i = 3, 2^53 + 0.0, 2^53 do end for i = 1, math.huge, math.maxinteger do end",
        "assert(not pcall(function() for i = 1, 3, 0 do end end) and not pcall(function() for i = 1.0, 3, 0.0 do end "
        "end))",
        "assert(math.mininteger // -1 == math.mininteger and math.mininteger % -1 == 0)",
        "assert(not pcall(function() return 1 // 0 end) and not pcall(function() return 1 % 0 end))",
        "assert(1 << 64 == 0 and 1 >> -64 == 0 and 1 << math.mininteger == 0 and -1 >> 63 == 1)",
        "local t = {} t[-0.0] = 1 assert(t[0] == 1 and next(t) == 0 and math.type(next(t)) == 'integer')",
        "local t = {} t[2^53] = 1 t[1 << 53] = 2 assert(t[2^53] == 2) t[math.maxinteger] = 1 t[math.mininteger] = 1",
        "assert(not pcall(function() local t = {} t[0/0] = 1 end) and not pcall(rawset, {}, nil, 1))",
        "assert(({})[0/0] == nil and ({})[nil] == nil)",
        "local t = {} t[math.maxinteger] = 1 t[1 << 40] = 1 assert(#t == 0)",
        "local F = {} for i = 0, 62 do F[1 << i] = 1 end F[3] = 1 F[5] = 1 assert(#F == 1 << 62) "
        "for _, f in ipairs{table.insert, table.remove, table.concat, table.unpack, table.sort} do pcall(f, F, 1, 1) "
        "end "
        "for i, v in ipairs(F) do assert(i < 9) end pcall(keep.set, F) pcall(keep.json.encode, F) pcall(table.move, F, "
        "1, #F, 2)",
        "assert(math.tointeger(2^63) == nil and math.fmod(math.mininteger, -1) == 0 and math.abs(math.mininteger) < 0)",
        "assert(math.ult(1, -1) and not pcall(math.random, 2, 1)) math.random(math.mininteger, math.maxinteger) "
        "math.random(0)",
        "assert(('x'):sub(math.mininteger, math.maxinteger) == 'x' and ('x'):byte(math.mininteger) == nil)",
        "assert(('x'):find('', math.mininteger) == 1 and ('x'):find('', math.maxinteger) == nil)",
        "for w in ('x'):gmatch('x', math.mininteger) do end for w in ('x'):gmatch('x', math.maxinteger) do error() end",
        "assert(('x'):gsub('x', 'y', math.mininteger) == 'x' and ('x'):gsub('x', 'y', math.maxinteger) == 'y')",
        "assert(('x'):rep(math.mininteger) == '' and (''):rep(math.maxinteger, '') == '')",
        "pcall(utf8.codepoint, 'x', math.mininteger, math.maxinteger) pcall(utf8.offset, 'x', math.mininteger) "
        "pcall(utf8.len, 'x', math.mininteger, math.maxinteger) pcall(utf8.offset, 'x', math.maxinteger, "
        "math.mininteger)",
        "pcall(string.unpack, 'i16', ('x'):rep(16), math.mininteger) pcall(string.unpack, 'z', 'x', math.maxinteger)",
        "pcall(string.pack, '!16 i1 !16 i16 Xi16', 1, 1) pcall(string.packsize, ('c2147483647'):rep(3)) "
        "pcall(string.pack, 'i0')",
        "pcall(string.pack, 's1', ('x'):rep(256)) pcall(string.unpack, 's8', ('\\xff'):rep(8)) pcall(string.unpack, "
        "'j', '')",
        "pcall(string.format, '%99999999999s', 'x') pcall(string.format, '%.99999999999f', 1) pcall(string.format, "
        "'%5$s', 1)",
        "pcall(string.format, ('%'):rep(1001)) pcall(string.format, '%' .. ('0'):rep(100000) .. 'd', 1)",
        "local s = ('9'):rep(100000) assert(tonumber(s) == math.huge and tonumber('0x' .. s) and tonumber('1e' .. s) "
        "== math.huge)",
        "assert(pcall(function() return ('9'):rep(100000) + 1 end))",
        "table.move({}, math.maxinteger, math.maxinteger, 1) pcall(table.move, {}, 1, 2, math.maxinteger)",
        "pcall(table.concat, {}, '', math.mininteger, math.maxinteger) assert(table.concat({}, '', math.maxinteger, 1) "
        "== '')",
        "pcall(keep.count, 'x', 'y', math.mininteger) pcall(keep.count, 'x', 'y', 2^63) pcall(select, math.maxinteger)",
        NULL,
    };
    (void)state;
    survive_all(chunks, false, true);
}

/* What is thrown is not always a text, nor short. */
static void errors_of_all_kinds(void **state)
{
    static const char *const chunks[] = {
        "error()",
        "error(nil)",
        "error({})",
        "error(error)",
        "error(0/0)",
        "error(keep.json.null)",
        "error('\\0\\1\\xff\\u{85}')",
        "error(('x'):rep(1048576))",
        "error(('\\n'):rep(100000))",
        "error('x', math.maxinteger)",
        "error('x', math.mininteger)",
        "error(setmetatable)",
        "local t = {} t[1] = t error(t)",
        "local f = {} f[('n'):rep(100000)] = function() error() end for _, g in pairs(f) do g() end",
        "assert(false, {})",
        "assert()",
        "xpcall(error, nil)",
        "local ok, e = xpcall(error, function() error('again') end) error(e)",
        "local ok, e = xpcall(error, error, {}) error(e)",
        NULL,
    };
    (void)state;
    survive_all(chunks, false, false);
}

/* Texts that are no scripts. */
static void sources(void **state)
{
    static const struct {
        const char *before, *repeated, *after;
    } rows[] = {
        {"return ", "(", ""},
        {"return ", "{", ""},
        {"return ", "function() return ", ""},
        {"", "do ", ""},
        {"", "if x then ", ""},
        {"local x = ", "not ", "1"},
        {"local x = ", "- ", "1"},
        {"local x = ", "1 .. ", "1"},
        {"local x = ", "2 ^ ", "2"},
        {"", "local a ", ""},
        {"", "goto a ", ""},
        {"", "::a:: ", ""},
        {"x = [", "=", "[x"},
        {"x = '", "\\z ", ""},
        {"x = \"", "\\x", ""},
        {"x = \"", "\\u{7fffffff", ""},
        {"--[[", "x", ""},
        {"x", ".x", " = 1"},
        {"x", "()", ""},
        {"x", "[1]", " = 1"},
        {"local ", "a, ", "a = 1"},
        {"x = {", "{},", "}"},
        {"x = 0x", "f", ""},
        {"x = 1e", "9", ""},
        {"", "\x1bLua", ""},
        {"", "\xff", ""},
        {"#", "!", ""},
    };
    static char text[400000];
    struct sandbox *sandbox = make();
    (void)state;
    prepare(sandbox);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size = (size_t)snprintf(text, sizeof text, "%s", rows[i].before);
        for (int n = 0; n < 20000; n++)
            size += (size_t)snprintf(text + size, sizeof text - size, "%s", rows[i].repeated);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s", rows[i].after);
        if (luaL_loadbufferx(sandbox_lua(sandbox), text, size, "@chunk", "t") == LUA_OK)
            (void)!sandbox_call(sandbox, 0, 0, &limits);
        else
            lua_pop(sandbox_lua(sandbox), 1);
        assert_works(sandbox, rows[i].repeated);
    }
    assert_int_equal(luaL_loadbufferx(sandbox_lua(sandbox), "\x1bLua\x54", 5, "@chunk", "t"), LUA_ERRSYNTAX);
    sandbox_free(&sandbox);
}

static int set_up(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    other = make();
    prepare(other);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sandbox_free(&other);
    print_message("at most %.1f ms: %s\n", worst, worst_chunk);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_break_out_with),
        cmocka_unit_test(changes_stay_inside),
        cmocka_unit_test(nothing_hangs),
        cmocka_unit_test(failures_take_time_too),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(stacks_are_bounded),
        cmocka_unit_test(callbacks_that_lie),
        cmocka_unit_test(ends_of_numbers),
        cmocka_unit_test(errors_of_all_kinds),
        cmocka_unit_test(sources),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
