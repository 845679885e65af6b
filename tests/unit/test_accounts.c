/* SPDX-License-Identifier: MIT */
/* Names of users: as /etc/passwd has them, and none for who is not in it. */
#include "base/accounts.h"

#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The first entry of an id counts, as everywhere. */
static void assert_first_name(uid_t uid)
{
    struct passwd *entry;
    FILE *file = fopen("/etc/passwd", "re");
    assert_non_null(file);
    while ((entry = fgetpwent(file)) != NULL && entry->pw_uid != uid)
        continue;
    fclose(file);
    const char *name = account_name(uid);
    assert_int_equal(name == NULL, entry == NULL);
    if (name != NULL)
        assert_string_equal(name, entry->pw_name);
}

static void everybody(void **state)
{
    (void)state;
    struct passwd *entry;
    uid_t uids[1000];
    size_t n = 0;
    FILE *file = fopen("/etc/passwd", "re");
    assert_non_null(file);
    while (n < sizeof uids / sizeof *uids && (entry = fgetpwent(file)) != NULL)
        uids[n++] = entry->pw_uid;
    fclose(file);
    assert_true(n > 0);
    for (size_t i = 0; i < 3 * n; i++)
        assert_first_name(uids[i % n]);
}

/* Ids that share a place in the table, asked for again and again. */
static void neighbours(void **state)
{
    (void)state;
    assert_string_equal(account_name(0), "root");
    for (unsigned round = 0; round < 3; round++)
        for (uid_t uid = 0; uid < 64 * 20; uid += 64)
            assert_first_name(uid);
    assert_string_equal(account_name(0), "root");
}

static void nobody(void **state)
{
    (void)state;
    for (uid_t uid = 4000000000; uid < 4000000200; uid++)
        assert_null(account_name(uid));
    assert_null(account_name((uid_t)-1));
    assert_null(account_name((uid_t)-1));
}

static void by_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "+", "-x", "roo", "root ", "no such user", "a\nb"};
    uid_t uid = 7;
    assert_true(account_find("root", &uid));
    assert_int_equal(uid, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(account_find(bad[i], &uid));
    assert_int_equal(uid, 0);
}

/* An assumed name stays until it is taken back; no bad one is. */
static void assumed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "+", "-x", "a\nb", "\xff", "a234567890123456789012345678901234567890123456789012345678901234"};
    assert_true(account_assume(4000000001, "ada"));
    assert_string_equal(account_name(4000000001), "ada");
    assert_true(account_assume(0, "zero"));
    assert_string_equal(account_name(0), "zero");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(account_assume(0, bad[i]));
    assert_string_equal(account_name(0), "zero");
    assert_true(account_assume(0, NULL));
    assert_string_equal(account_name(0), "root");
    assert_string_equal(account_name(4000000001), "ada");
    assert_true(account_assume(4000000001, NULL));
    assert_null(account_name(4000000001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody), cmocka_unit_test(neighbours), cmocka_unit_test(nobody),
        cmocka_unit_test(by_name),   cmocka_unit_test(assumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
