/* SPDX-License-Identifier: MIT */
/* The exit statuses of tokenkeepd and of all its processes; 64 and 78 are those of sysexits.h. */
#ifndef TK_BASE_EXIT_STATUS_H
#define TK_BASE_EXIT_STATUS_H

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILURE = 1,
    EXIT_STATUS_USAGE = 64,
    EXIT_STATUS_CONFIG = 78, /* the configuration, or what it names, is wrong: starting again will not help */
};

#endif
