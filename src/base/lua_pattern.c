/* SPDX-License-Identifier: MIT */
/* Patterns as section 6.4.1 of the Lua manual has them. `p` goes through the pattern and `s` through the text; both end
 * with a NUL that does not belong to them. */
#include "base/lua_pattern.h"

#include "base/lua_limits.h"
#include "base/lua_sandbox.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    CAPTURES_MAX = 32,
    DEPTH_MAX = 200,    /* calls of match_here inside each other */
    REPLACE_STEPS = 6,  /* that replacing a match counts as */
    CAPTURE_STEPS = 16, /* that making a value of a capture counts as */
    NUMBER_STEPS = 64,  /* that making a text of a position counts as */
    CALL_STEPS = 40,    /* that calling a function in C counts as; one in Lua has instructions */
    TELL_STEPS = 10000, /* at most so many are forgotten when there is an error */
    CAPTURE_OPEN = -1,
    CAPTURE_POSITION = -2,
};

struct matcher {
    lua_State *lua;
    const char *text;
    const char *text_end;
    const char *pattern; /* behind the anchor, where that counts as one */
    const char *pattern_end;
    size_t steps;
    size_t told; /* of them, the sandbox knows */
    int depth;
    int n_captures;
    struct {
        const char *start;
        ptrdiff_t size; /* or one of CAPTURE_... */
    } captures[CAPTURES_MAX];
};

static const char *match_here(struct matcher *matcher, const char *s, const char *p);

static unsigned char byte_at(const char *at)
{
    return (unsigned char)*at;
}

static void tell_steps(struct matcher *matcher)
{
    const size_t untold = matcher->steps - matcher->told;
    matcher->told = matcher->steps;
    sandbox_work(matcher->lua, untold);
}

static void take_steps(struct matcher *matcher, size_t steps)
{
    matcher->steps += steps;
    if (matcher->steps - matcher->told < TELL_STEPS && matcher->steps <= LUA_LIMITS_STEPS)
        return;
    tell_steps(matcher);
    if (matcher->steps > LUA_LIMITS_STEPS)
        luaL_error(matcher->lua, "pattern takes over %d steps on this text", LUA_LIMITS_STEPS);
}

/* One character against one item of a pattern. */

/* Lower and upper case of a class's letter differ in one bit, and no other character becomes a letter by it. */
static bool class_has(unsigned char class, int c)
{
    bool has;
    switch (class | 0x20) {
    case 'a': has = isalpha(c) != 0; break;
    case 'c': has = iscntrl(c) != 0; break;
    case 'd': has = isdigit(c) != 0; break;
    case 'g': has = isgraph(c) != 0; break;
    case 'l': has = islower(c) != 0; break;
    case 'p': has = ispunct(c) != 0; break;
    case 's': has = isspace(c) != 0; break;
    case 'u': has = isupper(c) != 0; break;
    case 'w': has = isalnum(c) != 0; break;
    case 'x': has = isxdigit(c) != 0; break;
    case 'z': has = c == 0; break; /* of Lua 5.1, and still there */
    default: return class == c;
    }
    return has == ((class & 0x20) != 0);
}

/* `p` is at the '[' and `end` behind the ']'. */
static bool set_has(struct matcher *matcher, const char *p, const char *end, int c)
{
    const bool within = p[1] != '^';
    const char *const last = end - 1, *const start = p;
    bool found = false;
    for (p += within ? 1 : 2; p < last && !found; p++) {
        if (*p == '%') {
            found = class_has(byte_at(++p), c);
        } else if (p[1] == '-' && p + 2 < last) {
            found = byte_at(p) <= c && c <= byte_at(p + 2);
            p += 2;
        } else {
            found = byte_at(p) == c;
        }
    }
    take_steps(matcher, (size_t)(p - start));
    return found == within;
}

/* The item from `p` to `end` against the character at `s`. */
static bool item_has(struct matcher *matcher, const char *p, const char *end, const char *s)
{
    take_steps(matcher, 1);
    if (s >= matcher->text_end)
        return false;
    switch (*p) {
    case '.': return true;
    case '%': return class_has(byte_at(p + 1), byte_at(s));
    case '[': return set_has(matcher, p, end, byte_at(s));
    default: return *p == *s;
    }
}

/* Where the item that begins at `p` ends. */
static const char *item_end(struct matcher *matcher, const char *p)
{
    const char *const start = p;
    if (*p == '%') {
        if (p + 1 == matcher->pattern_end)
            luaL_error(matcher->lua, "malformed pattern (ends with '%%')");
        return p + 2;
    }
    if (*p != '[')
        return p + 1;
    p += p[1] == '^' ? 2 : 1;
    do { /* the first ']' is one of the set */
        if (p == matcher->pattern_end)
            luaL_error(matcher->lua, "malformed pattern (missing ']')");
        if (*p++ == '%' && p < matcher->pattern_end)
            p++;
    } while (*p != ']');
    take_steps(matcher, (size_t)(p - start) / 4);
    return p + 1;
}

/* Captures. */

static const char *capture_open(struct matcher *matcher, const char *s, const char *p, int size)
{
    const int n = matcher->n_captures;
    take_steps(matcher, 3);
    if (n >= CAPTURES_MAX)
        luaL_error(matcher->lua, "too many captures");
    matcher->captures[n].start = s;
    matcher->captures[n].size = size;
    matcher->n_captures = n + 1;
    const char *end = match_here(matcher, s, p);
    if (end == NULL)
        matcher->n_captures--;
    return end;
}

static const char *capture_close(struct matcher *matcher, const char *s, const char *p)
{
    int n = matcher->n_captures - 1;
    take_steps(matcher, 3);
    while (n >= 0 && matcher->captures[n].size != CAPTURE_OPEN)
        n--;
    if (n < 0) {
        luaL_error(matcher->lua, "invalid pattern capture");
        return NULL;
    }
    matcher->captures[n].size = s - matcher->captures[n].start;
    const char *end = match_here(matcher, s, p);
    if (end == NULL)
        matcher->captures[n].size = CAPTURE_OPEN;
    return end;
}

/* What capture `digit` has matched, once more. */
static const char *match_again(struct matcher *matcher, const char *s, char digit)
{
    const int n = digit - '1';
    if (n < 0 || n >= matcher->n_captures || matcher->captures[n].size == CAPTURE_OPEN) {
        luaL_error(matcher->lua, "invalid capture index %%%d", n + 1);
        return NULL;
    }
    const ptrdiff_t size = matcher->captures[n].size;
    if (size < 0 || matcher->text_end - s < size)
        return NULL;
    take_steps(matcher, (size_t)size);
    return memcmp(matcher->captures[n].start, s, (size_t)size) == 0 ? s + size : NULL;
}

/* The other items. */

/* %bxy; `p` is at the x. */
static const char *match_balance(struct matcher *matcher, const char *s, const char *p)
{
    if (p >= matcher->pattern_end - 1)
        luaL_error(matcher->lua, "malformed pattern (missing arguments to '%%b')");
    if (s == matcher->text_end || *s != *p)
        return NULL;
    const char *const start = s;
    for (size_t open = 1; ++s < matcher->text_end;) {
        if (*s == p[1] && --open == 0)
            break;
        if (*s == p[0])
            open++;
    }
    take_steps(matcher, (size_t)(s - start));
    return s < matcher->text_end ? s + 1 : NULL;
}

/* %f[set]; `p` is at the '['. What is before the text and behind it counts as a NUL. */
static bool is_frontier(struct matcher *matcher, const char *s, const char *p, const char *end)
{
    const int before = s == matcher->text ? '\0' : byte_at(s - 1);
    return !set_has(matcher, p, end, before) && set_has(matcher, p, end, byte_at(s));
}

/* An item that begins with '%' and no single character's: b, f or a digit. Moves *p behind it. */
static const char *match_special(struct matcher *matcher, const char *s, const char **p)
{
    const char kind = (*p)[1];
    *p += 2;
    if (kind == 'b') {
        const char *end = match_balance(matcher, s, *p);
        *p += 2;
        return end;
    }
    if (kind != 'f')
        return match_again(matcher, s, kind);
    if (**p != '[')
        luaL_error(matcher->lua, "missing '[' after '%%f' in pattern");
    const char *start = *p;
    *p = item_end(matcher, start);
    return is_frontier(matcher, s, start, *p) ? s : NULL;
}

static bool is_special(const char *p)
{
    return *p == '%' && (p[1] == 'b' || p[1] == 'f' || isdigit(byte_at(p + 1)));
}

/* As often as possible; `end` is where the repetition's sign stands. */
static const char *match_longest(struct matcher *matcher, const char *s, const char *p, const char *end)
{
    const char *at = s;
    while (item_has(matcher, p, end, at))
        at++;
    for (;; at--) {
        const char *rest = match_here(matcher, at, end + 1);
        if (rest != NULL || at == s)
            return rest;
    }
}

static const char *match_shortest(struct matcher *matcher, const char *s, const char *p, const char *end)
{
    for (;; s++) {
        const char *rest = match_here(matcher, s, end + 1);
        if (rest != NULL || !item_has(matcher, p, end, s))
            return rest;
    }
}

/* The item from `p` to `end`, with a sign of repetition or none. Returns true with the result in *result when that is
 * the whole rest's, or false: matching goes on at *s and *p. */
static bool match_item(struct matcher *matcher, const char **s, const char **p, const char *end, const char **result)
{
    const bool has = item_has(matcher, *p, end, *s);
    const bool may_be_absent = *end == '*' || *end == '?' || *end == '-';
    *result = NULL;
    if (!has) {
        *p = end + 1;
        return !may_be_absent;
    }
    switch (*end) {
    case '?': *result = match_here(matcher, *s + 1, end + 1); break;
    case '+': *result = match_longest(matcher, *s + 1, *p, end); return true;
    case '*': *result = match_longest(matcher, *s, *p, end); return true;
    case '-': *result = match_shortest(matcher, *s, *p, end); return true;
    default:
        ++*s;
        *p = end;
        return false;
    }
    *p = end + 1;
    return *result != NULL;
}

static const char *match_rest(struct matcher *matcher, const char *s, const char *p)
{
    const char *result;
    while (p != matcher->pattern_end) {
        if (*p == '(')
            return p[1] == ')' ? capture_open(matcher, s, p + 2, CAPTURE_POSITION)
                               : capture_open(matcher, s, p + 1, CAPTURE_OPEN);
        if (*p == ')')
            return capture_close(matcher, s, p + 1);
        if (*p == '$' && p + 1 == matcher->pattern_end)
            return s == matcher->text_end ? s : NULL;
        if (is_special(p)) {
            s = match_special(matcher, s, &p);
            if (s == NULL)
                return NULL;
        } else if (match_item(matcher, &s, &p, item_end(matcher, p), &result)) {
            return result;
        }
    }
    return s;
}

/* The pattern from `p` on against the text from `s` on: where the match ends, or NULL. */
static const char *match_here(struct matcher *matcher, const char *s, const char *p)
{
    take_steps(matcher, 1);
    if (matcher->depth-- == 0)
        luaL_error(matcher->lua, "pattern too complex");
    const char *end = match_rest(matcher, s, p);
    matcher->depth++;
    return end;
}

/* The whole pattern. */
static const char *match_at(struct matcher *matcher, const char *s)
{
    matcher->depth = DEPTH_MAX;
    matcher->n_captures = 0;
    return match_here(matcher, s, matcher->pattern);
}

/* Results. */

/* Pushes capture `n`, from 0 on, of a match from `s` to `end`, which is the first capture of a pattern without any. */
static void push_capture(struct matcher *matcher, int n, const char *s, const char *end)
{
    take_steps(matcher, CAPTURE_STEPS);
    if (n >= matcher->n_captures) {
        if (n > 0)
            luaL_error(matcher->lua, "invalid capture index %%%d", n + 1);
        lua_pushlstring(matcher->lua, s, (size_t)(end - s));
        return;
    }
    const char *start = matcher->captures[n].start;
    const ptrdiff_t size = matcher->captures[n].size;
    if (size == CAPTURE_OPEN)
        luaL_error(matcher->lua, "unfinished capture");
    if (size == CAPTURE_POSITION)
        lua_pushinteger(matcher->lua, start - matcher->text + 1);
    else
        lua_pushlstring(matcher->lua, start, (size_t)size);
}

static int push_captures(struct matcher *matcher, const char *s, const char *end)
{
    const int n = matcher->n_captures;
    luaL_checkstack(matcher->lua, n + 1, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(matcher, i, s, end);
    if (n > 0)
        return n;
    push_capture(matcher, 0, s, end);
    return 1;
}

/* Arguments. */

/* Text and pattern are the first two. */
static void matcher_init(struct matcher *matcher, lua_State *lua)
{
    size_t size, pattern_size;
    const char *text = luaL_checklstring(lua, 1, &size);
    const char *pattern = luaL_checklstring(lua, 2, &pattern_size);
    luaL_argcheck(lua, size <= LUA_LIMITS_TEXT, 1, "text too long to search");
    matcher->lua = lua;
    matcher->text = text;
    matcher->text_end = text + size;
    matcher->pattern = pattern;
    matcher->pattern_end = pattern + pattern_size;
    matcher->steps = matcher->told = 0;
}

/* Whether the pattern holds for one place alone; then the sign of it is behind. */
static bool matcher_anchor(struct matcher *matcher)
{
    if (*matcher->pattern != '^')
        return false;
    matcher->pattern++;
    return true;
}

/* Where the search is to start, by the third argument; NULL: behind the end. */
static const char *start_of(const struct matcher *matcher)
{
    const lua_Integer start = luaL_optinteger(matcher->lua, 3, 1), size = matcher->text_end - matcher->text;
    if (start > size + 1)
        return NULL;
    if (start > 0)
        return matcher->text + start - 1;
    return start == 0 || start < -size ? matcher->text : matcher->text + size + start;
}

static bool is_plain(const struct matcher *matcher)
{
    static const char specials[] = "^$*+?.([%-";
    const char *p = matcher->pattern + strcspn(matcher->pattern, specials);
    for (; p < matcher->pattern_end && *p == '\0'; p += strcspn(p, specials))
        p++;
    return p == matcher->pattern_end;
}

/* The functions. */

static int find_plain(const struct matcher *matcher, const char *s)
{
    const size_t size = (size_t)(matcher->pattern_end - matcher->pattern);
    const char *found = memmem(s, (size_t)(matcher->text_end - s), matcher->pattern, size);
    sandbox_work(matcher->lua, (size_t)(matcher->text_end - s));
    if (found == NULL) {
        lua_pushnil(matcher->lua);
        return 1;
    }
    lua_pushinteger(matcher->lua, found - matcher->text + 1);
    lua_pushinteger(matcher->lua, found - matcher->text + (ptrdiff_t)size);
    return 2;
}

/* The first match from *s on; *s becomes its start. */
static const char *search(struct matcher *matcher, const char **s, bool anchored)
{
    for (;; ++*s) {
        const char *end = match_at(matcher, *s);
        if (end != NULL || anchored || *s == matcher->text_end)
            return end;
    }
}

static int pattern_find(lua_State *lua)
{
    struct matcher matcher;
    matcher_init(&matcher, lua);
    const char *s = start_of(&matcher);
    if (s != NULL && (lua_toboolean(lua, 4) || is_plain(&matcher)))
        return find_plain(&matcher, s);
    const char *end = s == NULL ? NULL : search(&matcher, &s, matcher_anchor(&matcher));
    tell_steps(&matcher);
    if (end == NULL) {
        lua_pushnil(lua);
        return 1;
    }
    lua_pushinteger(lua, s - matcher.text + 1);
    lua_pushinteger(lua, end - matcher.text);
    return matcher.n_captures == 0 ? 2 : 2 + push_captures(&matcher, s, end);
}

static int pattern_match(lua_State *lua)
{
    struct matcher matcher;
    matcher_init(&matcher, lua);
    const char *s = start_of(&matcher);
    const char *end = s == NULL ? NULL : search(&matcher, &s, matcher_anchor(&matcher));
    tell_steps(&matcher);
    if (end != NULL)
        return push_captures(&matcher, s, end);
    lua_pushnil(lua);
    return 1;
}

/* Where an iteration stands. Text and pattern are the other upvalues. */
struct iteration {
    struct matcher matcher;
    const char *at;   /* NULL: at its end */
    const char *last; /* where the match before ended: an empty one there is none */
};

static int iteration_next(lua_State *lua)
{
    struct iteration *iteration = lua_touserdata(lua, lua_upvalueindex(3));
    struct matcher *matcher = &iteration->matcher;
    matcher->lua = lua;
    matcher->steps = matcher->told = 0;
    for (const char *s = iteration->at; s != NULL && s <= matcher->text_end; s++) {
        const char *end = match_at(matcher, s);
        if (end == NULL || end == iteration->last)
            continue;
        iteration->at = iteration->last = end;
        tell_steps(matcher);
        return push_captures(matcher, s, end);
    }
    tell_steps(matcher);
    return 0;
}

static int pattern_gmatch(lua_State *lua)
{
    struct matcher matcher;
    matcher_init(&matcher, lua);
    const char *start = start_of(&matcher);
    lua_settop(lua, 2);
    struct iteration *iteration = lua_newuserdatauv(lua, sizeof *iteration, 0);
    *iteration = (struct iteration){.matcher = matcher, .at = start};
    lua_pushcclosure(lua, iteration_next, 3);
    return 1;
}

static void add(struct matcher *matcher, luaL_Buffer *out, const char *text, size_t size)
{
    if (luaL_bufflen(out) + size > LUA_LIMITS_REPLACED)
        luaL_error(matcher->lua, "resulting string too large");
    luaL_addlstring(out, text, size);
}

/* Adds the text or number on top of the stack, which is popped. */
static void add_value(struct matcher *matcher, luaL_Buffer *out)
{
    size_t size;
    lua_tolstring(matcher->lua, -1, &size);
    if (luaL_bufflen(out) + size > LUA_LIMITS_REPLACED)
        luaL_error(matcher->lua, "resulting string too large");
    luaL_addvalue(out);
}

/* Adds the replacement text, in which %1 is a capture, for a match from `s` to `end`. */
static void add_text(struct matcher *matcher, luaL_Buffer *out, const char *s, const char *end)
{
    size_t size;
    const char *text = lua_tolstring(matcher->lua, 3, &size);
    const char *const text_end = text + size;
    for (const char *sign; (sign = memchr(text, '%', (size_t)(text_end - text))) != NULL; text = sign + 2) {
        take_steps(matcher, CAPTURE_STEPS);
        add(matcher, out, text, (size_t)(sign - text));
        if (sign[1] == '%') {
            add(matcher, out, "%", 1);
        } else if (sign[1] == '0') {
            add(matcher, out, s, (size_t)(end - s));
        } else if (isdigit(byte_at(sign + 1))) {
            push_capture(matcher, sign[1] - '1', s, end);
            take_steps(matcher, lua_type(matcher->lua, -1) == LUA_TNUMBER ? NUMBER_STEPS : 0);
            add_value(matcher, out);
        } else {
            luaL_error(matcher->lua, "invalid use of '%c' in replacement string", '%');
        }
    }
    add(matcher, out, text, (size_t)(text_end - text));
}

/* Adds what takes the place of a match; returns false when that is the match itself. */
static bool add_replacement(struct matcher *matcher, luaL_Buffer *out, const char *s, const char *end)
{
    lua_State *lua = matcher->lua;
    take_steps(matcher, REPLACE_STEPS);
    switch (lua_type(lua, 3)) {
    case LUA_TFUNCTION:
        take_steps(matcher, lua_iscfunction(lua, 3) ? CALL_STEPS : 0);
        lua_pushvalue(lua, 3);
        lua_call(lua, push_captures(matcher, s, end), 1);
        break;
    case LUA_TTABLE:
        push_capture(matcher, 0, s, end);
        lua_gettable(lua, 3);
        break;
    default: add_text(matcher, out, s, end); return true;
    }
    if (!lua_toboolean(lua, -1)) {
        lua_pop(lua, 1);
        add(matcher, out, s, (size_t)(end - s));
        return false;
    }
    if (!lua_isstring(lua, -1))
        luaL_error(lua, "invalid replacement value (a %s)", luaL_typename(lua, -1));
    add_value(matcher, out);
    return true;
}

/* Adds the text with up to `most` replacements; returns how many these were, in *changed whether it is another text. */
static lua_Integer add_replaced(struct matcher *matcher, luaL_Buffer *out, lua_Integer most, bool *changed)
{
    const bool anchored = matcher_anchor(matcher);
    const char *s = matcher->text, *last = NULL;
    lua_Integer n = 0;
    while (n < most) {
        const char *end = match_at(matcher, s);
        if (end != NULL && end != last) {
            n++;
            *changed = add_replacement(matcher, out, s, end) || *changed;
            s = last = end;
        } else if (s < matcher->text_end) {
            luaL_addchar(out, *s++);
        } else {
            break;
        }
        if (anchored)
            break;
    }
    add(matcher, out, s, (size_t)(matcher->text_end - s));
    return n;
}

static int pattern_gsub(lua_State *lua)
{
    struct matcher matcher;
    luaL_Buffer out;
    bool changed = false;
    matcher_init(&matcher, lua);
    const int type = lua_type(lua, 3);
    const lua_Integer most = luaL_optinteger(lua, 4, matcher.text_end - matcher.text + 1);
    luaL_argexpected(lua, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                     "string/function/table");
    luaL_buffinit(lua, &out);
    const lua_Integer n = add_replaced(&matcher, &out, most, &changed);
    if (changed)
        luaL_pushresult(&out);
    else
        lua_pushvalue(lua, 1);
    lua_pushinteger(lua, n);
    tell_steps(&matcher);
    return 2;
}

void lua_pattern_open(lua_State *lua)
{
    static const luaL_Reg functions[] = {
        {"find", pattern_find}, {"gmatch", pattern_gmatch}, {"gsub", pattern_gsub}, {"match", pattern_match},
        {NULL, NULL},
    };
    luaL_setfuncs(lua, functions, 0);
}
