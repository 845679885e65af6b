/* SPDX-License-Identifier: MIT */
/* The requests over many tokens that a worker has under way. */
#include "keep/surveys.h"

#include "base/memory.h"

#include <stdlib.h>
#include <sys/queue.h>

/* A request over the tokens of a user. */
struct visit {
    LIST_ENTRY(visit) next;
    struct surveys *surveys;
    struct user_scan *scan;
    enum user_work work;
    keep_scan_callback *callback;
    void *argument;
};

struct surveys {
    const struct keep_settings *settings;
    struct store *store;
    size_t *waiting;
    struct scan *scan; /* over all tokens, and what it is for; NULL: none */
    enum scan_work work;
    keep_scan_callback *callback;
    void *argument;
    bool busy; /* from the beginning of a request that lists to surveys_done */
    LIST_HEAD(, visit) visits;
    size_t deletions; /* among them */
};

struct surveys *surveys_new(const struct keep_settings *settings, struct store *store, size_t *waiting)
{
    struct surveys *surveys = memory_zeroed(sizeof *surveys);
    surveys->settings = settings;
    surveys->store = store;
    surveys->waiting = waiting;
    LIST_INIT(&surveys->visits);
    return surveys;
}

static void visit_free(struct visit *visit)
{
    LIST_REMOVE(visit, next);
    user_scan_free(&visit->scan);
    free(visit);
}

void surveys_free(struct surveys **surveys)
{
    if (*surveys == NULL)
        return;
    scan_free(&(*surveys)->scan);
    while (!LIST_EMPTY(&(*surveys)->visits))
        visit_free(LIST_FIRST(&(*surveys)->visits));
    free(*surveys);
    *surveys = NULL;
}

void surveys_done(struct surveys *surveys, struct keyset **keys)
{
    keyset_free(keys);
    surveys->busy = false;
}

/* Counts one more, if there is room. */
static bool admitted(struct surveys *surveys)
{
    if (*surveys->waiting >= surveys->settings->config->max_inflight)
        return false;
    ++*surveys->waiting;
    return true;
}

/* It may have ended in a turn of its own, outside the link's batches. */
static void batch_done(const struct surveys *surveys)
{
    if (surveys->settings->batch_done != NULL)
        surveys->settings->batch_done(surveys->settings->batch_argument);
}

/* Over all tokens. */

static uint64_t scan_key_hash(void *argument, const char key[TOKEN_PART_SIZE])
{
    const struct surveys *surveys = argument;
    return keep_hash(surveys->settings->shared, key);
}

static void scan_key_changed(void *argument, const char key[TOKEN_PART_SIZE], enum store_result result)
{
    const struct surveys *surveys = argument;
    generation_move(surveys->settings->shared, keep_hash(surveys->settings->shared, key));
    if (surveys->work == SCAN_VERIFY_FIX && surveys->settings->fixed != NULL)
        surveys->settings->fixed(surveys->argument, key, keep_result_of(result));
}

static bool scan_told(void *argument, uint64_t done, uint64_t of)
{
    const struct surveys *surveys = argument;
    return surveys->settings->progress(surveys->argument, done, of);
}

static void count(const struct surveys *surveys, enum metric metric, uint64_t n)
{
    shared_count(&surveys->settings->shared->slots[surveys->settings->slot], metric, n);
}

/* Whether its keys mean anything to who asked. */
static bool has_keys(enum scan_work work)
{
    return work != SCAN_DELETE && work != SCAN_COUNT_KEYS;
}

static void scan_ended(void *argument, const struct scan_result *result)
{
    struct surveys *surveys = argument;
    struct scan_result kept = *result;
    scan_free(&surveys->scan);
    --*surveys->waiting;
    count(surveys, METRIC_TOKENS_DELETED, kept.deleted);
    count(surveys, METRIC_TOKENS_RESEALED, kept.resealed);
    if (surveys->work == SCAN_DELETE)
        generation_move_all(surveys->settings->shared);
    if (kept.result != STORE_DONE || !has_keys(surveys->work))
        surveys_done(surveys, &kept.keys);
    surveys->callback(surveys->argument, kept.abandoned ? KEEP_ABANDONED : keep_result_of(kept.result), &kept);
    batch_done(surveys);
}

void surveys_scan(struct surveys *surveys, enum scan_work work, keep_scan_callback *callback, void *argument)
{
    if (surveys->busy || !admitted(surveys)) {
        callback(argument, KEEP_BUSY, NULL);
        return;
    }
    surveys->busy = true;
    surveys->work = work;
    surveys->callback = callback;
    surveys->argument = argument;
    surveys->scan = scan_start(&(struct scan_settings){
        .base = surveys->settings->base,
        .store = surveys->store,
        .work = work,
        .hash = scan_key_hash,
        .changed = scan_key_changed,
        .progress = work == SCAN_REKEY && surveys->settings->progress != NULL ? scan_told : NULL,
        .callback = scan_ended,
        .argument = surveys,
    });
}

/* Over those of a user. */

static uint64_t visit_key_hash(void *argument, const char key[TOKEN_PART_SIZE])
{
    const struct visit *visit = argument;
    return keep_hash(visit->surveys->settings->shared, key);
}

static enum keep_result visit_result(const struct visit *visit, const struct user_scan_result *result)
{
    if (result->result == STORE_DONE && visit->work == USER_DELETE && result->sealed > 0)
        return KEEP_CORRUPT;
    return keep_result_of(result->result);
}

static void visit_ended(void *argument, const struct user_scan_result *result)
{
    struct visit *visit = argument;
    struct surveys *surveys = visit->surveys;
    const struct scan_result kept = {
        .result = result->result, .keys = result->keys, .deleted = result->deleted, .bad = result->sealed};
    const enum keep_result verdict = visit_result(visit, result);
    --*surveys->waiting;
    if (visit->work == USER_DELETE) {
        surveys->deletions--;
        generation_move_all(surveys->settings->shared);
        count(surveys, METRIC_TOKENS_DELETED, kept.deleted);
    } else if (kept.keys == NULL) {
        surveys->busy = false;
    }
    visit->callback(visit->argument, verdict, &kept);
    visit_free(visit);
    batch_done(surveys);
}

/* A deletion does not wait for somebody to read a long list. */
static bool visit_admitted(struct surveys *surveys, enum user_work work)
{
    if ((work == USER_LIST ? surveys->busy : surveys->deletions == KEEP_DELETIONS_MAX) || !admitted(surveys))
        return false;
    if (work == USER_LIST)
        surveys->busy = true;
    else
        surveys->deletions++;
    return true;
}

void surveys_user(struct surveys *surveys, enum user_work work, const char *username, keep_scan_callback *callback,
                  void *argument)
{
    if (!visit_admitted(surveys, work)) {
        callback(argument, KEEP_BUSY, NULL);
        return;
    }
    struct visit *visit = memory_zeroed(sizeof *visit);
    *visit = (struct visit){.surveys = surveys, .work = work, .callback = callback, .argument = argument};
    LIST_INSERT_HEAD(&surveys->visits, visit, next);
    visit->scan = user_scan_start(&(struct user_scan_settings){
        .base = surveys->settings->base,
        .store = surveys->store,
        .work = work,
        .username = username,
        .hash = visit_key_hash,
        .callback = visit_ended,
        .argument = visit,
    });
}
