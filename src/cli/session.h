/* SPDX-License-Identifier: MIT */
/* A connection to a server: sends a request line, receives its answer line by line; tokenkeep-protocol(7) has the
 * format. What comes from the server is not trusted. */
#ifndef TK_CLI_SESSION_H
#define TK_CLI_SESSION_H

#include "cli/dial.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ANSWER_LINE_MAX = 1024 * 1024 }; /* bytes of one line of an answer, LF included; longer ones are a failure */

struct session_limits {
    int64_t timeout; /* nanoseconds for connecting and for the whole answer of a request */
    bool patient;    /* the answer may take longer, as long as bytes keep coming */
};

enum answer_class {
    ANSWER_OK,
    ANSWER_NO,
    ANSWER_ERR,
    ANSWER_ITEM, /* a `+ ` line: more lines follow */
};

struct answer {
    enum answer_class class;
    const char *text; /* what follows the class, "" for nothing: valid UTF-8 without control characters */
    size_t size;      /* of the text, which is terminated */
};

struct session;

/* Connects. NULL on failure. The caller frees the result; the target's strings must outlive it. */
struct session *session_open(const struct session_target *target, const struct session_limits *limits,
                             struct failure *failure) __attribute__((warn_unused_result));

/* Has `waiting` called with the seconds since the request, about once a second while an answer is awaited. */
void session_on_wait(struct session *session, void (*waiting)(int64_t seconds));

/* Sends a line (without its LF) and starts the clock of its answer. A server that has closed already is no failure
 * here: it may have said why, which session_receive() will find. Returns 0, or -1. */
int session_send(struct session *session, const char *line, struct failure *failure)
    __attribute__((warn_unused_result));

/* Receives one line of the answer. `answer` is good until the next call. Returns 0, or -1 when there was none in time,
 * the server closed, or the line is not one of the protocol. */
int session_receive(struct session *session, struct answer *answer, struct failure *failure)
    __attribute__((warn_unused_result));

/* Closes, wipes what was received, frees and sets to NULL; a NULL *session is left alone. */
void session_free(struct session **session);

#endif
