/* SPDX-License-Identifier: MIT */
/* The log: one line a fact, to standard error, each line in one write so that processes never mix theirs. It never
 * waits: while nobody reads the other end, lines are left out, and how many is said in the next that is written. */
#ifndef TK_BASE_LOG_H
#define TK_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Sets what is logged from here on: lines of `level` and graver ones. Until it is called: info, as text. */
void log_configure(enum log_level level, enum log_format format);

/* Whether lines of `level` are logged. */
bool log_wants(enum log_level level);

/* Names this process in every line that follows, e.g. "master" or "worker 3"; cut at 31 bytes. */
void log_name_process(const char *name);

/* The name of this process. */
const char *log_process(void);

/* Finds standard error anew, after it was replaced. Not needed before the first line. */
void log_reopen(void);

/* The descriptor that lines go to: a process that closes what it inherited keeps it open. */
int log_descriptor(void);

/* Each writes one line: time in UTC with microseconds, level, process and pid, message. The message is cut at 1,023
 * bytes; control characters in it become '?', so no input can forge a line. Secrets do not belong in a message. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
