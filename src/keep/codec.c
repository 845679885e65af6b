/* SPDX-License-Identifier: MIT */
/* Token data to and from msgpack. msgpack-c takes memory for as many elements as five bytes may claim, so nothing
 * reaches it before a walk over the headers has shown that all that is claimed is there. */
#include "keep/codec.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "keep/token_reader.h"

#include <msgpack.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Out. */

enum {
    FIELDS = 12,
    GROUP_NODES = 5, /* the map, two keys, two values */
    NODES_MOST = 1 + 2 * FIELDS + 2 + TOKEN_DATA_SCOPES_MAX + TOKEN_DATA_GROUPS_MAX * GROUP_NODES,
};
_Static_assert((int)NODES_MOST <= (int)CODEC_NODES_MAX, "all that the rules allow must pass the decoder's bounds");

/* Where the packer writes. Beyond `room` it only counts. */
struct output {
    unsigned char *bytes;
    size_t size, room;
};

static int output_write(void *argument, const char *bytes, size_t size)
{
    struct output *out = argument;
    if (out->size <= out->room && size <= out->room - out->size)
        memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
    return 0;
}

static void pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str_with_body(packer, text, strlen(text));
}

static void pack_text_field(msgpack_packer *packer, const char *name, const char *text)
{
    if (text == NULL)
        return;
    pack_text(packer, name);
    pack_text(packer, text);
}

static void pack_integer_field(msgpack_packer *packer, const char *name, uint64_t integer)
{
    if (integer == 0)
        return;
    pack_text(packer, name);
    msgpack_pack_uint64(packer, integer);
}

static void pack_groups(msgpack_packer *packer, const struct token_data *data)
{
    pack_text(packer, "groups");
    msgpack_pack_array(packer, data->n_groups);
    for (size_t i = 0; i < data->n_groups; i++) {
        msgpack_pack_map(packer, 2);
        pack_text_field(packer, "name", data->groups[i].name);
        pack_integer_field(packer, "id", data->groups[i].id);
    }
}

static size_t count_fields(const struct token_data *data)
{
    size_t required = 5;
    return required + (data->expires != 0) + (data->service != NULL) + (data->name != NULL) + (data->email != NULL) +
           (data->uid != 0) + (data->gid != 0) + data->has_groups;
}

static void pack_data(struct output *out, const struct token_data *data)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, output_write);
    msgpack_pack_map(&packer, count_fields(data));
    pack_text(&packer, "token");
    msgpack_pack_array(&packer, 2);
    msgpack_pack_str_with_body(&packer, data->token.key, TOKEN_PART_SIZE);
    msgpack_pack_str_with_body(&packer, data->token.secret, TOKEN_PART_SIZE);
    pack_text_field(&packer, "username", data->username);
    pack_text_field(&packer, "token_type", token_type_name(data->type));
    pack_text(&packer, "scopes");
    msgpack_pack_array(&packer, data->n_scopes);
    for (size_t i = 0; i < data->n_scopes; i++)
        pack_text(&packer, data->scopes[i]);
    pack_text(&packer, "created");
    msgpack_pack_uint64(&packer, (uint64_t)data->created);
    pack_integer_field(&packer, "expires", (uint64_t)data->expires);
    pack_text_field(&packer, "service", data->service);
    pack_text_field(&packer, "name", data->name);
    pack_text_field(&packer, "email", data->email);
    pack_integer_field(&packer, "uid", data->uid);
    pack_integer_field(&packer, "gid", data->gid);
    if (data->has_groups)
        pack_groups(&packer, data);
}

size_t codec_size(const struct token_data *data)
{
    return codec_encode(data, NULL, 0);
}

size_t codec_encode(const struct token_data *data, unsigned char *out, size_t room)
{
    struct output output = {out, 0, room};
    pack_data(&output, data);
    return output.size;
}

/* In. */

enum header_kind { HEADER_REFUSED, HEADER_SCALAR, HEADER_TEXT, HEADER_ARRAY, HEADER_MAP };

/* What the first bytes of one value say of it. */
struct header {
    enum header_kind kind;
    size_t size;     /* of the value without its children */
    size_t children; /* values behind it */
};

/* The types 0xc0 to 0xdf, and how many bytes follow: of a number, or of a length or count. Binary, extensions and
 * fractions have no place in token data. */
static const struct {
    unsigned char kind, bytes;
} types[32] = {
    [0x00] = {HEADER_SCALAR, 0}, [0x02] = {HEADER_SCALAR, 0}, [0x03] = {HEADER_SCALAR, 0}, /* nil, false, true */
    [0x0c] = {HEADER_SCALAR, 1}, [0x0d] = {HEADER_SCALAR, 2}, [0x0e] = {HEADER_SCALAR, 4}, [0x0f] = {HEADER_SCALAR, 8},
    [0x10] = {HEADER_SCALAR, 1}, [0x11] = {HEADER_SCALAR, 2}, [0x12] = {HEADER_SCALAR, 4}, [0x13] = {HEADER_SCALAR, 8},
    [0x19] = {HEADER_TEXT, 1},   [0x1a] = {HEADER_TEXT, 2},   [0x1b] = {HEADER_TEXT, 4},   [0x1c] = {HEADER_ARRAY, 2},
    [0x1d] = {HEADER_ARRAY, 4},  [0x1e] = {HEADER_MAP, 2},    [0x1f] = {HEADER_MAP, 4},
};

static size_t big_endian(const unsigned char *bytes, size_t size)
{
    size_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Sets the header of a value of `kind` whose length, count or, for a scalar, own size is `number`. */
static struct header header_make(enum header_kind kind, size_t own, size_t number)
{
    switch (kind) {
    case HEADER_SCALAR:
    case HEADER_TEXT: return (struct header){kind, own + number, 0};
    case HEADER_ARRAY: return (struct header){kind, own, number};
    case HEADER_MAP: return (struct header){kind, own, 2 * number};
    case HEADER_REFUSED: break;
    }
    return (struct header){HEADER_REFUSED, own, 0};
}

/* Reads the header at `at`, of which `left` bytes, at least one, are there. One that is cut off comes out as a value
 * that takes more than `left`. */
static struct header header_read(const unsigned char *at, size_t left)
{
    unsigned char type = at[0];
    if (type <= 0x7f || type >= 0xe0)
        return header_make(HEADER_SCALAR, 1, 0);
    if (type <= 0x8f)
        return header_make(HEADER_MAP, 1, type & 0x0f);
    if (type <= 0x9f)
        return header_make(HEADER_ARRAY, 1, type & 0x0f);
    if (type <= 0xbf)
        return header_make(HEADER_TEXT, 1, type & 0x1f);
    enum header_kind kind = (enum header_kind)types[type - 0xc0].kind;
    size_t bytes = types[type - 0xc0].bytes;
    if (kind == HEADER_SCALAR)
        return header_make(kind, 1, bytes);
    return header_make(kind, 1 + bytes, bytes < left ? big_endian(at + 1, bytes) : 0);
}

/* Walks over the headers of all values. What is wrong is returned, NULL when they are within the bounds, all there, and
 * one value is all there is. */
static const char *walk(const unsigned char *bytes, size_t size)
{
    size_t open[CODEC_DEPTH_MAX]; /* values still to come, by level */
    size_t depth = 0, nodes = 0;
    do {
        if (size == 0)
            return "msgpack: cut off";
        struct header header = header_read(bytes, size);
        if (header.kind == HEADER_REFUSED)
            return "msgpack: a type that is not used here";
        if (header.size > size || header.children > size - header.size)
            return "msgpack: a length or count beyond the end";
        if (++nodes > CODEC_NODES_MAX)
            return "msgpack: too many values";
        if (depth == CODEC_DEPTH_MAX && (header.kind == HEADER_ARRAY || header.kind == HEADER_MAP))
            return "msgpack: nested too deeply";
        bytes += header.size;
        size -= header.size;
        if (header.children > 0) {
            open[depth++] = header.children;
            continue;
        }
        while (depth > 0 && --open[depth - 1] == 0)
            depth--;
    } while (depth > 0);
    return size == 0 ? NULL : "msgpack: more bytes behind the data";
}

/* A value holds text only when it is what the reader expects of text. */
static struct value value_of(const msgpack_object *object)
{
    struct value value = {.kind = VALUE_OTHER, .node = object};
    if (object->type == MSGPACK_OBJECT_NIL) {
        value.kind = VALUE_NULL;
    } else if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= INT64_MAX) {
        value.kind = VALUE_INTEGER;
        value.integer = (int64_t)object->via.u64;
    } else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        value.kind = VALUE_INTEGER;
        value.integer = object->via.i64;
    } else if (object->type == MSGPACK_OBJECT_STR) {
        value.text = object->via.str.ptr;
        value.size = object->via.str.size;
        if (utf8_is_string(value.text, value.size))
            value.kind = VALUE_TEXT;
    } else if (object->type == MSGPACK_OBJECT_ARRAY) {
        value.kind = VALUE_ARRAY;
        value.size = object->via.array.size;
    } else if (object->type == MSGPACK_OBJECT_MAP) {
        value.kind = VALUE_MAP;
    }
    return value;
}

static struct value array_element(const void *array, size_t index)
{
    return value_of(&((const msgpack_object *)array)->via.array.ptr[index]);
}

static const void *map_member(const void *object, const void *previous, struct value *key, struct value *value)
{
    const msgpack_object_map *map = &((const msgpack_object *)object)->via.map;
    const msgpack_object_kv *at = previous == NULL ? map->ptr : (const msgpack_object_kv *)previous + 1;
    if (map->size == 0 || at == map->ptr + map->size)
        return NULL;
    *key = value_of(&at->key);
    *value = value_of(&at->val);
    return at;
}

/* The memory for msgpack-c's objects, empty between calls: made once, for a new one takes 8 KiB each time. */
static msgpack_zone *object_zone(void)
{
    static msgpack_zone *zone;
    if (zone == NULL && (zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE)) == NULL)
        memory_exhausted();
    return zone;
}

struct token_data *codec_decode(const unsigned char *bytes, size_t size, struct error *error)
{
    static const struct value_tree tree = {array_element, map_member};
    static const struct token_reader_rules rules = {.tree = &tree, .token_is_array = true, .sealed = true};
    const char *wrong = size > CODEC_SIZE_MAX ? "msgpack: too long" : walk(bytes, size);
    if (wrong != NULL) {
        error_set(error, "%s", wrong);
        return NULL;
    }
    /* The objects point to the text in `bytes`: the memory they take holds no secret. */
    msgpack_object object;
    size_t offset = 0;
    struct token_data *data = NULL;
    msgpack_unpack_return result = msgpack_unpack((const char *)bytes, size, &offset, object_zone(), &object);
    if (result == MSGPACK_UNPACK_NOMEM_ERROR) {
        memory_exhausted(); /* it must not look like a value that may be deleted */
    } else if (result != MSGPACK_UNPACK_SUCCESS) {
        error_set(error, "msgpack: cannot be unpacked");
    } else {
        struct value root = value_of(&object);
        data = token_reader_read(&root, &rules, error);
    }
    msgpack_zone_clear(object_zone());
    return data;
}
