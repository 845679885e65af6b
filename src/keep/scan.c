/* SPDX-License-Identifier: MIT */
/* The requests over all tokens. First SCAN collects the keys, then the set is made unique in steps, then the work is
 * done on a batch of keys at a time. One command or batch is under way at any moment, so clients' requests pass in
 * between. */
#include "keep/scan.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum {
    SCAN_ROUNDS_MAX = 1 << 24,
    DELETE_BATCH = 500,
    VERIFY_BATCH = 64,
    PATTERN_SIZE = 2 * CONFIG_PREFIX_MAX + TOKEN_PART_SIZE
};

struct scan {
    struct scan_settings settings;
    struct scan_result result;
    struct event *turn; /* the next step, in the next turn of the loop */
    uint64_t losses;    /* of connections when the SCAN began */
    uint64_t rounds;    /* answers to SCAN so far */
    uint64_t cursor;    /* of keyset_next */
    char pattern[PATTERN_SIZE];
    size_t pattern_size;
    unsigned outstanding; /* answers of this batch that are still to come */
    bool failed;          /* the batch is let run out, then the scan ends */
};

/* One value being verified. */
struct verification {
    struct scan *scan;
    struct keyset_record *record;
};

/* Deletes a value only while it is still the one that was read. */
static const char delete_if_same[] =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end return 0";

static void work_step(struct scan *scan);

static void finish(struct scan *scan)
{
    if (scan->failed && scan->result.result == STORE_DONE)
        scan->result.result = STORE_UNAVAILABLE;
    scan->settings.callback(scan->settings.argument, &scan->result);
}

static void next_turn(struct scan *scan)
{
    const struct timeval now = {0, 0};
    evtimer_add(scan->turn, &now);
}

/* SCAN's MATCH is a glob: what is special in the prefix is escaped, and a `?` stands for each character of the key. */
static void make_pattern(struct scan *scan)
{
    char *end = scan->pattern;
    for (const char *c = store_prefix(scan->settings.store); *c != '\0'; c++) {
        if (strchr("*?[]^-\\", *c) != NULL)
            *end++ = '\\';
        *end++ = *c;
    }
    memset(end, '?', TOKEN_PART_SIZE);
    scan->pattern_size = (size_t)(end - scan->pattern) + TOKEN_PART_SIZE;
}

static bool take_keys(struct scan *scan, const redisReply *names)
{
    size_t prefix_size = strlen(store_prefix(scan->settings.store));
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        if (name->type != REDIS_REPLY_STRING || (size_t)name->len != prefix_size + TOKEN_PART_SIZE)
            continue;
        const char *key = name->str + prefix_size;
        if (memcmp(name->str, store_prefix(scan->settings.store), prefix_size) != 0 ||
            !token_part_valid(key, TOKEN_PART_SIZE))
            continue;
        if (!keyset_add(scan->result.keys, scan->settings.hash(scan->settings.argument, key), key)) {
            log_error("too many tokens for a request over all of them: no memory, or over %d", KEYSET_MAX);
            return false;
        }
    }
    return true;
}

static void scan_replied(void *argument, enum redis_outcome outcome, const redisReply *reply);

static void scan_from(struct scan *scan, const char *cursor)
{
    const char *words[] = {"SCAN", cursor, "MATCH", scan->pattern, "COUNT", "1000"};
    const size_t sizes[] = {4, strlen(cursor), 5, scan->pattern_size, 5, 4};
    /* A change that is still on its way must not add a key behind the SCAN of a DELETEALL. */
    const enum redis_kind kind = scan->settings.work == SCAN_DELETE ? REDIS_READ_TO_CHANGE : REDIS_READ;
    redis_link_command(store_link(scan->settings.store), kind, scan_replied, scan, 6, words, sizes);
}

/* A cursor means nothing to a Redis that was restarted or replaced: keys could be passed over. One that never ends is
 * none. */
static bool scan_unbroken(struct scan *scan)
{
    return redis_link_losses(store_link(scan->settings.store)) == scan->losses && ++scan->rounds < SCAN_ROUNDS_MAX;
}

static bool scan_reply_valid(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[0]->len <= 20 && reply->element[1]->type == REDIS_REPLY_ARRAY;
}

static void scan_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct scan *scan = argument;
    if (outcome == REDIS_REPLIED && !scan_reply_valid(reply))
        store_log_refusal(scan->settings.store, "SCAN", reply);
    if (outcome != REDIS_REPLIED || !scan_unbroken(scan) || !scan_reply_valid(reply) ||
        !take_keys(scan, reply->element[1])) {
        scan->failed = true;
        finish(scan);
    } else if (strcmp(reply->element[0]->str, "0") != 0)
        scan_from(scan, reply->element[0]->str);
    else
        next_turn(scan);
}

static void unlink_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct scan *scan = argument;
    if (outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0 &&
        reply->integer <= DELETE_BATCH) {
        scan->result.deleted += (uint64_t)reply->integer;
        work_step(scan);
        return;
    }
    if (outcome == REDIS_REPLIED)
        store_log_refusal(scan->settings.store, "UNLINK", reply);
    bool refused = outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_ERROR;
    scan->result.result = outcome == REDIS_UNAVAILABLE || refused ? STORE_UNAVAILABLE : STORE_UNCERTAIN;
    finish(scan);
}

static void delete_batch(struct scan *scan)
{
    static char names[DELETE_BATCH][CONFIG_PREFIX_MAX + TOKEN_PART_SIZE];
    const char *words[1 + DELETE_BATCH] = {"UNLINK"};
    size_t sizes[1 + DELETE_BATCH] = {6};
    const struct keyset_record *record;
    int n = 0;
    while (n < DELETE_BATCH && (record = keyset_next(scan->result.keys, &scan->cursor)) != NULL) {
        const char *name = store_name(scan->settings.store, record->key, &sizes[n + 1]);
        words[n + 1] = memcpy(names[n], name, sizes[n + 1]);
        n++;
    }
    if (n == 0)
        finish(scan);
    else
        redis_link_command(store_link(scan->settings.store), REDIS_CHANGE, unlink_replied, scan, n + 1, words, sizes);
}

static void verified(struct verification *verification)
{
    struct scan *scan = verification->scan;
    free(verification);
    if (--scan->outstanding == 0)
        work_step(scan);
}

static enum store_result fix_result(enum redis_outcome outcome, const redisReply *reply)
{
    if (outcome == REDIS_UNCERTAIN)
        return STORE_UNCERTAIN;
    if (outcome != REDIS_REPLIED || reply->type != REDIS_REPLY_INTEGER)
        return STORE_UNAVAILABLE;
    return reply->integer > 0 ? STORE_DONE : STORE_NOTHING;
}

static void fix_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    const enum store_result result = fix_result(outcome, reply);
    scan->settings.changed(scan->settings.argument, verification->record->key, result);
    if (result == STORE_DONE) {
        verification->record->mark |= SCAN_MARK_DELETED;
        scan->result.deleted++;
    } else if (result != STORE_NOTHING) {
        if (outcome == REDIS_REPLIED)
            store_log_refusal(scan->settings.store, "EVAL", reply);
        scan->failed = true;
        if (result == STORE_UNCERTAIN)
            scan->result.result = STORE_UNCERTAIN;
    }
    verified(verification);
}

/* A value under a key that the keyring lacks is perfectly good once the line is back, so it is never deleted. A value
 * that was not read whole cannot be compared. */
static bool fixable(enum store_flaw flaw)
{
    return flaw != STORE_FLAW_NONE && flaw != STORE_FLAW_UNKNOWN_KEY && flaw != STORE_FLAW_TOO_LONG &&
           flaw != STORE_FLAW_NOT_A_STRING;
}

static void fix(struct verification *verification, const redisReply *value)
{
    struct store *store = verification->scan->settings.store;
    size_t name_size;
    const char *name = store_name(store, verification->record->key, &name_size);
    const char *words[] = {"EVAL", delete_if_same, "1", name, value->str};
    const size_t sizes[] = {4, sizeof delete_if_same - 1, 1, name_size, value->len};
    redis_link_command(store_link(store), REDIS_CHANGE, fix_replied, verification, 5, words, sizes);
}

static void verify_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    struct token_data *data = NULL;
    struct error reason;
    enum store_flaw flaw = STORE_FLAW_NONE;
    enum store_result result = STORE_UNAVAILABLE;
    if (outcome == REDIS_REPLIED)
        result = store_open(scan->settings.store, verification->record->key, reply, &data, &flaw, &reason);
    token_data_free(&data);
    scan->failed |= result == STORE_UNAVAILABLE;
    scan->result.checked += result == STORE_DONE || result == STORE_UNREADABLE;
    if (result == STORE_UNREADABLE) {
        scan->result.bad++;
        verification->record->mark = (uint8_t)flaw;
        if (scan->settings.work == SCAN_VERIFY_FIX && fixable(flaw)) {
            fix(verification, reply);
            return;
        }
    }
    verified(verification);
}

static void verify_batch(struct scan *scan)
{
    struct keyset_record *record;
    while (scan->outstanding < VERIFY_BATCH && (record = keyset_next(scan->result.keys, &scan->cursor)) != NULL) {
        struct verification *verification = memory_zeroed(sizeof *verification);
        *verification = (struct verification){scan, record};
        scan->outstanding++;
        size_t sizes[2] = {3, 0};
        const char *words[2] = {"GET", store_name(scan->settings.store, record->key, &sizes[1])};
        redis_link_command(store_link(scan->settings.store), REDIS_READ, verify_replied, verification, 2, words, sizes);
    }
    if (scan->outstanding > 0)
        return;
    /* One line for them all: the client is told each. */
    if (scan->result.bad > 0)
        log_error("%llu of %llu stored values cannot be read", (unsigned long long)scan->result.bad,
                  (unsigned long long)scan->result.checked);
    finish(scan);
}

/* Calls finish() when there is nothing left to do. */
static void work_step(struct scan *scan)
{
    if (scan->failed) {
        finish(scan);
        return;
    }
    switch (scan->settings.work) {
    case SCAN_LIST: finish(scan); break;
    case SCAN_DELETE: delete_batch(scan); break;
    case SCAN_VERIFY:
    case SCAN_VERIFY_FIX: verify_batch(scan); break;
    }
}

static void unique_step(evutil_socket_t fd, short what, void *argument)
{
    struct scan *scan = argument;
    (void)fd, (void)what;
    if (keyset_unique(scan->result.keys))
        next_turn(scan);
    else
        work_step(scan);
}

struct scan *scan_start(const struct scan_settings *settings)
{
    struct scan *scan = memory_zeroed(sizeof *scan);
    scan->settings = *settings;
    scan->result.result = STORE_DONE;
    scan->result.keys = keyset_new();
    scan->turn = evtimer_new(settings->base, unique_step, scan);
    if (scan->result.keys == NULL || scan->turn == NULL)
        memory_exhausted();
    make_pattern(scan);
    scan->losses = redis_link_losses(store_link(settings->store));
    scan_from(scan, "0");
    return scan;
}

void scan_free(struct scan **scan)
{
    if (*scan == NULL)
        return;
    event_free((*scan)->turn);
    free(*scan);
    *scan = NULL;
}
