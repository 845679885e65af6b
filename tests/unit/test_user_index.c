/* SPDX-License-Identifier: MIT */
/* The index by user: written-out names, and that whatever is put into a set is looked for there, at any time until it
 * expires and by clocks that differ. */
#include "keep/user_index.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW INT64_C(1800000000)
#define KEY "abcdefghijklmnopqrstuv"

static struct vault *vault;

static int vault_make(void **state)
{
    char path[] = "/tmp/tokenkeep-test-XXXXXX";
    struct error error = {""};
    (void)state;
    int fd = mkstemp(path);
    dprintf(fd, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n");
    close(fd);
    vault = vault_open_keyring(path, &error);
    unlink(path);
    return vault == NULL;
}

static int vault_gone(void **state)
{
    (void)state;
    vault_free(&vault);
    return 0;
}

static struct token_data data_of(int64_t created, int64_t expires)
{
    struct token_data data = {.username = "alice", .created = created, .expires = expires};
    memcpy(data.token.key, KEY, TOKEN_PART_SIZE);
    return data;
}

/* Made with Python's hashlib. */
static void names(void **state)
{
    static const struct {
        size_t key;
        const char *prefix, *username;
        struct user_index_span span;
        const char *name;
    } cases[] = {
        {0, "token:", "alice", {0, 0}, "token:u.Y7Sc1Rr0PwNk-kZp38qiIOIVW3hGc9eF"},
        {1, "token:", "alice", {0, 0}, "token:u.DzB6Y2tScutNn0UHxWOXhB0ha1YDLCJy"},
        {0, "t2:", "alice", {0, 0}, "t2:u.-S85RIa7LRRuu_I1wEQXbwlwSPNhBRRR"},
        {0, "token:", "bob", {0, 0}, "token:u.Lr4HP8FwSCMFPSbq_i3jIah4OOfBXSdb"},
        {0, "token:", "alice", {10, 1757812}, "token:u.LjPB3E2JOwc-c-G39esez70gtWsNemkC"},
        {0, "token:", "alice", {26, 29}, "token:u.8dRU6cdwLhaeU8put8XjltcRvi2543B8"},
        {1,
         "",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         {14, 1},
         "u.PEVZe6QrkPnYMK5lnJMLP-Rz_uI5dSnY"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct user_index_name name;
        user_index_name(vault, cases[i].key, cases[i].prefix, cases[i].username, cases[i].span, &name);
        assert_int_equal(name.size, strlen(cases[i].name));
        assert_memory_equal(name.text, cases[i].name, name.size);
        const size_t prefix_size = strlen(cases[i].prefix);
        assert_true(user_index_name_valid(name.text + prefix_size, name.size - prefix_size));
        assert_false(user_index_name_valid(name.text + prefix_size, name.size - prefix_size - 1));
    }
}

static bool is_read(struct user_index_span span, int64_t now)
{
    for (size_t i = 0; i < USER_INDEX_SETS; i++) {
        const struct user_index_span other = user_index_span_nth(i, now);
        if (other.shift == span.shift && other.number == span.number)
            return true;
    }
    return false;
}

static const int64_t lives[] = {1,        2,        1023,         1024,           16383,         16384,
                                16385,    86400,    262143,       262144,         4194303,       4194304,
                                67108863, 67108864, 1073741823,   1073741824,     1 << 20,       1 << 25,
                                123456,   7654321,  4000000000LL, 200000000000LL, 251603300799LL};

static void what_is_written_is_read(void **state)
{
    static const int64_t ages[] = {0, 1, 86400, 100000000, NOW, NOW - 253402300799};
    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof *lives; i++)
        for (size_t k = 0; k < sizeof ages / sizeof *ages; k++)
            for (int64_t offset = 0; offset < 5000; offset += 97) {
                const struct token_data data = data_of(NOW - ages[k], NOW + offset + lives[i]);
                const struct user_index_span span = user_index_span_of(&data, NOW + offset);
                for (int64_t step = 0; step <= 8; step++) {
                    const int64_t then = NOW + offset + lives[i] * step / 8;
                    assert_true(is_read(span, then) && is_read(span, then - 900) && is_read(span, then + 900));
                }
                if (span.shift != 0)
                    assert_true((span.number + 1) << span.shift > data.expires &&
                                span.number << span.shift <= data.expires);
                else
                    assert_true(lives[i] >= 1 << 30);
            }
}

/* A set outlives a token by no more than its life, or by the shortest span. */
static void sets_are_soon_gone(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof *lives; i++) {
        const struct token_data data = data_of(NOW, NOW + lives[i]);
        const struct user_index_span span = user_index_span_of(&data, NOW);
        assert_true(span.shift == 0 || INT64_C(1) << span.shift <= (lives[i] > 1024 ? lives[i] : 1024));
    }
    const struct token_data eternal = data_of(NOW, 0);
    assert_int_equal(user_index_span_of(&eternal, NOW).shift, 0);
}

/* Its data say at any time in which set a token was put. */
static void found_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof *lives && lives[i] < 1 << 30; i++)
        for (int64_t age = 0; age < 100000; age += 33333) {
            const struct token_data data = data_of(NOW - age, NOW + lives[i]);
            const struct user_index_span span = user_index_span_of(&data, NOW);
            for (int64_t step = 0; step <= 8; step++) {
                const struct user_index_span again = user_index_span_of(&data, NOW + lives[i] * step / 8);
                assert_int_equal(again.shift, span.shift);
                assert_int_equal(again.number, span.number);
            }
        }
}

static void assert_words(const struct redis_words *words, const char *expected)
{
    char text[256] = "";
    for (int i = 0; i < words->n; i++)
        sprintf(text + strlen(text), "%s%.*s", i > 0 ? " " : "", (int)words->sizes[i], words->texts[i]);
    assert_string_equal(text, expected);
}

static void entries(void **state)
{
    char expected[256];
    struct user_index_entry entry;
    const struct token_data eternal = data_of(NOW, 0), brief = data_of(NOW, NOW + 1000);
    (void)state;
    user_index_entry(&entry, vault, "token:", &eternal, NOW);
    snprintf(expected, sizeof expected, "ZADD %.*s GT 1800000000 " KEY, (int)entry.name.size, entry.name.text);
    assert_words(&entry.add, expected);
    assert_int_equal(entry.expire.n, 0);
    user_index_entry(&entry, vault, "token:", &brief, NOW);
    snprintf(expected, sizeof expected, "EXPIREAT %.*s 1800001536", (int)entry.name.size, entry.name.text);
    assert_words(&entry.expire, expected);
}

static void what_is_no_name(void **state)
{
    static const char *const cases[] = {"",
                                        "u.",
                                        KEY,
                                        "u." KEY,
                                        "u.abcdefghijklmnopqrstuvwxyz012345\n",
                                        "u.abcdefghijklmnopqrstuvwxyz01234.",
                                        "v.abcdefghijklmnopqrstuvwxyz012345",
                                        "uu" KEY "0123456789",
                                        "u.abcdefghijklmno.qrstuvwxyz012345"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_false(user_index_name_valid(cases[i], strlen(cases[i])));
    assert_true(user_index_name_valid("u.abcdefghijklmnopqrstuvwxyz-_2345", 34));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(sets_are_soon_gone),
        cmocka_unit_test(found_again),
        cmocka_unit_test(entries),
        cmocka_unit_test(what_is_no_name),
    };
    return cmocka_run_group_tests(tests, vault_make, vault_gone);
}
