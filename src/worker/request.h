/* SPDX-License-Identifier: MIT */
/* A request being executed, and its answer in either framing. Every request gets exactly one call of an answer_
 * function (or answer_begin_pairs to answer_end_pairs), at once or later; the request is gone after it. */
#ifndef TK_WORKER_REQUEST_H
#define TK_WORKER_REQUEST_H

#include "keep/keep.h"
#include "worker/buffer.h"
#include "worker/connection.h"
#include "worker/input.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct request {
    TAILQ_ENTRY(request) order; /* in connection->untagged, connection->held or worker->spare */
    struct connection *connection;
    const struct command *command; /* NULL until it is known */
    int64_t began;                 /* boot-time clock, ns: when its bytes were received */
    bool resp;
    bool barrier, write;         /* counted in the connection */
    bool done;                   /* answered, waiting for its turn */
    bool streams;                /* the answer comes from `keys`, below */
    bool fixes;                  /* VERIFYALL FIX, REKEY */
    char tag[INPUT_TAG_MAX + 1]; /* "": none */
    struct buffer answer;        /* rendered before its turn */
    const struct word *scopes;   /* CHECK: what is asked for; in the input until `kept` holds a copy */
    size_t n_scopes;
    const struct audit_subject *subject; /* a change: whose token, in `kept`; NULL: nobody wants to know */
    const char *username;                /* LIST USER, DELETE USER: whose tokens, in `kept` */
    void *kept;                          /* freed with the request */
    size_t kept_size;
    struct {
        TAILQ_ENTRY(request) link;
        bool told;            /* there is an event of this request */
        uint64_t first, last; /* sequence numbers of the oldest and the newest; the newest is REPORTS_DROPPED from the
                                 first on that was dropped */
        int64_t until;        /* boot-time clock, ns */
        void (*answer)(struct request *request);
    } audit;            /* a change that waits for its record to be on the disk, see audit.h */
    struct token token; /* ISSUE: what was made; a look-up: its key alone */
    struct {            /* a streaming answer: the keys with a mark, or all of them */
        struct keyset *keys;
        uint64_t cursor;
        bool marked;
        bool begun;
        uint64_t counts[3]; /* LIST: of the keys; VERIFYALL, REKEY: checked, bad; REKEY: sealed again */
        size_t n_counts;
    } stream;
};

/* The codes of ERR. */
enum err_code { ERR_BADREQ, ERR_TOOLONG, ERR_DENIED, ERR_BUSY, ERR_AUDIT, ERR_UNAVAIL, ERR_CORRUPT, ERR_INTERNAL };

/* A request on the connection, in its order, taken from the spare ones. `input` gives framing and tag. */
struct request *request_begin(struct connection *connection, const struct input *input);

/* Zeroed memory that lives as long as the request, and counts against what its connection may hold. Once a request. */
void *request_keep(struct request *request, size_t size) __attribute__((returns_nonnull));

/* The worker it runs in. */
struct worker *request_worker(const struct request *request);

/* `OK`; `PING` alone is PONG in RESP. */
void answer_ok(struct request *request);
void answer_pong(struct request *request);

/* `OK <text>`; in RESP a bulk string. */
void answer_text(struct request *request, const char *text, size_t size);

/* `OK <count>`; in RESP an integer. */
void answer_count(struct request *request, uint64_t count);

/* `NO <reason>`; `NO invalid` is RESP's null. */
void answer_no(struct request *request, const char *reason);

/* `NO <kind> <detail>`. */
void answer_no_detail(struct request *request, const char *kind, struct word detail);

/* `ERR <code> <text>`; the text never quotes what could not be parsed. */
void answer_err(struct request *request, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A list of `n` names with values, a `+ <name> <value>` line each, then `OK`; in RESP an array of 2n strings. */
void answer_begin_pairs(struct request *request, size_t n);
void answer_pair(struct request *request, const char *name, const char *value);
void answer_end_pairs(struct request *request);

/* RESP alone: an array or string that is an answer to a Redis client's greeting, given ready-made. */
void answer_raw(struct request *request, const char *bytes);

/* LIST: the keys, then `OK <count>`. Takes the keys and gives them back when the last has gone out. */
void answer_keys(struct request *request, struct keyset *keys);

/* VERIFYALL, REKEY: the marked ones of the keys in request->stream with what is wrong, then `OK` and its counts. Gives
 * the keys back likewise. */
void answer_verified(struct request *request);

/* REKEY, before its answer: a line that says how far it is, where one may go out now. A keep_progress_callback. */
bool answer_progress(void *request, uint64_t done, uint64_t of);

/* STATS KEYS: a line for each key, then `OK <unreadable> <unindexed>`. */
void answer_key_counts(struct request *request, const struct key_counts *counts);

/* Answers connection->quit, whose turn has come. */
void request_answer_quit(struct connection *connection);

/* Writes more of connection->streaming's answer, about CONNECTION_OUT_MAX bytes at a time. */
void request_stream(struct connection *connection);

/* Lets go of all requests of a connection that are done and only waited for their turn: it is closed. */
void request_abandon(struct connection *connection);

/* Frees the spare ones. */
void request_free_spare(struct worker *worker);

#endif
