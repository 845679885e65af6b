/* SPDX-License-Identifier: MIT */
/* Clocks. Ages and deadlines run on the boot-time clock, which goes on while the machine sleeps. */
#ifndef TK_BASE_CLOCK_H
#define TK_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_SECOND INT64_C(1000000000)

/* Nanoseconds since the machine started, suspended time included (CLOCK_BOOTTIME). */
int64_t clock_boot(void);

/* Nanoseconds of CPU time that the calling thread has used; a system call. */
int64_t clock_cpu(void);

/* Seconds since the epoch: for `created` and `expires` alone. */
int64_t clock_wall(void);

/* Microseconds since the epoch: for the times in events. */
int64_t clock_wall_microseconds(void);

/* Seconds, as configured, in nanoseconds. */
int64_t clock_from_seconds(double seconds);

#endif
