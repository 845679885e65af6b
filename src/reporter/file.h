/* SPDX-License-Identifier: MIT */
/* Files that hooks append lines to. Lines wait in memory until the batch of records is done, and leave in one write. A
 * line that the disk took half of is finished when there is room again, or written whole to the next file: no line is
 * ever torn but by a crash, and the one after a crash begins on a line of its own. */
#ifndef TK_REPORTER_FILE_H
#define TK_REPORTER_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct files; /* all of them */
struct file;

enum {
    FILES_MAX = 64,
    FILE_WAITING_MAX = 4 * 1024 * 1024, /* bytes of lines that wait for room on the disk */
    FILE_LINE_MAX = 64 * 1024,
};

/* None yet. Never NULL: without memory the process ends. From here on the process ignores SIGXFSZ: a limit of file
 * sizes is a write that fails. */
struct files *files_new(void) __attribute__((warn_unused_result));

/* Frees and sets to NULL; a NULL *files is left alone. Every file must have been closed. */
void files_free(struct files **files);

/* Writes what waits in all files, and finds out which were moved or deleted, at most once a second each: these are made
 * anew at their path first. Call it after each batch of records, and once a second. */
void files_flush(struct files *files);

/* Calls file_reopen for every file: for SIGUSR1. */
void files_reopen(struct files *files);

/* Opens `path`, which is absolute, to append; makes it with mode 0640 when it is not there. Two files of one path are
 * refused, and so is anything but a regular file, or a symbolic link. NULL with `error`. */
struct file *file_open(struct files *files, const char *path, struct error *error) __attribute__((warn_unused_result));

/* Appends a line; the LF is added. Returns 0; -1 with `error` when the line holds an LF or is too long, or when
 * FILE_WAITING_MAX bytes wait already: then it is dropped and counted. */
int file_append(struct file *file, const char *line, size_t size, struct error *error)
    __attribute__((warn_unused_result));

/* Writes what waits, and with `sync` makes sure that the disk has it. Returns 0 or -1 with `error`: what could not be
 * written goes on waiting. */
int file_flush(struct file *file, bool sync, struct error *error) __attribute__((warn_unused_result));

/* Writes what waits, closes the file, opens it again at its path, and goes on there with what could not be written.
 * Returns 0 or -1 with `error`. */
int file_reopen(struct file *file, struct error *error) __attribute__((warn_unused_result));

/* Whether the file at `path` is open and took what was last written to it; with `sync`, writes what waits and makes
 * sure that the disk has it first, in a file that is at its path, and no line was dropped since that last succeeded.
 * False when no hook has opened the path. */
bool files_take(struct files *files, const char *path, bool sync);

/* What is wrong with the file now: the error of the last write or reopening that failed, NULL since one succeeded. */
const char *file_failure(const struct file *file);

/* Lines dropped since the last call. */
unsigned long file_dropped(struct file *file);

/* Writes what waits, as far as that is possible, closes, frees and sets to NULL; a NULL *file is left alone. */
void file_close(struct file **file);

#endif
