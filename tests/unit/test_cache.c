/* SPDX-License-Identifier: MIT */
/* The cache: bounds, recency, probing, and that what leaves is gone. */
#include "keep/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void make_key(char key[TOKEN_PART_SIZE + 1], unsigned number)
{
    snprintf(key, TOKEN_PART_SIZE + 1, "key-%018u", number);
}

static struct cache_entry *make_entry(uint64_t hash, unsigned number, const char *username)
{
    static const char *const scopes[] = {"read:all", "write:all"};
    char key[TOKEN_PART_SIZE + 1];
    struct token_data data = {
        .username = username, .type = TOKEN_TYPE_USER, .scopes = scopes, .n_scopes = 2, .created = 1};
    make_key(key, number);
    memcpy(data.token.key, key, TOKEN_PART_SIZE);
    memset(data.token.secret, 's', TOKEN_PART_SIZE);
    struct cache_entry *entry = cache_entry_new(hash, &data, 7, 9);
    assert_non_null(entry);
    return entry;
}

static const struct cache_entry *look_up(struct cache *cache, uint64_t hash, unsigned number)
{
    char key[TOKEN_PART_SIZE + 1];
    make_key(key, number);
    return cache_lookup(cache, hash, key);
}

static void test_entry_holds_what_the_data_said(void **state)
{
    (void)state;
    struct cache_entry *entry = make_entry(1, 1, "alice");
    assert_true(entry->known);
    assert_int_equal(entry->generation, 7);
    assert_int_equal(entry->fresh_until, 9);
    assert_int_equal(entry->username_size, 5);
    assert_memory_equal(cache_entry_username(entry), "alice", 5);
    assert_true(cache_entry_has_scope(entry, "read:all", 8));
    assert_true(cache_entry_has_scope(entry, "write:all", 9));
    assert_false(cache_entry_has_scope(entry, "write", 5));
    assert_false(cache_entry_has_scope(entry, "", 0));
    assert_int_equal(cache_entry_json(entry)[entry->json_size - 1], '}');
    cache_entry_free(&entry);
    assert_null(entry);
    cache_entry_free(&entry);
}

static void test_entries_are_bounded_and_the_oldest_leaves(void **state)
{
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(cache_insert(cache, make_entry(i << 16, i, "alice")), 0);
    assert_non_null(look_up(cache, 0, 0)); /* now 1 is the oldest */
    assert_int_equal(cache_insert(cache, make_entry(3 << 16, 3, "alice")), 1);
    assert_int_equal(cache_entries(cache), 3);
    assert_null(look_up(cache, 1 << 16, 1));
    assert_non_null(look_up(cache, 0, 0));
    assert_non_null(look_up(cache, 3 << 16, 3));
    cache_free(&cache);
    assert_null(cache);
}

/* One use is one chance: whoever had it leaves when its turn comes again. */
static void test_chances_are_used_up(void **state)
{
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, 3);
    for (unsigned i = 0; i < 3; i++)
        cache_insert(cache, make_entry(i << 16, i, "alice"));
    assert_non_null(look_up(cache, 0, 0));
    for (unsigned i = 3; i < 6; i++)
        cache_insert(cache, make_entry(i << 16, i, "alice"));
    assert_null(look_up(cache, 0, 0));
    for (unsigned i = 3; i < 6; i++)
        assert_non_null(look_up(cache, i << 16, i));
    cache_free(&cache);
}

static void test_bytes_are_bounded(void **state)
{
    (void)state;
    struct cache_entry *one = make_entry(0, 0, "alice");
    size_t size = one->size;
    struct cache *cache = cache_new(2 * size + 1, 100);
    cache_insert(cache, one);
    cache_insert(cache, make_entry(1 << 16, 1, "alice"));
    assert_int_equal(cache_bytes(cache), 2 * size);
    assert_int_equal(cache_insert(cache, make_entry(2 << 16, 2, "alice")), 1);
    assert_int_equal(cache_bytes(cache), 2 * size);
    cache_free(&cache);

    cache = cache_new(size - 1, 100); /* never fits: taken all the same, and freed */
    assert_int_equal(cache_insert(cache, make_entry(0, 0, "alice")), 0);
    assert_int_equal(cache_entries(cache), 0);
    cache_free(&cache);
}

static void test_nothing_is_kept_without_room(void **state)
{
    (void)state;
    const size_t bounds[][2] = {{0, 10}, {1 << 20, 0}, {0, 0}};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        struct cache *cache = cache_new(bounds[i][0], bounds[i][1]);
        cache_insert(cache, make_entry(0, 0, "alice"));
        assert_null(look_up(cache, 0, 0));
        cache_free(&cache);
    }
}

static void test_same_key_is_replaced(void **state)
{
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, 3);
    cache_insert(cache, make_entry(5, 1, "alice"));
    cache_insert(cache, make_entry(5, 1, "bob"));
    assert_int_equal(cache_entries(cache), 1);
    assert_memory_equal(cache_entry_username(look_up(cache, 5, 1)), "bob", 3);
    cache_free(&cache);
}

static void test_same_hash_is_not_same_key(void **state)
{
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, 3);
    cache_insert(cache, make_entry(5, 1, "alice"));
    assert_null(look_up(cache, 5, 2));
    assert_non_null(look_up(cache, 5, 1));
    cache_free(&cache);
}

static void test_all_is_forgotten(void **state)
{
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, 20);
    for (unsigned i = 0; i < 20; i++)
        cache_insert(cache, make_entry((uint64_t)(i % 3) << 16, i, "alice"));
    struct cache_entry *copy = cache_entry_copy(look_up(cache, 0, 0));
    assert_int_equal(cache_clear(cache), 20);
    assert_int_equal(cache_clear(cache), 0);
    assert_true(cache_entries(cache) == 0 && cache_bytes(cache) == 0);
    for (unsigned i = 0; i < 20; i++)
        assert_null(look_up(cache, (uint64_t)(i % 3) << 16, i));
    assert_memory_equal(cache_entry_username(copy), "alice", 5);
    cache_insert(cache, copy);
    assert_non_null(look_up(cache, 0, 0));
    cache_free(&cache);
}

/* However much all entries are in use, one leaves for each that comes. */
static void test_all_in_use(void **state)
{
    enum { ENTRIES = 200 };
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, ENTRIES);
    for (unsigned i = 0; i < ENTRIES; i++)
        cache_insert(cache, make_entry((uint64_t)i << 16, i, "alice"));
    for (unsigned i = 0; i < 10 * ENTRIES; i++)
        assert_non_null(look_up(cache, (uint64_t)(i % ENTRIES) << 16, i % ENTRIES));
    for (unsigned i = ENTRIES; i < 20 * ENTRIES; i++) {
        assert_int_equal(cache_insert(cache, make_entry((uint64_t)i << 16, i, "alice")), 1);
        assert_int_equal(cache_entries(cache), ENTRIES);
    }
    cache_free(&cache);
}

/* An ideal LRU of numbers: which were asked last, newest first. */
struct ideal {
    unsigned *newer, *older; /* rings through number N, which stands for both ends */
    bool *there;
    size_t n, room, hits;
    unsigned end;
};

static void ideal_unlink(struct ideal *ideal, unsigned number)
{
    ideal->older[ideal->newer[number]] = ideal->older[number];
    ideal->newer[ideal->older[number]] = ideal->newer[number];
}

static void ideal_ask(struct ideal *ideal, unsigned number)
{
    const unsigned oldest = ideal->newer[ideal->end];
    ideal->hits += ideal->there[number];
    if (ideal->there[number]) {
        ideal_unlink(ideal, number);
    } else if (ideal->n++ >= ideal->room) {
        ideal_unlink(ideal, oldest);
        ideal->there[oldest] = false;
    }
    ideal->there[number] = true;
    ideal->older[number] = ideal->older[ideal->end];
    ideal->newer[number] = ideal->end;
    ideal->newer[ideal->older[ideal->end]] = number;
    ideal->older[ideal->end] = number;
}

/* How often what is asked is there, of `steps` questions for numbers with the given sums of weights; for a cache with
 * room for one in `share`, and for an ideal LRU of that size. */
static void measure_hits(const double *sums, unsigned numbers, unsigned share, double *ratio, double *ideal_ratio)
{
    const unsigned steps = 20 * numbers;
    unsigned hits = 0;
    struct cache *cache = cache_new(SIZE_MAX, numbers / share);
    struct ideal ideal = {calloc(numbers + 1, sizeof(unsigned)),
                          calloc(numbers + 1, sizeof(unsigned)),
                          calloc(numbers, sizeof(bool)),
                          0,
                          numbers / share,
                          0,
                          numbers};
    ideal.newer[numbers] = ideal.older[numbers] = numbers;
    srandom(1);
    for (unsigned step = 0; step < steps; step++) {
        const double mark = (double)random() / RAND_MAX * sums[numbers - 1];
        unsigned number = 0, after = numbers - 1;
        while (number < after)
            if (sums[(number + after) / 2] < mark)
                number = (number + after) / 2 + 1;
            else
                after = (number + after) / 2;
        const uint64_t hash = (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
        char key[TOKEN_PART_SIZE + 1];
        make_key(key, number);
        if (cache_lookup(cache, hash, key) != NULL)
            hits++;
        else
            cache_insert(cache, cache_entry_new_unknown(hash, key, 0, 0));
        ideal_ask(&ideal, number);
    }
    *ratio = hits / (double)steps;
    *ideal_ratio = (double)ideal.hits / steps;
    cache_free(&cache);
    free(ideal.newer);
    free(ideal.older);
    free(ideal.there);
}

/* Smaller than what is asked for, the cache has about the hits of an ideal LRU, from even to very uneven questions:
 * there is no cliff. */
static void test_hit_ratio(void **state)
{
    enum { NUMBERS = 5000 };
    static double sums[NUMBERS];
    (void)state;
    for (int slope = 0; slope < 3; slope++) {
        double sum = 0;
        for (unsigned i = 0; i < NUMBERS; i++)
            sums[i] = sum += slope == 0 ? 1 : slope == 1 ? 1.0 / (i + 1) : 1.0 / (i + 1) / (i + 1);
        for (unsigned share = 2; share <= 50; share *= 5) {
            double ratio, ideal;
            measure_hits(sums, NUMBERS, share, &ratio, &ideal);
            print_message("zipf %d, 1/%u of the keys: %.1f %% hits, an ideal LRU has %.1f %%\n", slope, share,
                          ratio * 100, ideal * 100);
            assert_true(ratio > ideal - 0.01);
        }
    }
}

/* Random inserts and removals with hashes that collide, held against a plain array: a gap closed wrongly loses
 * entries. */
static void test_probing_against_a_plain_array(void **state)
{
    enum { KEYS = 64, STEPS = 20000 };
    bool there[KEYS] = {false};
    (void)state;
    struct cache *cache = cache_new(SIZE_MAX, KEYS);
    srandom(1);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned number = (unsigned)random() % KEYS;
        uint64_t hash = (uint64_t)(number % 13 + 60) << 16; /* few homes, some at the table's end */
        char key[TOKEN_PART_SIZE + 1];
        make_key(key, number);
        if (random() % 2 == 0) {
            cache_insert(cache, make_entry(hash, number, "alice"));
            there[number] = true;
        } else {
            cache_remove(cache, hash, key);
            there[number] = false;
        }
        unsigned other = (unsigned)random() % KEYS;
        cache_foresee_slot(cache, (uint64_t)(other % 13 + 60) << 16);
        cache_foresee_entry(cache, (uint64_t)(other % 13 + 60) << 16);
        assert_int_equal(look_up(cache, (uint64_t)(other % 13 + 60) << 16, other) != NULL, there[other]);
    }
    cache_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_holds_what_the_data_said),
        cmocka_unit_test(test_entries_are_bounded_and_the_oldest_leaves),
        cmocka_unit_test(test_chances_are_used_up),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_nothing_is_kept_without_room),
        cmocka_unit_test(test_same_key_is_replaced),
        cmocka_unit_test(test_same_hash_is_not_same_key),
        cmocka_unit_test(test_all_is_forgotten),
        cmocka_unit_test(test_all_in_use),
        cmocka_unit_test(test_hit_ratio),
        cmocka_unit_test(test_probing_against_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
