/* SPDX-License-Identifier: MIT */
/* keep.cidr, keep.glob, keep.set and keep.count. What they compile is Lua's own memory and counted in the state's, so
 * an error may jump out at any place; it stands in the functions' upvalues, which scripts cannot reach. */
#include "base/lua_match.h"

#include "base/clock.h"
#include "base/lua_sandbox.h"

#include <arpa/inet.h>
#include <lauxlib.h>
#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Lists. */

/* Returns the number of elements of the list at index 1, which is all that is left on the stack. */
static size_t list_check(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    const lua_Unsigned n = lua_rawlen(lua, 1);
    lua_Unsigned keys = 0;
    luaL_argcheck(lua, n <= LUA_MATCH_LIST_MAX, 1, "too many elements");
    for (lua_pushnil(lua); keys <= n && lua_next(lua, 1) != 0; keys++)
        lua_pop(lua, 1);
    /* Fewer keys is an element that is nil, which list_element names. */
    luaL_argcheck(lua, keys <= n, 1, "a list, with keys from 1 on alone, expected");
    sandbox_work(lua, (size_t)n * 100);
    lua_settop(lua, 1);
    return (size_t)n;
}

static void element_fails(lua_State *lua, size_t i, const char *why)
{
    luaL_argerror(lua, 1, lua_pushfstring(lua, "element %I: %s", (LUAI_UACINT)i, why));
}

/* The element at `i`, from 1 on. It lives as long as it is in the list. */
static const char *list_element(lua_State *lua, size_t i, size_t *size)
{
    if (lua_rawgeti(lua, 1, (lua_Integer)i) != LUA_TSTRING)
        element_fails(lua, i, lua_pushfstring(lua, "string expected, got %s", luaL_typename(lua, -1)));
    const char *text = lua_tolstring(lua, -1, size);
    sandbox_work(lua, *size);
    lua_pop(lua, 1);
    return text;
}

/* Addresses. */

struct ip {
    uint64_t high; /* 0 in those of IPv4 */
    uint64_t low;
};

struct range {
    struct ip first;
    struct ip last;
};

/* Sorted, and no two touch or overlap. */
struct ranges {
    size_t n;
    struct range *range;
};

/* The ranges of both families stand behind it. */
struct cidr {
    struct ranges v4;
    struct ranges v6;
};

static int ip_compare(const struct ip *a, const struct ip *b)
{
    if (a->high != b->high)
        return a->high < b->high ? -1 : 1;
    return (a->low > b->low) - (a->low < b->low);
}

static uint64_t read_big_endian(const unsigned char *bytes, size_t n)
{
    uint64_t number = 0;
    for (size_t i = 0; i < n; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Reads an address that ends with a NUL; returns its width, 32 or 128, or 0. */
static unsigned ip_parse(const char *text, struct ip *ip)
{
    unsigned char bytes[16];
    if (inet_pton(AF_INET, text, bytes) == 1) {
        *ip = (struct ip){.low = read_big_endian(bytes, 4)};
        return 32;
    }
    if (inet_pton(AF_INET6, text, bytes) != 1)
        return 0;
    *ip = (struct ip){.high = read_big_endian(bytes, 8), .low = read_big_endian(bytes + 8, 8)};
    return 128;
}

static bool ip_is_mapped(const struct ip *ip)
{
    return ip->high == 0 && ip->low >> 32 == 0xffff;
}

/* What up to three decimal digits say, which are all there is; -1 when it is no number up to `most`. */
static int parse_bits(const char *text, unsigned most)
{
    unsigned bits = 0;
    const size_t size = strlen(text);
    if (size == 0 || size > 3 || strspn(text, "0123456789") != size)
        return -1;
    for (size_t i = 0; i < size; i++)
        bits = bits * 10 + (unsigned)(text[i] - '0');
    return bits <= most ? (int)bits : -1;
}

/* Ones in the last `n` bits. */
static uint64_t ones(unsigned n)
{
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

/* What a prefix spans, of `width` bits the first `bits`. Returns false when the others are not 0. */
static bool range_span(struct range *range, unsigned width, unsigned bits)
{
    const unsigned rest = width - bits;
    const uint64_t high = rest > 64 ? ones(rest - 64) : 0, low = ones(rest);
    range->last = (struct ip){.high = range->first.high | high, .low = range->first.low | low};
    return (range->first.high & high) == 0 && (range->first.low & low) == 0;
}

/* Reads "10.0.0.0/8", "10.0.0.7", "fd00::/8". Returns NULL with the width of the address in *width, or what is wrong.
 */
static const char *range_parse(const char *text, size_t size, struct range *range, unsigned *width)
{
    char address[INET6_ADDRSTRLEN + sizeof "/128"];
    if (size >= sizeof address || memchr(text, '\0', size) != NULL)
        return "not an address";
    memcpy(address, text, size + 1);
    char *slash = strchr(address, '/');
    if (slash != NULL)
        *slash = '\0';
    *width = ip_parse(address, &range->first);
    if (*width == 0)
        return "not an address";
    const int bits = slash == NULL ? (int)*width : parse_bits(slash + 1, *width);
    if (bits < 0)
        return "not a number of bits behind the slash";
    if (!range_span(range, *width, (unsigned)bits))
        return "an address with bits set behind its prefix";
    if (*width == 128 && ip_is_mapped(&range->first)) { /* so it has 96 bits at least */
        *width = 32;
        range->first = (struct ip){.low = range->first.low & UINT32_MAX};
        range->last = (struct ip){.low = range->last.low & UINT32_MAX};
    }
    return NULL;
}

static int range_compare(const void *a, const void *b)
{
    return ip_compare(&((const struct range *)a)->first, &((const struct range *)b)->first);
}

/* Sorts; of two prefixes that overlap one is inside the other. */
static void ranges_finish(struct ranges *ranges)
{
    size_t n = 0;
    if (ranges->n > 0)
        qsort(ranges->range, ranges->n, sizeof *ranges->range, range_compare);
    for (size_t i = 0; i < ranges->n; i++) {
        const struct range *range = &ranges->range[i];
        struct range *before = n > 0 ? &ranges->range[n - 1] : NULL;
        if (before == NULL || ip_compare(&range->first, &before->last) > 0)
            ranges->range[n++] = *range;
        else if (ip_compare(&range->last, &before->last) > 0)
            before->last = range->last;
    }
    ranges->n = n;
}

static bool ranges_have(const struct ranges *ranges, const struct ip *ip)
{
    size_t low = 0, high = ranges->n; /* ranges before `low` begin at or before it, those from `high` on behind it */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ip_compare(&ranges->range[middle].first, ip) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && ip_compare(ip, &ranges->range[low - 1].last) <= 0;
}

static int cidr_matches(lua_State *lua)
{
    const struct cidr *cidr = lua_touserdata(lua, lua_upvalueindex(1));
    size_t size;
    struct ip ip;
    const char *text = luaL_optlstring(lua, 1, "", &size);
    unsigned width = size < INET6_ADDRSTRLEN && strlen(text) == size ? ip_parse(text, &ip) : 0;
    if (width == 128 && ip_is_mapped(&ip)) {
        width = 32;
        ip = (struct ip){.low = ip.low & UINT32_MAX};
    }
    lua_pushboolean(lua, width != 0 && ranges_have(width == 32 ? &cidr->v4 : &cidr->v6, &ip));
    return 1;
}

static int keep_cidr(lua_State *lua)
{
    const size_t n = list_check(lua);
    struct cidr *cidr = lua_newuserdatauv(lua, sizeof *cidr + n * sizeof(struct range), 0);
    struct range *all = (struct range *)(cidr + 1), range;
    *cidr = (struct cidr){.v4.range = all, .v6.range = all};
    size_t v6_start = n, size;
    /* IPv4 fills the room from the front and IPv6 from the back. */
    for (size_t i = 1; i <= n; i++) {
        unsigned width = 0;
        const char *text = list_element(lua, i, &size);
        const char *why = range_parse(text, size, &range, &width);
        if (why != NULL)
            element_fails(lua, i, why);
        all[width == 32 ? cidr->v4.n++ : --v6_start] = range;
    }
    cidr->v6 = (struct ranges){.n = n - v6_start, .range = all + v6_start};
    ranges_finish(&cidr->v4);
    ranges_finish(&cidr->v6);
    lua_pushcclosure(lua, cidr_matches, 1);
    return 1;
}

/* Globs. */

enum { GLOB_STEPS_MAX = 10000000 }; /* bytes looked at for one text, which takes some 10 ms */

struct globs {
    size_t n;
    size_t size;    /* of all of them */
    uint32_t end[]; /* of each in the bytes, which stand behind the last of these */
};

/* Where the character that begins at `at` ends: also in what is not UTF-8. */
static size_t character_end(const char *text, size_t size, size_t at)
{
    for (at++; at < size && ((unsigned char)text[at] & 0xc0) == 0x80;)
        at++;
    return at;
}

/* Takes a step for every byte it looks at. Behind a star, what those before it have taken is never looked at again, so
 * these are at most the text's times the glob's; once they pass GLOB_STEPS_MAX the result means nothing. */
static bool glob_matches(const char *glob, size_t glob_size, const char *text, size_t size, size_t *steps)
{
    size_t g = 0, t = 0;
    size_t star = 0, taken = 0; /* where the glob goes on behind the last star, and up to where that takes the text */
    while (t < size) {
        if (++*steps > GLOB_STEPS_MAX)
            return false;
        if (g < glob_size && glob[g] == '*') {
            star = ++g;
            taken = t;
            if (star == glob_size)
                return true;
        } else if (g < glob_size && glob[g] == '?') {
            const size_t end = character_end(text, size, t);
            *steps += end - t - 1;
            t = end;
            g++;
        } else if (g < glob_size && glob[g] == text[t]) {
            t++;
            g++;
        } else if (star > 0) {
            t = ++taken;
            g = star;
        } else {
            return false;
        }
    }
    while (g < glob_size && glob[g] == '*')
        g++;
    return g == glob_size;
}

static bool globs_match(lua_State *lua, const struct globs *globs, const char *text, size_t size)
{
    const char *bytes = (const char *)(globs->end + globs->n);
    size_t steps = 0, start = 0;
    bool found = false;
    for (size_t i = 0; i < globs->n && !found && steps <= GLOB_STEPS_MAX; i++) {
        found = glob_matches(bytes + start, globs->end[i] - start, text, size, &steps);
        start = globs->end[i];
    }
    sandbox_work(lua, steps);
    if (!found && steps > GLOB_STEPS_MAX)
        luaL_argerror(lua, 1, "too long for so many globs");
    return found;
}

static int glob_list_matches(lua_State *lua)
{
    const struct globs *globs = lua_touserdata(lua, lua_upvalueindex(1));
    size_t size;
    if (lua_isnoneornil(lua, 1)) {
        lua_pushboolean(lua, false);
        return 1;
    }
    const char *text = luaL_checklstring(lua, 1, &size);
    luaL_argcheck(lua, size <= LUA_MATCH_SUBJECT_MAX, 1, "too long");
    lua_pushboolean(lua, globs_match(lua, globs, text, size));
    return 1;
}

static int keep_glob(lua_State *lua)
{
    const size_t n = list_check(lua);
    size_t total = 0, size;
    for (size_t i = 1; i <= n; i++) {
        list_element(lua, i, &size);
        if (size > LUA_MATCH_TEXT_MAX)
            element_fails(lua, i, "too long");
        total += size;
    }
    struct globs *globs = lua_newuserdatauv(lua, sizeof *globs + n * sizeof *globs->end + total, 0);
    char *bytes = (char *)(globs->end + n);
    *globs = (struct globs){.n = n};
    for (size_t i = 1; i <= n; i++) {
        const char *text = list_element(lua, i, &size);
        memcpy(bytes + globs->size, text, size);
        globs->size += size;
        globs->end[i - 1] = (uint32_t)globs->size;
    }
    lua_pushcclosure(lua, glob_list_matches, 1);
    return 1;
}

/* Sets: a table of Lua's, which keeps each text once and finds it by its address. */

static int set_has(lua_State *lua)
{
    if (lua_isnoneornil(lua, 1)) {
        lua_pushboolean(lua, false);
        return 1;
    }
    luaL_checkstring(lua, 1);
    lua_settop(lua, 1);
    lua_pushboolean(lua, lua_rawget(lua, lua_upvalueindex(1)) != LUA_TNIL);
    return 1;
}

static int keep_set(lua_State *lua)
{
    const size_t n = list_check(lua);
    size_t size;
    lua_createtable(lua, 0, (int)n);
    for (size_t i = 1; i <= n; i++) {
        list_element(lua, i, &size);
        lua_rawgeti(lua, 1, (lua_Integer)i);
        lua_pushboolean(lua, true);
        lua_rawset(lua, -3);
    }
    lua_pushcclosure(lua, set_has, 1);
    return 1;
}

/* Counts. */

enum {
    BUCKETS = 60,
    COUNT_ID_SIZE = crypto_shorthash_siphashx24_BYTES + sizeof(uint32_t),
};

/* The texts are kept as a keyed hash alone, 128 bits: clients choose them, at any length. A window is a part of it, so
 * that one thing can be counted for a minute and for a day at once. */
struct count {
    struct count *newer;
    struct count *older;
    char id[COUNT_ID_SIZE];
    uint64_t total;
    int64_t turn; /* which bucket was filled last, counted from when the machine started */
    uint32_t bucket[BUCKETS];
};

/* Each count is a userdata in a table, under its id; they are chained by when they last counted. */
struct counts {
    unsigned char seed[crypto_shorthash_siphashx24_KEYBYTES];
    struct count *newest;
    struct count *oldest;
    size_t n;
};

static void counts_unlink(struct counts *counts, const struct count *count)
{
    *(count->newer != NULL ? &count->newer->older : &counts->newest) = count->older;
    *(count->older != NULL ? &count->older->newer : &counts->oldest) = count->newer;
    counts->n--;
}

static void counts_link(struct counts *counts, struct count *count)
{
    count->newer = NULL;
    count->older = counts->newest;
    *(counts->newest != NULL ? &counts->newest->newer : &counts->oldest) = count;
    counts->newest = count;
    counts->n++;
}

/* The name's hash is the key to hash the other text with: no two pairs make one text. */
static void count_id(char *id, const struct counts *counts, const char *name, size_t name_size, const char *key,
                     size_t key_size, uint32_t window)
{
    unsigned char of_name[crypto_shorthash_siphashx24_BYTES];
    _Static_assert(sizeof of_name == crypto_shorthash_siphashx24_KEYBYTES, "a hash is a key");
    crypto_shorthash_siphashx24(of_name, (const unsigned char *)name, name_size, counts->seed);
    crypto_shorthash_siphashx24((unsigned char *)id, (const unsigned char *)key, key_size, of_name);
    memcpy(id + crypto_shorthash_siphashx24_BYTES, &window, sizeof window);
}

/* Counts one more at `turn`, and forgets what has left the window. */
static uint64_t count_add(struct count *count, int64_t turn)
{
    int64_t passed = turn - count->turn;
    if (passed > BUCKETS)
        passed = BUCKETS;
    for (; passed > 0; passed--) {
        uint32_t *bucket = &count->bucket[(turn - passed + 1) % BUCKETS];
        count->total -= *bucket;
        *bucket = 0;
    }
    count->turn = turn;
    count->bucket[turn % BUCKETS]++;
    return ++count->total;
}

/* A count under `id`, in the chain. The least recent one makes room for it. */
static struct count *counts_make(lua_State *lua, struct counts *counts, const char *id)
{
    struct count *count = lua_newuserdatauv(lua, sizeof *count, 0);
    *count = (struct count){.total = 0};
    memcpy(count->id, id, sizeof count->id);
    if (counts->n >= LUA_COUNT_KEYS_MAX) {
        const struct count *oldest = counts->oldest;
        lua_pushlstring(lua, oldest->id, sizeof oldest->id);
        lua_pushnil(lua);
        lua_rawset(lua, lua_upvalueindex(2));
        counts_unlink(counts, oldest);
    }
    lua_pushlstring(lua, id, COUNT_ID_SIZE);
    lua_insert(lua, -2);
    lua_rawset(lua, lua_upvalueindex(2));
    counts_link(counts, count);
    return count;
}

static const char *check_text(lua_State *lua, int argument, size_t *size)
{
    const char *text = luaL_checklstring(lua, argument, size);
    luaL_argcheck(lua, *size <= LUA_MATCH_SUBJECT_MAX, argument, "too long");
    return text;
}

static int keep_count(lua_State *lua)
{
    struct counts *counts = lua_touserdata(lua, lua_upvalueindex(1));
    char id[COUNT_ID_SIZE];
    size_t name_size, key_size;
    const char *name = check_text(lua, 1, &name_size), *key = check_text(lua, 2, &key_size);
    const lua_Integer window = luaL_checkinteger(lua, 3);
    luaL_argcheck(lua, window >= 1 && window <= LUA_COUNT_WINDOW_MAX, 3, "seconds from 1 to 86400 expected");
    count_id(id, counts, name, name_size, key, key_size, (uint32_t)window);
    lua_pushlstring(lua, id, sizeof id);
    lua_rawget(lua, lua_upvalueindex(2));
    struct count *count = lua_touserdata(lua, -1);
    if (count == NULL) {
        count = counts_make(lua, counts, id);
    } else {
        counts_unlink(counts, count);
        counts_link(counts, count);
    }
    /* One bucket is always only partly full: the others make the window. */
    const int64_t width = window * CLOCK_SECOND / (BUCKETS - 1);
    lua_pushinteger(lua, (lua_Integer)count_add(count, clock_boot() / width));
    return 1;
}

static void push_count(lua_State *lua)
{
    struct counts *counts = lua_newuserdatauv(lua, sizeof *counts, 0);
    *counts = (struct counts){.n = 0};
    randombytes_buf(counts->seed, sizeof counts->seed);
    lua_newtable(lua);
    lua_pushcclosure(lua, keep_count, 2);
}

void lua_match_open(lua_State *lua)
{
    static const luaL_Reg functions[] = {{"cidr", keep_cidr}, {"glob", keep_glob}, {"set", keep_set}, {NULL, NULL}};
    lua_getglobal(lua, "keep");
    luaL_setfuncs(lua, functions, 0);
    push_count(lua);
    lua_setfield(lua, -2, "count");
    lua_pop(lua, 1);
}
