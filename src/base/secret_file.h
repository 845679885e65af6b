/* SPDX-License-Identifier: MIT */
/* Files that hold secrets: read only when nobody else can, whatever the secret. */
#ifndef TK_BASE_SECRET_FILE_H
#define TK_BASE_SECRET_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

/* Reads a whole file of at most `size` bytes into `text`, which has room for one more. Refused, by what the open
 * descriptor says: anything but a regular file, and one that others can use or its group can write. `what` names the
 * secret in errors, such as "keyring". Returns the bytes read, or -1 with `error` set, which never holds any of them.
 */
ssize_t secret_file_read(const char *path, const char *what, char *text, size_t size, struct error *error)
    __attribute__((warn_unused_result));

/* Reads the first line of such a file, without its end; an empty one is refused. The caller frees the result with
 * sodium_free, which wipes it. NULL with `error` set. */
char *secret_file_line(const char *path, const char *what, size_t size, struct error *error)
    __attribute__((warn_unused_result));

#endif
