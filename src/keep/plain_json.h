/* SPDX-License-Identifier: MIT */
/* Reads JSON that is plainly written, as programs write token data: no escapes, no fractions, no booleans, no more
 * values than there is room for. What is read so is valid JSON and means the same to every parser, but for repeated
 * names, which are the caller's to refuse; everything else, right or wrong, is left to a parser that knows all of it.
 */
#ifndef TK_KEEP_PLAIN_JSON_H
#define TK_KEEP_PLAIN_JSON_H

#include "keep/token_reader.h"

enum { PLAIN_JSON_VALUES = 256, PLAIN_JSON_DEPTH = 4 };

/* A value, with those within it behind it; of a map, each name before its value. */
struct plain_value {
    struct value value;
    const struct plain_value *end; /* behind all that is within */
};

struct plain_json {
    size_t n;
    struct plain_value values[PLAIN_JSON_VALUES]; /* the first is the whole */
};

/* Whether all of `text` is one such value; `json` then points into the text. */
bool plain_json_read(struct plain_json *json, const char *text, size_t size) __attribute__((warn_unused_result));

/* How to go down into it. */
extern const struct value_tree plain_json_tree;

#endif
