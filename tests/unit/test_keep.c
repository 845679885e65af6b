/* SPDX-License-Identifier: MIT */
/* The rules that keep the cache true, one case each, on the real keep, store, cache and vault. Only the Redis link is
 * played by this file: it notes each command and answers when a case says so, so that every order of events can be had.
 * Two keeps share one memory, as two workers do. */
#include "base/clock.h"
#include "base/log.h"
#include "keep/codec.h"
#include "keep/keep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY          "abcdefghijklmnopqrstuv"
#define SECRET       "ABCDEFGHIJKLMNOPQRSTUV"
#define OTHER_SECRET "ABCDEFGHIJKLMNOPQRSTUW"

/* The link as played here. */

struct sent {
    redis_callback *callback;
    void *argument;
    char word[16];
    enum redis_kind kind;
};

static struct sent sent[64];
static size_t n_sent;
static char written[16 * 1024]; /* the value of the last SET */
static size_t written_size;

struct redis_link {
    int unused;
};

struct redis_link *redis_link_new(const struct redis_link_settings *settings)
{
    (void)settings;
    return calloc(1, sizeof(struct redis_link));
}

void redis_link_free(struct redis_link **link)
{
    free(*link);
    *link = NULL;
}

static uint64_t losses;

uint64_t redis_link_losses(const struct redis_link *link)
{
    (void)link;
    return losses;
}

void redis_link_command(struct redis_link *link, enum redis_kind kind, redis_callback *callback, void *argument,
                        int argc, const char *const *argv, const size_t *argv_sizes)
{
    (void)link;
    assert_true(n_sent < sizeof sent / sizeof *sent);
    struct sent *one = &sent[n_sent++];
    *one = (struct sent){.callback = callback, .argument = argument, .kind = kind};
    snprintf(one->word, sizeof one->word, "%.*s", (int)argv_sizes[0], argv[0]);
    if (argc > 2 && strcmp(one->word, "SET") == 0) {
        assert_true(argv_sizes[2] <= sizeof written);
        written_size = argv_sizes[2];
        memcpy(written, argv[2], written_size);
    }
}

static void reply(size_t i, const redisReply *answer)
{
    struct sent one = sent[i];
    assert_non_null(one.callback);
    sent[i].callback = NULL;
    one.callback(one.argument, REDIS_REPLIED, answer);
}

static void reply_nil(size_t i)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_NIL});
}

static void reply_integer(size_t i, long long value)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_INTEGER, .integer = value});
}

static void reply_ok(size_t i)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_STATUS, .str = (char[]){"OK"}, .len = 2});
}

static void reply_lost(size_t i, enum redis_outcome outcome)
{
    struct sent one = sent[i];
    sent[i].callback = NULL;
    one.callback(one.argument, outcome, NULL);
}

/* The two workers, and what their clients heard. */

static struct {
    struct event_base *base;
    struct shared *shared;
    struct config config;
    struct vault *vault;
    struct keep *first, *second;
    unsigned char value[1024];
    size_t value_size;
} the;

struct heard {
    bool called;
    enum keep_result result;
    char username[32];
    uint64_t generation; /* of the key when it was heard */
};

static uint64_t generation(void)
{
    /* Moves of any key count: every case uses one key. */
    uint64_t sum = generation_now(the.shared, 0);
    for (uint64_t i = 1; i < SHARED_GENERATIONS; i++)
        sum += generation_now(the.shared, i);
    return sum;
}

static void on_get(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    struct heard *heard = argument;
    heard->called = true;
    heard->result = result;
    heard->generation = generation();
    if (entry != NULL)
        snprintf(heard->username, sizeof heard->username, "%.*s", (int)entry->username_size,
                 cache_entry_username(entry));
}

static void on_change(void *argument, enum keep_result result)
{
    on_get(argument, result, NULL);
}

static void get(struct keep *keep, const char *secret, struct heard *heard)
{
    struct keep_time now = {clock_boot(), clock_wall()};
    *heard = (struct heard){0};
    keep_get(keep, &now, KEY, secret, on_get, heard);
}

static void reply_value(size_t i)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_STRING, .str = (char *)the.value, .len = the.value_size});
}

static void seal_value(const char *username)
{
    struct error error;
    char json[256];
    size_t plain_size;
    snprintf(json, sizeof json, "{\"token\":\"gt-%s.%s\",\"username\":\"%s\",\"token_type\":\"user\",\"scopes\":[]}",
             KEY, SECRET, username);
    struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, clock_wall(), &error);
    assert_non_null(data);
    unsigned char plain[1024];
    plain_size = codec_encode(data, plain, sizeof plain);
    vault_seal(the.vault, "token:" KEY, strlen("token:" KEY), plain, plain_size, the.value);
    the.value_size = plain_size + VAULT_OVERHEAD;
    token_data_free(&data);
}

static struct keep *make_keep(unsigned slot)
{
    struct keep *keep = keep_new(&(struct keep_settings){
        .base = the.base, .config = &the.config, .shared = the.shared, .slot = slot, .vault = the.vault});
    assert_non_null(keep);
    return keep;
}

static int set_up(void **state)
{
    static char prefix[] = "token:";
    char path[] = "/tmp/tokenkeep-test-XXXXXX";
    struct error error = {""};
    (void)state;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    int fd = mkstemp(path);
    dprintf(fd, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    close(fd);
    the.vault = vault_open_keyring(path, &error);
    unlink(path);
    the.base = event_base_new();
    the.shared = shared_create();
    the.config = (struct config){.redis = {.prefix = prefix},
                                 .max_inflight = 8,
                                 .cache_bytes = 1 << 20,
                                 .cache_entries = 100,
                                 .cache_negative_entries = 100,
                                 .cache_ttl = 60,
                                 .cache_negative_ttl = 60};
    the.first = make_keep(0);
    the.second = make_keep(1);
    n_sent = 0;
    seal_value("alice");
    return the.vault == NULL;
}

/* Every case ends with its commands answered. */
static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_sent; i++)
        if (sent[i].callback != NULL)
            return -1;
    keep_free(&the.first);
    keep_free(&the.second);
    vault_free(&the.vault);
    shared_destroy(&the.shared);
    event_base_free(the.base);
    return 0;
}

static void warm(struct keep *keep)
{
    struct heard heard;
    size_t before = n_sent;
    get(keep, SECRET, &heard);
    assert_int_equal(n_sent, before + 1);
    reply_value(before);
    assert_int_equal(heard.result, KEEP_DONE);
}

static void assert_cached(struct keep *keep, enum keep_result expected)
{
    struct heard heard;
    size_t before = n_sent;
    get(keep, SECRET, &heard);
    assert_int_equal(n_sent, before);
    assert_true(heard.called);
    assert_int_equal(heard.result, expected);
}

/* The next look-up asks Redis; it is told that there is nothing. */
static void assert_asks(struct keep *keep)
{
    struct heard heard;
    size_t before = n_sent;
    get(keep, SECRET, &heard);
    assert_false(heard.called);
    assert_int_equal(n_sent, before + 1);
    reply_nil(before);
    assert_int_equal(heard.result, KEEP_INVALID);
}

static void test_hit(void **state)
{
    struct heard heard;
    (void)state;
    warm(the.first);
    get(the.first, SECRET, &heard);
    assert_true(heard.called);
    assert_string_equal(heard.username, "alice");
    assert_int_equal(n_sent, 1);
    get(the.first, OTHER_SECRET, &heard);
    assert_int_equal(heard.result, KEEP_MISMATCH);
    assert_string_equal(heard.username, "alice"); /* whose it is, for the audit log */
    for (size_t i = 0; i < TOKEN_PART_SIZE; i++) {
        char secret[] = SECRET;
        secret[i] ^= 1;
        get(the.first, secret, &heard);
        assert_int_equal(heard.result, KEEP_MISMATCH);
    }
    get(the.first, NULL, &heard);
    assert_int_equal(heard.result, KEEP_DONE);
    assert_cached(the.first, KEEP_DONE);
}

/* What is foreseen is a guess: right, wrong, or overtaken, every look-up finds what is true when its turn comes. */
static void test_foreseen(void **state)
{
    static const char *const keys[] = {OTHER_SECRET, KEY, OTHER_SECRET, KEY};
    struct heard change;
    (void)state;
    keep_foresee(the.first, keys, 4);
    warm(the.first);
    assert_cached(the.first, KEEP_DONE);
    assert_cached(the.first, KEEP_DONE);
    keep_foresee(the.first, keys, 1);
    assert_cached(the.first, KEEP_DONE);
    keep_foresee(the.first, keys, 4);
    keep_delete(the.second, KEY, on_change, &change);
    reply_integer(n_sent - 1, 1);
    assert_asks(the.first); /* rules 5 and 7: the counter is that of now */
}

static void test_rule_1_counter_is_noted_before_the_get(void **state)
{
    struct heard read, change;
    (void)state;
    get(the.first, SECRET, &read);
    keep_delete(the.second, KEY, on_change, &change);
    reply_integer(1, 1);
    assert_int_equal(change.result, KEEP_DONE);
    reply_value(0); /* Redis had answered before the delete */
    assert_int_equal(read.result, KEEP_DONE);
    assert_asks(the.first);
}

static void test_rule_2_counter_moves_between_redis_and_client(void **state)
{
    struct heard change;
    (void)state;
    warm(the.first);
    uint64_t before = generation();
    keep_delete(the.second, KEY, on_change, &change);
    assert_int_equal(
        generation(),
        before); /* not before Redis has answered: a look-up now would keep the new number for the old data */
    reply_integer(n_sent - 1, 1);
    assert_int_equal(change.generation, before + 1); /* moved when the client heard */
    assert_asks(the.first);
}

static void test_rule_3_no_joining_of_an_older_get(void **state)
{
    struct heard old, same, new;
    (void)state;
    get(the.first, SECRET, &old);
    get(the.first, SECRET, &same);
    assert_int_equal(n_sent, 1); /* joined */
    struct heard change;
    keep_delete(the.second, KEY, on_change, &change);
    reply_integer(1, 1);
    get(the.first, SECRET, &new);
    assert_int_equal(n_sent, 3); /* its own */
    reply_value(0);
    assert_int_equal(old.result, KEEP_DONE);
    assert_int_equal(same.result, KEEP_DONE);
    assert_false(new.called);
    struct heard joined; /* the old one that has landed must not have unlinked the newer */
    get(the.first, SECRET, &joined);
    assert_int_equal(n_sent, 3);
    reply_nil(2);
    assert_int_equal(new.result, KEEP_INVALID);
    assert_int_equal(joined.result, KEEP_INVALID);
    assert_int_equal(the.shared->slots[0].metrics[METRIC_CACHE_MISSES], 4);
    assert_int_equal(the.shared->slots[0].metrics[METRIC_CACHE_JOINED], 2);
}

static void test_known(void **state)
{
    struct heard change;
    struct keep_time now = {clock_boot(), clock_wall()};
    (void)state;
    assert_null(keep_known(the.first, &now, KEY));
    warm(the.first);
    const struct cache_entry *entry = keep_known(the.first, &now, KEY);
    assert_non_null(entry);
    assert_memory_equal(cache_entry_username(entry), "alice", 5);
    assert_int_equal(entry->type, TOKEN_TYPE_USER);
    keep_delete(the.second, KEY, on_change, &change);
    reply_integer(n_sent - 1, 1);
    assert_null(keep_known(the.first, &now, KEY)); /* what is outdated is not told as true */
}

static void test_rule_4_counter_moves_on_every_outcome(void **state)
{
    static const enum keep_result expected[] = {KEEP_DONE, KEEP_INVALID, KEEP_UNAVAILABLE, KEEP_UNAVAILABLE,
                                                KEEP_UNCERTAIN};
    const redisReply error = {.type = REDIS_REPLY_ERROR, .str = (char[]){"LOADING it"}, .len = 10};
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct heard change;
        uint64_t before = generation();
        keep_delete(the.first, KEY, on_change, &change);
        size_t last = n_sent - 1;
        assert_int_equal(sent[last].kind, REDIS_CHANGE);
        switch (i) {
        case 0: reply_integer(last, 1); break;
        case 1: reply_integer(last, 0); break;
        case 2: reply(last, &error); break;
        case 3: reply_lost(last, REDIS_UNAVAILABLE); break;
        case 4: reply_lost(last, REDIS_UNCERTAIN); break;
        }
        assert_int_equal(change.result, expected[i]);
        assert_int_equal(change.generation, before + 1);
    }
}

static void test_rule_6_negative_entries(void **state)
{
    struct heard heard, change;
    (void)state;
    assert_asks(the.first);
    assert_cached(the.first, KEEP_INVALID); /* Redis' nil is remembered */
    struct error error;
    char json[] = "{\"token\":\"gt-" KEY "." SECRET "\",\"username\":\"bob\",\"token_type\":\"user\",\"scopes\":[]}";
    struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, clock_wall(), &error);
    keep_store(the.second, data, true, on_change, &change);
    token_data_free(&data);
    reply_ok(n_sent - 1);
    assert_int_equal(change.result, KEEP_DONE);
    warm(the.first); /* and forgotten once a store was acknowledged, in any worker */

    get(the.second, OTHER_SECRET, &heard); /* a wrong secret makes no negative entry */
    reply_value(n_sent - 1);
    assert_int_equal(heard.result, KEEP_MISMATCH);
    assert_cached(the.second, KEEP_DONE);
}

static void test_rule_6_an_unreadable_value_is_not_remembered(void **state)
{
    struct heard heard;
    (void)state;
    the.value[the.value_size - 1] ^= 1;
    get(the.first, SECRET, &heard);
    reply_value(0);
    assert_int_equal(heard.result, KEEP_CORRUPT);
    the.value[the.value_size - 1] ^= 1;
    warm(the.first);
    the.value[the.value_size - 1] ^= 1;
    get(the.second, NULL, &heard);
    reply_value(n_sent - 1);
    assert_int_equal(heard.result, KEEP_CORRUPT);
}

static void test_rule_8_store_does_not_fill_the_cache(void **state)
{
    struct heard change;
    struct error error;
    (void)state;
    char json[] = "{\"token\":\"gt-" KEY "." SECRET "\",\"username\":\"bob\",\"token_type\":\"user\",\"scopes\":[]}";
    struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, clock_wall(), &error);
    keep_store(the.first, data, true, on_change, &change);
    token_data_free(&data);
    reply_ok(0);
    assert_int_equal(change.result, KEEP_DONE);
    assert_asks(the.first);
}

/* Around the size up to which values need no memory of their own. */
static void test_values_of_every_size_are_read_again(void **state)
{
    (void)state;
    for (size_t size = 3700; size < 4200; size++) {
        struct heard heard;
        struct error error;
        char json[8192], name[4200] = "";
        memset(name, 'n', size);
        snprintf(json, sizeof json,
                 "{\"token\":\"gt-%s.%s\",\"username\":\"bob\",\"token_type\":\"user\",\"scopes\":[],\"name\":\"%s\"}",
                 KEY, SECRET, name);
        struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, clock_wall(), &error);
        assert_non_null(data);
        n_sent = 0;
        keep_store(the.first, data, true, on_change, &heard);
        token_data_free(&data);
        reply_ok(0);
        get(the.first, SECRET, &heard);
        reply(1, &(redisReply){.type = REDIS_REPLY_STRING, .str = written, .len = written_size});
        assert_int_equal(heard.result, KEEP_DONE);
    }
}

static void test_rule_11_all_move_and_both_agree(void **state)
{
    (void)state;
    warm(the.first);
    warm(the.second);
    generation_move_all(the.shared);
    assert_asks(the.first);
    assert_asks(the.second);
}

static void test_rule_18_lives_run_from_the_sending(void **state)
{
    struct heard heard;
    (void)state;
    keep_free(&the.first);
    the.config.cache_ttl = 0.05;
    the.first = make_keep(0);
    get(the.first, SECRET, &heard);
    usleep(60000);
    reply_value(0); /* older than the time-to-live when it comes */
    assert_int_equal(heard.result, KEEP_DONE);
    assert_asks(the.first);
}

static void test_expiry_is_looked_at_on_every_hit(void **state)
{
    struct heard heard;
    struct error error;
    size_t plain_size;
    char json[256];
    (void)state;
    int64_t now = clock_wall();
    snprintf(json, sizeof json,
             "{\"token\":\"gt-%s.%s\",\"username\":\"bob\",\"token_type\":\"user\",\"scopes\":[],\"expires\":%lld}",
             KEY, SECRET, (long long)now + 10);
    struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, now, &error);
    unsigned char plain[1024];
    plain_size = codec_encode(data, plain, sizeof plain);
    vault_seal(the.vault, "token:" KEY, strlen("token:" KEY), plain, plain_size, the.value);
    the.value_size = plain_size + VAULT_OVERHEAD;
    token_data_free(&data);
    warm(the.first);
    struct keep_time then = {clock_boot(), now + 9};
    keep_get(the.first, &then, KEY, SECRET, on_get, &heard);
    assert_int_equal(heard.result, KEEP_DONE);
    then.wall = now + 10;
    keep_get(the.first, &then, KEY, SECRET, on_get, &heard);
    assert_int_equal(heard.result, KEEP_EXPIRED);
    assert_int_equal(n_sent, 1);
}

static void test_outage_is_never_a_no(void **state)
{
    struct heard heard;
    (void)state;
    get(the.first, SECRET, &heard);
    reply_lost(0, REDIS_UNAVAILABLE);
    assert_int_equal(heard.result, KEEP_UNAVAILABLE);
    get(the.first, SECRET, &heard);
    reply(1, &(redisReply){.type = REDIS_REPLY_ERROR, .str = (char[]){"NOAUTH x"}, .len = 8});
    assert_int_equal(heard.result, KEEP_UNAVAILABLE);
    get(the.first, SECRET, &heard);
    reply_integer(2, 0);
    assert_int_equal(heard.result, KEEP_UNAVAILABLE);
    warm(the.first);
}

static void test_requests_in_flight_are_bounded(void **state)
{
    struct heard waiting[8], more, change;
    (void)state;
    for (size_t i = 0; i < 8; i++)
        get(the.first, SECRET, &waiting[i]);
    get(the.first, SECRET, &more);
    assert_int_equal(more.result, KEEP_BUSY);
    keep_delete(the.first, KEY, on_change, &change);
    assert_int_equal(change.result, KEEP_BUSY);
    reply_value(0);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(waiting[i].result, KEEP_DONE);
    assert_cached(the.first, KEEP_DONE);
}

static void on_scan(void *argument, enum keep_result result, const struct scan_result *scan)
{
    struct heard *heard = argument;
    heard->called = true;
    heard->result = result;
    if (result == KEEP_DONE) {
        struct keyset *keys = scan->keys;
        keep_scan_done(the.first, &keys);
    }
}

static void reply_scan(size_t i, char *cursor)
{
    redisReply name = {.type = REDIS_REPLY_STRING, .str = (char[]){"token:" KEY}, .len = strlen("token:" KEY)};
    redisReply *names[] = {&name};
    redisReply position = {.type = REDIS_REPLY_STRING, .str = cursor, .len = strlen(cursor)};
    redisReply list = {.type = REDIS_REPLY_ARRAY, .elements = 1, .element = names};
    redisReply *parts[] = {&position, &list};
    reply(i, &(redisReply){.type = REDIS_REPLY_ARRAY, .elements = 2, .element = parts});
}

/* A cursor of a connection that was lost in between could pass keys over. */
static void test_a_scan_does_not_outlive_its_connection(void **state)
{
    struct heard scan, second;
    (void)state;
    for (uint64_t lost = 0; lost < 2; lost++) {
        size_t first = n_sent;
        scan.called = false;
        keep_scan(the.first, SCAN_LIST, on_scan, &scan);
        keep_scan(the.first, SCAN_LIST, on_scan, &second); /* one at a time */
        assert_int_equal(second.result, KEEP_BUSY);
        reply_scan(first, (char[]){"17"});
        losses += lost;
        reply_scan(first + 1, (char[]){"0"});
        event_base_dispatch(the.base);
        assert_true(scan.called);
        assert_int_equal(scan.result, lost ? KEEP_UNAVAILABLE : KEEP_DONE);
    }
}

/* What Redis never answers to a command is no verdict. */
static void test_answers_to_something_else(void **state)
{
    struct heard change;
    (void)state;
    redisReply strange[] = {
        {.type = REDIS_REPLY_INTEGER, .integer = -1},
        {.type = REDIS_REPLY_INTEGER, .integer = 2},
        {.type = REDIS_REPLY_STATUS, .str = (char[]){"QUEUED"}, .len = 6},
        {.type = REDIS_REPLY_NIL},
        {.type = REDIS_REPLY_STRING, .str = (char[]){"1"}, .len = 1},
    };
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        keep_delete(the.first, KEY, on_change, &change);
        reply(n_sent - 1, &strange[i]);
        assert_int_equal(change.result, KEEP_UNCERTAIN);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_hit),
        CASE(test_foreseen),
        CASE(test_rule_1_counter_is_noted_before_the_get),
        CASE(test_rule_2_counter_moves_between_redis_and_client),
        CASE(test_rule_3_no_joining_of_an_older_get),
        CASE(test_known),
        CASE(test_rule_4_counter_moves_on_every_outcome),
        CASE(test_rule_6_negative_entries),
        CASE(test_rule_6_an_unreadable_value_is_not_remembered),
        CASE(test_rule_8_store_does_not_fill_the_cache),
        CASE(test_values_of_every_size_are_read_again),
        CASE(test_rule_11_all_move_and_both_agree),
        CASE(test_rule_18_lives_run_from_the_sending),
        CASE(test_expiry_is_looked_at_on_every_hit),
        CASE(test_outage_is_never_a_no),
        CASE(test_requests_in_flight_are_bounded),
        CASE(test_a_scan_does_not_outlive_its_connection),
        CASE(test_answers_to_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
