/* SPDX-License-Identifier: MIT */
/* Reads JSON that is plainly written. */
#include "keep/plain_json.h"

#include "base/utf8.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* What is being read. */
struct source {
    const char *at, *end;
    struct plain_json *json;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_spaces(struct source *source)
{
    while (source->at < source->end && is_space(*source->at))
        source->at++;
}

/* Whether the next byte that is no space is `byte`, which is taken then. */
static bool take(struct source *source, char byte)
{
    skip_spaces(source);
    if (source->at == source->end || *source->at != byte)
        return false;
    source->at++;
    return true;
}

/* The high bit of each byte of eight, the first one lowest, that is a quote, a backslash, below 0x20 or not ASCII. A
 * borrow may add others, but only above one that is. */
static uint64_t eight_special(const char *bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t eight;
    memcpy(&eight, bytes, sizeof eight);
    eight = le64toh(eight);
    return (eight | (eight - ones * 0x20) | ((eight ^ ones * '"') - ones) | ((eight ^ ones * '\\') - ones)) & high;
}

/* The first such byte, or `end`. */
static const char *find_special(const char *at, const char *end)
{
    for (; end - at >= 8; at += 8) {
        const uint64_t special = eight_special(at);
        if (special != 0)
            return at + __builtin_ctzll(special) / 8;
    }
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* A string, behind its opening quote. */
static bool read_string(struct source *source, struct value *value)
{
    const char *at = find_special(source->at, source->end);
    const bool ascii = at == source->end || (unsigned char)*at < 0x80;
    while (at < source->end && (unsigned char)*at >= 0x80)
        at = find_special(at + 1, source->end);
    if (at == source->end || *at != '"')
        return false;
    value->kind = VALUE_TEXT;
    value->text = source->at;
    value->size = (size_t)(at - source->at);
    source->at = at + 1;
    return ascii || utf8_is_string(value->text, value->size);
}

static bool read_integer(struct source *source, struct value *value)
{
    const char *first = source->at;
    value->kind = VALUE_INTEGER;
    for (; source->at < source->end && *source->at >= '0' && *source->at <= '9'; source->at++) {
        if (source->at - first == 18)
            return false;
        value->integer = 10 * value->integer + (*source->at - '0');
    }
    return source->at > first && (*first != '0' || source->at - first == 1);
}

static bool read_null(struct source *source, struct value *value)
{
    if (source->end - source->at < 4 || memcmp(source->at, "null", 4) != 0)
        return false;
    value->kind = VALUE_NULL;
    source->at += 4;
    return true;
}

static bool read_value(struct source *source, unsigned depth);

/* The values within an array or a map, behind its opening bracket. `size` becomes how many there are. */
static bool read_values(struct source *source, struct value *value, unsigned depth)
{
    const bool is_map = value->kind == VALUE_MAP;
    const char closing = is_map ? '}' : ']';
    if (depth == PLAIN_JSON_DEPTH)
        return false;
    if (take(source, closing))
        return true;
    do {
        skip_spaces(source);
        if (is_map &&
            (source->at == source->end || *source->at != '"' || !read_value(source, depth + 1) || !take(source, ':')))
            return false;
        if (!read_value(source, depth + 1))
            return false;
        value->size++;
    } while (take(source, ','));
    return take(source, closing);
}

static bool read_value(struct source *source, unsigned depth)
{
    struct plain_json *json = source->json;
    skip_spaces(source);
    if (json->n == PLAIN_JSON_VALUES || source->at == source->end)
        return false;
    struct plain_value *read = &json->values[json->n++];
    read->value = (struct value){.kind = VALUE_OTHER, .node = read};
    bool plain;
    switch (*source->at) {
    case '{':
    case '[':
        read->value.kind = *source->at++ == '{' ? VALUE_MAP : VALUE_ARRAY;
        plain = read_values(source, &read->value, depth);
        break;
    case '"':
        source->at++;
        plain = read_string(source, &read->value);
        break;
    case 'n': plain = read_null(source, &read->value); break;
    default: plain = read_integer(source, &read->value);
    }
    read->end = &json->values[json->n];
    return plain;
}

bool plain_json_read(struct plain_json *json, const char *text, size_t size)
{
    struct source source = {text, text + size, json};
    json->n = 0;
    if (!read_value(&source, 0))
        return false;
    skip_spaces(&source);
    return source.at == source.end;
}

static struct value array_element(const void *array, size_t index)
{
    const struct plain_value *at = (const struct plain_value *)array + 1;
    while (index-- > 0)
        at = at->end;
    return at->value;
}

static const void *map_member(const void *map, const void *previous, struct value *key, struct value *value)
{
    const struct plain_value *at =
        previous == NULL ? (const struct plain_value *)map + 1 : ((const struct plain_value *)previous)[1].end;
    if (at == ((const struct plain_value *)map)->end)
        return NULL;
    *key = at[0].value;
    *value = at[1].value;
    return at;
}

const struct value_tree plain_json_tree = {array_element, map_member};
