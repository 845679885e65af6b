/* SPDX-License-Identifier: MIT */
/* Reads token data from a tree that a parser made, of JSON or of msgpack: which fields there are, of what kind, which
 * are required, and their paths in errors, once for both. */
#ifndef TK_KEEP_TOKEN_READER_H
#define TK_KEEP_TOKEN_READER_H

#include "base/error.h"
#include "keep/token_data.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind {
    VALUE_NULL,
    VALUE_INTEGER,
    VALUE_TEXT,
    VALUE_ARRAY,
    VALUE_MAP,
    VALUE_OTHER, /* nothing that a field could be */
};

/* One value of a tree. What it points to belongs to the parser. */
struct value {
    enum value_kind kind;
    int64_t integer;
    const char *text; /* not terminated; valid UTF-8 without NUL */
    size_t size;      /* bytes of the text, elements of the array */
    const void *node; /* the parser's own, for the functions below */
};

/* How to go down into a tree. */
struct value_tree {
    /* The element of an array, `index` below its size. */
    struct value (*element)(const void *array, size_t index);
    /* The member of a map behind `previous`, the first when that is NULL. Returns what to pass as the next call's
     * `previous`; NULL, with `key` and `value` untouched, when there is no more. */
    const void *(*member)(const void *map, const void *previous, struct value *key, struct value *value);
};

enum { TOKEN_READER_NAME_MAX = 64 };

/* What differs between the sources of token data. */
struct token_reader_rules {
    const struct value_tree *tree;
    bool token_is_new;    /* none may be given, one is generated */
    bool token_is_array;  /* [key, secret]; else "gt-..." or {"key", "secret"} */
    bool sealed;          /* it came out of the vault: an error repeats no word of it, it may go to a log */
    bool created_now;     /* `created` may be absent and is then `now` */
    int64_t expires_past; /* `expires` must be greater */
    int64_t now;          /* seconds since the epoch */
};

/* Reads the whole of token data from `root` and checks it; scopes come out sorted and without repeats. NULL on failure,
 * with the field's path and the rule in `error`. The caller frees the result, which keeps nothing of the tree. */
struct token_data *token_reader_read(const struct value *root, const struct token_reader_rules *rules,
                                     struct error *error) __attribute__((warn_unused_result));

/* Whether a name from the input may be repeated in an error: at most TOKEN_READER_NAME_MAX of A-Z a-z 0-9 . _ -, and no
 * token. */
bool token_reader_may_name(const char *name, size_t size);

#endif
