/* SPDX-License-Identifier: MIT */
/* Bytes that wait: for the rest of a request, or for a client to read. A buffer in use takes a chunk from a pool, so
 * that an idle connection holds none and a busy one allocates none. */
#ifndef TK_WORKER_BUFFER_H
#define TK_WORKER_BUFFER_H

#include <stdarg.h>
#include <stddef.h>

enum { BUFFER_CHUNK = 16 * 1024, BUFFER_POOL_MAX = 256 /* chunks kept for reuse */ };

/* Zeroed is empty. */
struct buffer {
    char *data;
    size_t start, end, capacity; /* the bytes are data[start..end) */
};

/* What is in it. */
const char *buffer_bytes(const struct buffer *buffer);
size_t buffer_size(const struct buffer *buffer);

/* Makes `size` more bytes at the end, at least one, and returns them for the caller to write. */
char *buffer_extend(struct buffer *buffer, size_t size) __attribute__((returns_nonnull, warn_unused_result));

/* Adds bytes, text, or formatted text at the end. Its user bounds what it holds. */
void buffer_add(struct buffer *buffer, const void *bytes, size_t size);
void buffer_add_text(struct buffer *buffer, const char *text);
void buffer_add_format(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Moves what it holds into memory of just that size, for a buffer that may wait for long. */
void buffer_fit(struct buffer *buffer);

/* Takes `size` bytes, at most what it holds, from the front; the last one gives the memory back. */
void buffer_consume(struct buffer *buffer, size_t size);

/* Empties it and gives the memory back. */
void buffer_free(struct buffer *buffer);

/* Frees the pool; for the end of the process. */
void buffer_pool_free(void);

#endif
