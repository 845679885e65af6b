/* SPDX-License-Identifier: MIT */
/* One question to one policy, put by options or by a test instead of a client, and what is said of the answer. What a
 * server would not ask a policy is refused here. */
#ifndef TK_CLI_POLICY_QUESTION_H
#define TK_CLI_POLICY_QUESTION_H

#include "base/config.h"
#include "base/error.h"
#include "keep/policy.h"
#include "keep/token_data.h"

#include <jansson.h>

enum { QUESTION_SCOPES_MAX = 1000 };

/* A policy that has been loaded. */
struct subject {
    struct config *config;
    struct policies *policies;
};

/* Loads the policy at `path` alone. `settings` is an object of texts, numbers and booleans, NULL: none. Returns 0, or
 * -1 with `error` set; clear `subject` in both cases. */
int subject_load(struct subject *subject, const char *path, json_t *settings, struct error *error)
    __attribute__((warn_unused_result));

/* Frees what it holds, and zeroes it. */
void subject_clear(struct subject *subject);

struct question {
    struct policy_request request;
    struct token_data *data; /* NULL: the command is about no token */
    struct policy_token token;
    char *json; /* what the token's texts point into */
    size_t json_size;
    char *scopes;
    struct event_text asked[QUESTION_SCOPES_MAX];
};

/* Reads the object `request`, whose fields tokenkeep(1) lists, and the object `token`, which is token data as STORE
 * takes it, made-up where its own token is left out; NULL: none. Both must outlive `question`. Returns 0, or -1 with
 * `error` naming the field, or with `by_options` the option that gives it, and never quoting what is in it; clear
 * `question` in both cases. */
int question_read(struct question *question, json_t *request, json_t *token, bool by_options, struct error *error)
    __attribute__((warn_unused_result));

/* Wipes and frees what it holds. */
void question_clear(struct question *question);

/* Whether a command is about one token. */
bool question_needs_token(enum policy_point point);

/* Puts the question. Free answer->changed. */
void question_ask(const struct question *question, struct subject *subject, struct policy_answer *answer);

/* {"verdict":"permits"}; {"verdict":"refuses","reason":...}; {"verdict":"changes","changed":{...}} with the fields that
 * differ, null for those that are gone; {"verdict":"fails","reason":...}. A new reference, NULL without memory. */
json_t *question_answer_json(const struct question *question, const struct policy_answer *answer);

/* What would be stored if the fields in `changed` replaced the question's: as token_data_to_json renders it. NULL with
 * `error` when that is no token data. Wipe it, it holds a secret. */
char *question_changed(const struct question *question, json_t *changed, struct error *error);

#endif
