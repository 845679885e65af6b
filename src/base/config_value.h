/* SPDX-License-Identifier: MIT */
/* The values of options: text read into the types that an option can have, within bounds. */
#ifndef TK_BASE_CONFIG_VALUE_H
#define TK_BASE_CONFIG_VALUE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Each returns 0, or -1 with `error` saying what is wrong and what to write. Numbers and choices that are wrong are
 * quoted where they are harmless: letters, digits, '.', '+', '_' and '-' alone, at most 64 of them. Other values are
 * never quoted. */

/* A whole number in decimal digits, `minimum` to `maximum`. */
int value_number(const char *text, double minimum, double maximum, size_t *number, struct error *error);

/* Seconds, "2" or "0.5", `minimum` to `maximum`. */
int value_seconds(const char *text, double minimum, double maximum, double *seconds, struct error *error);

/* Permissions in octal, 0 to 0777. */
int value_mode(const char *text, mode_t *mode, struct error *error);

/* true, yes, on; false, no, off. */
int value_boolean(const char *text, bool *boolean, struct error *error);

/* One of `choices`, which stand in one string between bars: "error|warning". *choice is its place, from 0. */
int value_choice(const char *text, const char *choices, unsigned *choice, struct error *error);

/* Printable ASCII without spaces, `minimum` to `maximum` bytes. */
int value_check_printable(const char *text, size_t minimum, size_t maximum, struct error *error);

/* The name of a user or group of this system, existing or not. */
int value_check_account(const char *text, struct error *error);

/* Whether there is a control character in the text. */
bool value_has_control(const char *text);

/* A path without control characters; a relative one is taken from `folder`. The caller owns *path. */
int value_path(const char *text, const char *folder, char **path, struct error *error);

#endif
