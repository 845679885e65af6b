/* SPDX-License-Identifier: MIT */
/* Policies: scripts of the operator that may refuse a request, or change what is stored. Each runs in a Lua state of
 * its own, within limits, and what goes wrong in one is a failure and never permission. Workers ask them before they
 * answer; `tokenkeep policy` asks them the same questions on the command line. tokenkeep-policy(7) is the manual. */
#ifndef TK_KEEP_POLICY_H
#define TK_KEEP_POLICY_H

#include "base/config.h"
#include "base/error.h"
#include "base/event.h"
#include "keep/token_data.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(constant, name of the function in a policy, which is the command in lower case) */
#define POLICY_POINTS_LIST(X) \
    X(GET, "get")             \
    X(CHECK, "check")         \
    X(GETKEY, "getkey")       \
    X(STORE, "store")         \
    X(ISSUE, "issue")         \
    X(DELETE, "delete")       \
    X(DELETEALL, "deleteall") \
    X(LIST, "list")           \
    X(VERIFYALL, "verifyall")

enum policy_point {
#define X(constant, name) POLICY_##constant,
    POLICY_POINTS_LIST(X)
#undef X
        POLICY_POINTS
};

enum {
    POLICY_REASON_MAX = 200,              /* bytes of a reason; longer ones are cut where a character ends */
    POLICY_MEMORY_MAX = 16 * 1024 * 1024, /* bytes of one state */
    POLICY_INSTRUCTIONS_MAX = 1000000,    /* of Lua, a call */
    POLICY_CPU_MAX = 50,                  /* milliseconds of CPU time, a call */
    POLICY_LOAD_CPU_MAX = 1000,           /* the same of loading the file and its function load */
};

/* What a policy hears of a request. Lives for the call. */
struct policy_request {
    enum policy_point point;
    struct event_peer peer;
    const char *listener;
    enum role role;
    const char *tag;                 /* NULL: none */
    const struct event_text *scopes; /* CHECK: what is asked for */
    size_t n_scopes;
    const char
        *username; /* LIST USER, DELETE USER (LIST and DELETEALL to them): whose tokens; NULL: none's in particular */
    bool fix;      /* VERIFYALL FIX, REKEY (VERIFYALL to them): it is to change what is stored */
    int64_t time;  /* wall clock, seconds */
};

/* What a policy hears of a token: never its secret. Lives for the call. What is common comes as it is; all else is read
 * from the JSON when a policy looks at it. */
struct policy_token {
    struct event_text key;
    struct event_text username;
    const char *token_type;
    const char *scopes; /* each with a NUL behind it */
    size_t n_scopes;
    int64_t expires;        /* wall clock, seconds; 0: never */
    struct event_text json; /* the whole token data as token_data_to_json renders them; the field `token` is left out of
                               what the policy sees */
};

enum policy_verdict {
    POLICY_PERMITS,
    POLICY_CHANGES, /* permits, with other data than those given */
    POLICY_REFUSES,
    POLICY_FAILS, /* no verdict: it threw, used up a limit, or returned something else */
};

struct policy_answer {
    enum policy_verdict verdict;
    char reason[POLICY_REASON_MAX + 1]; /* POLICY_REFUSES: for the client; no control characters */
    const char *policy;                 /* the name of the one that refused, failed or changed last */
    struct error failure;               /* POLICY_FAILS: what went wrong, for the log; never an argument's value */
    struct token_data *changed;         /* POLICY_CHANGES: the data to store instead; the caller frees them */
    unsigned shadow_refusals;           /* of policies in shadow mode: counted and logged, without effect */
    unsigned shadow_failures;
};

struct policies;

/* Loads all policies of the configuration, which must outlive them, in its order, and calls their `load`. `lua_call` as
 * in lua_sandbox.h, NULL: none. NULL with `error` naming file, line and reason: one does not compile, throws, returns
 * no table, or has an unknown name in it. With no policy configured the result is no NULL but permits everything at no
 * cost. */
struct policies *policies_new(const struct config *config, _Atomic uint64_t *lua_call, struct error *error)
    __attribute__((warn_unused_result));

/* Whether any policy has a function for the point: else asking is a waste. */
bool policies_concern(const struct policies *policies, enum policy_point point);

/* Asks all policies in order; the first refusal or failure ends it. `token` is NULL where there is none, or where it is
 * to be made of `data`. For POLICY_STORE and POLICY_ISSUE `data` are what is to be stored, and each policy sees what
 * those before it have made of them; NULL otherwise. */
void policies_ask(struct policies *policies, const struct policy_request *request, const struct policy_token *token,
                  const struct token_data *data, struct policy_answer *answer);

/* From now on the CPU time of each policies_ask is measured, which costs two system calls. */
void policies_measure(struct policies *policies);

/* Of the last policies_ask: instructions (to the next thousand of each policy) and, after policies_measure, nanoseconds
 * of CPU time, all policies together. */
void policies_cost(const struct policies *policies, uint64_t *instructions, int64_t *cpu);

/* Frees and sets to NULL; a NULL *policies is left alone. */
void policies_free(struct policies **policies);

/* The name of a point, "get"; and the reverse, POLICY_POINTS when there is none. */
const char *policy_point_name(enum policy_point point);
enum policy_point policy_point_parse(const char *name);

#endif
