/* SPDX-License-Identifier: MIT */
/* The signals of a child process: those that the master sends wait until there is somebody to hear them. */
#ifndef TK_BASE_SIGNALS_H
#define TK_BASE_SIGNALS_H

#include <stddef.h>

/* Lets the `n` signals of `heard` wait from here on. Of the others, SIGINT, SIGHUP, SIGUSR1 and SIGPIPE are ignored (a
 * terminal sends the first two to the whole group, and the master decides), and the rest does what it does by
 * default. */
void signals_hold(const int *heard, size_t n);

/* Lets all signals come: those that were held have handlers now. */
void signals_hear(void);

#endif
