/* SPDX-License-Identifier: MIT */
/* Functions that look at the arguments of Lua's own before they call them, and say how much work those do. Arguments
 * of wrong types are left to Lua's own to complain about. */
#include "base/lua_limits.h"

#include "base/lua_pattern.h"
#include "base/lua_sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stddef.h>
#include <string.h>

/* Lua's own function that the running one stands in for. It finds the stack as its caller left it. */
static int call_original(lua_State *lua)
{
    return lua_tocfunction(lua, lua_upvalueindex(1))(lua);
}

static int too_large(lua_State *lua)
{
    return luaL_error(lua, "resulting string too large");
}

/* What takes or returns as many values as it is told. All of them are copied each time a script hands them on, which is
 * one instruction. */
static int limited_values(lua_State *lua)
{
    const int n = lua_gettop(lua);
    luaL_argcheck(lua, n <= LUA_LIMITS_VALUES, LUA_LIMITS_VALUES + 1, "too many arguments");
    const int n_results = call_original(lua);
    sandbox_work(lua, 10 * (size_t)(n + n_results));
    return n_results;
}

/* Texts. */

/* Takes texts among the arguments from `first` on for numbers, or compares them: all their bytes are looked at. */
static void check_texts(lua_State *lua, int first)
{
    size_t size = 0;
    for (int i = first; i <= lua_gettop(lua); i++) {
        size += lua_type(lua, i) == LUA_TSTRING ? lua_rawlen(lua, i) : 0;
        luaL_argcheck(lua, size <= LUA_LIMITS_TEXT, i, "texts too long");
    }
    sandbox_work(lua, size);
}

static int limited_numbers(lua_State *lua)
{
    check_texts(lua, 1);
    return limited_values(lua);
}

/* What goes through a text, its first argument. */
static int limited_text(lua_State *lua)
{
    if (lua_type(lua, 1) == LUA_TSTRING) {
        const size_t size = lua_rawlen(lua, 1);
        luaL_argcheck(lua, size <= LUA_LIMITS_TEXT, 1, "text too long");
        sandbox_work(lua, size);
    }
    return limited_values(lua);
}

/* Of nothing, Lua would make 2^63 copies without asking for memory once. */
static int limited_rep(lua_State *lua)
{
    size_t size, separator_size;
    luaL_checklstring(lua, 1, &size);
    const lua_Integer n = luaL_checkinteger(lua, 2);
    luaL_optlstring(lua, 3, "", &separator_size);
    if (n <= 0 || size + separator_size == 0) {
        lua_pushliteral(lua, "");
        return 1;
    }
    if ((lua_Unsigned)n > LUA_LIMITS_TEXT / (size + separator_size))
        return too_large(lua);
    sandbox_work(lua, (size_t)n * 10);
    return call_original(lua);
}

/* A place in a text of `size` bytes; negative ones count from its end. */
static lua_Integer text_place(lua_Integer place, lua_Integer size)
{
    if (place >= 0)
        return place < size ? place : size;
    return place < -size ? 0 : size + place + 1;
}

/* string.byte and utf8.codepoint, which return what is between two places. */
static int limited_slice(lua_State *lua)
{
    size_t size;
    luaL_checklstring(lua, 1, &size);
    const lua_Integer first = luaL_optinteger(lua, 2, 1), last = luaL_optinteger(lua, 3, first);
    const lua_Integer n = text_place(last, (lua_Integer)size) - text_place(first, (lua_Integer)size);
    if (n >= LUA_LIMITS_VALUES)
        return luaL_error(lua, "string slice too long");
    return limited_values(lua);
}

/* Bytes that the value makes of a text, or more. */
static size_t text_size(lua_State *lua, int index)
{
    return lua_type(lua, index) == LUA_TSTRING ? lua_rawlen(lua, index) : LUA_LIMITS_FLOAT_SIZE;
}

static int limited_format(lua_State *lua)
{
    size_t size;
    const char *format = luaL_checklstring(lua, 1, &size);
    const size_t most = memmem(format, size, "%q", 2) != NULL ? LUA_LIMITS_QUOTED : LUA_LIMITS_TEXT;
    const int n = lua_gettop(lua) - 1;
    luaL_argcheck(lua, n <= LUA_LIMITS_FORMATTED, LUA_LIMITS_FORMATTED + 2, "too many values to format");
    for (int i = 2; size <= most && i <= n + 1; i++)
        size += text_size(lua, i);
    if (size > most)
        return too_large(lua);
    sandbox_work(lua, size);
    return call_original(lua);
}

/* A number in such a format is how many bytes to make, at most. */
static int limited_pack(lua_State *lua)
{
    size_t size, made = 0;
    const char *format = luaL_checklstring(lua, 1, &size);
    luaL_argcheck(lua, size <= LUA_LIMITS_PACKED, 1, "format too long");
    for (size_t i = 0; i < size; i++) {
        size_t number = 0;
        for (; format[i] >= '0' && format[i] <= '9' && number <= LUA_LIMITS_TEXT; i++)
            number = number * 10 + (size_t)(format[i] - '0');
        made += number;
    }
    if (made > LUA_LIMITS_TEXT)
        return too_large(lua);
    check_texts(lua, 2);
    sandbox_work(lua, size + made);
    return call_original(lua);
}

static int limited_unpack(lua_State *lua)
{
    size_t size;
    luaL_checklstring(lua, 1, &size);
    luaL_argcheck(lua, size <= LUA_LIMITS_PACKED, 1, "format too long");
    sandbox_work(lua, size * 10);
    return call_original(lua);
}

static int limited_date(lua_State *lua)
{
    if (lua_type(lua, 1) == LUA_TSTRING)
        luaL_argcheck(lua, lua_rawlen(lua, 1) <= LUA_LIMITS_DATE, 1, "format too long");
    return call_original(lua);
}

/* Tables. Those of scripts have no metatables, so what is there is what Lua's own functions will find. */

static int limited_concat(lua_State *lua)
{
    size_t separator_size, size = 0;
    luaL_checktype(lua, 1, LUA_TTABLE);
    luaL_optlstring(lua, 2, "", &separator_size);
    const lua_Integer first = luaL_optinteger(lua, 3, 1);
    const lua_Integer last = luaL_opt(lua, luaL_checkinteger, 4, (lua_Integer)lua_rawlen(lua, 1));
    size_t n = 0;
    for (lua_Integer i = first; i <= last && n <= LUA_LIMITS_ELEMENTS && size <= LUA_LIMITS_TEXT; i++) {
        lua_rawgeti(lua, 1, i);
        const int ends = !lua_isstring(lua, -1) || i == last; /* there is an error, or nothing, behind it */
        size += text_size(lua, -1) + (ends ? 0 : separator_size);
        n++;
        lua_pop(lua, 1);
        if (ends)
            break;
    }
    if (n > LUA_LIMITS_ELEMENTS || size > LUA_LIMITS_TEXT)
        return too_large(lua);
    sandbox_work(lua, n * 10 + size);
    return call_original(lua);
}

static int limited_table_unpack(lua_State *lua)
{
    const lua_Integer first = luaL_optinteger(lua, 2, 1);
    const lua_Integer last =
        luaL_opt(lua, luaL_checkinteger, 3, lua_istable(lua, 1) ? (lua_Integer)lua_rawlen(lua, 1) : 0);
    if (first <= last && (lua_Unsigned)last - (lua_Unsigned)first >= LUA_LIMITS_VALUES)
        return luaL_error(lua, "too many results to unpack");
    return limited_values(lua);
}

static int limited_move(lua_State *lua)
{
    const lua_Integer first = luaL_checkinteger(lua, 2), last = luaL_checkinteger(lua, 3);
    if (first <= last) {
        const lua_Unsigned n = (lua_Unsigned)last - (lua_Unsigned)first;
        luaL_argcheck(lua, n < LUA_LIMITS_ELEMENTS, 3, "too many elements to move");
        sandbox_work(lua, (size_t)n * 10);
    }
    return call_original(lua);
}

/* table.insert and remove move all that is behind a position. A table's length can be 2^62 with 65 elements in it. */
static void check_shift(lua_State *lua)
{
    int is_integer;
    const lua_Integer position = lua_tointegerx(lua, 2, &is_integer);
    const lua_Integer size = lua_istable(lua, 1) ? (lua_Integer)lua_rawlen(lua, 1) : 0;
    if (!is_integer || position < 1 || position >= size)
        return;
    luaL_argcheck(lua, size - position < LUA_LIMITS_ELEMENTS, 1, "too many elements to move");
    sandbox_work(lua, (size_t)(size - position) * 10);
}

static int limited_insert(lua_State *lua)
{
    if (lua_gettop(lua) == 3)
        check_shift(lua);
    return call_original(lua);
}

static int limited_remove(lua_State *lua)
{
    check_shift(lua);
    return call_original(lua);
}

/* What comparing the text on top of the stack costs, where one of a few bytes costs 1. Each NUL is a comparison of its
 * own. */
static size_t comparison_cost(lua_State *lua)
{
    size_t size;
    const char *text = lua_tolstring(lua, -1, &size);
    return 1 + size / (memchr(text, '\0', size) == NULL ? 128 : 4);
}

/* The comparisons of a sort of the table at index 1, of `n` elements; those of long texts count as many. */
static size_t count_comparisons(lua_State *lua, size_t n)
{
    size_t dearest = 1, rounds = 1;
    for (size_t i = 1; i <= n; i++) {
        const size_t cost = lua_rawgeti(lua, 1, (lua_Integer)i) == LUA_TSTRING ? comparison_cost(lua) : 1;
        dearest = cost > dearest ? cost : dearest;
        lua_pop(lua, 1);
    }
    while (n >> rounds > 0)
        rounds++;
    return n * rounds * dearest;
}

static int limited_sort(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    const lua_Unsigned n = lua_rawlen(lua, 1);
    luaL_argcheck(lua, n <= LUA_LIMITS_ELEMENTS, 1, "too many elements to sort");
    if (!lua_isfunction(lua, 2) || lua_iscfunction(lua, 2)) {
        const size_t comparisons = count_comparisons(lua, (size_t)n);
        luaL_argcheck(lua, comparisons <= LUA_LIMITS_COMPARISONS, 1, "too many elements to sort");
        sandbox_work(lua, comparisons * 10);
    }
    return call_original(lua);
}

static const struct limited {
    const char *library;
    const char *name;
    lua_CFunction function;
} all_limited[] = {
    {LUA_GNAME, "tonumber", limited_text},
    {LUA_STRLIBNAME, "byte", limited_slice},
    {LUA_MATHLIBNAME, "max", limited_numbers},
    {LUA_MATHLIBNAME, "min", limited_numbers},
    {LUA_STRLIBNAME, "char", limited_numbers},
    {LUA_STRLIBNAME, "format", limited_format},
    {LUA_STRLIBNAME, "lower", limited_text},
    {LUA_STRLIBNAME, "pack", limited_pack},
    {LUA_STRLIBNAME, "packsize", limited_pack},
    {LUA_STRLIBNAME, "rep", limited_rep},
    {LUA_STRLIBNAME, "reverse", limited_text},
    {LUA_STRLIBNAME, "unpack", limited_unpack},
    {LUA_STRLIBNAME, "upper", limited_text},
    {LUA_TABLIBNAME, "concat", limited_concat},
    {LUA_TABLIBNAME, "insert", limited_insert},
    {LUA_TABLIBNAME, "move", limited_move},
    {LUA_TABLIBNAME, "remove", limited_remove},
    {LUA_TABLIBNAME, "sort", limited_sort},
    {LUA_TABLIBNAME, "unpack", limited_table_unpack},
    {LUA_UTF8LIBNAME, "char", limited_numbers},
    {LUA_UTF8LIBNAME, "codepoint", limited_slice},
    {LUA_UTF8LIBNAME, "codes", limited_text},
    {LUA_UTF8LIBNAME, "len", limited_text},
    {LUA_UTF8LIBNAME, "offset", limited_text},
    {LUA_OSLIBNAME, "date", limited_date},
};

/* The original becomes an upvalue. */
static void replace(lua_State *lua, const struct limited *limited)
{
    if (lua_getglobal(lua, limited->library) == LUA_TTABLE) {
        lua_getfield(lua, -1, limited->name);
        lua_pushcclosure(lua, limited->function, 1);
        lua_setfield(lua, -2, limited->name);
    }
    lua_pop(lua, 1);
}

void lua_limits_open(lua_State *lua)
{
    for (size_t i = 0; i < sizeof all_limited / sizeof *all_limited; i++)
        replace(lua, &all_limited[i]);
    lua_getglobal(lua, LUA_STRLIBNAME);
    lua_pattern_open(lua);
    lua_pop(lua, 1);
}
