/* SPDX-License-Identifier: MIT */
/* The receiving end of the way to the reporter. What was lost is found in two ways: a datagram that begins behind the
 * number expected next, and a socket that is empty though more was sent than was ever handed on. */
#include "reporter/intake.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reports.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    TURN_DATAGRAMS = 64,            /* handed on before the loop looks at timers and signals again */
    TURN_TIME = CLOCK_SECOND / 500, /* the same, in ns */
    DRAIN_ATTEMPTS = 200,           /* of one that ends and was never the reader: for a second */
    COMPLAINT_SECONDS = 10,         /* between lines on bad datagrams */
};

static const struct timeval reader_retry = {0, 5000}; /* between attempts to become the reader */
static const struct timeval failure_pause = {1, 0};

struct intake {
    struct intake_settings settings;
    struct event *readable, *retry;
    bool reading;                  /* this process is the reader */
    int64_t complained;            /* boot-time clock: the last line on a bad datagram, 0: none yet */
    uint64_t sent[SHARED_SENDERS]; /* as noted when the socket was last empty */
    unsigned char datagram[REPORTS_DATAGRAM_MAX];
};

enum take { TAKE_DONE, TAKE_EMPTY, TAKE_FAILED };

/* Whether a line on a bad datagram is due: whoever sends one can send many. */
static bool may_complain(struct intake *intake)
{
    const int64_t now = clock_boot();
    if (intake->complained != 0 && now - intake->complained < COMPLAINT_SECONDS * CLOCK_SECOND)
        return false;
    intake->complained = now;
    return true;
}

static void add_lost(struct intake *intake, uint64_t records)
{
    atomic_fetch_add(&intake->settings.shared->reports_lost, records);
    if (intake->settings.lost != NULL)
        intake->settings.lost(intake->settings.argument, records);
}

/* Says that all records below `next` are done, and whether they were kept. A worker that waits for that loads `kept`
 * before `failed`, so they move the other way round. */
static void settle(struct shared_sender *sender, uint64_t next, bool kept)
{
    if (!kept)
        atomic_store(&sender->failed, next);
    atomic_store(&sender->kept, next);
    atomic_store(&sender->done, next);
}

/* Everything below `next` that is not done is lost. Numbers that come again, because a sender was killed before it
 * noted what it had sent, are never behind what is done. */
static void lose_until(struct intake *intake, struct shared_sender *sender, uint64_t next)
{
    const uint64_t done = atomic_load(&sender->done);
    if (next <= done)
        return;
    add_lost(intake, next - done);
    settle(sender, next, false);
}

/* Hands on the record at the front. Returns its size, 0 when it is bad. */
static size_t hand_on(struct intake *intake, const unsigned char *bytes, size_t size)
{
    const struct intake_settings *settings = &intake->settings;
    size_t used;
    struct audit_event event;
    struct problem problem;
    switch (record_decode(bytes, size, &used, &event, &problem)) {
    case RECORD_EVENT: settings->on_event(settings->argument, &event); break;
    case RECORD_PROBLEM: settings->on_problem(settings->argument, &problem); break;
    case RECORD_BAD: break;
    }
    return used;
}

/* Returns whether every record could be read. */
static bool take_records(struct intake *intake, const struct datagram_head *head, const unsigned char *bytes,
                         size_t size)
{
    unsigned n = 0;
    size_t used = 0;
    for (; n < head->count && (used = hand_on(intake, bytes, size)) > 0; n++) {
        bytes += used;
        size -= used;
    }
    if (n < head->count) {
        if (may_complain(intake))
            log_error("place %u sent a record of events that cannot be read: %u are lost", head->sender,
                      head->count - n);
        add_lost(intake, head->count - n);
    } else if (size > 0 && may_complain(intake)) {
        log_error("place %u sent %zu bytes more than records of events", head->sender, size);
    }
    return n == head->count;
}

/* Whether the head can be true. Who sent it cannot be told: a lie within these bounds makes the counts wrong, no more.
 */
static bool head_is_sound(const struct shared *shared, const struct datagram_head *head, size_t size)
{
    return head->sender < SHARED_SENDERS && head->count <= size &&
           head->first <= atomic_load(&shared->senders[head->sender].sent);
}

static void take_datagram(struct intake *intake, const unsigned char *bytes, size_t size)
{
    struct datagram_head head;
    const size_t used = size <= REPORTS_DATAGRAM_MAX ? datagram_head_decode(bytes, size, &head) : 0;
    if (used == 0 || !head_is_sound(intake->settings.shared, &head, size - used)) {
        if (may_complain(intake))
            log_error("a datagram of events that nobody can have sent, %zu bytes, is left out", size);
        return;
    }
    struct shared_sender *sender = &intake->settings.shared->senders[head.sender];
    lose_until(intake, sender, head.first);
    const bool whole = take_records(intake, &head, bytes + used, size - used);
    const bool kept = intake->settings.batch_done(intake->settings.argument);
    settle(sender, head.first + head.count, whole && kept);
}

static bool hung_up(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLRDHUP};
    return poll(&poller, 1, 0) == 1 && (poller.revents & (POLLHUP | POLLRDHUP)) != 0;
}

static enum take take_one(struct intake *intake)
{
    const int fd = intake->settings.fd;
    ssize_t size = recv(fd, intake->datagram, sizeof intake->datagram, MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && errno == EAGAIN)
        return TAKE_EMPTY;
    if (size > 0 || (size == 0 && !hung_up(fd))) {
        take_datagram(intake, intake->datagram, (size_t)size);
        return TAKE_DONE;
    }
    if (size < 0 && may_complain(intake))
        log_error("events cannot be received: %s", strerror(errno));
    return TAKE_FAILED;
}

static bool note_sent_by(struct intake *intake, unsigned place)
{
    const struct shared_sender *sender = &intake->settings.shared->senders[place];
    intake->sent[place] = atomic_load(&sender->sent);
    return intake->sent[place] > atomic_load(&sender->done);
}

/* Notes what everybody has sent. False when all of that is done. */
static bool note_sent(struct intake *intake)
{
    const uint32_t used = shared_slots_used(intake->settings.shared);
    bool missing = note_sent_by(intake, SHARED_SENDER_MASTER);
    for (uint32_t i = 0; i < used; i++)
        missing |= note_sent_by(intake, i);
    return missing;
}

static void lose_noted(struct intake *intake)
{
    struct shared_sender *senders = intake->settings.shared->senders;
    const uint32_t used = shared_slots_used(intake->settings.shared);
    lose_until(intake, &senders[SHARED_SENDER_MASTER], intake->sent[SHARED_SENDER_MASTER]);
    for (uint32_t i = 0; i < used; i++)
        lose_until(intake, &senders[i], intake->sent[i]);
}

/* Takes the next datagram. Where there is none, what was noted as sent before the socket was seen to be empty and is
 * still not done went to a reporter that ended before it was. */
static enum take take_next(struct intake *intake)
{
    enum take taken = take_one(intake);
    if (taken != TAKE_EMPTY || !note_sent(intake))
        return taken;
    taken = take_one(intake);
    if (taken == TAKE_EMPTY)
        lose_noted(intake);
    return taken;
}

static void schedule(struct event *timer, const struct timeval *delay)
{
    if (event_add(timer, delay) != 0)
        memory_exhausted();
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct intake *intake = argument;
    const int64_t ends = clock_boot() + TURN_TIME;
    enum take taken = TAKE_DONE;
    (void)fd, (void)what;
    for (unsigned n = 0; taken == TAKE_DONE && n < TURN_DATAGRAMS && clock_boot() < ends; n++)
        taken = take_next(intake);
    if (taken != TAKE_FAILED)
        return;
    event_del(intake->readable);
    schedule(intake->retry, &failure_pause);
}

static bool become_reader(struct intake *intake)
{
    uint32_t nobody = 0;
    if (!intake->reading)
        intake->reading = atomic_compare_exchange_strong(&intake->settings.shared->reports_reader, &nobody,
                                                         intake->settings.slot + 1);
    return intake->reading;
}

/* The first reading does not wait for a datagram: the reader before may have left nothing but losses. */
static void on_retry(evutil_socket_t fd, short what, void *argument)
{
    struct intake *intake = argument;
    (void)fd, (void)what;
    if (!become_reader(intake)) {
        schedule(intake->retry, &reader_retry);
        return;
    }
    schedule(intake->readable, NULL);
    event_active(intake->readable, EV_READ, 0);
}

struct intake *intake_new(const struct intake_settings *settings)
{
    static const struct timeval at_once = {0, 0};
    struct intake *intake = memory_zeroed(sizeof *intake);
    intake->settings = *settings;
    intake->readable = event_new(settings->base, settings->fd, EV_READ | EV_PERSIST, on_readable, intake);
    intake->retry = event_new(settings->base, -1, 0, on_retry, intake);
    if (intake->readable == NULL || intake->retry == NULL)
        memory_exhausted();
    schedule(intake->retry, &at_once);
    return intake;
}

void intake_drain(struct intake *intake)
{
    const struct timespec wait = {0, reader_retry.tv_usec * 1000};
    for (unsigned n = 0; !become_reader(intake) && n < DRAIN_ATTEMPTS; n++)
        nanosleep(&wait, NULL);
    if (!intake->reading)
        log_warning("the reporter of an earlier configuration still reads events: what is left is left to it");
    while (intake->reading && take_next(intake) == TAKE_DONE)
        continue;
}

void intake_free(struct intake **intake)
{
    struct intake *freed = *intake;
    if (freed == NULL)
        return;
    *intake = NULL;
    uint32_t mine = freed->settings.slot + 1;
    if (freed->reading)
        atomic_compare_exchange_strong(&freed->settings.shared->reports_reader, &mine, 0);
    event_free(freed->readable);
    event_free(freed->retry);
    free(freed);
}
