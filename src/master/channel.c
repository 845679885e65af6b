/* SPDX-License-Identifier: MIT */
/* The way to the reporter, as the master holds it. */
#include "master/channel.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/reports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct channel {
    int receiving;
    int sending;
    struct reports *reports; /* what the master itself tells */
};

/* It outlasts a reporter that is away for a moment. Only root may go beyond the system's limit. */
static void buffer_enlarge(int fd)
{
    const int size = CHANNEL_BUFFER_SIZE;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) != 0)
        log_warning("cannot enlarge the buffer for events: %s", strerror(errno));
}

struct channel *channel_new(struct shared *shared, struct error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        error_set(error, "cannot make the sockets for events: %s", strerror(errno));
        return NULL;
    }
    struct channel *channel = memory_zeroed(sizeof *channel);
    *channel = (struct channel){.receiving = ends[0], .sending = ends[1]};
    buffer_enlarge(channel->sending);
    channel->reports = reports_new(&(struct reports_settings){
        .fd = channel->sending,
        .shared = shared,
        .sender = SHARED_SENDER_MASTER,
    });
    return channel;
}

int channel_sending(const struct channel *channel)
{
    return channel != NULL ? channel->sending : -1;
}

int channel_receiving(const struct channel *channel)
{
    return channel != NULL ? channel->receiving : -1;
}

static struct reports *reports_of(struct channel *channel)
{
    return channel != NULL ? channel->reports : NULL;
}

void channel_tell_server(struct channel *channel, enum event_kind kind, unsigned workers)
{
    reports_event(reports_of(channel),
                  &(struct audit_event){.kind = kind, .result = EVENT_OK, .latency = -1, .count = workers});
}

void channel_tell_crash(struct channel *channel, unsigned worker, const char *name, const char *how)
{
    char message[128];
    snprintf(message, sizeof message, "%s %s", name, how);
    if (worker > 0)
        reports_event(reports_of(channel), &(struct audit_event){
                                               .kind = EVENT_WORKER_CRASH,
                                               .result = EVENT_ERROR,
                                               .worker = worker,
                                               .latency = -1,
                                               .reason = event_text(how),
                                           });
    reports_problem(reports_of(channel), &(struct problem){
                                             .kind = event_text(worker > 0 ? "worker.crash" : "reporter.crash"),
                                             .phase = PROBLEM_ONCE,
                                             .message = event_text(message),
                                             .process = event_text(name),
                                         });
}

bool channel_flush(struct channel *channel)
{
    return reports_flush(reports_of(channel));
}

void channel_free(struct channel **channel)
{
    if (*channel == NULL)
        return;
    reports_free(&(*channel)->reports);
    close((*channel)->receiving);
    close((*channel)->sending);
    free(*channel);
    *channel = NULL;
}
