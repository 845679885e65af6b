/* SPDX-License-Identifier: MIT */
/* What the workers of a machine tell each other of lost connections to Redis. */
#include "keep/redis_fence.h"

#include <stdio.h>

void redis_fence_name(const struct shared *shared, unsigned slot, char name[REDIS_NAME_SIZE])
{
    snprintf(name, REDIS_NAME_SIZE, "tokenkeep-%s-%u", shared->instance, slot);
}

struct redis_fence redis_fence_of(const struct shared *shared, unsigned slot)
{
    struct redis_fence fence = {.id = atomic_load(&shared->slots[slot].redis_unfenced), .slot = slot};
    redis_fence_name(shared, slot, fence.name);
    return fence;
}

bool redis_fence_find(const struct shared *shared, struct redis_fence *fence)
{
    const unsigned used = atomic_load(&shared->slots_used);
    for (unsigned slot = 0; slot < used; slot++) {
        if (atomic_load(&shared->slots[slot].redis_unfenced) == 0)
            continue;
        *fence = redis_fence_of(shared, slot);
        return true;
    }
    return false;
}

void redis_fence_made(struct shared *shared, const struct redis_fence *fence)
{
    uint64_t id = fence->id;
    atomic_compare_exchange_strong(&shared->slots[fence->slot].redis_unfenced, &id, 0);
}
