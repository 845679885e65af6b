/* SPDX-License-Identifier: MIT */
/* UTF-8 as RFC 3629 has it: no surrogates, nothing beyond U+10FFFF, no longer form than needed. */
#ifndef TK_BASE_UTF8_H
#define TK_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the `size` bytes are valid UTF-8; NUL counts as a character. The number of characters goes to *characters
 * when that is not NULL; it is set on true alone. */
bool utf8_valid(const char *bytes, size_t size, size_t *characters);

/* Whether the `size` bytes are valid UTF-8 without NUL. */
bool utf8_is_string(const char *bytes, size_t size);

/* Whether the `size` bytes are valid UTF-8 without control characters, those from U+0080 to U+009F included. */
bool utf8_is_text(const char *bytes, size_t size);

/* Makes them so: every byte that is not part of such a character becomes '?'. */
void utf8_make_text(char *bytes, size_t size);

/* How many of the `size` bytes are left when at most `most` may be and no character is to be cut in two. */
size_t utf8_cut(const char *bytes, size_t size, size_t most);

#endif
