/* SPDX-License-Identifier: MIT */
/* What every child process of the master has in common: how it is forked, waited for and described, and when it may
 * start again. */
#ifndef TK_MASTER_CHILD_H
#define TK_MASTER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHILD_TEXT_SIZE = 96 };

/* Once, before the rest: makes children that end wait to be reaped, however the parent left it, and blocks SIGCHLD, and
 * SIGUSR2: it tells a child to finish, and must not reach one that cannot hear it yet. */
void child_prepare(void);

/* Forks. Returns the child's pid, -1 with errno set, or 0 in the child, which dies with the master (SIGTERM), has
 * default signal dispositions, and the master's signals still blocked. */
pid_t child_fork(void) __attribute__((warn_unused_result));

/* In a child: closes every descriptor but 0, 1, 2 and the `n` in `kept`, which is sorted in place. */
void child_keep_descriptors(int *kept, size_t n);

/* Waits until the child `pid` ends, for at most `patience` nanoseconds. Returns whether it did, with its wait status.
 * The signals of other children are used up: reap them afterwards. */
bool child_wait(pid_t pid, int64_t patience, int *status) __attribute__((warn_unused_result));

/* Runs `body` in a child that keeps no descriptor but 0, 1 and 2. Returns its exit status, or `failed` when it could
 * not be forked, was killed, or took longer than `patience` nanoseconds, which is logged. `name` is for log lines. */
int child_run(const char *name, int (*body)(const void *argument), const void *argument, int64_t patience, int failed)
    __attribute__((warn_unused_result));

/* How long to wait before a child that lived for `lived` nanoseconds starts again: not at all when it lived for a
 * second, else 0.1 s, doubling from one such death to the next up to 5 s. `previous` is the delay before, 0 at
 * first. */
int64_t child_restart_delay(int64_t previous, int64_t lived);

/* Says how a child ended, from its wait status: "was killed by signal 9 (Killed)". `text` has CHILD_TEXT_SIZE bytes;
 * returns it. */
const char *child_describe_end(int status, char *text);

#endif
