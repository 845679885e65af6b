/* SPDX-License-Identifier: MIT */
/* The requests over the tokens of one user. First INFO says whether the index can be relied on, and ZCARD which sets
 * there are; then each is walked with ZSCAN, a page at a time: the tokens of the page are read, judged and deleted,
 * then their entries go. What is in a set from beginning to end of its walk is met, so one pass meets all that was
 * stored before. A deletion goes on until a pass meets nothing: a value may have been sealed anew, and so have become
 * another, after it was read. That happens to a value once in a long while, so what is still met in the last pass was
 * stored meanwhile. */
#include "keep/user_scan.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "keep/user_index.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 64,     /* commands under way */
    PASSES_MAX = 5, /* of a deletion */
};

/* A token of the page. */
struct candidate {
    struct user_scan *scan;
    char key[TOKEN_PART_SIZE];
    int64_t made;
    bool gone; /* its entry is not needed any more */
};

/* A set that there may be. */
struct set {
    struct user_scan *scan;
    struct user_index_name name;
    bool is_there;
};

struct user_scan {
    struct user_scan_settings settings;
    struct user_scan_result result;
    char username[TOKEN_DATA_USERNAME_MAX + 1];
    struct event *turn; /* the next step of making the keys unique */
    uint64_t losses;    /* of connections when it began: a cursor means nothing to another Redis */
    unsigned pass;
    bool met;                  /* a token of the user, in this pass */
    size_t asked, outstanding; /* sets or tokens of the page asked for; answers to come */
    struct set *sets;
    size_t n_sets, set; /* how many, and which is walked */
    char cursor[24];    /* of ZSCAN */
    struct candidate *page;
    size_t n_page, page_room;
    int64_t page_read; /* wall clock, before the first of its tokens was read */
    bool failed;       /* what is under way is let run out, then it ends */
};

static void pass_start(struct user_scan *scan);
static void page_ask(struct user_scan *scan);
static void page_judge(struct user_scan *scan);

static void finish(struct user_scan *scan)
{
    if (scan->failed && scan->result.result == STORE_DONE)
        scan->result.result = STORE_UNAVAILABLE;
    struct user_scan_result result = scan->result;
    if (result.result == STORE_DONE)
        scan->result.keys = NULL;
    else
        result.keys = NULL;
    scan->settings.callback(scan->settings.argument, &result);
}

static void next_turn(struct user_scan *scan)
{
    static const struct timeval now;
    evtimer_add(scan->turn, &now);
}

static void unique_step(evutil_socket_t fd, short what, void *argument)
{
    struct user_scan *scan = argument;
    (void)fd, (void)what;
    if (keyset_unique(scan->result.keys))
        next_turn(scan);
    else
        finish(scan);
}

/* What a read says decides on deletions: it waits until no lost connection holds a change that would undo them. */
static void command(struct user_scan *scan, redis_callback *callback, void *argument, int n, const char *const *words,
                    const size_t *sizes)
{
    const enum redis_kind kind = scan->settings.work == USER_DELETE ? REDIS_READ_TO_CHANGE : REDIS_READ;
    redis_link_command(store_link(scan->settings.store), kind, callback, argument, n, words, sizes);
}

static bool unbroken(const struct user_scan *scan)
{
    return redis_link_losses(store_link(scan->settings.store)) == scan->losses;
}

/* Entries whose tokens are gone. */

static void set_next(struct user_scan *scan)
{
    if (strcmp(scan->cursor, "0") == 0)
        scan->set++;
    page_ask(scan);
}

static void forgotten(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct user_scan *scan = argument;
    if (outcome == REDIS_REPLIED && reply->type != REDIS_REPLY_INTEGER)
        store_log_refusal(scan->settings.store, "EVAL", reply);
    if (--scan->outstanding == 0)
        set_next(scan);
}

/* An entry too many is no harm, so nothing depends on the answers. */
static void page_forget(struct user_scan *scan)
{
    static char keys[USER_INDEX_FORGET_MAX][TOKEN_PART_SIZE];
    const int64_t made_before = scan->page_read - USER_INDEX_YOUNG;
    size_t i = 0;
    while (i < scan->n_page) {
        size_t n = 0;
        for (; i < scan->n_page && n < USER_INDEX_FORGET_MAX; i++)
            if (scan->page[i].gone && scan->page[i].made <= made_before)
                memcpy(keys[n++], scan->page[i].key, TOKEN_PART_SIZE);
        if (n == 0)
            break;
        scan->outstanding++;
        user_index_forget(store_link(scan->settings.store), &scan->sets[scan->set].name, made_before,
                          (const char(*)[TOKEN_PART_SIZE])keys, n, forgotten, scan);
    }
    if (scan->outstanding == 0)
        set_next(scan);
}

/* The tokens of a page. */

static void judged(struct candidate *candidate)
{
    candidate->scan->outstanding--;
    page_judge(candidate->scan);
}

static void deleted(void *argument, enum store_result result)
{
    struct candidate *candidate = argument;
    struct user_scan *scan = candidate->scan;
    if (result == STORE_DONE) {
        candidate->gone = true;
        scan->result.deleted++;
    } else if (result != STORE_NOTHING) {
        scan->failed = true;
        if (result == STORE_UNCERTAIN)
            scan->result.result = STORE_UNCERTAIN;
    }
    judged(candidate);
}

static void list(struct user_scan *scan, const char *key)
{
    if (keyset_add(scan->result.keys, scan->settings.hash(scan->settings.argument, key), key))
        return;
    log_error("too many tokens for a request over those of a user: no memory, or over %d", KEYSET_MAX);
    scan->failed = true;
}

static void read_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct candidate *candidate = argument;
    struct user_scan *scan = candidate->scan;
    struct token_data *data = NULL;
    struct error error;
    enum store_flaw flaw = STORE_FLAW_NONE;
    enum store_result result = STORE_UNAVAILABLE;
    if (outcome == REDIS_REPLIED)
        result = store_open(scan->settings.store, candidate->key, reply, &data, &flaw, &error);
    const bool own = result == STORE_DONE && strcmp(data->username, scan->username) == 0;
    token_data_free(&data);
    scan->failed |= result == STORE_UNAVAILABLE;
    scan->result.sealed += flaw == STORE_FLAW_UNKNOWN_KEY;
    candidate->gone = result == STORE_NOTHING || (result == STORE_DONE && !own);
    scan->met |= own;
    if (own && scan->settings.work == USER_DELETE && !scan->failed) {
        store_delete_same(scan->settings.store, candidate->key, reply, deleted, candidate);
        return;
    }
    if (own && scan->settings.work == USER_LIST)
        list(scan, candidate->key);
    judged(candidate);
}

static void page_judge(struct user_scan *scan)
{
    while (!scan->failed && scan->outstanding < BATCH && scan->asked < scan->n_page) {
        struct candidate *candidate = &scan->page[scan->asked++];
        size_t sizes[2] = {3, 0};
        const char *words[2] = {"GET", store_name(scan->settings.store, candidate->key, &sizes[1])};
        scan->outstanding++;
        command(scan, read_replied, candidate, 2, words, sizes);
    }
    if (scan->outstanding > 0)
        return;
    if (scan->failed)
        finish(scan);
    else
        page_forget(scan);
}

/* The pages of a set. */

static void candidate_add(struct user_scan *scan, const redisReply *key, const redisReply *made)
{
    if (key->type != REDIS_REPLY_STRING || made->type != REDIS_REPLY_STRING || !token_part_valid(key->str, key->len))
        return;
    struct candidate *candidate = &scan->page[scan->n_page++];
    *candidate = (struct candidate){.scan = scan, .made = strtoll(made->str, NULL, 10)};
    memcpy(candidate->key, key->str, TOKEN_PART_SIZE);
}

static bool page_take(struct user_scan *scan, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= sizeof scan->cursor || reply->element[1]->type != REDIS_REPLY_ARRAY) {
        store_log_refusal(scan->settings.store, "ZSCAN", reply);
        return false;
    }
    const redisReply *entries = reply->element[1];
    memcpy(scan->cursor, reply->element[0]->str, reply->element[0]->len + 1);
    if (entries->elements / 2 > scan->page_room) {
        scan->page_room = entries->elements / 2;
        free(scan->page);
        scan->page = memory_zeroed(scan->page_room * sizeof *scan->page);
    }
    scan->n_page = 0;
    for (size_t i = 0; i + 1 < entries->elements; i += 2)
        candidate_add(scan, entries->element[i], entries->element[i + 1]);
    return true;
}

static void page_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct user_scan *scan = argument;
    if (outcome != REDIS_REPLIED || !unbroken(scan) || !page_take(scan, reply)) {
        scan->failed = true;
        finish(scan);
        return;
    }
    scan->asked = 0;
    scan->page_read = clock_wall();
    page_judge(scan);
}

static void pass_end(struct user_scan *scan)
{
    if (scan->settings.work == USER_LIST)
        next_turn(scan);
    else if (scan->met && ++scan->pass < PASSES_MAX)
        pass_start(scan);
    else
        finish(scan);
}

/* The next page of the set that is walked, or the first of the next. */
static void page_ask(struct user_scan *scan)
{
    while (scan->set < scan->n_sets && !scan->sets[scan->set].is_there)
        scan->set++;
    if (scan->set == scan->n_sets) {
        pass_end(scan);
        return;
    }
    const struct user_index_name *name = &scan->sets[scan->set].name;
    const char *words[] = {"ZSCAN", name->text, scan->cursor, "COUNT", "512"};
    const size_t sizes[] = {5, name->size, strlen(scan->cursor), 5, 3};
    command(scan, page_replied, scan, 5, words, sizes);
}

/* Nothing depends on what it says, nor on whether we may ask. */
static void info_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct user_scan *scan = argument;
    if (outcome != REDIS_REPLIED) {
        scan->failed = true;
        finish(scan);
        return;
    }
    store_look_for_eviction(scan->settings.store, reply);
    pass_start(scan);
}

static void info_ask(struct user_scan *scan)
{
    const char *words[] = {"INFO", "MEMORY"};
    const size_t sizes[] = {4, 6};
    command(scan, info_replied, scan, 2, words, sizes);
}

/* The sets that there are. */

static void sets_ask(struct user_scan *scan);

static void set_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct set *set = argument;
    struct user_scan *scan = set->scan;
    const bool understood = outcome == REDIS_REPLIED && reply->type == REDIS_REPLY_INTEGER;
    if (outcome == REDIS_REPLIED && !understood)
        store_log_refusal(scan->settings.store, "ZCARD", reply);
    scan->failed |= !understood;
    set->is_there = understood && reply->integer > 0;
    scan->outstanding--;
    sets_ask(scan);
}

static void sets_ask(struct user_scan *scan)
{
    while (!scan->failed && scan->outstanding < BATCH && scan->asked < scan->n_sets) {
        const struct user_index_name *name = &scan->sets[scan->asked].name;
        const char *words[] = {"ZCARD", name->text};
        const size_t sizes[] = {5, name->size};
        scan->outstanding++;
        command(scan, set_replied, &scan->sets[scan->asked++], 2, words, sizes);
    }
    if (scan->outstanding > 0)
        return;
    if (scan->failed)
        finish(scan);
    else
        page_ask(scan);
}

static void pass_start(struct user_scan *scan)
{
    const struct vault *vault = store_vault(scan->settings.store);
    const int64_t now = clock_wall();
    for (size_t i = 0; i < scan->n_sets; i++) {
        scan->sets[i] = (struct set){.scan = scan};
        user_index_name(vault, i / USER_INDEX_SETS, store_prefix(scan->settings.store), scan->username,
                        user_index_span_nth(i % USER_INDEX_SETS, now), &scan->sets[i].name);
    }
    scan->met = false;
    scan->result.sealed = 0;
    scan->asked = scan->set = 0;
    strcpy(scan->cursor, "0");
    sets_ask(scan);
}

struct user_scan *user_scan_start(const struct user_scan_settings *settings)
{
    struct user_scan *scan = memory_zeroed(sizeof *scan);
    scan->settings = *settings;
    scan->result.result = STORE_DONE;
    memcpy(scan->username, settings->username, strnlen(settings->username, TOKEN_DATA_USERNAME_MAX));
    scan->settings.username = scan->username;
    scan->turn = evtimer_new(settings->base, unique_step, scan);
    scan->result.keys = settings->work == USER_LIST ? keyset_new() : NULL;
    if (scan->turn == NULL || (settings->work == USER_LIST && scan->result.keys == NULL))
        memory_exhausted();
    scan->n_sets = USER_INDEX_SETS * vault_keys(store_vault(settings->store));
    scan->sets = memory_zeroed(scan->n_sets * sizeof *scan->sets);
    scan->losses = redis_link_losses(store_link(settings->store));
    info_ask(scan);
    return scan;
}

void user_scan_free(struct user_scan **scan)
{
    if (*scan == NULL)
        return;
    event_free((*scan)->turn);
    keyset_free(&(*scan)->result.keys);
    free((*scan)->sets);
    free((*scan)->page);
    free(*scan);
    *scan = NULL;
}
