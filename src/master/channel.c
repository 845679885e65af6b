/* SPDX-License-Identifier: MIT */
/* The way to the reporter, as the master holds it. */
#include "master/channel.h"

#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct channel {
    int receiving;
    int sending;
};

/* It outlasts a reporter that is away for a moment. Only root may go beyond the system's limit. */
static void buffer_enlarge(int fd)
{
    const int size = CHANNEL_BUFFER_SIZE;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) != 0)
        log_warning("cannot enlarge the buffer for events: %s", strerror(errno));
}

struct channel *channel_new(struct error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        error_set(error, "cannot make the sockets for events: %s", strerror(errno));
        return NULL;
    }
    struct channel *channel = memory_zeroed(sizeof *channel);
    *channel = (struct channel){.receiving = ends[0], .sending = ends[1]};
    buffer_enlarge(channel->sending);
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

void channel_free(struct channel **channel)
{
    if (*channel == NULL)
        return;
    close((*channel)->receiving);
    close((*channel)->sending);
    free(*channel);
    *channel = NULL;
}
