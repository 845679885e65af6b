/* SPDX-License-Identifier: MIT */
/* The rules that keep the cache true on one machine, a case each. */
#include "keep_fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "keep/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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
    struct heard change;
    (void)state;
    assert_true(keep_foresee(the.first, OTHER_SECRET));
    assert_true(keep_foresee(the.first, KEY));
    warm(the.first);
    assert_cached(the.first, KEEP_DONE);
    unsigned more = 0;
    while (keep_foresee(the.first, more % 3 == 0 ? OTHER_SECRET : KEY))
        assert_in_range(more++, 0, 100000);
    for (unsigned i = 0; i < more; i++)
        assert_cached(the.first, KEEP_DONE);
    keep_foresee_nothing(the.first);
    while (keep_foresee(the.first, OTHER_SECRET))
        continue;
    assert_cached(the.first, KEEP_DONE);
    keep_foresee_nothing(the.first);
    assert_true(keep_foresee(the.first, KEY));
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
