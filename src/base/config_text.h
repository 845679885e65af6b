/* SPDX-License-Identifier: MIT */
/* A configuration file as text, checked for what libConfuse lets pass: a file cut inside a section, string or comment,
 * options and sections that repeat, unset ${VARIABLE}s, bytes that are no text. What remains for libConfuse has no
 * comments left, so that its line numbers are right. */
#ifndef TK_BASE_CONFIG_TEXT_H
#define TK_BASE_CONFIG_TEXT_H

#include "base/error.h"

#include <stddef.h>

enum {
    CONFIG_TEXT_MAX = 1024 * 1024, /* bytes of a file */
    CONFIG_SECTIONS_MAX = 128,
    CONFIG_NAMES_MAX = 256, /* options of one section */
};

struct config_text {
    char *bytes; /* NUL-terminated */
    size_t size;
    unsigned lines;    /* at least 1 */
    unsigned sections; /* how many, and the line that each opens on */
    unsigned section_lines[CONFIG_SECTIONS_MAX];
};

/* Reads and checks the regular file at `path`. Returns 0, or -1 with `error` set to "PATH:LINE: what is wrong"; free
 * `text` in both cases. */
int config_text_read(const char *path, struct config_text *text, struct error *error)
    __attribute__((warn_unused_result));

/* Frees what `text` holds. */
void config_text_clear(struct config_text *text);

#endif
