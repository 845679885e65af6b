/* SPDX-License-Identifier: MIT */
/* What master and workers tell the reporter: events, which are worth an audit record, and problems, which an operator
 * must look at. The record that carries one is a msgpack array of fixed places; both ends are the same program, so it
 * has no version. No token secret, no key of the vault and no plaintext of a stored value is ever in one. */
#ifndef TK_BASE_EVENT_H
#define TK_BASE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* X(constant, name); tokenkeep-lua(7) is checked against the names. */
#define EVENT_KINDS_LIST(X)                   \
    X(TOKEN_STORE, "token.store")             \
    X(TOKEN_ISSUE, "token.issue")             \
    X(TOKEN_DELETE, "token.delete")           \
    X(TOKEN_DELETE_ALL, "token.delete_all")   \
    X(TOKEN_DELETE_USER, "token.delete_user") \
    X(TOKEN_REKEY, "token.rekey")             \
    X(TOKEN_LIST, "token.list")               \
    X(TOKEN_GET, "token.get")                 \
    X(TOKEN_MISMATCH, "token.mismatch")       \
    X(TOKEN_EXPIRED, "token.expired")         \
    X(TOKEN_MALFORMED, "token.malformed")     \
    X(REQUEST_DENIED, "request.denied")       \
    X(SERVER_START, "server.start")           \
    X(SERVER_STOP, "server.stop")             \
    X(WORKER_CRASH, "worker.crash")

enum event_kind {
#define X(constant, name) EVENT_##constant,
    EVENT_KINDS_LIST(X)
#undef X
        EVENT_KINDS
};

enum event_result { EVENT_OK, EVENT_NO, EVENT_DENIED, EVENT_ERROR, EVENT_UNCERTAIN, EVENT_RESULTS };

/* Bytes that need no NUL behind them; a NULL text is absent. */
struct event_text {
    const char *text;
    size_t size;
};

enum peer_kind { PEER_NONE, PEER_INET, PEER_INET6, PEER_UNIX, PEER_KINDS };

/* Who asked. */
struct event_peer {
    enum peer_kind kind;
    uint16_t port;             /* PEER_INET and PEER_INET6, host byte order */
    unsigned char address[16]; /* the same, network byte order; PEER_INET uses the first 4 */
    uid_t uid;                 /* PEER_UNIX: of the process that connected, as the kernel says */
};

/* Absent: a NULL text, 0 in a number, -1 in `latency`. */
struct audit_event {
    enum event_kind kind;
    enum event_result result;
    int64_t time; /* wall clock, microseconds since the epoch */
    struct event_text key;
    struct event_text username;
    struct event_text token_type;
    struct event_text scopes; /* with one space between them */
    int64_t expires;          /* wall clock, seconds */
    struct event_peer peer;
    struct event_text listener;
    struct event_text tag;
    unsigned worker;           /* its number; 0: the master */
    int64_t latency;           /* microseconds from the request's arrival to its answer */
    struct event_text command; /* the request's name, as the table of commands has it */
    struct event_text reason;  /* of a result other than ok */
    bool stale;                /* answered from memory past its time, because Redis was away */
    uint64_t
        count; /* tokens deleted, sealed again or listed; of a mismatch and the like: how often, this one included */
};

/* Whether a problem stands alone, or is the beginning or the end of a state that lasts. */
enum problem_phase { PROBLEM_ONCE, PROBLEM_BEGINS, PROBLEM_ENDS, PROBLEM_PHASES };

/* Absent: a NULL text, 0 in a number; kind and message never are. */
struct problem {
    struct event_text kind; /* such as "redis.away": problems of one kind are grouped */
    enum problem_phase phase;
    int64_t time;              /* wall clock, microseconds since the epoch */
    struct event_text message; /* one sentence for people */
    struct event_text key;     /* the Redis key it is about, prefix included */
    struct event_text error;   /* what the system or a library said; never a plaintext */
    struct event_text process; /* such as "worker 3" */
    double seconds;            /* PROBLEM_ENDS: how long it lasted */
};

enum {
    EVENT_TEXT_MAX = 1024,   /* bytes of a text; longer ones are cut where a character ends */
    EVENT_SCOPES_MAX = 4096, /* of the scopes; cut behind a whole scope, and " ..." follows */
    RECORD_MAX = 16 * 1024,  /* of a record */
    DATAGRAM_HEAD_SIZE = 16, /* what datagram_head_encode writes */
};

/* What a datagram begins with, see reports.h. */
struct datagram_head {
    unsigned sender; /* index in shared->senders, at most 65535 */
    uint64_t first;  /* sequence number of its first record */
    unsigned count;  /* records, 1 to 65535 */
};

/* The name of a kind or a result, as hooks see it: "token.store", "ok". */
const char *event_kind_name(enum event_kind kind);
const char *event_result_name(enum event_result result);

/* A text of a string with a NUL; NULL: absent. */
struct event_text event_text(const char *string);

/* Writes the record of an event or a problem to `record`, which has RECORD_MAX bytes. Returns its size. In texts, bytes
 * that are not UTF-8 and control characters become '?'. */
size_t event_encode(const struct audit_event *event, unsigned char *record);
size_t problem_encode(const struct problem *problem, unsigned char *record);

enum record_kind { RECORD_EVENT, RECORD_PROBLEM, RECORD_BAD };

/* Reads the record at the front of `bytes`, which may come from anybody. Sets *used to its size. The texts of *event or
 * *problem then point into `bytes`. Refused as RECORD_BAD, with *used 0: what ends early, has another shape, longer
 * texts or numbers out of range, or texts that are not UTF-8 or hold control characters. */
enum record_kind record_decode(const unsigned char *bytes, size_t size, size_t *used, struct audit_event *event,
                               struct problem *problem) __attribute__((warn_unused_result));

/* Writes the DATAGRAM_HEAD_SIZE bytes of a head. */
void datagram_head_encode(const struct datagram_head *head, unsigned char *bytes);

/* Reads the head at the front of `bytes`, which may come from anybody. Returns its size, 0 when it is none. */
size_t datagram_head_decode(const unsigned char *bytes, size_t size, struct datagram_head *head)
    __attribute__((warn_unused_result));

#endif
