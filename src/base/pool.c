/* SPDX-License-Identifier: MIT */
/* Small things of one size that come and go with every request. */
#include "base/pool.h"

#include "base/memory.h"

#include <sodium.h>
#include <stdlib.h>

struct pool_spare {
    struct pool_spare *next;
};

void *pool_take(struct pool *pool)
{
    struct pool_spare *spare = pool->spare;
    if (spare == NULL)
        return memory_zeroed(pool->size);
    pool->spare = spare->next;
    spare->next = NULL; /* all else in it was wiped */
    return spare;
}

void pool_give(struct pool *pool, void *thing)
{
    sodium_memzero(thing, pool->size);
#ifdef __SANITIZE_ADDRESS__
    free(thing); /* so that whoever still uses it is found */
#else
    struct pool_spare *spare = thing;
    spare->next = pool->spare;
    pool->spare = spare;
#endif
}

void pool_empty(struct pool *pool)
{
    while (pool->spare != NULL) {
        struct pool_spare *spare = pool->spare;
        pool->spare = spare->next;
        free(spare);
    }
}
