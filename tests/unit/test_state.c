/* SPDX-License-Identifier: MIT */
/* The folder that --state names: made safely, used only when it is safe, its keyring made once and never replaced. */
#include "master/state.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], keyring[96], beside[96], stored[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/tokenkeep-test-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(keyring, sizeof keyring, "%s/keyring", folder);
    snprintf(beside, sizeof beside, "%s/keyring.new", folder);
    snprintf(stored, sizeof stored, "%s/appendonlydir", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(keyring);
    unlink(beside);
    rmdir(stored);
    return rmdir(folder);
}

static size_t read_all(const char *path, char *out, size_t size)
{
    const int fd = open(path, O_RDONLY);
    const ssize_t n = read(fd, out, size - 1);
    close(fd);
    assert_true(n >= 0);
    out[n] = '\0';
    return (size_t)n;
}

static void makes_a_keyring_once(void **state)
{
    (void)state;
    struct error error;
    struct stat file;
    char first[128], second[128];
    unsigned char key[33];
    size_t size;
    assert_int_equal(state_keyring_ready(keyring, folder, &error), 0);
    assert_int_equal(lstat(keyring, &file), 0);
    assert_int_equal(file.st_mode, S_IFREG | 0600);
    assert_int_equal(read_all(keyring, first, sizeof first), 45);
    assert_int_equal(first[44], '\n');
    assert_int_equal(sodium_base642bin(key, sizeof key, first, 44, NULL, &size, NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    assert_int_equal(size, 32);
    assert_int_equal(state_keyring_ready(keyring, folder, &error), 0);
    read_all(keyring, second, sizeof second);
    assert_string_equal(first, second);
    assert_int_equal(access(beside, F_OK), -1);
    unlink(keyring);
    assert_int_equal(state_keyring_ready(keyring, folder, &error), 0);
    read_all(keyring, second, sizeof second);
    assert_string_not_equal(first, second);
}

/* A crash in the middle left something beside. */
static void overcomes_what_a_crash_left(void **state)
{
    (void)state;
    struct error error;
    char text[128];
    const int fd = open(beside, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "half", 4), 4);
    close(fd);
    assert_int_equal(state_keyring_ready(keyring, folder, &error), 0);
    assert_int_equal(read_all(keyring, text, sizeof text), 45);
    assert_int_equal(access(beside, F_OK), -1);
}

static void makes_none_beside_stored_tokens(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(mkdir(stored, 0700), 0);
    assert_int_equal(state_keyring_ready(keyring, folder, &error), -1);
    assert_non_null(strstr(error.text, "put it back"));
    assert_int_equal(access(keyring, F_OK), -1);
}

static void makes_a_folder(void **state)
{
    (void)state;
    struct error error;
    struct stat file;
    assert_int_equal(state_directory_ready(stored, NULL, false, &error), 0);
    assert_int_equal(access(stored, F_OK), -1);
    assert_int_equal(state_directory_ready(stored, NULL, true, &error), 0);
    assert_int_equal(lstat(stored, &file), 0);
    assert_int_equal(file.st_mode, S_IFDIR | 0700);
    assert_int_equal(state_directory_ready(stored, NULL, true, &error), 0);
}

static void refuses_an_unsafe_folder(void **state)
{
    (void)state;
    struct error error;
    char missing[96];
    snprintf(missing, sizeof missing, "%s/none/folder", folder);
    assert_int_equal(state_directory_ready(missing, NULL, true, &error), -1);
    assert_int_equal(chmod(folder, 0770), 0);
    assert_int_equal(state_directory_ready(folder, NULL, true, &error), -1);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(state_directory_ready(folder, NULL, true, &error), 0);
    close(open(keyring, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(state_directory_ready(keyring, NULL, true, &error), -1);
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(folder, 12345, 12345), 0);
    assert_int_equal(state_directory_ready(folder, NULL, true, &error), -1);
    assert_non_null(strstr(error.text, "12345"));
    assert_int_equal(state_directory_ready(folder, "no-such-name-here", true, &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_a_keyring_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overcomes_what_a_crash_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(makes_none_beside_stored_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(makes_a_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_an_unsafe_folder, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
