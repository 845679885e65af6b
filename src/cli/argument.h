/* SPDX-License-Identifier: MIT */
/* What a command is given, on the command line or on standard input. All of it is checked before any of it is sent, so
 * that no argument can become a second request. */
#ifndef TK_CLI_ARGUMENT_H
#define TK_CLI_ARGUMENT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether the text is a token's key: 22 characters of A-Z a-z 0-9 - _. Such a word may begin with a hyphen. */
bool argument_is_key(const char *text);

/* Whether the text is a whole token, gt-<key>.<secret>. */
bool argument_is_token(const char *text);

/* Checks that the `size` bytes can be one word of a request: printable ASCII without spaces, not beginning with a
 * slash. `name` is what the manual calls it ("TOKEN"). Returns 0, or -1; `error` says why without quoting it. */
int argument_check(const char *name, const char *word, size_t size, struct error *error)
    __attribute__((warn_unused_result));

/* One word of a request: `text` itself or, when it is "-", the first line of standard input; as argument_check() wants
 * it, else NULL. The caller frees the result. */
char *argument_word(const char *name, const char *text, struct error *error) __attribute__((warn_unused_result));

/* A JSON object: `text` itself or, when it is "-", all of standard input; as argument_json_compact() makes it. */
char *argument_json(const char *text, struct error *error) __attribute__((warn_unused_result));

/* The same of what is in the file at `path` or, when that is "-", on standard input. */
char *argument_json_file(const char *path, struct error *error) __attribute__((warn_unused_result));

/* Checks that the `size` bytes are one JSON object without repeated names, and returns it as one line: the bytes as
 * they are, numbers included, without the white space between them. NULL when it will not do; `error` has line and
 * column, never the text. The caller frees the result. */
char *argument_json_compact(const char *text, size_t size, struct error *error) __attribute__((warn_unused_result));

#endif
