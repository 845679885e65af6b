/* SPDX-License-Identifier: MIT */
/* What is counted, one list for all: STATS shows every metric under its name, summed over all processes. */
#ifndef TK_BASE_METRICS_H
#define TK_BASE_METRICS_H

/* X(constant, name in STATS, what it counts; tokenkeep-protocol(7) is checked against the names) */
#define METRICS_LIST(X)                                                                            \
    X(CONNECTIONS_ACCEPTED, "connections-accepted", "client connections taken")                    \
    X(CONNECTIONS_REFUSED, "connections-refused", "client connections refused with busy")          \
    X(CONNECTIONS_TIMED_OUT, "connections-timed-out", "client connections closed by a time limit") \
    X(REQUESTS, "requests", "requests executed or refused")                                        \
    X(ANSWERS_OK, "answers-ok", "answers of class OK")                                             \
    X(ANSWERS_NO, "answers-no", "answers of class NO")                                             \
    X(ANSWERS_ERR, "answers-err", "answers of class ERR")                                          \
    X(ERR_BADREQ, "err-badreq", "bad requests")                                                    \
    X(ERR_TOOLONG, "err-toolong", "requests over max-line")                                        \
    X(ERR_DENIED, "err-denied", "requests that the listener's role does not allow")                \
    X(ERR_BUSY, "err-busy", "requests refused because too many waited")                            \
    X(ERR_UNAVAIL, "err-unavail", "requests without a verdict because Redis was away")             \
    X(ERR_AUDIT, "err-audit", "changes refused or left in doubt because the audit log failed")     \
    X(POLICY_REFUSED, "policy-refused", "requests refused by a policy")                            \
    X(POLICY_FAILED, "policy-failed", "requests refused because a policy failed")                  \
    X(POLICY_SHADOW, "policy-shadow", "verdicts of policies in shadow mode that had no effect")    \
    X(CACHE_HITS, "cache-hits", "look-ups answered from the cache")                                \
    X(CACHE_NEGATIVE_HITS, "cache-negative-hits", "look-ups answered from the unknown keys")       \
    X(CACHE_MISSES, "cache-misses", "look-ups that needed Redis")                                  \
    X(CACHE_JOINED, "cache-joined", "misses that shared another's Redis GET")                      \
    X(CACHE_STALE, "cache-stale", "entries found outdated by a change")                            \
    X(CACHE_INVALIDATED, "cache-invalidated", "entries forgotten because of what Redis announced") \
    X(CACHE_BYPASSED, "cache-bypassed", "look-ups while the invalidation link was not alive")      \
    X(CACHE_STALE_ANSWERS, "cache-stale-answers", "look-ups answered past the time in an outage")  \
    X(CACHE_EVICTED, "cache-evicted", "entries that made room for others")                         \
    X(TOKENS_MISMATCHED, "tokens-mismatched", "look-ups with a wrong secret")                      \
    X(TOKENS_EXPIRED, "tokens-expired", "look-ups of expired tokens")                              \
    X(TOKENS_CORRUPT, "tokens-corrupt", "stored values that did not open or decode")               \
    X(TOKENS_STORED, "tokens-stored", "tokens stored or issued")                                   \
    X(TOKENS_DELETED, "tokens-deleted", "tokens deleted")                                          \
    X(TOKENS_RESEALED, "tokens-resealed", "tokens sealed again with another key")                  \
    X(REDIS_COMMANDS, "redis-commands", "commands sent to Redis")                                  \
    X(REDIS_CONNECTED, "redis-connections", "connections to Redis made")                           \
    X(REDIS_LOST, "redis-connections-lost", "connections to Redis lost")                           \
    X(REDIS_TIMEOUTS, "redis-timeouts", "Redis answers that never came in time")                   \
    X(REDIS_UNCERTAIN, "redis-uncertain", "changes whose answer never came")                       \
    X(INVALIDATION_LINKS, "invalidation-links-made", "invalidation links that came up")            \
    X(INVALIDATION_LOST, "invalidation-links-lost", "invalidation links lost")

enum metric {
#define X(constant, name, help) METRIC_##constant,
    METRICS_LIST(X)
#undef X
        METRICS
};

/* The name of a metric in STATS. */
const char *metric_name(enum metric metric);

#endif
