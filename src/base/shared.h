/* SPDX-License-Identifier: MIT */
/* Memory that master and children share: the generations that make cached entries stale in every worker at once, and a
 * slot of counters a child. The master maps it once; it outlives reloads. It believes nothing in here for its own
 * safety: slots are only counted and compared. */
#ifndef TK_BASE_SHARED_H
#define TK_BASE_SHARED_H

#include "base/metrics.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SHARED_SLOTS = 514, /* children, and those of earlier configurations that still finish what they hold */
    SHARED_SENDERS = SHARED_SLOTS + 1, /* who tells the reporter of events: each slot's child, and the master */
    SHARED_SENDER_MASTER = SHARED_SLOTS,
    SHARED_HOOKS = 16,          /* of one reporter */
    SHARED_LISTENERS = 64,      /* listeners, and those of earlier configurations */
    SHARED_GENERATIONS = 65536, /* a power of two */
    SHARED_SEED_SIZE = 16,
};

/* A child's slot. Its own process alone writes it while it lives, but for redis_unfenced, which anybody may clear, and
 * redis_client once the process is gone; then the master resets it. */
struct shared_slot {
    _Alignas(64) _Atomic uint64_t ticks; /* moves at least once a second while the event loop turns */
    _Atomic uint32_t owner; /* thread id of the process, marked by the kernel when it ends; see shared_slot_orphaned */
    _Atomic uint64_t redis_client; /* id of the Redis connection that is up and may carry changes, 0: none */
    _Atomic uint64_t
        redis_unfenced;     /* id of one that was lost and may still hold changes, 0: none; whoever sends a change ends
                               it first. None is up meanwhile in this slot: being up begins with ending it */
    _Atomic bool accepting; /* takes new connections, so it counts for the balance */
    _Atomic uint32_t connections_held;              /* now, on all listeners */
    _Atomic uint32_t connections[SHARED_LISTENERS]; /* the same by listener */
    _Atomic uint64_t cache_entries;
    _Atomic uint64_t cache_bytes;
    _Atomic int64_t cache_lease;       /* until when the cache may answer; boot-time clock, ns; 0: it may not */
    _Atomic uint64_t invalidation_lag; /* microseconds that what Redis announces is behind */
    _Atomic uint64_t lua_call;         /* odd while Lua runs; moves whenever that begins, ends, or looks at the clock */
    _Atomic uint32_t hook_running;     /* a reporter's: one more than the number of the hook whose function runs */
    _Atomic uint32_t
        hook_failures[SHARED_HOOKS];   /* a reporter's: of each hook, in a row; its successor goes on there */
    _Atomic uint64_t metrics[METRICS]; /* see metrics.h; never reset, so sums over all slots only grow */
};

/* What one place has told the reporter. Whoever sits in it writes the first three, the reporter the others. */
struct shared_sender {
    _Alignas(64) _Atomic uint64_t sent; /* records given to the kernel: the sequence number of the next */
    _Atomic uint64_t claimed;           /* the same, with those that are about to be: who sits here next begins there */
    _Atomic uint64_t dropped;           /* records that found the queue full */
    _Atomic uint64_t done;              /* records handed on, or found lost: the sequence number expected next */
    _Atomic uint64_t failed;            /* of the records below this one some may have missed the audit log */
    _Atomic uint64_t kept; /* all records below this one are in it and on the disk, but for those that failed. A reader
                              loads this first: it is stored last */
};

struct shared {
    unsigned char hash_seed[SHARED_SEED_SIZE]; /* of key hashes: one for all workers, so that their generations agree */
    char instance[17]; /* random hexadecimal digits, NUL: names this master's Redis connections */
    int64_t started;   /* boot-time clock, ns */
    _Atomic uint64_t generation_all;
    _Atomic uint64_t generations[SHARED_GENERATIONS];
    _Atomic uint32_t slots_used;           /* no slot from this one on was ever used: scans end here */
    _Atomic uint32_t reports_reader;       /* one more than the slot of the reporter that reads, 0: none does */
    _Atomic bool audit_ready;              /* the audit log takes records; the reporter says so when it is required */
    _Atomic uint64_t reports_lost;         /* records sent that no reporter has handed on */
    _Atomic uint64_t reports_lost_told;    /* of these: those that the log has told of, see losses.h */
    _Atomic uint64_t reports_dropped_told; /* the same, of all that was dropped */
    struct shared_sender senders[SHARED_SENDERS];
    struct shared_slot slots[SHARED_SLOTS];
};

/* Maps and initialises the memory. NULL with errno set when there is none. */
struct shared *shared_create(void) __attribute__((warn_unused_result));

/* Unmaps; for tests, a process that ends need not call it. */
void shared_destroy(struct shared **shared);

/* The generation of all keys whose hash is `hash`. What was read from Redis is current while the generation noted
 * before the asking is still the generation now. Only ever compared for equality. */
uint64_t generation_now(const struct shared *shared, uint64_t hash);

/* Makes everything noted for this hash stale, in every worker; collisions cost other keys a miss. */
void generation_move(struct shared *shared, uint64_t hash);

/* The same for every key. */
void generation_move_all(struct shared *shared);

/* Says that slot `index` is in use from now on. The master calls it before it forks the child. */
void shared_slot_use(struct shared *shared, unsigned index);

/* Makes the calling process the slot's owner, until it ends. It must own no other, nor use robust mutexes. */
void shared_slot_own(struct shared_slot *slot);

/* Whether the slot's owner has ended. The kernel says so before it closes the process' sockets, so this is true before
 * any client can have noticed, while the master hears of it later. (Where the kernel has no robust futexes it stays
 * false.) */
bool shared_slot_orphaned(const struct shared_slot *slot);

/* One more than the highest slot in use, at most SHARED_SLOTS whatever a child wrote there: where loops over slots
 * end. */
uint32_t shared_slots_used(const struct shared *shared);

/* Connections held on listener `listener` by all children. */
uint32_t shared_listener_connections(const struct shared *shared, unsigned listener);

/* Adds to a metric of the calling process' own slot. Nobody else writes it, so it takes no locked instruction. */
static inline void shared_count(struct shared_slot *slot, enum metric metric, uint64_t n)
{
    _Atomic uint64_t *value = &slot->metrics[metric];
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Forgets which hooks of a reporter failed in the slot. */
void shared_slot_forget_hooks(struct shared_slot *slot);

/* Resets what a dead child held: its connections, its cache, whether it accepts, and the Lua call it died in. Its Redis
 * connection, when it did not put it away itself, becomes redis_unfenced; metrics stay for its successor. */
void shared_slot_reset(struct shared_slot *slot);

#endif
