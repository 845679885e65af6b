/* SPDX-License-Identifier: MIT */
/* Bytes that wait. */
#include "worker/buffer.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    char *chunks[BUFFER_POOL_MAX];
    size_t count;
} pool;

const char *buffer_bytes(const struct buffer *buffer)
{
    return buffer->data + buffer->start;
}

size_t buffer_size(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static char *chunk_take(void)
{
    if (pool.count > 0)
        return pool.chunks[--pool.count];
    char *chunk = malloc(BUFFER_CHUNK);
    if (chunk == NULL)
        memory_exhausted();
    return chunk;
}

static void chunk_give(char *chunk)
{
    if (pool.count < BUFFER_POOL_MAX)
        pool.chunks[pool.count++] = chunk;
    else
        free(chunk);
}

static void memory_give(const struct buffer *buffer)
{
    if (buffer->capacity == BUFFER_CHUNK)
        chunk_give(buffer->data); /* a fitted one of that size is as good */
    else if (buffer->capacity > 0)
        free(buffer->data);
}

/* Makes room for `size` more bytes behind the end. */
static void reserve(struct buffer *buffer, size_t size)
{
    size_t held = buffer_size(buffer), capacity = BUFFER_CHUNK;
    if (buffer->capacity - buffer->end >= size)
        return;
    if (buffer->capacity >= held + size && buffer->start >= held) { /* worth moving: less is moved than was taken */
        memcpy(buffer->data, buffer_bytes(buffer), held);
        buffer->start = 0;
        buffer->end = held;
        return;
    }
    while (capacity < held + size)
        capacity *= 2;
    char *data = capacity == BUFFER_CHUNK ? chunk_take() : malloc(capacity);
    if (data == NULL)
        memory_exhausted();
    if (held > 0)
        memcpy(data, buffer_bytes(buffer), held);
    memory_give(buffer);
    *buffer = (struct buffer){data, 0, held, capacity};
}

char *buffer_extend(struct buffer *buffer, size_t size)
{
    reserve(buffer, size);
    char *room = buffer->data + buffer->end;
    buffer->end += size;
    return room;
}

void buffer_add(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(buffer_extend(buffer, size), bytes, size);
}

void buffer_add_text(struct buffer *buffer, const char *text)
{
    buffer_add(buffer, text, strlen(text));
}

void buffer_add_format(struct buffer *buffer, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size > 0)
        buffer_add(buffer, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void buffer_fit(struct buffer *buffer)
{
    size_t size = buffer_size(buffer);
    if (size == buffer->capacity)
        return;
    char *data = malloc(size);
    if (data == NULL)
        memory_exhausted();
    memcpy(data, buffer_bytes(buffer), size);
    memory_give(buffer);
    *buffer = (struct buffer){data, 0, size, size};
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    buffer->start += size;
    if (buffer->start >= buffer->end)
        buffer_free(buffer);
}

void buffer_free(struct buffer *buffer)
{
    memory_give(buffer);
    *buffer = (struct buffer){0};
}

void buffer_pool_free(void)
{
    while (pool.count > 0)
        free(pool.chunks[--pool.count]);
}
