/* SPDX-License-Identifier: MIT */
/* Where scripts are found: beside the configuration before the installed ones, and what is no script. */
#include "config_files.h"

#include <sys/wait.h>

static void found_at(const char *title, const char *expected)
{
    char *path = NULL;
    assert_int_equal(script_find(title, here, &path, NULL), 0);
    assert_string_equal(path, expected);
    free(path);
}

static void refused(const char *title, const char *expected)
{
    struct error error = {""};
    char *path = NULL;
    assert_int_equal(script_find(title, here, &path, &error), -1);
    assert_string_equal(error.text, expected);
    assert_null(path);
}

static void lookup_order(void **state)
{
    (void)state;
    found_at("other.lua", in_folder("other.lua"));
    found_at("audit.lua", in_folder("lua/audit.lua"));
    write_script("audit.lua");
    found_at("audit.lua", in_folder("audit.lua"));
    assert_int_equal(unlink("audit.lua"), 0);
    assert_int_equal(symlink("nowhere", "audit.lua"), 0);
    found_at("audit.lua", in_folder("lua/audit.lua"));
    assert_int_equal(unlink("audit.lua"), 0);
}

static void titles_with_a_slash(void **state)
{
    (void)state;
    char absolute[PATH_MAX + 300];
    found_at("lua/audit.lua", in_folder("lua/audit.lua"));
    found_at("./other.lua", in_folder("./other.lua"));
    found_at("lua/../other.lua", in_folder("lua/../other.lua"));
    snprintf(absolute, sizeof absolute, "%s/lua/slack.lua", here);
    found_at(absolute, absolute);
}

static void not_there(void **state)
{
    (void)state;
    char expected[3 * PATH_MAX];
    snprintf(expected, sizeof expected,
             "there is no script \"none.lua\" in %s nor in %s; put it into one of them, or correct the title", here,
             installed);
    refused("none.lua", expected);
    /* An installed one is no answer to a path. */
    snprintf(expected, sizeof expected, "there is no file %s/./audit.lua; put the script there, or correct the title",
             here);
    refused("./audit.lua", expected);
    refused("/none/a.lua", "there is no file /none/a.lua; put the script there, or correct the title");
}

/* Something of that name beside the configuration is an error also when there is an installed script. */
static void not_a_file(void **state)
{
    (void)state;
    char expected[3 * PATH_MAX];
    snprintf(expected, sizeof expected, "%s is not a file but a folder or a device; give the file of a script",
             in_folder("audit.lua"));
    assert_int_equal(mkdir("audit.lua", 0700), 0);
    refused("audit.lua", expected);
    assert_int_equal(rmdir("audit.lua"), 0);
    assert_int_equal(mkfifo("audit.lua", 0600), 0);
    refused("audit.lua", expected);
    assert_int_equal(unlink("audit.lua"), 0);
    refused("/dev/null", "/dev/null is not a file but a folder or a device; give the file of a script");
    refused("", "the title is not the file of a script: the path is empty; give one, or leave the option out");
    refused("a\nb", "the title is not the file of a script: there is a control character in the path");
    snprintf(expected, sizeof expected, "the script %s cannot be read: Not a directory",
             in_folder("other.lua/audit.lua"));
    refused("other.lua/audit.lua", expected);
}

/* In a child, where root can be given up, that reads nothing else afterwards: tells whether the error is as expected.
 */
static int refused_to_nobody(const char *expected)
{
    pid_t child = fork();
    if (child == 0) {
        struct error error = {""};
        char *path = NULL;
        const bool dropped = geteuid() != 0 || setuid(65534) == 0;
        _exit(dropped && script_find("audit.lua", here, &path, &error) == -1 && strcmp(error.text, expected) == 0 ? 0
                                                                                                                  : 1);
    }
    int status = -1;
    return waitpid(child, &status, 0) == child ? status : -1;
}

static void unreadable(void **state)
{
    (void)state;
    char expected[3 * PATH_MAX];
    write_script("audit.lua");
    assert_int_equal(chmod("audit.lua", 0), 0);
    assert_int_equal(chmod(here, 0755), 0);
    snprintf(expected, sizeof expected, "the script %s cannot be read: Permission denied", in_folder("audit.lua"));
    assert_int_equal(refused_to_nobody(expected), 0);
    assert_int_equal(unlink("audit.lua"), 0);
}

static void installed_alone(void **state)
{
    (void)state;
    struct error error = {""};
    char *path = NULL, expected[3 * PATH_MAX];
    assert_int_equal(script_find_installed("slack.lua", &path, &error), 0);
    assert_string_equal(path, in_folder("lua/slack.lua"));
    free(path);
    path = NULL;
    assert_int_equal(script_find_installed("other.lua", &path, &error), -1);
    snprintf(expected, sizeof expected,
             "the script other.lua, which is installed with tokenkeep, is missing in %s; install tokenkeep again",
             installed);
    assert_string_equal(error.text, expected);
    assert_null(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_order), cmocka_unit_test(titles_with_a_slash), cmocka_unit_test(not_there),
        cmocka_unit_test(not_a_file),   cmocka_unit_test(unreadable),          cmocka_unit_test(installed_alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
