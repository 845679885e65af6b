/* SPDX-License-Identifier: MIT */
/* The string and table functions of a sandbox against those of plain Lua, which runs the same in a state of its own:
 * every result and every error's text must be the same. Then patterns and texts that nobody thought of. */
#include "base/lua_sandbox.h"

#include "base/clock.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PROBES = 20000 };

static const struct sandbox_limits patient = {.cpu = 60 * CLOCK_SECOND};

/* Expressions that have a value, one or more. */
static const char *const expressions[] = {
    "(\"hello world\"):find(\"wor\")",
    "(\"hello world\"):find(\"o\", 6)",
    "(\"hello world\"):find(\"o\", -4)",
    "(\"hello world\"):find(\"o\", 100)",
    "(\"hello\"):find(\"\", 6)",
    "(\"hello\"):find(\"\", 7)",
    "(\"hello\"):find(\"\")",
    "(\"hello\"):find(\"\", -100)",
    "(\"hello\"):find(\"l\", 0)",
    "(\"hello\"):match(\".\", 0)",
    "(\"hello\"):find(\"\", 0)",
    "(\"()()\"):find(\"%b()\", 2)",
    "(\"x\"):find((\"()\"):rep(32))",
    "(function() local t = {} for n = 150, 210 do t[#t + 1] = pcall(string.find, (\"x\"):rep(300), (\"x?\"):rep(n)) "
    "end return t end)()",
    "(function() local t = {} for n = 80, 110 do t[#t + 1] = pcall(string.find, (\"x\"):rep(300), (\"(x)\"):rep(9) .. "
    "(\"x*\"):rep(n * 2)) end return t end)()",
    "(\"hello\"):find(\"l+\")",
    "(\"hello\"):find(\"(l)(l)\")",
    "(\"hello\"):find(\"()ll()\")",
    "(\"a.b\"):find(\".\", 1, true)",
    "(\"a.b\"):find(\".\")",
    "(\"a.b\"):find(\"%.\")",
    "(\"a+b\"):find(\"+\", 1, true)",
    "(\"a+b\"):find(\"+b\", 1, true)",
    "(\"a\\0b\"):find(\"\\0\")",
    "(\"a\\0b\"):find(\"\\0b\", 1, true)",
    "(\"a\\0b%\"):find(\"%z\")",
    "(\"x)\"):find(\")\")",
    "(\"\\0\\0b\"):find(\"%Z\")",
    "(\"a\\0b\"):find(\"[\\0]\")",
    "(\"abc\"):find(\"b\", 2)",
    "(\"abc\"):find(\"b\", 3)",
    "(\"abc\"):find(\"^b\", 2)",
    "(\"abc\"):find(\"^b\")",
    "(\"abc\"):find(\"c$\")",
    "(\"abc\"):find(\"$\")",
    "(\"abc\"):find(\"^\")",
    "(\"a$c\"):find(\"a$c\")",
    "(\"a^c\"):find(\"a^c\")",
    "(\"abc\"):find(\"^abc$\")",
    "(\"\"):find(\"\")",
    "(\"\"):find(\"\", 1)",
    "(\"\"):find(\"\", 2)",
    "(\"\"):find(\"^$\")",
    "(\"x\"):find(\"x\", 1, false)",
    "string.rep(123, 2)",
    "string.find(12345, 34)",
    "string.find(\"abc\", \"b\", nil)",
    "string.find(\"abc\", \"b\", nil, true)",
    "string.find(\"abc\", \"[a-c]+\", \"2\")",
    "string.find(\"abc\", \"b\", 1.0)",
    "string.find(\"alo123alo\", \"%d+\")",
    "string.find(\"alo.x\", \".\", -1)",
    "string.find(\"]]]b\", \"]]]b\")",
    "(\"key = value\"):match(\"^(%w+)%s*=%s*(.-)%s*$\")",
    "(\"  key=  a b   \"):match(\"^%s*(%w+)%s*=%s*(.-)%s*$\")",
    "(\"2026-11-23\"):match(\"(%d+)-(%d+)-(%d+)\")",
    "(\"2026-11-23\"):match(\"%d+\", 5)",
    "(\"abc\"):match(\".-\")",
    "(\"abc\"):match(\".-$\")",
    "(\"abc\"):match(\"a*\")",
    "(\"abc\"):match(\"(a*(.)%w(%s*))\")",
    "(\"aaab\"):match(\"a-b\")",
    "(\"aaab\"):match(\"^(a*)(a+)b\")",
    "(\"aaab\"):match(\"(a-)(a*)b\")",
    "(\"aaab\"):match(\"(a?)(a?)(a?)(a?)b\")",
    "(\"=[[x]]=\"):match(\"%[(.-)%]\")",
    "(\"f(a(b)c)d\"):match(\"%b()\")",
    "(\"f(a(b)c\"):match(\"%b()\")",
    "(\"((a)\"):match(\"%b()\")",
    "(\"xx'a'x\"):match(\"%b''\")",
    "(\"aXbXc\"):match(\"%bXX\")",
    "(\"THE (quick) fox\"):match(\"%((%a+)%)\")",
    "(\"THE (quick) fox\"):find(\"%f[%a]%a+%f[%A]\", 5)",
    "(\"[[abc]]\"):match(\"%f[^%[]%w+\")",
    "(\"abc\"):match(\"%f[%w]()\")",
    "(\"abc \"):match(\"%f[%W]()\")",
    "(\"abc\"):match(\"%f[%z]()\")",
    "(\"abc\"):match(\"%f[\\0]()\")",
    "(\"hello hello\"):match(\"(%w+) %1\")",
    "(\"hello help\"):match(\"(%w+) %1\")",
    "(\"abab\"):match(\"^(ab)%1$\")",
    "(\"aa\"):match(\"()%1\")",
    "(\"abc\"):match(\"((a)(b)(c))\")",
    "(\"abc\"):match(\"()\")",
    "(\"abc\"):match(\"()$\")",
    "(\"\\u{e4}\\u{f6}\"):match(utf8.charpattern)",
    "(\"a-b\"):match(\"[a%-]+\")",
    "(\"a-b\"):match(\"[a-]+\")",
    "(\"a-b\"):match(\"[-a]+\")",
    "(\"]x\"):match(\"[]]\")",
    "(\"]x\"):match(\"[^]]\")",
    "(\"a]\"):match(\"[a%]]+\")",
    "(\"^\"):match(\"[%^]\")",
    "(\"a^\"):match(\"[a^]+\")",
    "(\"%\"):match(\"[%%]\")",
    "(\"az-\"):match(\"[a-z-]+\")",
    "(\"a-z\"):match(\"[%a-z]+\")",
    "(\"09af\"):match(\"%x+\")",
    "(\"09AFg\"):match(\"^%x+\")",
    "(\"\\t\\n x\"):match(\"%s+\")",
    "(\"a_1.b\"):match(\"[%w_]+\")",
    "(\"ABC\"):match(\"%u+\")",
    "(\"abc1\"):match(\"%U+\")",
    "(\"!?a\"):match(\"%p+\")",
    "(\"\\1\\2a\"):match(\"%c+\")",
    "(\"a b\"):match(\"%g+\")",
    "(\"x\"):match(\"%X\")",
    "(\"abc\"):match(\"%S+\")",
    "(\"\\xff\\xfe\"):match(\"[\\xfe-\\xff]+\")",
    "(\"\\xff\"):match(\"%a\")",
    "(\"x\"):match(\"x\", 3)",
    "(\"x\"):match(\"\", 2)",
    "string.match((\"a\"):rep(100) .. \"b\", \".-b\")",
    "(\"a,b,,c\"):gsub(\",\", \";\")",
    "(\"a,b,,c\"):gsub(\",\", \";\", 2)",
    "(\"a,b,,c\"):gsub(\",\", \";\", 0)",
    "(\"a,b,,c\"):gsub(\",\", \";\", -1)",
    "(\"hello world\"):gsub(\"o\", \"%0%0\")",
    "(\"hello world\"):gsub(\"(%w+) (%w+)\", \"%2 %1\")",
    "(\"hello\"):gsub(\"\", \"-\")",
    "(\"hello\"):gsub(\"l*\", \"x\")",
    "(\"hello\"):gsub(\".\", {h = \"H\", l = false, o = 1})",
    "(\"hello\"):gsub(\"l\", {l = 2.5})",
    "(\"hello\"):gsub(\".\", function(c) if c == \"l\" then return \"L\" end end)",
    "(\"hello\"):gsub(\"(.)(.)\", function(a, b) return b .. a end)",
    "(\"hello\"):gsub(\"()\", \"%1\")",
    "(\"hello\"):gsub(\"()l\", function(n) return n end)",
    "(\"hello\"):gsub(\"x\", \"y\")",
    "(\"x\"):gsub(\"(\", \"y\")",
    "(\"abc\"):gsub(\"%w\", \"%%%0\")",
    "(\"abc\"):gsub(\"%w\", \"%%\")",
    "(\"abc\"):gsub(\"^a\", \"x\")",
    "(\"aaa\"):gsub(\"^a\", \"x\")",
    "(\"aaa\"):gsub(\"a$\", \"x\")",
    "(\"abc\"):gsub(\"$\", \"!\")",
    "(\"a b c\"):gsub(\"%s+\", \"\")",
    "(\"  trim  \"):gsub(\"^%s*(.-)%s*$\", \"%1\")",
    "(\"a\\0b\"):gsub(\"\\0\", \"0\")",
    "(\"abc\"):gsub(\"b\", \"\\0\")",
    "(\"$name is $age\"):gsub(\"%$(%w+)\", {name = \"x\", age = 7})",
    "(\"abc\"):gsub(\"b\", false or \"x\")",
    "(\"abc\"):gsub(\"(b)\", \"[%1]\")",
    "(\"abc\"):gsub(\"b\", 5)",
    "(\"a.b.c\"):gsub(\"%.\", \"%%\")",
    "(\"abc\"):gsub(\".\", \"%0\", 2.0)",
    "(\"abc def\"):gsub(\"%f[%w]%w+\", string.upper)",
    "(\"x = 1\"):gsub(\"(%w+) = (%w+)\", \"%2 = %1\")",
    "string.gsub(\"alo alo\", \"()[al]\", \"%1\")",
    "string.gsub(\"abc=xyz\", \"(%w*)(%p)(%w+)\", \"%3%2%1-%0\")",
    "string.gsub(\"um (dois) tres (quatro)\", \"(%(%w+%))\", string.upper)",
    "(function() local t = {} for w in (\"one two  three\"):gmatch(\"%a+\") do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for k, v in (\"a=1, b=2\"):gmatch(\"(%w+)=(%w+)\") do t[#t + 1] = k .. v end return t "
    "end)()",
    "(function() local t = {} for p in (\"abc\"):gmatch(\"()\") do t[#t + 1] = p end return t end)()",
    "(function() local t = {} for w in (\"abc\"):gmatch(\"\") do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for w in (\"aXbX\"):gmatch(\"(%w-)X\") do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for w in (\"hello\"):gmatch(\"^h\") do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for w in (\"abcabc\"):gmatch(\"b\", 3) do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for w in (\"abcabc\"):gmatch(\"%w\", -2) do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for w in (\"abc\"):gmatch(\"%w\", 10) do t[#t + 1] = w end return t end)()",
    "(function() local t = {} for w in (\"abc\"):gmatch(\"%w*\") do t[#t + 1] = w end return t end)()",
    "(function() local f = (\"ab\"):gmatch(\".\") return f(), f(), f(), f() end)()",
    "string.format(\"%d %5d %-5d| %05d %+d\", 1, 2, 3, 4, 5)",
    "string.format(\"%x %X %#x %o\", 255, 255, 255, 8)",
    "string.format(\"%5.2f %e %g %g\", 3.14159, 1e10, 1e20, 0.1)",
    "string.format(\"%s %10s %-10s| %.2s\", \"a\", \"b\", \"c\", \"defg\")",
    "string.format(\"%q\", 'a \"quoted\"\\n\\\\ \\0 \\r\\t text')",
    "string.format(\"%q %q %q\", 1, 0.1, math.mininteger)",
    "string.format(\"%q\", 1/0)",
    "string.format(\"%c%c%c\", 76, 117, 97)",
    "string.format(\"%%\")",
    "string.format(\"%i\", 3.0)",
    "string.format(\"%s %s %s\", nil, true, 12)",
    "string.format(\"%a\", 1)",
    "string.format(\"%.3s\", \"abcdef\")",
    "string.format(\"%-20s|%20s|\", \"left\", \"right\")",
    "string.format(\"%s\", (\"x\"):rep(1000))",
    "string.format(\"%99.99f\", 1e15)",
    "string.format(\"%.14g\", 2^53)",
    "string.format(\"\")",
    "string.format(\"%d\", \"10\")",
    "string.format(\"\\0%s\\0\", \"a\\0b\")",
    "(\"ab\"):rep(3)",
    "(\"ab\"):rep(3, \",\")",
    "(\"ab\"):rep(0)",
    "(\"ab\"):rep(-1)",
    "(\"ab\"):rep(1, \",\")",
    "(\"\"):rep(10, \"x\")",
    "(\"x\"):rep(\"3\")",
    "(\"hello\"):sub(2)",
    "(\"hello\"):sub(2, 3)",
    "(\"hello\"):sub(-3)",
    "(\"hello\"):sub(-3, -2)",
    "(\"hello\"):sub(0)",
    "(\"hello\"):sub(10)",
    "(\"hello\"):sub(3, 2)",
    "(\"hello\"):sub(math.mininteger, math.maxinteger)",
    "(\"hello\"):sub(math.maxinteger, math.mininteger)",
    "(\"hello\"):byte()",
    "(\"hello\"):byte(1, -1)",
    "(\"hello\"):byte(10)",
    "(\"hello\"):byte(-1)",
    "(\"hello\"):byte(0)",
    "(\"\\0\\xff\"):byte(1, 2)",
    "string.char()",
    "string.char(104, 105, 0, 255)",
    "(\"hello\"):reverse()",
    "(\"\"):reverse()",
    "(\"a\\0b\"):reverse()",
    "(\"HeLLo\\xc4\"):lower()",
    "(\"HeLLo\\xe4\"):upper()",
    "(\"hello\"):len()",
    "#\"a\\0b\"",
    "string.pack(\"<i4\", 100):byte(1, -1)",
    "string.pack(\">I2 <I2\", 1, 1):byte(1, -1)",
    "string.pack(\"z s1 s2\", \"a\", \"b\", \"c\"):byte(1, -1)",
    "string.pack(\"!4 i1 !4 i4\", 1, 2):byte(1, -1)",
    "string.pack(\"<d n f\", 1.5, 2.5, 3.5):byte(1, -1)",
    "string.pack(\"<i16\", -2):byte(1, -1)",
    "string.pack(\"c10\", \"abc\"):byte(1, -1)",
    "string.pack(\"xXi4\")",
    "string.packsize(\"<i4 i8 !8 d\")",
    "string.packsize(\"c100\")",
    "string.unpack(\"<i4\", \"\\1\\0\\0\\0\")",
    "string.unpack(\"z\", \"abc\\0def\")",
    "string.unpack(\"s1\", \"\\3abcdef\")",
    "string.unpack(\"<I2 >I2\", \"\\1\\0\\0\\1\")",
    "string.unpack(\"c3\", \"abcdef\", 3)",
    "string.unpack(\"<i3\", \"\\xff\\xff\\xff\")",
    "table.concat({})",
    "table.concat({1, 2, 3})",
    "table.concat({1, 2.5, \"x\"}, \", \")",
    "table.concat({\"a\", \"b\", \"c\"}, \"-\", 2)",
    "table.concat({\"a\", \"b\", \"c\"}, \"-\", 2, 3)",
    "table.concat({\"a\", \"b\", \"c\"}, \"-\", 3, 2)",
    "table.concat({\"a\", \"b\", \"c\"}, \"-\", 1, 0)",
    "table.concat({[math.maxinteger] = \"z\"}, \"-\", math.maxinteger, math.maxinteger)",
    "table.concat({[math.maxinteger - 1] = \"y\", [math.maxinteger] = \"z\"}, \"-\", math.maxinteger - 1, "
    "math.maxinteger)",
    "table.concat({[-1] = \"x\", [0] = \"y\", \"z\"}, \",\", -1, 1)",
    "table.concat({\"a\", \"b\"}, 0)",
    "(function() local t = {1, 2} table.insert(t, 3) return t end)()",
    "(function() local t = {1, 2} table.insert(t, 1, 0) return t end)()",
    "(function() local t = {1, 2} table.insert(t, 2, 9) return t end)()",
    "(function() local t = {1, 2} table.insert(t, 3, 9) return t end)()",
    "(function() local t = {} table.insert(t, \"x\") return t end)()",
    "(function() local t = {1, 2, 3} table.insert(t, \"1\", 0) return t end)()",
    "(function() local t = {1, 2, 3} return table.remove(t), t end)()",
    "(function() local t = {1, 2, 3} return table.remove(t, 1), t end)()",
    "(function() local t = {1, 2, 3} return table.remove(t, 4), t end)()",
    "(function() local t = {1, 2, 3} return table.remove(t, 3), t end)()",
    "(function() local t = {} return table.remove(t), table.remove(t, 0), #t end)()",
    "(function() local t = {[0] = \"z\"} return table.remove(t, 0), t[0] end)()",
    "(function() local t = {n = 1} return table.remove(t), t.n end)()",
    "table.move({1, 2, 3}, 1, 3, 2)",
    "table.move({1, 2, 3}, 2, 3, 1)",
    "table.move({1, 2, 3}, 1, 3, 1, {9, 9, 9, 9})",
    "table.move({1, 2, 3}, 1, 0, 1, {9})",
    "table.move({1, 2, 3}, 2, 3, 5, {})[5]",
    "table.move({[math.maxinteger - 1] = 7}, math.maxinteger - 1, math.maxinteger, 1)[1]",
    "table.pack(1, nil, 3)",
    "table.pack().n",
    "table.unpack({1, 2, 3})",
    "table.unpack({1, 2, 3}, 2)",
    "table.unpack({1, 2, 3}, 2, 3)",
    "table.unpack({1, 2, 3}, 3, 2)",
    "table.unpack({1, nil, 3}, 1, 3)",
    "table.unpack({}, math.maxinteger, math.maxinteger)",
    "select(\"#\")",
    "select(\"#\", nil, nil)",
    "select(2, \"a\", \"b\", \"c\")",
    "select(-1, \"a\", \"b\", \"c\")",
    "select(5, \"a\")",
    "(function() local t = {5, 2, 8, 1} table.sort(t) return t end)()",
    "(function() local t = {5, 2, 8, 1} table.sort(t, function(a, b) return a > b end) return t end)()",
    "(function() local t = {\"b\", \"a\", \"C\", \"\"} table.sort(t) return t end)()",
    "(function() local t = {3.5, 1, 2} table.sort(t) return t end)()",
    "(function() local t = {} for i = 1, 1000 do t[i] = (i * 7919) % 1009 end table.sort(t) return t end)()",
    "(function() local t = {\"a\\0b\", \"a\", \"a\\0a\"} table.sort(t) return t end)()",
    "(function() local t = {3, 1, 2} table.sort(t, math.ult) return t end)()",
    "(function() local t = {3, 1, 2} table.sort(t, nil) return t end)()",
    "(function() local t = {} table.sort(t) return t end)()",
    "utf8.char(72, 228, 8364, 128512)",
    "utf8.char()",
    "utf8.len(\"h\\u{e4}\\u{20ac}\\u{1f600}\")",
    "utf8.len(\"\\xff\")",
    "utf8.len(\"abc\", 2)",
    "utf8.len(\"abc\", 4)",
    "utf8.len(\"abc\", -1)",
    "utf8.codepoint(\"h\\u{e4}\", 1, -1)",
    "utf8.codepoint(\"\\u{20ac}\")",
    "utf8.offset(\"h\\u{e4}x\", 3)",
    "utf8.offset(\"h\\u{e4}x\", -1)",
    "utf8.offset(\"abc\", 5)",
    "(function() local t = {} for p, c in utf8.codes(\"a\\u{e4}b\") do t[#t + 1] = p t[#t + 1] = c end return t end)()",
    "utf8.len(\"\\u{7fffffff}\", 1, -1, true)",
    "utf8.len(\"\\u{d800}\", 1, -1, true)",
    "tonumber(\"10\")",
    "tonumber(\"0x1p4\")",
    "tonumber(\"  12  \")",
    "tonumber(\"1e1\")",
    "tonumber(\"z\", 36)",
    "tonumber(\"ff\", 16)",
    "tonumber(\"8\", 8)",
    "tonumber(\"\")",
    "tonumber(\"1 2\")",
    "tonumber(nil)",
    "tonumber(\"0x\")",
    "tonumber(\"1e\")",
    "tonumber(\"9223372036854775808\")",
    "tostring(1e15)",
    "tostring(-0.0)",
    "tostring(2^63)",
    "tostring(1/0)",
    "(\"10\") + 5",
    "\"0x10\" * 2",
    "10 .. 20",
};

/* Those that raise an error. */
static const char *const wrong[] = {
    "(\"x\"):find()",
    "(\"x\"):find({})",
    "(\"x\"):find(\"[\")",
    "(\"x\"):find(\"[a\")",
    "(\"x\"):find(\"[]\")",
    "(\"x\"):find(\"[^]\")",
    "(\"x\"):find(\"[a%\")",
    "(\"x\"):find(\"%\")",
    "(\"x\"):find(\"(\")",
    "(\"x\"):find(\"(()\")",
    "(\"x.x\"):find(\"x.)\")",
    "(\"x\"):find(\"%1\")",
    "(\"x\"):find(\"(x%1)\")",
    "(\"x\"):find(\"%0\")",
    "(\"x\"):find(\"%b\")",
    "(\"x\"):find(\"%bx\")",
    "(\"x\"):find(\"%f\")",
    "(\"x\"):find(\"%fx\")",
    "(\"x\"):find(\"x\", \"y\")",
    "(\"x\"):find(\"x\", 1.5)",
    "(\"x\"):find((\"()\"):rep(33))",
    "((\"x\"):rep(300)):find((\"x?\"):rep(300))",
    "(\"x\"):find((\"(\"):rep(33))",
    "string.find()",
    "string.find(nil, \"x\")",
    "string.find(\"x\", nil)",
    "string.match(\"x\", \"(x\")",
    "(\"x\"):rep(50):match((\"(x\"):rep(40))",
    "(\"x\"):gsub(\"x\")",
    "(\"x\"):gsub(\"x\", nil)",
    "(\"x\"):gsub(\"x\", true)",
    "(\"x\"):gsub(\"x\", \"%1%2\")",
    "(\"x\"):gsub(\"x\", \"%2\")",
    "(\"x\"):gsub(\"(x)\", \"%2\")",
    "(\"x\"):gsub(\"x\", \"%\")",
    "(\"x\"):gsub(\"x\", \"%a\")",
    "(\"x\"):gsub(\"x\", \"x%\")",
    "(\"x\"):gsub(\"x\", function() return {} end)",
    "(\"x\"):gsub(\"x\", {x = {}})",
    "(\"x\"):gsub(\"x\", {x = true})",
    "(\"x\"):gsub(\"x\", function() return true end)",
    "(\"x\"):gsub(\"x\", function() error(\"inner\") end)",
    "(\"x\"):gsub(\"x\", function() error({}) end) == 1",
    "(\"x\"):gsub(\"x\", \"y\", {})",
    "(\"x\"):gsub(\"x\", \"y\", \"z\")",
    "(\"x\"):gsub(\"(\", \"%1\")",
    "(\"x\"):gsub(\")\", \"y\")",
    "string.gsub(\"x\", \"x\", print, \"n\")",
    "(\"x\"):gmatch()",
    "(\"x\"):gmatch(\"x\", {})",
    "(\"x\"):gmatch(\"(\")()",
    "(\"x\"):gmatch(\"%\")()",
    "string.format()",
    "string.format(\"%d\")",
    "string.format(\"%d\", \"x\")",
    "string.format(\"%d\", 1.5)",
    "string.format(\"%y\", 1)",
    "string.format(\"%\")",
    "string.format(\"%100d\", 1)",
    "string.format(\"%.100f\", 1)",
    "string.format(\"%0123d\", 1)",
    "string.format(\"%s\")",
    "string.format(\"%q\", {})",
    "string.format(\"%10q\", \"x\")",
    "string.format(\"%10s\", \"a\\0b\")",
    "string.format(\"%c\", \"x\")",
    "(\"x\"):rep()",
    "(\"x\"):rep(\"y\")",
    "(\"x\"):rep(1, {})",
    "(\"x\"):sub()",
    "(\"x\"):sub({})",
    "(\"x\"):byte({})",
    "string.char(256)",
    "string.char(-1)",
    "string.char(\"x\")",
    "string.lower()",
    "string.upper({})",
    "string.reverse(nil)",
    "string.len()",
    "string.pack(\"i17\", 1)",
    "string.pack(\"i1\", 1000)",
    "string.pack(\"z\", \"a\\0b\")",
    "string.pack(\"c1\", \"ab\")",
    "string.pack(\"y\")",
    "string.pack(\"i4\")",
    "string.packsize(\"s\")",
    "string.packsize(\"z\")",
    "string.unpack(\"i4\", \"abc\")",
    "string.unpack(\"z\", \"abc\")",
    "string.unpack(\"i4\", \"abcd\", 10)",
    "string.unpack(\"s1\", \"\\5ab\")",
    "table.concat()",
    "table.concat({{}})",
    "table.concat({1, nil, 3}, \",\", 1, 3)",
    "table.concat({}, \",\", 1, 1)",
    "table.concat({1, 2}, {})",
    "table.concat({1, 2}, \"\", \"x\")",
    "table.concat({1, 2}, \"\", 1, \"x\")",
    "table.concat(\"x\")",
    "table.insert()",
    "table.insert({})",
    "table.insert({}, 1, 2, 3)",
    "table.insert({}, 5, 1)",
    "table.insert({}, 0, 1)",
    "table.insert({1, 2, 3}, -1, 1)",
    "table.insert({}, \"x\", 1)",
    "table.insert({}, 1.5, 1)",
    "table.insert(nil, 1)",
    "table.remove()",
    "table.remove({}, 5)",
    "table.remove({1, 2, 3}, 5)",
    "table.remove({1, 2, 3}, -1)",
    "table.remove({1, 2, 3}, \"x\")",
    "table.remove(\"x\")",
    "table.move()",
    "table.move({}, 1)",
    "table.move({}, 1, 2)",
    "table.move({}, 1, \"x\", 2)",
    "table.move(1, 1, 1, 2)",
    "table.move({}, 1, 1, 2, 3)",
    "table.move({}, 1, 2, math.maxinteger)",
    "table.sort()",
    "table.sort({3, \"x\"})",
    "table.sort({{}, {}})",
    "table.sort({3, 1, 2}, 5)",
    "table.sort({1, 2, 3}, function() error(\"cmp\") end)",
    "table.sort({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, function() return true end)",
    "table.unpack()",
    "table.unpack(nil)",
    "table.unpack({}, 1, 1e8)",
    "table.unpack({}, math.mininteger, math.maxinteger)",
    "table.unpack({}, \"x\")",
    "select()",
    "select(0)",
    "select(-5, 1)",
    "select(\"x\")",
    "utf8.char(-1)",
    "utf8.char(\"x\")",
    "utf8.len()",
    "utf8.len(\"abc\", 10)",
    "utf8.codepoint(\"\\xff\")",
    "utf8.codepoint(\"abc\", 10)",
    "utf8.offset(\"\\u{e4}\", 1, 2)",
    "utf8.codes()",
    "utf8.codes(\"\\xff\")(\"\\xff\", 0)",
    "tonumber()",
    "tonumber({}, 10)",
    "tonumber(\"10\", 99)",
    "tonumber(10, 10)",
};

/* What is called with an expression's values: makes one text of them, types and all. */
static const char describe[] =
    "local parts = {} "
    "local function add(value) "
    "  parts[#parts + 1] = math.type(value) or type(value) "
    "  if type(value) ~= 'table' then parts[#parts + 1] = tostring(value) return end "
    "  local most = #value "
    "  for key in pairs(value) do if math.type(key) == 'integer' and key > most and key < 99 then most = key end end "
    "  for i = 1, most do add(value[i]) end "
    "  add(value.n) "
    "end "
    "function describe(...) "
    "  parts = {} "
    "  for i = 1, select('#', ...) do add((select(i, ...))) end "
    "  return table.concat(parts, '|') "
    "end";

static lua_State *plain;
static struct sandbox *sandbox;

static int setup(void **state)
{
    struct error error;
    (void)state;
    plain = luaL_newstate();
    assert_non_null(plain);
    luaL_openlibs(plain);
    sandbox = sandbox_new(&(struct sandbox_settings){.memory_max = 64 * 1024 * 1024}, &error);
    assert_non_null(sandbox);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lua_close(plain);
    sandbox_free(&sandbox);
    return 0;
}

static void define(const char *chunk)
{
    assert_int_equal(luaL_dostring(plain, chunk), LUA_OK);
    assert_int_equal(luaL_loadstring(sandbox_lua(sandbox), chunk), LUA_OK);
    if (sandbox_call(sandbox, 0, 0, &patient) != 0)
        fail_msg("%s", sandbox_failure(sandbox));
}

/* Compares what the functions on top of both stacks return for the `n` arguments above them, and pops all. */
static void assert_same(int n, const char *what)
{
    size_t size, plain_size;
    lua_State *lua = sandbox_lua(sandbox);
    if (lua_pcall(plain, n, 1, 0) != LUA_OK)
        fail_msg("%s: %s", what, lua_tostring(plain, -1));
    if (sandbox_call(sandbox, n, 1, &patient) != 0)
        fail_msg("%s: %s", what, sandbox_failure(sandbox));
    const char *text = lua_tolstring(lua, -1, &size), *plain_text = lua_tolstring(plain, -1, &plain_size);
    if (size != plain_size || memcmp(text, plain_text, size) != 0)
        fail_msg("%s: plain Lua says %s, the sandbox %s", what, plain_text, text);
    lua_pop(lua, 1);
    lua_pop(plain, 1);
}

static void compare(const char *expression, const char *succeeds)
{
    char chunk[512];
    snprintf(chunk, sizeof chunk,
             "local ok = pcall(function() return %s end) assert(ok == %s) "
             "return describe(pcall(function() return %s end))",
             expression, succeeds, expression);
    if (luaL_loadbuffer(plain, chunk, strlen(chunk), "=case") != LUA_OK ||
        luaL_loadbuffer(sandbox_lua(sandbox), chunk, strlen(chunk), "=case") != LUA_OK)
        fail_msg("%s: %s", chunk, lua_tostring(plain, -1));
    assert_same(0, expression);
}

static void what_has_a_value(void **state)
{
    (void)state;
    define(describe);
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++)
        compare(expressions[i], "true");
}

static void what_is_wrong(void **state)
{
    (void)state;
    define(describe);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        compare(wrong[i], "false");
}

/* A text of up to `most` of the pieces; the same at every run. */
static size_t random_text(uint32_t *seed, const char *const *pieces, uint32_t n_pieces, uint32_t most, char *text)
{
    size_t size = 0;
    *seed = *seed * 1664525 + 1013904223;
    for (uint32_t left = (*seed >> 8) % (most + 1); left > 0; left--) {
        *seed = *seed * 1664525 + 1013904223;
        const char *piece = pieces[(*seed >> 8) % n_pieces];
        memcpy(text + size, piece, strlen(piece));
        size += strlen(piece);
    }
    text[size] = '\0';
    return size;
}

static void random_patterns(void **state)
{
    static const char *const items[] = {
        "a",    "b",      ".",     "%a", "%A", "%d", "[ab]", "[^a]", "[a-c]", "[]a]", "[%d_]", "*",
        "*",    "+",      "-",     "-",  "?",  "(",  ")",    "()",   "(a)",   "(.-)", "%1",    "%2",
        "%bab", "%f[%a]", "%f[^b", "^",  "$",  "%",  "[",    "]",    "%%",    "[^]",  "(a*)",  "(b?)",
        "1",    "%w",     "[b-]+", "c",  "%s", "%z", "[%Z]", "[a-",  "\xe4",  "%b"};
    static const char *const letters[] = {"a", "a", "b", "b", "c", "1", " ", "(", ")", "%", "]", "-", "\xe4", "_", "^"};
    static const char *const replacements[] = {"x", "%0", "%1", "%2", "%%", "<%0>", "%", "y%1y"};
    static const char probe[] = "local out "
                                "local function add(...) "
                                "  for i = 1, select('#', ...) do out[#out + 1] = tostring((select(i, ...))) end "
                                "  out[#out + 1] = ';' "
                                "end "
                                "function probe(text, pattern, replacement) "
                                "  out = {} "
                                "  add(pcall(string.find, text, pattern)) "
                                "  add(pcall(string.find, text, pattern, 2)) "
                                "  add(pcall(string.find, text, pattern, 1, true)) "
                                "  add(pcall(string.match, text, pattern, -3)) "
                                "  add(pcall(string.gsub, text, pattern, replacement)) "
                                "  add(pcall(string.gsub, text, pattern, '<%0>', 2)) "
                                "  add(pcall(string.gsub, text, pattern, function(...) add(...) return ... end)) "
                                "  add(pcall(string.gsub, text, pattern, {a = 'A', b = false, [1] = 'one'})) "
                                "  add(pcall(function() for a, b, c in text:gmatch(pattern) do add(a, b, c) end end)) "
                                "  return table.concat(out, '|') "
                                "end";
    uint32_t seed = 7;
    (void)state;
    define(probe);
    for (unsigned i = 0; i < PROBES; i++) {
        char text[64], pattern[64], replacement[64], what[256];
        random_text(&seed, letters, sizeof letters / sizeof *letters, 12, text);
        random_text(&seed, items, sizeof items / sizeof *items, 7, pattern);
        random_text(&seed, replacements, sizeof replacements / sizeof *replacements, 3, replacement);
        snprintf(what, sizeof what, "text '%s', pattern '%s', replacement '%s'", text, pattern, replacement);
        lua_State *const both[] = {plain, sandbox_lua(sandbox)};
        for (size_t k = 0; k < 2; k++) {
            lua_getglobal(both[k], "probe");
            lua_pushstring(both[k], text);
            lua_pushstring(both[k], pattern);
            lua_pushstring(both[k], replacement);
        }
        assert_same(3, what);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_has_a_value, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(random_patterns, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
