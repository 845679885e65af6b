/* SPDX-License-Identifier: MIT */
/* Token data: its block of memory, its types, and the rules of its fields. */
#include "keep/token_data.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What stands before every struct token_data, so that it can be wiped as a whole. */
struct block {
    size_t size;
    struct token_data data;
};

static const char *const type_names[] = {
    [TOKEN_TYPE_SESSION] = "session",   [TOKEN_TYPE_USER] = "user",       [TOKEN_TYPE_NOTEBOOK] = "notebook",
    [TOKEN_TYPE_INTERNAL] = "internal", [TOKEN_TYPE_SERVICE] = "service", [TOKEN_TYPE_OIDC] = "oidc",
};
enum { TYPES = sizeof type_names / sizeof *type_names };

struct token_data *token_data_new(size_t room_size, char **room)
{
    size_t size = sizeof(struct block) + room_size;
    struct block *block = memory_zeroed(size);
    block->size = size;
    *room = (char *)(block + 1);
    return &block->data;
}

void token_data_free(struct token_data **data)
{
    if (*data == NULL)
        return;
    struct block *block = (struct block *)(void *)((char *)*data - offsetof(struct block, data));
    sodium_memzero(block, block->size);
    free(block);
    *data = NULL;
}

const char *token_type_name(enum token_type type)
{
    return type_names[type];
}

bool token_type_parse(const char *text, size_t size, enum token_type *type)
{
    for (size_t i = 0; i < TYPES; i++)
        if (strlen(type_names[i]) == size && memcmp(type_names[i], text, size) == 0) {
            *type = (enum token_type)i;
            return true;
        }
    return false;
}

/* The rules. */

/* What a character is good for. */
enum { LOWER = 1, UPPER = 2, DIGIT = 4, MARK = 8, COLON = 16, LETTER = LOWER | UPPER };

static const unsigned char classes[256] = {
    ['a' ... 'z'] = LOWER, ['A' ... 'Z'] = UPPER, ['0' ... '9'] = DIGIT, ['.'] = MARK,
    ['_'] = MARK,          ['-'] = MARK,          [':'] = COLON,
};

static bool is(char c, unsigned wanted)
{
    return (classes[(unsigned char)c] & wanted) != 0;
}

bool token_data_username_valid(const char *text)
{
    bool letter = false;
    size_t size = 0;
    for (char before = '-'; text[size] != '\0'; before = text[size++]) {
        char c = text[size];
        if (c == '-' ? before == '-' : !is(c, LOWER | DIGIT))
            return false;
        letter = letter || is(c, LOWER);
    }
    return letter && size <= TOKEN_DATA_USERNAME_MAX && text[size - 1] != '-';
}

bool token_data_scope_valid(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!is(text[i], LETTER | DIGIT | MARK | COLON))
            return false;
    return size > 0;
}

static bool group_name_valid(const char *text)
{
    bool letter = false;
    if (!is(text[0], LETTER | DIGIT))
        return false;
    for (; *text != '\0'; text++) {
        if (!is(*text, LETTER | DIGIT | MARK))
            return false;
        letter = letter || is(*text, LETTER);
    }
    return letter;
}

static bool text_valid(const char *text, size_t characters_max)
{
    size_t characters;
    return utf8_valid(text, strlen(text), &characters) && characters > 0 && characters <= characters_max;
}

static bool scopes_check(const struct token_data *data, struct error *error)
{
    for (size_t i = 0; i < data->n_scopes; i++)
        if (!token_data_scope_valid(data->scopes[i], strlen(data->scopes[i]))) {
            error_set(error, "scopes[%zu]: must be one or more of A-Z a-z 0-9 : . _ -", i);
            return false;
        }
    return true;
}

static bool groups_check(const struct token_data *data, struct error *error)
{
    for (size_t i = 0; i < data->n_groups; i++) {
        if (!group_name_valid(data->groups[i].name)) {
            error_set(error,
                      "groups[%zu].name: must be of A-Z a-z 0-9 . _ -, start with a letter or digit, "
                      "and have a letter",
                      i);
            return false;
        }
        if (data->groups[i].id < 1 || data->groups[i].id > INT64_MAX) {
            error_set(error, "groups[%zu].id: must be an integer from 1 to 9223372036854775807", i);
            return false;
        }
    }
    return true;
}

/* NULL when nothing is wrong with the fields that are no lists. */
static const char *fields_wrong(const struct token_data *data)
{
    if (!token_part_valid(data->token.key, TOKEN_PART_SIZE) || !token_part_valid(data->token.secret, TOKEN_PART_SIZE))
        return "token: key and secret must be 22 characters of A-Z a-z 0-9 - _ each";
    if (data->username == NULL || !token_data_username_valid(data->username))
        return "username: must be 1 to 64 lower-case letters, digits and single inner hyphens, with a letter";
    if ((unsigned)data->type >= TYPES)
        return "token_type: must be session, user, notebook, internal, service or oidc";
    if (data->created < 0 || data->created > TOKEN_DATA_TIME_MAX)
        return "created: must be an integer from 0 to 253402300799";
    if (data->expires < 0 || data->expires > TOKEN_DATA_TIME_MAX)
        return "expires: must be an integer from 1 to 253402300799";
    if (data->service != NULL && !text_valid(data->service, TOKEN_DATA_SERVICE_MAX))
        return "service: must be 1 to 64 characters";
    if (data->name != NULL && !text_valid(data->name, SIZE_MAX))
        return "name: must not be empty";
    if (data->email != NULL && !text_valid(data->email, SIZE_MAX))
        return "email: must not be empty";
    if (data->uid > INT64_MAX)
        return "uid: must be an integer from 1 to 9223372036854775807";
    if (data->gid > INT64_MAX)
        return "gid: must be an integer from 1 to 9223372036854775807";
    if (data->n_scopes > TOKEN_DATA_SCOPES_MAX)
        return "scopes: must be at most 1000";
    if (data->n_groups > TOKEN_DATA_GROUPS_MAX)
        return "groups: must be at most 500";
    return NULL;
}

bool token_data_check(const struct token_data *data, struct error *error)
{
    const char *wrong = fields_wrong(data);
    if (wrong != NULL)
        error_set(error, "%s", wrong);
    return wrong == NULL && scopes_check(data, error) && groups_check(data, error);
}
