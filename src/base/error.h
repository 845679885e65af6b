/* SPDX-License-Identifier: MIT */
/* The text of a failure, for people: what failed, on what, why, what to do. Never a secret, never unparsed input. */
#ifndef TK_BASE_ERROR_H
#define TK_BASE_ERROR_H

enum { ERROR_TEXT_SIZE = 512 };

struct error {
    char text[ERROR_TEXT_SIZE]; /* one line, no trailing newline, no control characters */
};

/* Formats the text, cutting it at ERROR_TEXT_SIZE - 1 bytes; control characters become '?'. `error` may be NULL, then
 * nothing happens. Always returns -1, so that a caller can `return error_set(...)`. */
int error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
