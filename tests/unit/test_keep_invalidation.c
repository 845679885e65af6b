/* SPDX-License-Identifier: MIT */
/* The rules that keep the cache true between machines, a case each, and what an outage allows. */
#include "keep_fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Time passes when a case says so. */

static int64_t passed;

int64_t __wrap_clock_boot(void);

int64_t __wrap_clock_boot(void)
{
    return 1000 * CLOCK_SECOND + passed;
}

static void pass(double seconds)
{
    passed += clock_from_seconds(seconds);
}

static void test_rule_6_an_announcement_ends_both_kinds_of_entries(void **state)
{
    static const enum invalidation_change all[] = {INVALIDATION_KEY, INVALIDATION_ALL, INVALIDATION_HEARING};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        warm(the.first);
        assert_cached(the.first, KEEP_DONE);
        announce(all[i], all[i] == INVALIDATION_KEY ? KEY : NULL);
        assert_asks(the.first);
        assert_cached(the.first, KEEP_INVALID);
        announce(all[i], all[i] == INVALIDATION_KEY ? KEY : NULL);
    }
    warm(the.first);
    announce(INVALIDATION_KEY, "abcdefghijklmnopqrstuw");
    assert_cached(the.first, KEEP_DONE);
}

static void test_rule_13_without_a_lease_there_is_no_hit(void **state)
{
    (void)state;
    warm(the.first);
    struct heard heard = {0};
    struct keep_time now = {clock_boot(), clock_wall()};
    links[0].state->lease_until = now.boot + 1;
    assert_true(keep_get(the.first, &now, KEY, SECRET, on_get, &heard));
    assert_non_null(keep_known(the.first, &now, KEY));
    links[0].state->lease_until = now.boot;
    assert_null(keep_known(the.first, &now, KEY));
    assert_false(keep_get(the.first, &now, KEY, SECRET, on_get, &heard));
    reply_nil(n_sent - 1);
    assert_int_equal(heard.result, KEEP_INVALID);
    /* Nor of an unknown key. */
    assert_asks(the.first);
}

static void test_rule_14_an_announcement_marks_what_is_under_way(void **state)
{
    static const enum invalidation_change both[] = {INVALIDATION_KEY, INVALIDATION_ALL};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct heard before, after;
        get(the.first, SECRET, &before);
        announce(both[i], i == 0 ? KEY : NULL);
        get(the.first, SECRET, &after);
        assert_int_equal(n_sent, 3 * i + 2);
        reply_value(3 * i);
        assert_int_equal(before.result, KEEP_DONE);
        assert_false(after.called);
        reply_nil(3 * i + 1);
        assert_int_equal(after.result, KEEP_INVALID);
        assert_cached(the.first, KEEP_INVALID);
        announce(INVALIDATION_ALL, NULL);
        assert_asks(the.first);
        announce(INVALIDATION_ALL, NULL);
    }
}

/* The older of two is not found by an announcement any more, so it is not kept. */
static void test_rule_14_an_older_flight_is_not_kept(void **state)
{
    struct heard older, newer;
    struct keep_time then = {clock_boot(), clock_wall()};
    (void)state;
    get(the.first, SECRET, &older);
    then.boot += 2 * CLOCK_SECOND;
    assert_false(keep_get(the.first, &then, KEY, SECRET, on_get, &newer));
    assert_int_equal(n_sent, 2);
    reply_nil(1);
    announce(INVALIDATION_KEY, KEY);
    reply_value(0);
    assert_int_equal(older.result, KEEP_DONE);
    assert_asks(the.first);
}

static void test_rule_15_one_epoch_is_not_kept_or_joined_in_another(void **state)
{
    struct heard first, second, third;
    (void)state;
    get(the.first, SECRET, &first);
    lose_link();
    get(the.first, SECRET, &second);
    assert_int_equal(n_sent, 2);
    regain_link();
    get(the.first, SECRET, &third);
    assert_int_equal(n_sent, 3);
    reply_nil(2);
    reply_value(0);
    reply_value(1);
    assert_true(first.result == KEEP_DONE && second.result == KEEP_DONE && third.result == KEEP_INVALID);
    assert_cached(the.first, KEEP_INVALID);
}

static void test_rule_16_nothing_is_kept_while_the_link_is_down(void **state)
{
    (void)state;
    lose_link();
    warm(the.first);
    links[0].state->lease_until = INT64_MAX;
    assert_asks(the.first);
    assert_asks(the.first);
}

static void test_rule_17_an_old_flight_is_not_joined(void **state)
{
    struct heard first, second, third;
    struct keep_time then = {clock_boot(), clock_wall()};
    (void)state;
    assert_false(keep_get(the.first, &then, KEY, SECRET, on_get, &first));
    then.boot += INVALIDATION_LEASE - 1;
    assert_false(keep_get(the.first, &then, KEY, SECRET, on_get, &second));
    assert_int_equal(n_sent, 1);
    then.boot += 1;
    assert_false(keep_get(the.first, &then, KEY, SECRET, on_get, &third));
    assert_int_equal(n_sent, 2);
    reply_value(0);
    reply_nil(1);
    assert_true(first.result == KEEP_DONE && second.result == KEEP_DONE && third.result == KEEP_INVALID);
}

static void test_rule_20_refused_beats_refuse_all(void **state)
{
    struct heard under_way, heard;
    (void)state;
    the.config.cache_stale_on_error = 10;
    get(the.first, SECRET, &under_way);
    links[0].state->refused = true;
    links[0].state->lease_until = 0;
    reply_value(0);
    assert_int_equal(under_way.result, KEEP_UNAVAILABLE);
    get(the.first, SECRET, &heard);
    assert_true(heard.called && heard.result == KEEP_UNAVAILABLE);
    assert_int_equal(n_sent, 1);
    links[0].state->refused = false;
    links[0].state->lease_until = INT64_MAX;
    assert_asks(the.first);
}

/* Answers past their time. */

static bool heard_stale;

static void on_get_stale(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    on_get(argument, result, entry);
    heard_stale = entry != NULL && entry->stale;
}

/* Redis is away. */
static enum keep_result get_in_outage(const char *secret)
{
    struct heard heard = {0};
    struct keep_time now = {clock_boot(), clock_wall()};
    heard_stale = false;
    assert_false(keep_get(the.first, &now, KEY, secret, on_get_stale, &heard));
    reply_lost(n_sent - 1, REDIS_UNAVAILABLE);
    assert_true(heard.called);
    return heard.result;
}

/* A keep whose entries are fresh for so long, and may be answered for so much longer in an outage. */
static void renew_first(double ttl, double stale)
{
    keep_free(&the.first);
    the.config.cache_ttl = ttl;
    the.config.cache_stale_on_error = stale;
    the.first = make_keep(0);
}

static void test_stale_only_while_redis_is_away(void **state)
{
    (void)state;
    renew_first(2, 60);
    warm(the.first);
    pass(2);
    assert_int_equal(get_in_outage(SECRET), KEEP_DONE);
    assert_true(heard_stale);
    assert_int_equal(get_in_outage(SECRET), KEEP_DONE);
    assert_int_equal(get_in_outage(NULL), KEEP_DONE);
    /* What is there may have another secret by now: that is no "no". */
    assert_int_equal(get_in_outage(OTHER_SECRET), KEEP_UNAVAILABLE);
    assert_asks(the.first); /* it is there, Redis says no, and that holds */
    assert_cached(the.first, KEEP_INVALID);
    announce(INVALIDATION_ALL, NULL);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
    renew_first(2, 0);
    warm(the.first);
    pass(2);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
}

static void test_stale_ends(void **state)
{
    (void)state;
    renew_first(2, 4);
    warm(the.first);
    pass(2);
    assert_int_equal(get_in_outage(SECRET), KEEP_DONE);
    pass(3.9);
    assert_int_equal(get_in_outage(SECRET), KEEP_DONE);
    pass(0.1);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
}

static void test_stale_never_what_is_known_to_be_revoked(void **state)
{
    struct heard heard;
    (void)state;
    renew_first(60, 60);
    /* A change through this machine, whatever came of it. */
    warm(the.first);
    keep_delete(the.second, KEY, on_change, &heard);
    reply_lost(n_sent - 1, REDIS_UNCERTAIN);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
    warm(the.first);
    lose_link();
    keep_delete(the.second, KEY, on_change, &heard);
    reply_lost(n_sent - 1, REDIS_UNCERTAIN);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
    regain_link();
    /* What was announced, one or all. */
    warm(the.first);
    announce(INVALIDATION_KEY, KEY);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
    warm(the.first);
    announce(INVALIDATION_ALL, NULL);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
    /* What Redis said while the link was down. */
    warm(the.first);
    lose_link();
    assert_int_equal(get_in_outage(SECRET), KEEP_DONE);
    assert_true(heard_stale);
    assert_asks(the.first);
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
    regain_link();
    /* What may have been changed before the link was back. */
    warm(the.first);
    lose_link();
    regain_link();
    assert_int_equal(get_in_outage(SECRET), KEEP_UNAVAILABLE);
}

static void test_without_stale_a_lost_link_forgets(void **state)
{
    (void)state;
    warm(the.first);
    lose_link();
    links[0].state->lease_until = INT64_MAX; /* even if */
    assert_asks(the.first);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_rule_6_an_announcement_ends_both_kinds_of_entries),
        CASE(test_rule_13_without_a_lease_there_is_no_hit),
        CASE(test_rule_14_an_announcement_marks_what_is_under_way),
        CASE(test_rule_14_an_older_flight_is_not_kept),
        CASE(test_rule_15_one_epoch_is_not_kept_or_joined_in_another),
        CASE(test_rule_16_nothing_is_kept_while_the_link_is_down),
        CASE(test_rule_17_an_old_flight_is_not_joined),
        CASE(test_rule_20_refused_beats_refuse_all),
        CASE(test_stale_only_while_redis_is_away),
        CASE(test_stale_ends),
        CASE(test_stale_never_what_is_known_to_be_revoked),
        CASE(test_without_stale_a_lost_link_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
