/* SPDX-License-Identifier: MIT */
/* Token data: whose a token is and what it may do; its rules, field by field, and its JSON. The fields and their rules
 * stand in tokenkeep-protocol(7). */
#ifndef TK_KEEP_TOKEN_DATA_H
#define TK_KEEP_TOKEN_DATA_H

#include "base/error.h"
#include "keep/token.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKEN_DATA_SCOPES_MAX = 1000,
    TOKEN_DATA_GROUPS_MAX = 500,
    TOKEN_DATA_USERNAME_MAX = 64,
    TOKEN_DATA_SERVICE_MAX = 64, /* characters */
};
#define TOKEN_DATA_TIME_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

struct json_t; /* jansson's */

enum token_type {
    TOKEN_TYPE_SESSION,
    TOKEN_TYPE_USER,
    TOKEN_TYPE_NOTEBOOK,
    TOKEN_TYPE_INTERNAL,
    TOKEN_TYPE_SERVICE,
    TOKEN_TYPE_OIDC,
};

struct token_group {
    const char *name;
    uint64_t id; /* 1 to 2^63 - 1 */
};

/* One token's data. A block of its own (token_data_new): the strings live in it and go with it. Strings are valid UTF-8
 * without NUL. */
struct token_data {
    struct token token;
    const char *username;
    enum token_type type;
    const char *const *scopes; /* sorted bytewise, no repeats */
    size_t n_scopes;
    int64_t created;
    int64_t expires;     /* 0: never */
    const char *service; /* NULL: absent, as for all that follow */
    const char *name;
    const char *email;
    uint64_t uid;    /* 0: absent */
    uint64_t gid;    /* 0: absent */
    bool has_groups; /* an empty list is not an absent one */
    const struct token_group *groups;
    size_t n_groups;
};

/* Where the token itself comes from. */
enum token_data_source {
    TOKEN_DATA_WITH_TOKEN, /* STORE: the field `token` is required */
    TOKEN_DATA_NEW_TOKEN,  /* ISSUE: the field is refused and a token generated */
};

/* Reads and checks the `size` bytes of JSON. `now` is seconds since the epoch: the default of `created`, and what
 * `expires` must be after. NULL on failure: `error` names the field by its path and the rule, never quoting the input.
 * What this accepts, the codec can encode and decode again. The caller frees the result. */
struct token_data *token_data_from_json(const char *text, size_t size, enum token_data_source source, int64_t now,
                                        struct error *error) __attribute__((warn_unused_result));

/* Checks every rule of the fields (not the expiry against the clock, nor the order of the scopes). True when all hold;
 * else `error` names the field. */
bool token_data_check(const struct token_data *data, struct error *error) __attribute__((warn_unused_result));

/* Renders the JSON: one line, no spaces, fields in the manual's order, no byte below 0x20, no 0x7f, no U+0080 to U+009f
 * raw. Returns a malloc'd string and its length (the caller frees it), or NULL when there is no memory. */
char *token_data_to_json(const struct token_data *data, size_t *size) __attribute__((warn_unused_result));

/* Parses what token_data_to_json has rendered, but for the field `token`: there is no secret in the tree, and none is
 * left in memory. NULL when there is no memory. The caller owns it (json_decref). */
struct json_t *token_data_tree(const char *text, size_t size) __attribute__((warn_unused_result));

/* Data with the members of the object `fields` in the place of their own; null takes a field away. `now` as above, and
 * all rules hold again; the token cannot be changed. NULL on failure, with `error` as above. The caller frees the
 * result. */
struct token_data *token_data_change(const struct token_data *data, const struct json_t *fields, int64_t now,
                                     struct error *error) __attribute__((warn_unused_result));

/* The name of a type, "session" ...; and the reverse, false when there is no such type. */
const char *token_type_name(enum token_type type);
bool token_type_parse(const char *text, size_t size, enum token_type *type) __attribute__((warn_unused_result));

/* A zeroed block: a struct token_data and, from *room on, `room_size` bytes aligned for its arrays and strings; for the
 * reader, which fills it. Never NULL, as memory_zeroed. The caller frees it with token_data_free. */
struct token_data *token_data_new(size_t room_size, char **room) __attribute__((returns_nonnull, warn_unused_result));

/* Whether the text is a scope: one or more of A-Z a-z 0-9 : . _ -. */
bool token_data_scope_valid(const char *text, size_t size);

/* Whether the text is a user name: 1 to 64 lower-case letters, digits and single inner hyphens, with a letter. */
bool token_data_username_valid(const char *text);

/* Wipes (it holds the secret), frees and sets to NULL; a NULL *data is left alone. */
void token_data_free(struct token_data **data);

#endif
