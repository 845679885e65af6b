/* SPDX-License-Identifier: MIT */
/* Token data from a parsed tree. Everything is first collected, still in the parser's memory, in a draft on the stack;
 * only when all of it has the right shape does it become one block of exactly the right size. */
#include "keep/token_reader.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const char *bytes; /* NULL: absent */
    size_t size;
};

struct draft_group {
    struct text name;
    int64_t id;
};

struct draft {
    struct token token;
    enum token_type type;
    struct text username, service, name, email;
    int64_t created, expires, uid, gid; /* 0: absent */
    bool has_groups;
    size_t n_scopes, n_groups;
    struct text scopes[TOKEN_DATA_SCOPES_MAX];
    struct draft_group groups[TOKEN_DATA_GROUPS_MAX];
};

struct reader {
    const struct token_reader_rules *rules;
    struct error *error;
    struct draft *draft;
};

struct field;
typedef bool field_read(struct reader *reader, const struct field *field, const struct value *value);
static field_read read_token, read_text, read_type, read_scopes, read_integer, read_groups;

/* The fields, in the order of the manual. */
static const struct field {
    const char *name;
    field_read *read;
    size_t offset; /* in struct draft, of a text or an integer */
    int64_t least, most;
} fields[] = {
    {"token", read_token, 0, 0, 0},
    {"username", read_text, offsetof(struct draft, username), 0, 0},
    {"token_type", read_type, 0, 0, 0},
    {"scopes", read_scopes, 0, 0, 0},
    {"created", read_integer, offsetof(struct draft, created), 0, TOKEN_DATA_TIME_MAX},
    {"expires", read_integer, offsetof(struct draft, expires), 1, TOKEN_DATA_TIME_MAX},
    {"service", read_text, offsetof(struct draft, service), 0, 0},
    {"name", read_text, offsetof(struct draft, name), 0, 0},
    {"email", read_text, offsetof(struct draft, email), 0, 0},
    {"uid", read_integer, offsetof(struct draft, uid), 1, INT64_MAX},
    {"gid", read_integer, offsetof(struct draft, gid), 1, INT64_MAX},
    {"groups", read_groups, 0, 0, 0},
};
enum { FIELDS = sizeof fields / sizeof *fields, FIELD_TOKEN = 0, FIELD_CREATED = 4 };

/* Where something stands: a field, or one element of it; ROOT is the whole. */
struct place {
    const char *field;
    size_t index;
};
#define NO_INDEX     SIZE_MAX
#define PLACE(field) ((struct place){(field), NO_INDEX})
#define ROOT         PLACE("")

/* Says what is wrong at `place`, or at its member of that name. Always false. */
static bool fail(struct reader *reader, struct place place, const char *member, const char *rule)
{
    char index[32] = "";
    if (place.index != NO_INDEX)
        snprintf(index, sizeof index, "[%zu]", place.index);
    bool within = place.field[0] != '\0';
    const char *dot = within && member != NULL ? "." : "", *colon = within || member != NULL ? ": " : "";
    error_set(reader->error, "%s%s%s%s%s%s", place.field, index, dot, member != NULL ? member : "", colon, rule);
    return false;
}

bool token_reader_may_name(const char *name, size_t size)
{
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (size == 0 || size > TOKEN_READER_NAME_MAX || (size >= 3 && memcmp(name, "gt-", 3) == 0))
        return false;
    for (size_t i = 0; i < size; i++)
        if (name[i] == '\0' || strchr(characters, name[i]) == NULL)
            return false;
    return true;
}

/* Says that a member is not one that there is. Always false. */
static bool fail_unknown(struct reader *reader, struct place place, const struct value *key)
{
    if (reader->rules->sealed || key->kind != VALUE_TEXT || !token_reader_may_name(key->text, key->size))
        return fail(reader, place, NULL, "an unknown field");
    char name[TOKEN_READER_NAME_MAX + 1];
    snprintf(name, sizeof name, "%.*s", (int)key->size, key->text);
    return fail(reader, place, name, "unknown field");
}

static bool text_is(const struct value *value, const char *word)
{
    return value->kind == VALUE_TEXT && value->size == strlen(word) && memcmp(value->text, word, value->size) == 0;
}

static bool take_text(const struct value *value, struct text *text)
{
    if (value->kind != VALUE_TEXT)
        return false;
    *text = (struct text){value->text, value->size};
    return true;
}

/* Reads a map of just the two members `names`, neither of them null. */
static bool read_pair(struct reader *reader, struct place place, const struct value *map, const char *const names[2],
                      struct value values[2])
{
    bool seen[2] = {false, false};
    struct value key, value;
    const struct value_tree *tree = reader->rules->tree;
    values[0].kind = values[1].kind = VALUE_NULL;
    for (const void *at = NULL; (at = tree->member(map->node, at, &key, &value)) != NULL;) {
        size_t i = text_is(&key, names[0]) ? 0 : 1;
        if (i == 1 && !text_is(&key, names[1]))
            return fail_unknown(reader, place, &key);
        if (seen[i])
            return fail(reader, place, names[i], "repeated field");
        seen[i] = true;
        values[i] = value;
    }
    for (size_t i = 0; i < 2; i++)
        if (values[i].kind == VALUE_NULL)
            return fail(reader, place, names[i], "is required");
    return true;
}

/* The fields. */

static bool read_part(struct reader *reader, const char *member, const struct value *value, char part[TOKEN_PART_SIZE])
{
    if (value->kind != VALUE_TEXT || !token_part_valid(value->text, value->size))
        return fail(reader, PLACE("token"), member, "must be 22 characters of A-Z a-z 0-9 - _");
    memcpy(part, value->text, TOKEN_PART_SIZE);
    return true;
}

static bool read_token(struct reader *reader, const struct field *field, const struct value *value)
{
    static const char *const names[2] = {"key", "secret"};
    const struct place place = PLACE(field->name);
    struct token *token = &reader->draft->token;
    struct value parts[2];
    if (reader->rules->token_is_new)
        return fail(reader, place, NULL, "must be absent: a new token is made");
    if (reader->rules->token_is_array) {
        if (value->kind != VALUE_ARRAY || value->size != 2)
            return fail(reader, place, NULL, "must be an array of key and secret");
        for (size_t i = 0; i < 2; i++)
            parts[i] = reader->rules->tree->element(value->node, i);
    } else if (value->kind == VALUE_MAP) {
        if (!read_pair(reader, place, value, names, parts))
            return false;
    } else if (value->kind == VALUE_TEXT && token_parse(value->text, value->size, token)) {
        return true;
    } else {
        return fail(reader, place, NULL,
                    "must be gt-KEY.SECRET, each 22 characters of A-Z a-z 0-9 - _, or an object of the two");
    }
    return read_part(reader, "key", &parts[0], token->key) && read_part(reader, "secret", &parts[1], token->secret);
}

static bool read_text(struct reader *reader, const struct field *field, const struct value *value)
{
    struct text *text = (struct text *)(void *)((char *)reader->draft + field->offset);
    return take_text(value, text) || fail(reader, PLACE(field->name), NULL, "must be a string");
}

static bool read_type(struct reader *reader, const struct field *field, const struct value *value)
{
    if (value->kind == VALUE_TEXT && token_type_parse(value->text, value->size, &reader->draft->type))
        return true;
    return fail(reader, PLACE(field->name), NULL, "must be session, user, notebook, internal, service or oidc");
}

static bool read_integer(struct reader *reader, const struct field *field, const struct value *value)
{
    int64_t *integer = (int64_t *)(void *)((char *)reader->draft + field->offset);
    if (value->kind != VALUE_INTEGER || value->integer < field->least || value->integer > field->most) {
        error_set(reader->error, "%s: must be an integer from %lld to %lld", field->name, (long long)field->least,
                  (long long)field->most);
        return false;
    }
    *integer = value->integer;
    return true;
}

/* Whether the value is an array of no more than `most` elements. */
static bool check_array(struct reader *reader, const struct field *field, const struct value *value, size_t most)
{
    if (value->kind == VALUE_ARRAY && value->size <= most)
        return true;
    error_set(reader->error, "%s: must be an array of at most %zu", field->name, most);
    return false;
}

static bool read_scopes(struct reader *reader, const struct field *field, const struct value *value)
{
    struct draft *draft = reader->draft;
    if (!check_array(reader, field, value, TOKEN_DATA_SCOPES_MAX))
        return false;
    for (size_t i = 0; i < value->size; i++) {
        struct value scope = reader->rules->tree->element(value->node, i);
        if (!take_text(&scope, &draft->scopes[i]))
            return fail(reader, (struct place){field->name, i}, NULL, "must be a string");
    }
    draft->n_scopes = value->size;
    return true;
}

static bool read_group(struct reader *reader, struct place place, const struct value *value, struct draft_group *group)
{
    static const char *const names[2] = {"name", "id"};
    struct value members[2];
    if (value->kind != VALUE_MAP)
        return fail(reader, place, NULL, "must be an object of name and id");
    if (!read_pair(reader, place, value, names, members))
        return false;
    if (!take_text(&members[0], &group->name))
        return fail(reader, place, "name", "must be a string");
    if (members[1].kind != VALUE_INTEGER || members[1].integer < 1)
        return fail(reader, place, "id", "must be an integer from 1 to 9223372036854775807");
    group->id = members[1].integer;
    return true;
}

static bool read_groups(struct reader *reader, const struct field *field, const struct value *value)
{
    struct draft *draft = reader->draft;
    if (!check_array(reader, field, value, TOKEN_DATA_GROUPS_MAX))
        return false;
    for (size_t i = 0; i < value->size; i++) {
        struct value group = reader->rules->tree->element(value->node, i);
        if (!read_group(reader, (struct place){field->name, i}, &group, &draft->groups[i]))
            return false;
    }
    draft->n_groups = value->size;
    draft->has_groups = true;
    return true;
}

/* The index of the field of that name, FIELDS when there is none. `expected` is tried first: most come in order. */
static size_t field_find(const struct value *key, size_t expected)
{
    for (size_t n = 0; n < FIELDS; n++) {
        size_t i = (expected + n) % FIELDS;
        if (text_is(key, fields[i].name))
            return i;
    }
    return FIELDS;
}

static bool check_required(struct reader *reader, unsigned present)
{
    const struct token_reader_rules *rules = reader->rules;
    for (size_t i = 0; i <= FIELD_CREATED; i++) {
        bool optional = (i == FIELD_TOKEN && rules->token_is_new) || (i == FIELD_CREATED && rules->created_now);
        if (!optional && (present & 1u << i) == 0)
            return fail(reader, PLACE(fields[i].name), NULL, "is required");
    }
    return true;
}

/* Fills in what need not be given, and holds the expiry against its bound. */
static bool finish_fields(struct reader *reader, unsigned present)
{
    const struct token_reader_rules *rules = reader->rules;
    struct draft *draft = reader->draft;
    if (draft->expires != 0 && draft->expires <= rules->expires_past)
        return fail(reader, PLACE("expires"), NULL, "must be in the future");
    if ((present & 1u << FIELD_CREATED) == 0)
        draft->created = rules->now;
    if (rules->token_is_new)
        token_generate(&draft->token);
    return true;
}

static bool read_fields(struct reader *reader, const struct value *root)
{
    unsigned seen = 0, present = 0; /* a bit a field; what is null is seen but not present */
    struct value key, value;
    size_t i = 0;
    for (const void *at = NULL; (at = reader->rules->tree->member(root->node, at, &key, &value)) != NULL; i++) {
        i = field_find(&key, i);
        if (i == FIELDS)
            return fail_unknown(reader, ROOT, &key);
        if ((seen & 1u << i) != 0)
            return fail(reader, PLACE(fields[i].name), NULL, "repeated field");
        seen |= 1u << i;
        if (value.kind == VALUE_NULL)
            continue;
        if (!fields[i].read(reader, &fields[i], &value))
            return false;
        present |= 1u << i;
    }
    return check_required(reader, present) && finish_fields(reader, present);
}

/* From the draft to the block. */

static size_t text_room(struct text text)
{
    return text.bytes == NULL ? 0 : text.size + 1;
}

static const char *text_copy(char **room, struct text text)
{
    if (text.bytes == NULL)
        return NULL;
    char *copy = *room;
    memcpy(copy, text.bytes, text.size);
    copy[text.size] = '\0';
    *room += text.size + 1;
    return copy;
}

static size_t draft_room(const struct draft *draft)
{
    size_t room = draft->n_scopes * sizeof(char *) + draft->n_groups * sizeof(struct token_group);
    room += text_room(draft->username) + text_room(draft->service) + text_room(draft->name) + text_room(draft->email);
    for (size_t i = 0; i < draft->n_scopes; i++)
        room += text_room(draft->scopes[i]);
    for (size_t i = 0; i < draft->n_groups; i++)
        room += text_room(draft->groups[i].name);
    return room;
}

static int scope_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whether they are sorted without repeats, as they come out of the vault. */
static bool scopes_sorted(const char *const *scopes, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (strcmp(scopes[i - 1], scopes[i]) >= 0)
            return false;
    return true;
}

/* Sorts the scopes and leaves out the repeats. */
static size_t scopes_sort(const char **scopes, size_t n)
{
    if (scopes_sorted(scopes, n))
        return n;
    qsort(scopes, n, sizeof *scopes, scope_compare);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (strcmp(scopes[i], scopes[kept - 1]) != 0)
            scopes[kept++] = scopes[i];
    return kept;
}

static struct token_data *draft_finish(const struct draft *draft, struct error *error)
{
    char *room;
    struct token_data *data = token_data_new(draft_room(draft), &room);
    const char **scopes = (const char **)(void *)room;
    struct token_group *groups = (struct token_group *)(void *)(scopes + draft->n_scopes);
    room = (char *)(groups + draft->n_groups);
    *data = (struct token_data){
        .token = draft->token,
        .type = draft->type,
        .created = draft->created,
        .expires = draft->expires,
        .uid = (uint64_t)draft->uid,
        .gid = (uint64_t)draft->gid,
        .has_groups = draft->has_groups,
        .scopes = scopes,
        .n_scopes = draft->n_scopes,
        .groups = groups,
        .n_groups = draft->n_groups,
        .username = text_copy(&room, draft->username),
        .service = text_copy(&room, draft->service),
        .name = text_copy(&room, draft->name),
        .email = text_copy(&room, draft->email),
    };
    for (size_t i = 0; i < draft->n_scopes; i++)
        scopes[i] = text_copy(&room, draft->scopes[i]);
    for (size_t i = 0; i < draft->n_groups; i++)
        groups[i] = (struct token_group){text_copy(&room, draft->groups[i].name), (uint64_t)draft->groups[i].id};
    if (!token_data_check(data, error)) /* before sorting: an error names the place in the input */
        token_data_free(&data);
    else
        data->n_scopes = scopes_sort(scopes, data->n_scopes);
    return data;
}

struct token_data *token_reader_read(const struct value *root, const struct token_reader_rules *rules,
                                     struct error *error)
{
    struct draft draft; /* 28 KiB, but only what is used of the lists is touched */
    struct reader reader = {rules, error, &draft};
    memset(&draft, 0, offsetof(struct draft, scopes));
    struct token_data *data = NULL;
    if (root->kind != VALUE_MAP)
        error_set(error, "must be an object");
    else if (read_fields(&reader, root))
        data = draft_finish(&draft, error);
    sodium_memzero(&draft.token, sizeof draft.token);
    return data;
}
