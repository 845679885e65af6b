/* SPDX-License-Identifier: MIT */
/* What the workers of a machine tell each other of lost connections to Redis. */
#include "keep/redis_fence.h"

#include <stdio.h>

void redis_fence_name(const struct shared *shared, unsigned slot, char name[REDIS_NAME_SIZE])
{
    snprintf(name, REDIS_NAME_SIZE, "tokenkeep-%s-%u", shared->instance, slot);
}

/* In this order: the master moves the id from the one to the other, and it must not be missed on its way. */
static uint64_t slot_lost(const struct shared_slot *slot)
{
    const uint64_t left = shared_slot_orphaned(slot) ? atomic_load(&slot->redis_client) : 0;
    return left != 0 ? left : atomic_load(&slot->redis_unfenced);
}

struct redis_fence redis_fence_of(const struct shared *shared, unsigned slot)
{
    struct redis_fence fence = {.id = slot_lost(&shared->slots[slot]), .slot = slot};
    redis_fence_name(shared, slot, fence.name);
    return fence;
}

bool redis_fence_find(const struct shared *shared, struct redis_fence *fence)
{
    const unsigned used = shared_slots_used(shared);
    for (unsigned slot = 0; slot < used; slot++) {
        if (slot_lost(&shared->slots[slot]) == 0)
            continue;
        *fence = redis_fence_of(shared, slot);
        return true;
    }
    return false;
}

void redis_fence_made(struct shared *shared, const struct redis_fence *fence)
{
    struct shared_slot *slot = &shared->slots[fence->slot];
    uint64_t client = fence->id, unfenced = fence->id;
    atomic_compare_exchange_strong(&slot->redis_client, &client, 0);
    atomic_compare_exchange_strong(&slot->redis_unfenced, &unfenced, 0);
}
