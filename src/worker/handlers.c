/* SPDX-License-Identifier: MIT */
/* The handlers of the commands on tokens. */
#include "worker/handlers.h"

#include "base/clock.h"
#include "worker/audit.h"
#include "worker/gate.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Answers for the results that are no verdict. */
static void answer_no_verdict(struct request *request, enum keep_result result)
{
    switch (result) {
    case KEEP_BUSY:
        answer_err(request, ERR_BUSY, "too many requests wait, or a request over all tokens is under way; try again");
        break;
    case KEEP_UNCERTAIN:
        answer_err(request, ERR_UNAVAIL,
                   "uncertain: the change was sent to Redis and its answer never came; it may have been made");
        break;
    case KEEP_UNAVAILABLE:
        answer_err(request, ERR_UNAVAIL, "Redis does not answer, or refuses; the log says which");
        break;
    case KEEP_ABANDONED: answer_err(request, ERR_UNAVAIL, "ended midway: the connection was closed"); break;
    case KEEP_DONE:
    case KEEP_INVALID:
    case KEEP_MISMATCH:
    case KEEP_EXPIRED:
    case KEEP_CORRUPT: answer_err(request, ERR_INTERNAL, "unexpected result"); break;
    }
}

/* Answers for all results of a look-up by a token but KEEP_DONE: one answer for all that is no valid token. */
static void answer_look_up(struct request *request, enum keep_result result)
{
    if (result == KEEP_INVALID || result == KEEP_MISMATCH || result == KEEP_EXPIRED || result == KEEP_CORRUPT)
        answer_no(request, "invalid");
    else
        answer_no_verdict(request, result);
}

/* What is no token, or no key. */
static void answer_malformed(struct request *request)
{
    audit_malformed(request);
    answer_no(request, "malformed");
}

static void get_done(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    struct request *request = argument;
    if (result == KEEP_DONE && !gate_permits(request, entry))
        return;
    audit_look_up(request, result, entry, NULL);
    if (result == KEEP_DONE)
        answer_text(request, cache_entry_json(entry), entry->json_size);
    else
        answer_look_up(request, result);
}

/* Reads a whole token, and notes its key. */
static bool read_token(struct request *request, struct word word, struct token *token)
{
    if (!token_parse(word.text, word.size, token))
        return false;
    memcpy(request->token.key, token->key, TOKEN_PART_SIZE);
    return true;
}

void handle_get(struct request *request, const struct word *words, size_t n_words)
{
    struct worker *worker = request_worker(request);
    struct token token;
    (void)n_words;
    if (read_token(request, words[0], &token))
        keep_get(worker->keep, &worker->now, token.key, token.secret, get_done, request);
    else
        answer_malformed(request);
}

static void getkey_done(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    if (result != KEEP_CORRUPT) {
        get_done(argument, result, entry);
        return;
    }
    audit_look_up(argument, result, entry, NULL);
    answer_err(argument, ERR_CORRUPT, "the stored value cannot be read; the log says why");
}

void handle_getkey(struct request *request, const struct word *words, size_t n_words)
{
    struct worker *worker = request_worker(request);
    (void)n_words;
    if (!token_part_valid(words[0].text, words[0].size)) {
        answer_malformed(request);
        return;
    }
    memcpy(request->token.key, words[0].text, TOKEN_PART_SIZE);
    keep_get(worker->keep, &worker->now, words[0].text, NULL, getkey_done, request);
}

/* The first scope that is asked for and that the token lacks, or NULL. */
static const struct word *missing_scope(const struct request *request, const struct cache_entry *entry)
{
    for (size_t i = 0; i < request->n_scopes; i++)
        if (!cache_entry_has_scope(entry, request->scopes[i].text, request->scopes[i].size))
            return &request->scopes[i];
    return NULL;
}

static void check_done(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    struct request *request = argument;
    const struct word *missing = result == KEEP_DONE ? missing_scope(request, entry) : NULL;
    if (result == KEEP_DONE && missing == NULL && !gate_permits(request, entry))
        return;
    audit_look_up(request, result, entry, missing);
    if (missing != NULL)
        answer_no_detail(request, "scope", *missing);
    else if (result == KEEP_DONE)
        answer_text(request, cache_entry_username(entry), entry->username_size);
    else
        answer_look_up(request, result);
}

static bool scopes_valid(const struct request *request)
{
    for (size_t i = 0; i < request->n_scopes; i++)
        if (!token_data_scope_valid(request->scopes[i].text, request->scopes[i].size))
            return false;
    return true;
}

/* Copies the scopes that are asked for into one block, words first: the input is gone when the answer comes later. */
static void keep_scopes(struct request *request)
{
    size_t size = request->n_scopes * sizeof(struct word);
    for (size_t i = 0; i < request->n_scopes; i++)
        size += request->scopes[i].size;
    struct word *words = request_keep(request, size + 1);
    char *end = (char *)(words + request->n_scopes);
    for (size_t i = 0; i < request->n_scopes; i++) {
        words[i] = (struct word){end, request->scopes[i].size};
        end = mempcpy(end, request->scopes[i].text, request->scopes[i].size);
    }
    request->scopes = words;
}

void handle_check(struct request *request, const struct word *words, size_t n_words)
{
    struct worker *worker = request_worker(request);
    struct token token;
    request->scopes = words + 1;
    request->n_scopes = n_words - 1;
    if (!scopes_valid(request))
        answer_err(request, ERR_BADREQ, "a scope is made of A-Z a-z 0-9 : . _ -");
    else if (!read_token(request, words[0], &token))
        answer_malformed(request);
    else if (!keep_get(worker->keep, &worker->now, token.key, token.secret, check_done, request))
        keep_scopes(request);
}

static void answer_change(struct request *request, enum keep_result result)
{
    if (result == KEEP_DONE)
        audit_answer(request, answer_ok);
    else if (result == KEEP_INVALID)
        answer_no(request, "invalid");
    else
        answer_no_verdict(request, result);
}

static void delete_done(void *argument, enum keep_result result)
{
    audit_change(argument, EVENT_TOKEN_DELETE, result);
    answer_change(argument, result);
}

/* When it has been remembered whose token it is. */
static void delete_now(struct request *request)
{
    keep_delete(request_worker(request)->keep, request->token.key, delete_done, request);
}

/* Policies are asked of what is there; a value that cannot be read is nobody's token. */
static void delete_looked_up(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    struct request *request = argument;
    audit_remember_entry(request, request->token.key, entry);
    if (result == KEEP_UNAVAILABLE || result == KEEP_BUSY)
        delete_done(request, result);
    else if (gate_permits(request, entry))
        delete_now(request);
}

void handle_delete(struct request *request, const struct word *words, size_t n_words)
{
    struct worker *worker = request_worker(request);
    (void)n_words;
    if (!token_part_valid(words[0].text, words[0].size)) {
        answer_malformed(request);
        return;
    }
    memcpy(request->token.key, words[0].text, TOKEN_PART_SIZE);
    if (gate_wants_token(request)) {
        keep_get(worker->keep, &worker->now, request->token.key, NULL, delete_looked_up, request);
        return;
    }
    audit_remember_key(request, request->token.key);
    delete_now(request);
}

static struct token_data *read_data(struct request *request, struct word json, enum token_data_source source)
{
    struct error error;
    struct token_data *data = token_data_from_json(json.text, json.size, source, clock_wall(), &error);
    if (data == NULL)
        answer_err(request, ERR_BADREQ, "%s", error.text);
    return data;
}

static void store_done(void *argument, enum keep_result result)
{
    audit_change(argument, EVENT_TOKEN_STORE, result);
    answer_change(argument, result);
}

void handle_store(struct request *request, const struct word *words, size_t n_words)
{
    (void)n_words;
    struct token_data *data = read_data(request, words[0], TOKEN_DATA_WITH_TOKEN);
    if (data != NULL && gate_permits_data(request, &data)) {
        audit_remember_data(request, data);
        keep_store(request_worker(request)->keep, data, true, store_done, request);
    }
    token_data_free(&data);
}

static void answer_issued(struct request *request)
{
    char text[TOKEN_SIZE + 1];
    token_format(&request->token, text);
    answer_text(request, text, TOKEN_SIZE);
    sodium_memzero(text, sizeof text);
}

static void issue_done(void *argument, enum keep_result result)
{
    struct request *request = argument;
    audit_change(request, EVENT_TOKEN_ISSUE, result);
    if (result == KEEP_INVALID)
        answer_err(request, ERR_INTERNAL, "the generated key is in use; nothing was changed");
    else if (result == KEEP_DONE)
        audit_answer(request, answer_issued);
    else
        answer_no_verdict(request, result);
}

void handle_issue(struct request *request, const struct word *words, size_t n_words)
{
    (void)n_words;
    struct token_data *data = read_data(request, words[0], TOKEN_DATA_NEW_TOKEN);
    if (data != NULL && gate_permits_data(request, &data)) {
        request->token = data->token;
        audit_remember_data(request, data);
        keep_store(request_worker(request)->keep, data, false, issue_done, request);
    }
    token_data_free(&data);
}

/* Answers for all results of a request over all tokens but KEEP_DONE. */
static void answer_midway(struct request *request, enum keep_result result, const struct scan_result *scan)
{
    if (scan == NULL || (scan->deleted == 0 && result == KEEP_UNAVAILABLE))
        answer_no_verdict(request, result);
    else
        answer_err(request, ERR_UNAVAIL, "%sRedis went away or refused midway; %llu tokens were deleted before",
                   result == KEEP_UNCERTAIN ? "uncertain: " : "", (unsigned long long)scan->deleted);
}

static void answer_deleted(struct request *request)
{
    answer_count(request, request->stream.counts[0]);
}

static void answer_deletion(struct request *request, enum keep_result result, const struct scan_result *scan)
{
    if (result == KEEP_DONE) {
        request->stream.counts[0] = scan->deleted;
        audit_answer(request, answer_deleted);
    } else {
        answer_midway(request, result, scan);
    }
}

static void delete_all_done(void *argument, enum keep_result result, const struct scan_result *scan)
{
    audit_scan(argument, EVENT_TOKEN_DELETE_ALL, result, scan != NULL ? scan->deleted : 0);
    answer_deletion(argument, result, scan);
}

void handle_deleteall(struct request *request, const struct word *words, size_t n_words)
{
    (void)words, (void)n_words;
    if (gate_permits(request, NULL))
        keep_scan(request_worker(request)->keep, SCAN_DELETE, delete_all_done, request);
}

static void list_done(void *argument, enum keep_result result, const struct scan_result *scan)
{
    audit_scan(argument, EVENT_TOKEN_LIST, result, result == KEEP_DONE ? keyset_count(scan->keys) : 0);
    if (result == KEEP_DONE)
        answer_keys(argument, scan->keys);
    else
        answer_midway(argument, result, scan);
}

void handle_list(struct request *request, const struct word *words, size_t n_words)
{
    (void)words, (void)n_words;
    if (gate_permits(request, NULL))
        keep_scan(request_worker(request)->keep, SCAN_LIST, list_done, request);
}

/* The tokens of a user. */

/* Reads the name that is the request's one argument, and remembers it. Answers when it is none. */
static bool read_username(struct request *request, struct word word)
{
    char *username = request_keep(request, TOKEN_DATA_USERNAME_MAX + 1);
    if (word.size <= TOKEN_DATA_USERNAME_MAX) {
        memcpy(username, word.text, word.size);
        request->username = username;
        if (token_data_username_valid(username))
            return true;
        request->username = NULL;
    }
    answer_err(request, ERR_BADREQ, "a user name is 1 to 64 lower-case letters, digits and single inner hyphens");
    return false;
}

static void delete_user_done(void *argument, enum keep_result result, const struct scan_result *scan)
{
    struct request *request = argument;
    audit_scan(request, EVENT_TOKEN_DELETE_USER, result, scan != NULL ? scan->deleted : 0);
    if (result == KEEP_CORRUPT)
        answer_err(request, ERR_CORRUPT,
                   "%llu tokens were deleted; %llu are sealed with a key that is not in the keyring, and stay",
                   (unsigned long long)scan->deleted, (unsigned long long)scan->bad);
    else
        answer_deletion(request, result, scan);
}

void handle_delete_user(struct request *request, const struct word *words, size_t n_words)
{
    (void)n_words;
    if (read_username(request, words[0]) && gate_permits(request, NULL))
        keep_user(request_worker(request)->keep, USER_DELETE, request->username, delete_user_done, request);
}

void handle_list_user(struct request *request, const struct word *words, size_t n_words)
{
    (void)n_words;
    if (read_username(request, words[0]) && gate_permits(request, NULL))
        keep_user(request_worker(request)->keep, USER_LIST, request->username, list_done, request);
}

/* Takes what a verification found, for its answer. */
static void take_verified(struct request *request, const struct scan_result *scan)
{
    request->stream.keys = scan->keys;
    request->stream.counts[0] = scan->checked;
    request->stream.counts[1] = scan->bad;
    request->stream.n_counts = 2;
}

static void verify_all_done(void *argument, enum keep_result result, const struct scan_result *scan)
{
    struct request *request = argument;
    if (result != KEEP_DONE) {
        answer_midway(request, result, scan);
        return;
    }
    take_verified(request, scan);
    if (scan->deleted > 0)
        audit_answer(request, answer_verified);
    else
        answer_verified(request);
}

void handle_verifyall(struct request *request, const struct word *words, size_t n_words)
{
    bool fix = n_words == 1;
    request->fixes = fix;
    if (fix && (words[0].size != 3 || strncasecmp(words[0].text, "FIX", 3) != 0))
        answer_err(request, ERR_BADREQ, "VERIFYALL takes FIX or nothing");
    else if ((!fix || audit_permits(request)) && gate_permits(request, NULL))
        keep_scan(request_worker(request)->keep, fix ? SCAN_VERIFY_FIX : SCAN_VERIFY, verify_all_done, request);
}

/* The keys of the keyring. */

static void rekey_done(void *argument, enum keep_result result, const struct scan_result *scan)
{
    struct request *request = argument;
    audit_scan(request, EVENT_TOKEN_REKEY, result, scan != NULL ? scan->resealed : 0);
    if (result == KEEP_DONE) {
        take_verified(request, scan);
        request->stream.counts[request->stream.n_counts++] = scan->resealed;
        audit_answer(request, answer_verified);
    } else if (scan == NULL || scan->resealed == 0 || result == KEEP_ABANDONED) {
        answer_no_verdict(request, result);
    } else {
        answer_err(request, ERR_UNAVAIL, "%sRedis went away or refused midway; %llu values were sealed again before",
                   result == KEEP_UNCERTAIN ? "uncertain: " : "", (unsigned long long)scan->resealed);
    }
}

void handle_rekey(struct request *request, const struct word *words, size_t n_words)
{
    (void)words, (void)n_words;
    request->fixes = true;
    if (gate_permits(request, NULL))
        keep_scan(request_worker(request)->keep, SCAN_REKEY, rekey_done, request);
}

static void stats_keys_done(void *argument, enum keep_result result, const struct scan_result *scan)
{
    if (result == KEEP_DONE)
        answer_key_counts(argument, &scan->sealings);
    else
        answer_no_verdict(argument, result);
}

void handle_stats_keys(struct request *request, const struct word *words, size_t n_words)
{
    (void)words, (void)n_words;
    if (gate_permits(request, NULL))
        keep_scan(request_worker(request)->keep, SCAN_COUNT_KEYS, stats_keys_done, request);
}
