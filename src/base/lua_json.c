/* SPDX-License-Identifier: MIT */
/* keep.json. jansson's memory is not counted in the state's, so what it is given is bounded first, both ways; and as an
 * error in Lua jumps over what C holds, nothing here raises one while it holds a tree that Lua does not know of. */
#include "base/lua_json.h"

#include "base/lua_sandbox.h"
#include "base/utf8.h"

#include <jansson.h>
#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    PATH_SIZE = 160,
    KEY_SHOWN_MAX = 32,
    TABLE_WORK =
        1000, /* steps of work, as sandbox_work counts them: a table can have many slots with nothing in them */
    VALUE_WORK = 30,
    BYTE_WORK = 10, /* of parsing */
};

/* In the registry under the address of this: the metatable that marks arrays. It has nothing in it. */
static const char array_mark;

/* Text on its way out, and nothing from one call to the next. */
static char scratch[LUA_JSON_SIZE_MAX];

/* Out. */

struct encoder {
    lua_State *lua;
    unsigned depth;
    unsigned values;
    size_t size;          /* that the JSON will have at least */
    const char *why;      /* what is wrong; NULL: nothing */
    size_t path_start;    /* the path to it grows to the front as the functions return */
    char path[PATH_SIZE]; /* with a NUL */
};

static json_t *encode_value(struct encoder *encoder);

static json_t *encode_fails(struct encoder *encoder, const char *why)
{
    encoder->why = why;
    return NULL;
}

static void path_prepend(struct encoder *encoder, const char *step, size_t size)
{
    if (size > encoder->path_start)
        return;
    encoder->path_start -= size;
    memcpy(encoder->path + encoder->path_start, step, size);
}

static void path_prepend_index(struct encoder *encoder, lua_Unsigned index)
{
    char step[32];
    path_prepend(encoder, step, (size_t)snprintf(step, sizeof step, "[%llu]", (unsigned long long)index));
}

/* Shows the key as far as it is a plain name: others may hold anything. */
static void path_prepend_key(struct encoder *encoder, const char *key, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    char step[KEY_SHOWN_MAX + 2];
    const bool shown = size > 0 && size <= KEY_SHOWN_MAX && strspn(key, plain) == size;
    path_prepend(encoder, step, (size_t)snprintf(step, sizeof step, ".%s", shown ? key : "?"));
}

/* Counts what a value adds to the text, so that bounds are passed before memory is taken. */
static bool encode_count(struct encoder *encoder, size_t size)
{
    if (!sandbox_may_work(encoder->lua, VALUE_WORK + size)) {
        encoder->why = "took too long";
        return false;
    }
    encoder->size += size;
    encoder->values++;
    if (encoder->size <= LUA_JSON_SIZE_MAX && encoder->values <= LUA_JSON_VALUES_MAX)
        return true;
    encoder->why = "too large";
    return false;
}

static json_t *encode_string(struct encoder *encoder)
{
    size_t size;
    const char *text = lua_tolstring(encoder->lua, -1, &size);
    if (!encode_count(encoder, size))
        return NULL;
    if (!utf8_valid(text, size, NULL))
        return encode_fails(encoder, "not UTF-8");
    return json_stringn_nocheck(text, size);
}

static json_t *encode_number(struct encoder *encoder)
{
    if (lua_isinteger(encoder->lua, -1))
        return json_integer(lua_tointeger(encoder->lua, -1));
    const double number = lua_tonumber(encoder->lua, -1);
    if (!isfinite(number))
        return encode_fails(encoder, "not a finite number");
    return json_real(number);
}

/* The table on top of the stack, which has `n` elements from 1 on; `keys` of any kind. */
static json_t *encode_array(struct encoder *encoder, lua_Unsigned n)
{
    lua_State *lua = encoder->lua;
    json_t *array = json_array();
    for (lua_Unsigned i = 1; array != NULL && i <= n; i++) {
        lua_rawgeti(lua, -1, (lua_Integer)i);
        json_t *element = encode_value(encoder);
        lua_pop(lua, 1);
        if (element == NULL)
            path_prepend_index(encoder, i);
        if (element != NULL && json_array_append_new(array, element) == 0)
            continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

/* A member of the object; key and value are on top of the stack. Returns false when it cannot be one. */
static bool encode_member(struct encoder *encoder, json_t *object)
{
    size_t size;
    lua_State *lua = encoder->lua;
    if (lua_type(lua, -2) != LUA_TSTRING) {
        encoder->why = "a key that is neither a string nor in 1..n";
        return false;
    }
    const char *key = lua_tolstring(lua, -2, &size);
    json_t *value = NULL;
    if (memchr(key, '\0', size) != NULL || !utf8_valid(key, size, NULL))
        encoder->why = "a key that is not UTF-8, or holds U+0000";
    else if (encode_count(encoder, size))
        value = encode_value(encoder);
    if (value == NULL)
        path_prepend_key(encoder, key, size);
    return value != NULL && json_object_setn_new_nocheck(object, key, size, value) == 0;
}

static json_t *encode_object(struct encoder *encoder)
{
    lua_State *lua = encoder->lua;
    json_t *object = json_object();
    if (object == NULL)
        return NULL;
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
        if (encode_member(encoder, object))
            continue;
        lua_pop(lua, 2);
        json_decref(object);
        return NULL;
    }
    return object;
}

/* Whether all keys of the table on top of the stack are in 1..n. */
static bool is_sequence(lua_State *lua, lua_Unsigned n)
{
    lua_Unsigned keys = 0;
    for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
        const lua_Integer key = lua_isinteger(lua, -2) ? lua_tointeger(lua, -2) : 0;
        if (key < 1 || (lua_Unsigned)key > n) {
            lua_pop(lua, 2);
            return false;
        }
        keys++;
    }
    return keys == n;
}

static bool is_marked_array(lua_State *lua)
{
    if (!lua_getmetatable(lua, -1))
        return false;
    lua_rawgetp(lua, LUA_REGISTRYINDEX, &array_mark);
    const bool marked = lua_rawequal(lua, -1, -2);
    lua_pop(lua, 2);
    return marked;
}

static json_t *encode_table(struct encoder *encoder)
{
    json_t *json;
    lua_State *lua = encoder->lua;
    if (encoder->depth == LUA_JSON_DEPTH_MAX)
        return encode_fails(encoder, "nested too deeply");
    if (!lua_checkstack(lua, 4))
        return NULL;
    const lua_Unsigned n = lua_rawlen(lua, -1);
    if (!sandbox_may_work(lua, TABLE_WORK + (size_t)n))
        return encode_fails(encoder, "took too long");
    const bool array = n > 0 || is_marked_array(lua);
    if (array && !is_sequence(lua, n))
        return encode_fails(encoder, "an array with other keys than 1..n");
    encoder->depth++;
    json = array ? encode_array(encoder, n) : encode_object(encoder);
    encoder->depth--;
    return json;
}

/* The tree of the value on top of the stack, which stays there. NULL with `why`, which is NULL without memory. Raises
 * no error: whatever here calls Lua allocates nothing in it. */
static json_t *encode_value(struct encoder *encoder)
{
    lua_State *lua = encoder->lua;
    if (!encode_count(encoder, 2))
        return NULL;
    switch (lua_type(lua, -1)) {
    case LUA_TSTRING: return encode_string(encoder);
    case LUA_TNUMBER: return encode_number(encoder);
    case LUA_TBOOLEAN: return json_boolean(lua_toboolean(lua, -1));
    case LUA_TTABLE: return encode_table(encoder);
    case LUA_TLIGHTUSERDATA: return lua_touserdata(lua, -1) == NULL ? json_null() : encode_fails(encoder, "a userdata");
    case LUA_TNIL: return encode_fails(encoder, "nil, which JSON has as keep.json.null");
    case LUA_TFUNCTION: return encode_fails(encoder, "a function");
    default: return encode_fails(encoder, "a userdata");
    }
}

/* The control characters that jansson leaves raw: DEL, and U+0080 to U+009F, which are 0xc2 and their own number. Each
 * of these returns the next, or the end. */

static const char *next_del(const char *text, const char *end)
{
    const char *del = memchr(text, 0x7f, (size_t)(end - text));
    return del == NULL ? end : del;
}

static const char *next_c1(const char *text, const char *end)
{
    for (; (text = memchr(text, 0xc2, (size_t)(end - text))) != NULL; text++)
        if ((unsigned char)text[1] < 0xa0)
            return text;
    return end;
}

/* Pushes the text with every control character escaped. */
static void push_escaped(lua_State *lua, const char *text, size_t size)
{
    char escape[8];
    luaL_Buffer out;
    const char *const end = text + size, *del = next_del(text, end), *c1 = next_c1(text, end);
    if (del == end && c1 == end) {
        lua_pushlstring(lua, text, size);
        return;
    }
    luaL_buffinit(lua, &out);
    while (del < end || c1 < end) {
        const char *control = del < c1 ? del : c1 + 1;
        luaL_addlstring(&out, text, (size_t)((del < c1 ? del : c1) - text));
        const int n = snprintf(escape, sizeof escape, "\\u%04X", (unsigned char)*control);
        luaL_addlstring(&out, escape, (size_t)n);
        text = control + 1;
        if (del < c1)
            del = next_del(text, end);
        else
            c1 = next_c1(text, end);
    }
    luaL_addlstring(&out, text, (size_t)(end - text));
    luaL_pushresult(&out);
}

json_t *lua_json_tree(lua_State *lua, struct error *error)
{
    struct encoder encoder = {.lua = lua, .path_start = PATH_SIZE - 1};
    json_t *json = encode_value(&encoder);
    if (json == NULL && encoder.why != NULL)
        error_set(error, "value%s: %s", encoder.path + encoder.path_start, encoder.why);
    else if (json == NULL)
        error_set(error, "not enough memory");
    return json;
}

static int json_encode(lua_State *lua)
{
    struct error error;
    luaL_checkany(lua, 1);
    lua_settop(lua, 1);
    json_t *json = lua_json_tree(lua, &error);
    if (json == NULL)
        sandbox_work(lua, 0); /* which says it better when a limit was passed */
    if (json == NULL)
        return luaL_error(lua, "no JSON: %s", error.text);
    const size_t size = json_dumpb(json, scratch, sizeof scratch, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(json);
    if (size == 0)
        return luaL_error(lua, "not enough memory");
    if (size > sizeof scratch)
        return luaL_error(lua, "no JSON: value: too large");
    push_escaped(lua, scratch, size);
    return 1;
}

/* In. */

/* Where a parsed tree is kept while tables are made of it, which may fail for memory. There is one in a state, so at
 * most one tree outlives the call that it was made in. */
struct box {
    json_t *json;
};

static int box_clear(lua_State *lua)
{
    struct box *box = lua_touserdata(lua, 1);
    json_decref(box->json);
    box->json = NULL;
    return 0;
}

/* What is wrong with the text before any is parsed; NULL: nothing. jansson sees no more brackets and commas than this,
 * as it stops at the first mistake. */
static const char *decode_bounds(const char *text, size_t size)
{
    unsigned depth = 0, values = 1;
    if (size > LUA_JSON_SIZE_MAX)
        return "longer than 1048576 bytes";
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (c == '"') {
            for (i++; i < size && text[i] != '"'; i++)
                i += text[i] == '\\';
        } else if (c == '[' || c == '{') {
            if (++depth > LUA_JSON_DEPTH_MAX)
                return "nested too deeply";
            values++;
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        } else if (c == ',') {
            values++;
        }
    }
    return values > LUA_JSON_VALUES_MAX ? "too many values" : NULL;
}

static const char *decode_rule(const json_error_t *failure)
{
    if (failure->text[0] == '\0') /* nothing was said: there was no memory to begin with */
        return "not enough memory";
    switch (json_error_code(failure)) {
    case json_error_duplicate_key: return "a repeated key";
    case json_error_numeric_overflow: return "a number out of range";
    case json_error_null_byte_in_key: return "U+0000 in a key";
    case json_error_out_of_memory: return "not enough memory";
    case json_error_invalid_utf8: return "not UTF-8";
    default: return NULL;
    }
}

/* Pushes nil and what is wrong. jansson's own messages quote the text, so none of them is passed on. */
static int decode_fails(lua_State *lua, const json_error_t *failure)
{
    const char *rule = decode_rule(failure);
    lua_pushnil(lua);
    if (rule != NULL)
        lua_pushstring(lua, rule);
    else
        lua_pushfstring(lua, "not valid at byte %d", failure->position);
    return 2;
}

void lua_json_push_array(lua_State *lua, size_t n)
{
    lua_createtable(lua, (int)n, 0);
    lua_rawgetp(lua, LUA_REGISTRYINDEX, &array_mark);
    lua_setmetatable(lua, -2);
}

static void push_array(lua_State *lua, const json_t *json)
{
    const size_t n = json_array_size(json);
    lua_json_push_array(lua, n);
    for (size_t i = 0; i < n; i++) {
        lua_json_push_tree(lua, json_array_get(json, i));
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
}

static void push_object(lua_State *lua, json_t *json)
{
    lua_createtable(lua, 0, (int)json_object_size(json));
    for (void *at = json_object_iter(json); at != NULL; at = json_object_iter_next(json, at)) {
        lua_pushlstring(lua, json_object_iter_key(at), json_object_iter_key_len(at));
        lua_json_push_tree(lua, json_object_iter_value(at));
        lua_rawset(lua, -3);
    }
}

void lua_json_push_tree(lua_State *lua, const json_t *json)
{
    luaL_checkstack(lua, 4, NULL);
    switch (json_typeof(json)) {
    case JSON_NULL: lua_pushlightuserdata(lua, NULL); break;
    case JSON_TRUE: lua_pushboolean(lua, 1); break;
    case JSON_FALSE: lua_pushboolean(lua, 0); break;
    case JSON_INTEGER: lua_pushinteger(lua, json_integer_value(json)); break;
    case JSON_REAL: lua_pushnumber(lua, json_real_value(json)); break;
    case JSON_STRING: lua_pushlstring(lua, json_string_value(json), json_string_length(json)); break;
    case JSON_ARRAY: push_array(lua, json); break;
    case JSON_OBJECT: push_object(lua, (json_t *)(uintptr_t)json); break; /* iterating changes nothing */
    }
}

static int json_decode(lua_State *lua)
{
    size_t size;
    json_error_t failure = {.text = ""};
    const char *text = luaL_checklstring(lua, 1, &size);
    struct box *box = lua_touserdata(lua, lua_upvalueindex(1));
    const char *bounds = decode_bounds(text, size);
    if (bounds != NULL) {
        lua_pushnil(lua);
        lua_pushstring(lua, bounds);
        return 2;
    }
    sandbox_work(lua, size * BYTE_WORK);
    json_decref(box->json);
    box->json = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &failure);
    if (box->json == NULL)
        return decode_fails(lua, &failure);
    lua_json_push_tree(lua, box->json);
    json_decref(box->json);
    box->json = NULL;
    return 1;
}

static int json_mark_array(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    lua_rawgetp(lua, LUA_REGISTRYINDEX, &array_mark);
    lua_setmetatable(lua, 1);
    return 1;
}

static void push_decode(lua_State *lua)
{
    struct box *box = lua_newuserdatauv(lua, sizeof *box, 0);
    box->json = NULL;
    lua_createtable(lua, 0, 1);
    lua_pushcfunction(lua, box_clear);
    lua_setfield(lua, -2, "__gc");
    lua_setmetatable(lua, -2);
    lua_pushcclosure(lua, json_decode, 1);
}

void lua_json_push(lua_State *lua)
{
    lua_newtable(lua);
    lua_rawsetp(lua, LUA_REGISTRYINDEX, &array_mark);
    lua_createtable(lua, 0, 4);
    lua_pushcfunction(lua, json_encode);
    lua_setfield(lua, -2, "encode");
    push_decode(lua);
    lua_setfield(lua, -2, "decode");
    lua_pushcfunction(lua, json_mark_array);
    lua_setfield(lua, -2, "array");
    lua_pushlightuserdata(lua, NULL);
    lua_setfield(lua, -2, "null");
}
