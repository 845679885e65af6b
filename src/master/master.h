/* SPDX-License-Identifier: MIT */
/* The master process: reads the configuration, binds the listeners, forks, supervises; talks to nobody. */
#ifndef TK_MASTER_MASTER_H
#define TK_MASTER_MASTER_H

#include <stdbool.h>

struct master_options {
    const char *config_file; /* NULL with state_directory */
    const char *state_directory;
    const char *listen; /* with state_directory; NULL: the default */
};

/* Serves in the foreground until a signal ends it. Returns the exit status: 0, 1 failure, 78 configuration. */
int master_run(const struct master_options *options) __attribute__((warn_unused_result));

/* Reads everything a start would, and makes a Redis round trip; logs what is wrong. Returns the exit status. */
int master_check(const struct master_options *options) __attribute__((warn_unused_result));

#endif
