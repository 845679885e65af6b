/* SPDX-License-Identifier: MIT */
/* Token data from JSON, which plain_json reads where it is plainly written and jansson else, and to JSON, which is
 * written here: on the way of every cache miss, building a tree for jansson to print takes many times as long, and
 * leaves the secret in memory that nobody wipes. */
#include "keep/codec.h"
#include "keep/plain_json.h"
#include "keep/token_data.h"
#include "keep/token_reader.h"

#include <jansson.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In. */

static struct value value_of(const json_t *json)
{
    struct value value = {.kind = VALUE_OTHER, .node = json};
    switch (json_typeof(json)) {
    case JSON_NULL: value.kind = VALUE_NULL; break;
    case JSON_INTEGER:
        value.kind = VALUE_INTEGER;
        value.integer = json_integer_value(json);
        break;
    case JSON_STRING:
        value.kind = VALUE_TEXT;
        value.text = json_string_value(json);
        value.size = json_string_length(json);
        break;
    case JSON_ARRAY:
        value.kind = VALUE_ARRAY;
        value.size = json_array_size(json);
        break;
    case JSON_OBJECT: value.kind = VALUE_MAP; break;
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE: break;
    }
    return value;
}

static struct value array_element(const void *array, size_t index)
{
    return value_of(json_array_get(array, index));
}

/* jansson's functions want their objects writable, but change nothing here. */
static const void *object_member(const void *object, const void *previous, struct value *key, struct value *value)
{
    json_t *json = (json_t *)(uintptr_t)object;
    void *at = previous == NULL ? json_object_iter(json) : json_object_iter_next(json, (void *)(uintptr_t)previous);
    if (at == NULL)
        return NULL;
    const char *name = json_object_iter_key(at);
    *key = (struct value){.kind = VALUE_TEXT, .text = name, .size = strlen(name)};
    *value = value_of(json_object_iter_value(at));
    return at;
}

static const struct value_tree json_tree = {array_element, object_member};

enum { PATH_DEPTH = 4 };

/* One of the arrays and objects around a place in JSON. */
struct level {
    bool is_array;
    size_t index;    /* of the element */
    const char *key; /* of the member, as written; NULL before it */
    size_t key_size;
};

/* The end of the string whose opening quote stands at text[start]: the index of the closing one, or `end`. */
static size_t string_end(const char *text, size_t start, size_t end)
{
    size_t i = start + 1;
    while (i < end && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    return i < end ? i : end;
}

/* Finds the arrays and objects that are open at text[end], from the outside in; all but the last before it is valid
 * JSON. Returns how many there are, of which the first PATH_DEPTH are set. */
static size_t levels_at(const char *text, size_t end, struct level levels[PATH_DEPTH])
{
    struct level deeper = {.index = 0}; /* stands for all those that are not kept */
    size_t depth = 0;
    for (size_t i = 0; i < end; i++) {
        struct level *level = depth >= 1 && depth <= PATH_DEPTH ? &levels[depth - 1] : &deeper;
        if (text[i] == '{' || text[i] == '[') {
            level = depth < PATH_DEPTH ? &levels[depth] : &deeper;
            *level = (struct level){.is_array = text[i] == '['};
            depth++;
        } else if (text[i] == '}' || text[i] == ']') {
            depth -= depth > 0; /* the last byte may be what is not valid */
        } else if (text[i] == ',') {
            level->index++;
            level->key = NULL;
        } else if (text[i] == '"') {
            size_t closing = string_end(text, i, end);
            if (level->key == NULL) {
                level->key = text + i + 1;
                level->key_size = closing - i - 1;
            }
            i = closing;
        }
    }
    return depth;
}

/* Writes the path of what ends at text[end], such as "groups[0].id", as far as its names may be repeated; "JSON" when
 * that is nowhere. */
static void path_at(const char *text, size_t end, char *path, size_t path_size)
{
    struct level levels[PATH_DEPTH];
    size_t depth = levels_at(text, end, levels), used = 0;
    path[0] = '\0';
    for (size_t i = 0; i < depth && i < PATH_DEPTH && used < path_size; i++) {
        const struct level *level = &levels[i];
        if (level->is_array)
            used += (size_t)snprintf(path + used, path_size - used, "[%zu]", level->index);
        else if (level->key != NULL && token_reader_may_name(level->key, level->key_size))
            used += (size_t)snprintf(path + used, path_size - used, "%s%.*s", used > 0 ? "." : "", (int)level->key_size,
                                     level->key);
        else
            break;
    }
    if (used == 0)
        snprintf(path, path_size, "JSON");
}

/* What to say of the failures that have a place in the tree; NULL for the others. */
static const char *rule_broken(const json_error_t *failure)
{
    switch (json_error_code(failure)) {
    case json_error_duplicate_key: return "repeated field";
    case json_error_numeric_overflow: return "number out of range";
    case json_error_null_character:
    case json_error_null_byte_in_key: return "U+0000 is not allowed";
    default: return NULL;
    }
}

/* jansson's own messages quote the input, so none of them is passed on. */
static void explain(const char *text, size_t size, const json_error_t *failure, struct error *error)
{
    char path[PATH_DEPTH * (TOKEN_READER_NAME_MAX + 32)];
    size_t position = failure->position < 0 ? 0 : (size_t)failure->position;
    const char *rule = rule_broken(failure);
    if (position > size)
        position = size;
    if (rule != NULL) {
        path_at(text, position, path, sizeof path);
        error_set(error, "%s: %s", path, rule);
    } else if (json_error_code(failure) == json_error_stack_overflow) {
        error_set(error, "JSON: nested too deeply");
    } else if (json_error_code(failure) == json_error_out_of_memory) {
        error_set(error, "no memory");
    } else {
        error_set(error, "JSON: not valid at byte %zu", position);
    }
}

/* jansson frees what it parsed, tokens among it, without wiping. */
static void wipe_and_free(void *memory)
{
    if (memory != NULL)
        sodium_memzero(memory, malloc_usable_size(memory));
    free(memory);
}

static json_t *parse(const char *text, size_t size, json_error_t *failure)
{
    json_set_alloc_funcs(malloc, wipe_and_free);
    /* jansson itself goes no deeper than 2048 levels, which its recursion can bear. */
    return json_loadb(text, size, JSON_REJECT_DUPLICATES, failure);
}

/* Reads what is plainly written; NULL when it is not, or not right: then jansson has the last word. */
static struct token_data *read_plain(const char *text, size_t size, struct token_reader_rules rules)
{
    struct plain_json json; /* 14 KiB, but only what is used is touched */
    rules.tree = &plain_json_tree;
    return plain_json_read(&json, text, size) ? token_reader_read(&json.values[0].value, &rules, NULL) : NULL;
}

static struct token_data *read_any(const char *text, size_t size, struct token_reader_rules rules, struct error *error)
{
    json_error_t failure;
    json_t *json = parse(text, size, &failure);
    if (json == NULL) {
        explain(text, size, &failure, error);
        return NULL;
    }
    struct value root = value_of(json);
    rules.tree = &json_tree;
    struct token_data *data = token_reader_read(&root, &rules, error);
    json_decref(json);
    return data;
}

/* Encoded data are no longer than their JSON but for what a new token and `created` add to it, 80 bytes at most. */
enum { ENCODED_MORE = 256 };

struct token_data *token_data_from_json(const char *text, size_t size, enum token_data_source source, int64_t now,
                                        struct error *error)
{
    const struct token_reader_rules rules = {
        .token_is_new = source == TOKEN_DATA_NEW_TOKEN,
        .created_now = true,
        .expires_past = now,
        .now = now,
    };
    struct token_data *data = read_plain(text, size, rules);
    if (data == NULL)
        data = read_any(text, size, rules, error);
    if (data != NULL && size > CODEC_SIZE_MAX - ENCODED_MORE && codec_size(data) > CODEC_SIZE_MAX) {
        error_set(error, "more than %d bytes once stored", CODEC_SIZE_MAX);
        token_data_free(&data);
    }
    return data;
}

/* Out. */

/* Where JSON goes: at first to a buffer that nearly all of it fits in, then to ever larger memory. */
struct output {
    char *bytes; /* NULL: there was no memory */
    size_t size, room;
    char first[2048];
};

static void output_release(struct output *out)
{
    if (out->bytes == out->first)
        sodium_memzero(out->first, out->size);
    else
        wipe_and_free(out->bytes);
    out->bytes = NULL;
}

static void output_grow(struct output *out, size_t most)
{
    size_t room = 2 * out->room + most;
    char *bytes = out->bytes == NULL ? NULL : malloc(room);
    if (bytes != NULL)
        memcpy(bytes, out->bytes, out->size);
    output_release(out);
    out->bytes = bytes;
    out->room = bytes == NULL ? out->size : room;
}

/* Where `most` more bytes may be written; NULL when there is no memory for them. */
static inline char *output_room(struct output *out, size_t most)
{
    if (most > out->room - out->size)
        output_grow(out, most);
    return out->bytes == NULL ? NULL : out->bytes + out->size;
}

static inline void put(struct output *out, const char *bytes, size_t size)
{
    char *at = output_room(out, size);
    if (at == NULL)
        return;
    memcpy(at, bytes, size);
    out->size += size;
}

static inline void put_word(struct output *out, const char *word)
{
    put(out, word, strlen(word));
}

static void put_integer(struct output *out, uint64_t integer)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + integer % 10);
    while ((integer /= 10) > 0);
    put(out, digits + at, sizeof digits - at);
}

static char *put_escape(char *at, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    if (c == '"' || c == '\\')
        return mempcpy(at, (const char[]){'\\', (char)c}, 2);
    return mempcpy(at, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

/* Bytes that may have to be escaped: control characters, `"`, `\`, and what U+0080 to U+009f begin with. */
static const bool is_special[256] = {
    [0x00 ... 0x1f] = true, ['"'] = true, ['\\'] = true, [0x7f] = true, [0xc2] = true,
};

/* Writes a string of valid UTF-8 in quotes. A terminal may act on a control character, so none goes out raw: neither
 * those of ASCII nor U+0080 to U+009f, which are 0xc2 and their own number. */
static void put_string(struct output *out, const char *text)
{
    const unsigned char *from = (const unsigned char *)text;
    char *at = output_room(out, 6 * strlen(text) + 2);
    if (at == NULL)
        return;
    *at++ = '"';
    while (*from != '\0') {
        if (!is_special[*from] || (*from == 0xc2 && from[1] >= 0xa0)) {
            *at++ = (char)*from++;
        } else {
            from += *from == 0xc2;
            at = put_escape(at, *from++);
        }
    }
    *at++ = '"';
    out->size = (size_t)(at - out->bytes);
}

static void put_text_field(struct output *out, const char *name, const char *text)
{
    if (text == NULL)
        return;
    put_word(out, name);
    put_string(out, text);
}

static void put_integer_field(struct output *out, const char *name, uint64_t integer)
{
    if (integer == 0)
        return;
    put_word(out, name);
    put_integer(out, integer);
}

static void put_groups(struct output *out, const struct token_data *data)
{
    put_word(out, ",\"groups\":[");
    for (size_t i = 0; i < data->n_groups; i++) {
        put_word(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        put_string(out, data->groups[i].name);
        put_word(out, ",\"id\":");
        put_integer(out, data->groups[i].id);
        put_word(out, "}");
    }
    put_word(out, "]");
}

static void put_data(struct output *out, const struct token_data *data)
{
    char token[TOKEN_SIZE + 1];
    token_format(&data->token, token);
    put_text_field(out, "{\"token\":", token);
    sodium_memzero(token, sizeof token);
    put_text_field(out, ",\"username\":", data->username);
    put_text_field(out, ",\"token_type\":", token_type_name(data->type));
    put_word(out, ",\"scopes\":[");
    for (size_t i = 0; i < data->n_scopes; i++) {
        put(out, ",", i > 0);
        put_string(out, data->scopes[i]);
    }
    put_word(out, "],\"created\":");
    put_integer(out, (uint64_t)data->created);
    put_integer_field(out, ",\"expires\":", (uint64_t)data->expires);
    put_text_field(out, ",\"service\":", data->service);
    put_text_field(out, ",\"name\":", data->name);
    put_text_field(out, ",\"email\":", data->email);
    put_integer_field(out, ",\"uid\":", data->uid);
    put_integer_field(out, ",\"gid\":", data->gid);
    if (data->has_groups)
        put_groups(out, data);
    put_word(out, "}");
}

char *token_data_to_json(const struct token_data *data, size_t *size)
{
    struct output out; /* not initialised as a whole: that would zero all of the buffer */
    out.bytes = out.first;
    out.size = 0;
    out.room = sizeof out.first;
    put_data(&out, data);
    char *json = out.bytes == NULL ? NULL : malloc(out.size + 1);
    if (json != NULL) {
        memcpy(json, out.bytes, out.size);
        json[out.size] = '\0';
        *size = out.size;
    }
    output_release(&out);
    return json;
}

/* Changing. */

struct json_t *token_data_tree(const char *text, size_t size)
{
    json_error_t failure;
    json_t *json = parse(text, size, &failure);
    if (json != NULL)
        json_object_del(json, "token");
    return json;
}

/* Whether `fields` would make it another token. */
static bool changes_token(const json_t *fields, struct error *error)
{
    static const char *const names[] = {"token", "key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(fields, names[i]) != NULL) {
            error_set(error, "%s: cannot be changed", names[i]);
            return true;
        }
    return false;
}

/* The JSON of the data with the fields; NULL without memory. */
static char *changed_json(const struct token_data *data, const json_t *fields)
{
    size_t size;
    json_error_t failure;
    char *text = token_data_to_json(data, &size), *changed = NULL;
    json_t *json = text == NULL ? NULL : parse(text, size, &failure);
    /* jansson wants its objects writable, but only counts references to what is in this one. */
    if (json != NULL && json_object_update(json, (json_t *)(uintptr_t)fields) == 0)
        changed = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    wipe_and_free(text);
    return changed;
}

struct token_data *token_data_change(const struct token_data *data, const struct json_t *fields, int64_t now,
                                     struct error *error)
{
    if (changes_token(fields, error))
        return NULL;
    char *text = changed_json(data, fields);
    if (text == NULL) {
        error_set(error, "no memory");
        return NULL;
    }
    struct token_data *changed = token_data_from_json(text, strlen(text), TOKEN_DATA_WITH_TOKEN, now, error);
    wipe_and_free(text);
    return changed;
}
