/* SPDX-License-Identifier: MIT */
/* The queue of records on their way to the reporter: blocks, each a datagram to be. A record is written where it will
 * be sent from. */
#include "base/reports.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

/* The room behind the datagram is for the record that turns out not to fit: it then moves to the next block. */
struct block {
    TAILQ_ENTRY(block) link;
    size_t size; /* DATAGRAM_HEAD_SIZE and the records */
    unsigned count;
    unsigned char bytes[REPORTS_DATAGRAM_MAX + RECORD_MAX];
};

TAILQ_HEAD(block_list, block);

struct reports {
    struct reports_settings settings;
    struct shared_sender *sender;
    struct block_list blocks; /* none is empty; the last is being filled */
    struct block *spare;      /* to be used again, or NULL */
    size_t waiting;           /* bytes of records */
    uint64_t next;            /* the sequence number of the next record that is queued */
    uint64_t dropping;        /* records dropped since the queue was last empty */
    int failure;              /* errno of the last sending, 0: it went */
};

struct reports *reports_new(const struct reports_settings *settings)
{
    struct reports *reports = memory_zeroed(sizeof *reports);
    reports->settings = *settings;
    reports->sender = &settings->shared->senders[settings->sender];
    /* What its predecessor was about to send when it was killed may be on the way: those numbers are not given again.
     */
    reports->next = atomic_load(&reports->sender->claimed);
    atomic_store(&reports->sender->sent, reports->next);
    TAILQ_INIT(&reports->blocks);
    return reports;
}

/* Makes the spare block the last. False without memory. */
static bool append_block(struct reports *reports)
{
    struct block *block = reports->spare != NULL ? reports->spare : malloc(sizeof *block);
    if (block == NULL)
        return false;
    reports->spare = NULL;
    block->size = DATAGRAM_HEAD_SIZE;
    block->count = 0;
    TAILQ_INSERT_TAIL(&reports->blocks, block, link);
    return true;
}

static void remove_block(struct reports *reports)
{
    struct block *block = TAILQ_FIRST(&reports->blocks);
    TAILQ_REMOVE(&reports->blocks, block, link);
    reports->waiting -= block->size - DATAGRAM_HEAD_SIZE;
    free(reports->spare);
    reports->spare = block;
}

static void drop(struct reports *reports, uint64_t records)
{
    if (reports->dropping == 0)
        log_warning("events are dropped: the reporter does not take them");
    reports->dropping += records;
    atomic_fetch_add(&reports->sender->dropped, records);
}

static void end_dropping(struct reports *reports)
{
    if (reports->dropping > 0)
        log_warning("%" PRIu64 " events were dropped", reports->dropping);
    reports->dropping = 0;
}

/* Where the next record is to be written, RECORD_MAX bytes; NULL when it has to be dropped. */
static unsigned char *place(struct reports *reports)
{
    if (reports->waiting > REPORTS_QUEUE_MAX - RECORD_MAX ||
        (TAILQ_EMPTY(&reports->blocks) && !append_block(reports))) {
        drop(reports, 1);
        return NULL;
    }
    struct block *last = TAILQ_LAST(&reports->blocks, block_list);
    return last->bytes + last->size;
}

/* Takes the `size` bytes written at `record` into the queue. Returns the record's number. */
static uint64_t queue(struct reports *reports, const unsigned char *record, size_t size)
{
    struct block *last = TAILQ_LAST(&reports->blocks, block_list);
    bool first = reports->waiting == 0;
    if (last->size + size > REPORTS_DATAGRAM_MAX) {
        if (!append_block(reports)) {
            drop(reports, 1);
            return REPORTS_DROPPED;
        }
        last = TAILQ_LAST(&reports->blocks, block_list);
        memcpy(last->bytes + last->size, record, size);
    }
    last->size += size;
    last->count++;
    reports->waiting += size;
    if (first && reports->settings.wanted != NULL)
        reports->settings.wanted(reports->settings.argument);
    return reports->next++;
}

uint64_t reports_event(struct reports *reports, const struct audit_event *event)
{
    unsigned char *record = reports == NULL ? NULL : place(reports);
    if (record == NULL)
        return REPORTS_DROPPED;
    struct audit_event timed = *event;
    if (timed.time == 0)
        timed.time = clock_wall_microseconds();
    return queue(reports, record, event_encode(&timed, record));
}

void reports_problem(struct reports *reports, const struct problem *problem)
{
    unsigned char *record = reports == NULL ? NULL : place(reports);
    if (record == NULL)
        return;
    struct problem timed = *problem;
    if (timed.time == 0)
        timed.time = clock_wall_microseconds();
    if (timed.process.text == NULL)
        timed.process = event_text(log_process());
    queue(reports, record, problem_encode(&timed, record));
}

/* A reporter that does not keep up is no failure, and what is one may pass: the records are kept in any case. */
static void note_failure(struct reports *reports, int failure)
{
    if (failure != EAGAIN && failure != ENOBUFS && failure != reports->failure)
        log_error("events cannot be sent to the reporter: %s", strerror(failure));
    reports->failure = failure;
}

/* Whoever reads finds out what was lost by `sent`, so it moves once the kernel has the datagram. For a process that is
 * killed in between there is `claimed`. */
static bool send_block(struct reports *reports, struct block *block)
{
    const struct datagram_head head = {reports->settings.sender, atomic_load(&reports->sender->sent), block->count};
    datagram_head_encode(&head, block->bytes);
    atomic_store(&reports->sender->claimed, head.first + head.count);
    if (send(reports->settings.fd, block->bytes, block->size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        note_failure(reports, errno);
        return false;
    }
    reports->failure = 0;
    atomic_store(&reports->sender->sent, head.first + head.count);
    return true;
}

bool reports_flush(struct reports *reports)
{
    struct block *block;
    if (reports == NULL)
        return true;
    while ((block = TAILQ_FIRST(&reports->blocks)) != NULL) {
        if (!send_block(reports, block))
            return false;
        remove_block(reports);
    }
    end_dropping(reports);
    return true;
}

void reports_free(struct reports **reports)
{
    struct reports *freed = *reports;
    if (freed == NULL)
        return;
    *reports = NULL;
    struct block *block;
    while ((block = TAILQ_FIRST(&freed->blocks)) != NULL) {
        drop(freed, block->count);
        remove_block(freed);
    }
    atomic_store(&freed->sender->claimed, atomic_load(&freed->sender->sent));
    end_dropping(freed);
    free(freed->spare);
    free(freed);
}
