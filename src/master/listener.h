/* SPDX-License-Identifier: MIT */
/* The listeners: sockets that the master binds and keeps open across the death of workers, so that no queued connection
 * is ever reset. */
#ifndef TK_MASTER_LISTENER_H
#define TK_MASTER_LISTENER_H

#include "base/config.h"
#include "base/error.h"
#include "base/shared.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listener {
    int fd;                               /* bound, listening, non-blocking, close-on-exec */
    unsigned id;                          /* index of shared_slot.connections */
    const struct config_listener *config; /* belongs to the configuration that was given to listeners_open */
    dev_t device;                         /* of a unix socket's file: only our own is ever removed */
    ino_t inode;
};

struct listeners {
    size_t n;
    struct listener items[CONFIG_LISTENERS_MAX];
};

enum listener_result {
    LISTENER_OK,
    LISTENER_BUSY, /* another program listens there; it may be about to end */
    LISTENER_FAILED,
};

/* Opens every listener of `config` into `next`. One that `running` has under the same address is kept: the same
 * descriptor and id, with the new mode and owner. New ones get an id that neither `running` nor a held connection uses.
 * On failure nothing has changed, `next` is empty and `error` names the listener. `running` may be empty and stays as
 * it is. */
enum listener_result listeners_open(struct listeners *next, const struct listeners *running,
                                    const struct config *config, const struct shared *shared, struct error *error)
    __attribute__((warn_unused_result));

/* Closes the listeners of `gone` that are not in `kept` (NULL: all), removes their socket files where they are still
 * ours, and empties `gone`. */
void listeners_close(struct listeners *gone, const struct listeners *kept);

/* Says whether `config` could be opened, without listening and without disturbing who does. LISTENER_BUSY when somebody
 * does already. `error` names the listener unless the result is LISTENER_OK. */
enum listener_result listener_check(const struct config_listener *config, struct error *error)
    __attribute__((warn_unused_result));

/* Writes "ADDRESS (ROLE), ADDRESS (ROLE)" of all listeners into `text`, cut at `size` bytes. */
void listeners_describe(const struct listeners *listeners, char *text, size_t size);

/* The address of the listener's unix socket, NULL when it is not one. */
const char *listener_path(const struct config_listener *config);

#endif
