/* SPDX-License-Identifier: MIT */
/* The requests over all tokens. First SCAN collects the keys, then the set is made unique in steps, then the work is
 * done on a batch of keys at a time. One command or batch is under way at any moment, so clients' requests pass in
 * between. */
#include "keep/scan.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "keep/user_index.h"

#include <stdlib.h>
#include <string.h>

enum {
    SCAN_ROUNDS_MAX = 1 << 24,
    DELETE_BATCH = 500,
    VERIFY_BATCH = 64,
    PATTERN_SIZE = 2 * CONFIG_PREFIX_MAX + 2 + USER_INDEX_HASH_SIZE
};

static const int64_t telling_interval = CLOCK_SECOND / 4;

struct scan {
    struct scan_settings settings;
    struct scan_result result;
    struct event *turn; /* the next step, in the next turn of the loop */
    int64_t began;      /* wall clock */
    uint64_t losses;    /* of connections when the SCAN began */
    uint64_t rounds;    /* answers to SCAN so far */
    uint64_t cursor;    /* of keyset_next */
    uint64_t visited;   /* of the keys, by those that look at each value */
    int64_t next_told;  /* boot-time clock: when `progress` hears the next time */
    char pattern[PATTERN_SIZE];
    size_t pattern_size;
    char sweep[24];       /* the cursor of the index's SCAN */
    unsigned outstanding; /* answers of this batch that are still to come */
    bool failed;          /* the batch is let run out, then the scan ends */
};

/* One value being looked at. */
struct verification {
    struct scan *scan;
    struct keyset_record *record;
    struct token_data *data; /* SCAN_REKEY: what it holds */
};

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

/* SCAN's MATCH is a glob: what is special in the prefix is escaped, `rest` stands behind it. */
static void make_pattern(struct scan *scan, const char *rest, size_t rest_size)
{
    char *end = scan->pattern;
    for (const char *c = store_prefix(scan->settings.store); *c != '\0'; c++) {
        if (strchr("*?[]^-\\", *c) != NULL)
            *end++ = '\\';
        *end++ = *c;
    }
    memcpy(end, rest, rest_size);
    scan->pattern_size = (size_t)(end - scan->pattern) + rest_size;
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

/* A change that is still on its way must not add a key behind the SCAN of a DELETEALL, or of those after which a key of
 * the keyring counts as unused. */
static enum redis_kind read_kind(const struct scan *scan)
{
    switch (scan->settings.work) {
    case SCAN_LIST:
    case SCAN_VERIFY:
    case SCAN_VERIFY_FIX: return REDIS_READ;
    case SCAN_DELETE:
    case SCAN_REKEY:
    case SCAN_COUNT_KEYS: return REDIS_READ_TO_CHANGE;
    }
    return REDIS_READ_TO_CHANGE;
}

static void scan_from(struct scan *scan, const char *cursor, redis_callback *callback)
{
    const char *words[] = {"SCAN", cursor, "MATCH", scan->pattern, "COUNT", "1000"};
    const size_t sizes[] = {4, strlen(cursor), 5, scan->pattern_size, 5, 4};
    redis_link_command(store_link(scan->settings.store), read_kind(scan), callback, scan, 6, words, sizes);
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

/* False when nobody waits for the result any more. */
static bool wanted(struct scan *scan, uint64_t of)
{
    const int64_t now = clock_boot();
    if (scan->settings.progress == NULL || now < scan->next_told)
        return true;
    scan->next_told = now + telling_interval;
    return scan->settings.progress(scan->settings.argument, scan->visited, of);
}

static void abandon(struct scan *scan)
{
    log_info("a request over all tokens has ended midway: its client is gone");
    scan->result.abandoned = scan->failed = true;
    finish(scan);
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
    } else if (!wanted(scan, 0))
        abandon(scan);
    else if (strcmp(reply->element[0]->str, "0") != 0)
        scan_from(scan, reply->element[0]->str, scan_replied);
    else
        next_turn(scan);
}

/* The index by user, when all tokens are gone. What was stored in the last minute before, or meanwhile, keeps its
 * entry; an entry too many is no harm, so nothing depends on the answers. A set may be large: it goes piece by piece.
 */

/* A set that is being swept. */
struct sweep {
    struct scan *scan;
    struct user_index_name name;
};

static void sweep_replied(void *argument, enum redis_outcome outcome, const redisReply *reply);

static void sweep_on(struct scan *scan)
{
    if (strcmp(scan->sweep, "0") != 0)
        scan_from(scan, scan->sweep, sweep_replied);
    else
        finish(scan);
}

static void piece_swept(void *argument, enum redis_outcome outcome, const redisReply *reply);

static void sweep_piece(struct sweep *sweep)
{
    struct scan *scan = sweep->scan;
    user_index_sweep(store_link(scan->settings.store), &sweep->name, scan->began - USER_INDEX_YOUNG, piece_swept,
                     sweep);
}

static void piece_swept(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct sweep *sweep = argument;
    struct scan *scan = sweep->scan;
    const bool understood = outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_INTEGER;
    if (outcome == REDIS_REPLIED && !understood)
        store_log_refusal(scan->settings.store, "EVAL", reply);
    if (understood && reply->integer == USER_INDEX_FORGET_MAX && scan_unbroken(scan)) {
        sweep_piece(sweep);
        return;
    }
    free(sweep);
    if (--scan->outstanding == 0)
        sweep_on(scan);
}

static void sweep_set(struct scan *scan, const redisReply *name)
{
    const size_t prefix_size = strlen(store_prefix(scan->settings.store));
    if (name->type != REDIS_REPLY_STRING || name->len < prefix_size ||
        memcmp(name->str, store_prefix(scan->settings.store), prefix_size) != 0 ||
        !user_index_name_valid(name->str + prefix_size, name->len - prefix_size))
        return;
    struct sweep *sweep = memory_zeroed(sizeof *sweep);
    sweep->scan = scan;
    sweep->name.size = name->len;
    memcpy(sweep->name.text, name->str, name->len);
    scan->outstanding++;
    sweep_piece(sweep);
}

static void sweep_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct scan *scan = argument;
    if (outcome != REDIS_REPLIED || !scan_unbroken(scan) || !scan_reply_valid(reply)) {
        log_warning("the index by user could not be swept; entries too many are no harm");
        finish(scan);
        return;
    }
    memcpy(scan->sweep, reply->element[0]->str, reply->element[0]->len + 1);
    for (size_t i = 0; i < reply->element[1]->elements; i++)
        sweep_set(scan, reply->element[1]->element[i]);
    if (scan->outstanding == 0)
        sweep_on(scan);
}

static void sweep_start(struct scan *scan)
{
    char rest[2 + USER_INDEX_HASH_SIZE] = "u.";
    memset(rest + 2, '?', USER_INDEX_HASH_SIZE);
    make_pattern(scan, rest, sizeof rest);
    scan->rounds = 0;
    scan_from(scan, "0", sweep_replied);
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
        sweep_start(scan);
    else
        redis_link_command(store_link(scan->settings.store), REDIS_CHANGE, unlink_replied, scan, n + 1, words, sizes);
}

static void verified(struct verification *verification)
{
    struct scan *scan = verification->scan;
    token_data_free(&verification->data);
    free(verification);
    if (--scan->outstanding == 0)
        work_step(scan);
}

static void change_failed(struct scan *scan, enum store_result result)
{
    scan->failed = true;
    if (result == STORE_UNCERTAIN)
        scan->result.result = STORE_UNCERTAIN;
}

static void fix_done(void *argument, enum store_result result)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    scan->settings.changed(scan->settings.argument, verification->record->key, result);
    if (result == STORE_DONE) {
        verification->record->mark |= SCAN_MARK_DELETED;
        scan->result.deleted++;
    } else if (result != STORE_NOTHING) {
        change_failed(scan, result);
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

static void indexed(void *argument, enum store_result result)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    if (result != STORE_DONE && result != STORE_NOTHING)
        scan->failed = true;
    else if (scan->settings.work == SCAN_REKEY)
        store_forget(scan->settings.store, verification->data, 1);
    verified(verification);
}

static void resealed(void *argument, enum store_result result)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    scan->settings.changed(scan->settings.argument, verification->record->key, result);
    if (result == STORE_DONE) {
        scan->result.resealed++;
        store_forget(scan->settings.store, verification->data, 1);
    } else if (result != STORE_NOTHING) {
        change_failed(scan, result);
    }
    verified(verification);
}

/* Afterwards the token is known under the first key alone. Whoever stores it meanwhile makes entries of their own,
 * which are too young to be taken out. */
static void rekey(struct verification *verification, struct token_data **data, const redisReply *value)
{
    struct store *store = verification->scan->settings.store;
    const unsigned char *id = vault_value_key_id((const unsigned char *)value->str);
    verification->data = *data;
    *data = NULL;
    if (memcmp(id, vault_key_id(store_vault(store), 0), VAULT_KEY_ID_SIZE) == 0)
        store_index(store, verification->data, indexed, verification);
    else
        store_reseal(store, verification->data, value, resealed, verification);
}

static void entry_sought(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    const bool understood =
        outcome == REDIS_REPLIED && (reply->type == REDIS_REPLY_NIL || reply->type == REDIS_REPLY_STRING);
    if (outcome == REDIS_REPLIED && !understood)
        store_log_refusal(scan->settings.store, "ZSCORE", reply);
    scan->failed |= !understood;
    scan->result.sealings.unindexed += understood && reply->type == REDIS_REPLY_NIL;
    verified(verification);
}

/* What has expired needs no entry. */
static void seek_entry(struct verification *verification, const struct token_data *data)
{
    struct store *store = verification->scan->settings.store;
    struct user_index_name name;
    const int64_t now = clock_wall();
    if (data->expires != 0 && data->expires <= now) {
        verified(verification);
        return;
    }
    user_index_name(store_vault(store), 0, store_prefix(store), data->username, user_index_span_of(data, now), &name);
    const char *words[] = {"ZSCORE", name.text, verification->record->key};
    const size_t sizes[] = {6, name.size, TOKEN_PART_SIZE};
    redis_link_command(store_link(store), REDIS_READ_TO_CHANGE, entry_sought, verification, 3, words, sizes);
}

static void count_key(struct scan *scan, enum store_result result, enum store_flaw flaw, const redisReply *value)
{
    if (result == STORE_DONE || flaw == STORE_FLAW_UNKNOWN_KEY)
        key_counts_add(&scan->result.sealings, vault_value_key_id((const unsigned char *)value->str));
    else if (result == STORE_UNREADABLE)
        scan->result.sealings.unreadable++;
}

/* Does what is to be done with a value that opens. FIX sees to it that its token is in the index by user: one from
 * before there was an index, or before another key of the keyring became the first, may not be. */
static void work_on(struct verification *verification, struct token_data **data, const redisReply *value)
{
    switch (verification->scan->settings.work) {
    case SCAN_VERIFY_FIX: store_index(verification->scan->settings.store, *data, indexed, verification); break;
    case SCAN_REKEY: rekey(verification, data, value); break;
    case SCAN_COUNT_KEYS: seek_entry(verification, *data); break;
    case SCAN_LIST:
    case SCAN_DELETE:
    case SCAN_VERIFY: verified(verification); break;
    }
}

static void value_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct verification *verification = argument;
    struct scan *scan = verification->scan;
    struct token_data *data = NULL;
    struct error reason;
    enum store_flaw flaw = STORE_FLAW_NONE;
    enum store_result result = STORE_UNAVAILABLE;
    if (outcome == REDIS_REPLIED)
        result = store_open(scan->settings.store, verification->record->key, reply, &data, &flaw, &reason);
    scan->failed |= result == STORE_UNAVAILABLE;
    scan->result.checked += result == STORE_DONE || result == STORE_UNREADABLE;
    if (result == STORE_UNREADABLE) {
        scan->result.bad++;
        verification->record->mark = (uint8_t)flaw;
    }
    if (scan->settings.work == SCAN_COUNT_KEYS)
        count_key(scan, result, flaw, reply);
    if (result == STORE_DONE)
        work_on(verification, &data, reply);
    else if (scan->settings.work == SCAN_VERIFY_FIX && result == STORE_UNREADABLE && fixable(flaw))
        store_delete_same(scan->settings.store, verification->record->key, reply, fix_done, verification);
    else
        verified(verification);
    token_data_free(&data);
}

static void verify_batch(struct scan *scan)
{
    struct keyset_record *record;
    if (!wanted(scan, keyset_count(scan->result.keys))) {
        abandon(scan);
        return;
    }
    while (scan->outstanding < VERIFY_BATCH && (record = keyset_next(scan->result.keys, &scan->cursor)) != NULL) {
        struct verification *verification = memory_zeroed(sizeof *verification);
        *verification = (struct verification){.scan = scan, .record = record};
        scan->outstanding++;
        scan->visited++;
        size_t sizes[2] = {3, 0};
        const char *words[2] = {"GET", store_name(scan->settings.store, record->key, &sizes[1])};
        redis_link_command(store_link(scan->settings.store), read_kind(scan), value_replied, verification, 2, words,
                           sizes);
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
    case SCAN_VERIFY_FIX:
    case SCAN_REKEY:
    case SCAN_COUNT_KEYS: verify_batch(scan); break;
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
    char any[TOKEN_PART_SIZE];
    memset(any, '?', sizeof any);
    struct scan *scan = memory_zeroed(sizeof *scan);
    scan->settings = *settings;
    scan->result.result = STORE_DONE;
    scan->result.keys = keyset_new();
    scan->turn = evtimer_new(settings->base, unique_step, scan);
    if (scan->result.keys == NULL || scan->turn == NULL)
        memory_exhausted();
    make_pattern(scan, any, TOKEN_PART_SIZE);
    key_counts_init(&scan->result.sealings, store_vault(settings->store));
    scan->began = clock_wall();
    scan->next_told = clock_boot() + telling_interval;
    scan->losses = redis_link_losses(store_link(settings->store));
    scan_from(scan, "0", scan_replied);
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
