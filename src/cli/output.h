/* SPDX-License-Identifier: MIT */
/* What the client prints: answers and JSON on standard output, failures and progress on standard error. */
#ifndef TK_CLI_OUTPUT_H
#define TK_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Prints the value as one line of JSON, and releases it. Returns 0, or -1 when `value` is NULL (no memory). */
int output_json(json_t *value);

/* The text as a JSON string; bytes beyond ASCII become '?' where they are not UTF-8. A new reference. */
json_t *output_json_text(const char *text);

/* Tells that there is no verdict: "tokenkeep: message; hint" on standard error, `hint` may be NULL; with `json` also
 * {"error":{"code":...,"message":...}} on standard output. */
void output_failure(bool json, const char *code, const char *message, const char *hint);

/* Prints a line on standard error, where it is a terminal, in place of the last one of its kind: work has gone on for
 * so many seconds. */
void output_progress(int64_t seconds);

/* The same with a text of one's own. */
void output_progress_text(const char *text);

/* Takes that line away again, when there is one. */
void output_progress_clear(void);

#endif
