/* SPDX-License-Identifier: MIT */
/* Small things of one size that come and go with every request: what is given back is wiped and handed out again. */
#ifndef TK_BASE_POOL_H
#define TK_BASE_POOL_H

#include <stddef.h>

/* Begins as {.size = ...}, at least that of a pointer. It keeps as many as were ever out at once. */
struct pool {
    size_t size;
    struct pool_spare *spare;
};

/* Zeroed memory of the pool's size, as memory_zeroed. */
void *pool_take(struct pool *pool) __attribute__((returns_nonnull, warn_unused_result));

/* Wipes what pool_take returned, and keeps it for the next. */
void pool_give(struct pool *pool, void *thing);

/* Frees what the pool keeps. What is still out can be given back all the same. */
void pool_empty(struct pool *pool);

#endif
