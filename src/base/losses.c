/* SPDX-License-Identifier: MIT */
/* What got lost on the way to the reporter. */
#include "base/losses.h"

#include <inttypes.h>
#include <stdio.h>

/* Sums up over the places of all children and the master's. */
static uint64_t senders_sum(const struct shared *shared, uint64_t (*value)(const struct shared_sender *sender))
{
    const uint32_t used = shared_slots_used(shared);
    uint64_t sum = value(&shared->senders[SHARED_SENDER_MASTER]);
    for (uint32_t i = 0; i < used; i++)
        sum += value(&shared->senders[i]);
    return sum;
}

static uint64_t dropped_by(const struct shared_sender *sender)
{
    return atomic_load_explicit(&sender->dropped, memory_order_relaxed);
}

/* `done` first: it never passes what `sent` is by then. */
static uint64_t under_way_from(const struct shared_sender *sender)
{
    const uint64_t done = atomic_load(&sender->done), sent = atomic_load(&sender->sent);
    return sent > done ? sent - done : 0;
}

/* The growth of `total` since it was last told. */
static uint64_t untold(_Atomic uint64_t *told, uint64_t total)
{
    const uint64_t before = atomic_exchange(told, total);
    return total > before ? total - before : 0;
}

struct losses losses_take(struct shared *shared)
{
    return (struct losses){
        .sent = untold(&shared->reports_lost_told, atomic_load(&shared->reports_lost)),
        .dropped = untold(&shared->reports_dropped_told, senders_sum(shared, dropped_by)),
    };
}

uint64_t losses_under_way(const struct shared *shared)
{
    return senders_sum(shared, under_way_from);
}

const char *losses_describe(const struct losses *losses, char *text)
{
    const uint64_t sum = losses->sent + losses->dropped;
    snprintf(text, LOSSES_TEXT_SIZE,
             "%" PRIu64 " event%s lost: %" PRIu64 " on the way to the reporter, %" PRIu64 " for lack of room", sum,
             sum == 1 ? " was" : "s were", losses->sent, losses->dropped);
    return text;
}
