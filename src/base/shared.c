/* SPDX-License-Identifier: MIT */
/* Memory that master and children share. */
#include "base/shared.h"

#include "base/clock.h"

#include <linux/futex.h>
#include <sodium.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shared *shared_create(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return NULL;
    unsigned char instance[8];
    randombytes_buf(shared->hash_seed, sizeof shared->hash_seed);
    randombytes_buf(instance, sizeof instance);
    sodium_bin2hex(shared->instance, sizeof shared->instance, instance, sizeof instance);
    shared->started = clock_boot();
    /* Until a reporter has said otherwise: changes are made, and their answers wait for it. */
    shared->audit_ready = true;
    return shared;
}

void shared_destroy(struct shared **shared)
{
    if (*shared != NULL)
        munmap(*shared, sizeof **shared);
    *shared = NULL;
}

/* Both counters only grow, so their sum is the same again only when neither moved. */
uint64_t generation_now(const struct shared *shared, uint64_t hash)
{
    return atomic_load(&shared->generation_all) + atomic_load(&shared->generations[hash & (SHARED_GENERATIONS - 1)]);
}

void generation_move(struct shared *shared, uint64_t hash)
{
    atomic_fetch_add(&shared->generations[hash & (SHARED_GENERATIONS - 1)], 1);
}

void generation_move_all(struct shared *shared)
{
    atomic_fetch_add(&shared->generation_all, 1);
}

void shared_slot_use(struct shared *shared, unsigned index)
{
    uint32_t used = atomic_load(&shared->slots_used);
    while (used <= index && !atomic_compare_exchange_weak(&shared->slots_used, &used, index + 1))
        continue;
}

/* set_robust_list(2) is meant for locks that a dying process holds: the kernel goes through the list and marks their
 * words. Here the only one is the slot's `owner`. */
void shared_slot_own(struct shared_slot *slot)
{
    static struct robust_list entry;
    static struct robust_list_head head;
    entry.next = &head.list;
    head.list.next = &entry;
    head.futex_offset = (char *)&slot->owner - (char *)&entry;
    atomic_store(&slot->owner, (uint32_t)gettid());
    (void)syscall(SYS_set_robust_list, &head, sizeof head);
}

bool shared_slot_orphaned(const struct shared_slot *slot)
{
    return (atomic_load(&slot->owner) & FUTEX_OWNER_DIED) != 0;
}

uint32_t shared_slots_used(const struct shared *shared)
{
    uint32_t used = atomic_load(&shared->slots_used);
    return used < SHARED_SLOTS ? used : SHARED_SLOTS;
}

uint32_t shared_listener_connections(const struct shared *shared, unsigned listener)
{
    uint32_t sum = 0, used = shared_slots_used(shared);
    for (unsigned i = 0; i < used; i++)
        sum += atomic_load(&shared->slots[i].connections[listener]);
    return sum;
}

void shared_slot_forget_hooks(struct shared_slot *slot)
{
    atomic_store(&slot->hook_running, 0);
    for (size_t i = 0; i < SHARED_HOOKS; i++)
        atomic_store(&slot->hook_failures[i], 0);
}

void shared_slot_reset(struct shared_slot *slot)
{
    const uint64_t client = atomic_load(&slot->redis_client);
    if (client != 0)
        atomic_store(&slot->redis_unfenced, client);
    atomic_store(&slot->redis_client, 0);
    atomic_store(&slot->accepting, false);
    atomic_store(&slot->connections_held, 0);
    atomic_store(&slot->cache_entries, 0);
    atomic_store(&slot->cache_bytes, 0);
    atomic_store(&slot->cache_lease, 0);
    atomic_store(&slot->invalidation_lag, 0);
    atomic_store(&slot->lua_call, 0);
    for (unsigned i = 0; i < SHARED_LISTENERS; i++)
        atomic_store(&slot->connections[i], 0);
}
