/* SPDX-License-Identifier: MIT */
/* Files of lines: batches, torn ends, a disk that is full and then is not, files moved, deleted and cut short. */
#include "reporter/file.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/tk-file-XXXXXX";
static char path[64], other[64];
static struct files *files;
static struct error error;
static int64_t now = 100 * CLOCK_SECOND;

/* In place of the real one, so that seconds pass when a test says so. */
int64_t clock_boot(void)
{
    return now;
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int files_begin(void **state)
{
    (void)state;
    files = files_new();
    return 0;
}

static int files_end(void **state)
{
    (void)state;
    files_free(&files);
    unlink(path);
    unlink(other);
    return 0;
}

static void set(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect(const char *name, const char *text)
{
    static char found[1 << 18];
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    found[fread(found, 1, sizeof found - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(found, text);
}

static size_t size_of(const char *name)
{
    struct stat status;
    assert_int_equal(stat(name, &status), 0);
    return (size_t)status.st_size;
}

static struct file *open_log(void)
{
    struct file *file = file_open(files, path, &error);
    assert_non_null(file);
    return file;
}

static void append(struct file *file, const char *line)
{
    assert_int_equal(file_append(file, line, strlen(line), &error), 0);
}

/* No file may grow beyond `size` from here on; 0: every size will do. */
static void disk_full_at(size_t size)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size > 0 ? size : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void expect_failure(struct file *file, int number)
{
    assert_non_null(file_failure(file));
    assert_string_equal(file_failure(file), strerror(number));
}

static void test_waits_for_the_batch(void **state)
{
    (void)state;
    struct file *file = open_log();
    append(file, "one");
    append(file, "");
    append(file, "three");
    expect(path, "");
    files_flush(files);
    expect(path, "one\n\nthree\n");
    append(file, "four");
    assert_int_equal(file_flush(file, true, &error), 0);
    expect(path, "one\n\nthree\nfour\n");
    append(file, "five");
    file_close(&file);
    assert_null(file);
    file_close(&file);
    expect(path, "one\n\nthree\nfour\nfive\n");
}

static void test_much_leaves_before(void **state)
{
    (void)state;
    static char line[FILE_LINE_MAX];
    memset(line, 'x', sizeof line);
    struct file *file = open_log();
    for (int i = 0; i < 100; i++)
        assert_int_equal(file_append(file, line, sizeof line, &error), 0);
    assert_true(size_of(path) >= FILE_WAITING_MAX);
    file_close(&file);
    assert_int_equal(size_of(path), 100 * (sizeof line + 1));
}

static void test_mode(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 022, 077, 0777};
    struct stat status;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        mode_t before = umask(masks[i]);
        struct file *file = open_log();
        umask(before);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0640);
        file_close(&file);
        unlink(path);
    }
    set(path, "");
    assert_int_equal(chmod(path, 0600), 0);
    struct file *file = open_log();
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600); /* the operator's own stays */
    file_close(&file);
}

static void refused(const char *name, const char *why)
{
    assert_null(file_open(files, name, &error));
    if (strstr(error.text, why) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", name, error.text, why);
}

static void test_refused(void **state)
{
    (void)state;
    refused("relative", "must be absolute");
    refused("/dev/null", "not a regular file");
    refused(folder, "directory");
    refused("/nonexistent/log", "No such file");
    assert_int_equal(symlink(path, other), 0);
    refused(other, "symbolic link");
    assert_int_not_equal(access(path, F_OK), 0);
    unlink(other);
    assert_int_equal(mkfifo(other, 0600), 0);
    refused(other, "not a regular file");
    unlink(other);

    struct file *file = open_log();
    refused(path, "open already");
    assert_int_equal(link(path, other), 0);
    refused(other, "under another name");
    assert_int_equal(unlink(path), 0);
    refused(path, "open already");
    assert_int_not_equal(access(path, F_OK), 0);
    file_close(&file);
}

static void test_too_many(void **state)
{
    (void)state;
    struct file *open[FILES_MAX];
    char name[80];
    for (int i = 0; i < FILES_MAX; i++) {
        snprintf(name, sizeof name, "%s.%d", path, i);
        open[i] = file_open(files, name, &error);
        assert_non_null(open[i]);
    }
    refused(path, "64 files are open");
    assert_int_not_equal(access(path, F_OK), 0);
    for (int i = 0; i < FILES_MAX; i++) {
        file_close(&open[i]);
        snprintf(name, sizeof name, "%s.%d", path, i);
        unlink(name);
    }
}

static void test_torn_end(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } cases[] = {
        {"", "line\nmore\n"},
        {"whole\n", "whole\nline\nmore\n"},
        {"whole\nhal", "whole\nhal\nline\nmore\n"},
        {"h", "h\nline\nmore\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set(path, cases[i].before);
        struct file *file = open_log();
        append(file, "line");
        files_flush(files);
        append(file, "more");
        files_flush(files);
        expect(path, cases[i].after);
        file_close(&file);
    }
    set(path, "hal");
    struct file *file = open_log();
    file_close(&file);
    expect(path, "hal"); /* nothing was written, nothing is mended */
}

static void test_refused_lines(void **state)
{
    (void)state;
    static char line[FILE_LINE_MAX + 1];
    struct file *file = open_log();
    assert_int_equal(file_append(file, "two\nlines", 9, &error), -1);
    assert_int_equal(file_append(file, line, sizeof line, &error), -1);
    assert_int_equal(file_append(file, line, sizeof line - 1, &error), 0);
    assert_int_equal(file_dropped(file), 0);
    file_close(&file);
    assert_int_equal(size_of(path), FILE_LINE_MAX + 1);
}

static void test_moved(void **state)
{
    (void)state;
    struct file *file = open_log();
    append(file, "one");
    files_flush(files);
    assert_int_equal(rename(path, other), 0);
    append(file, "two");
    files_flush(files); /* too soon to be looked at */
    expect(other, "one\ntwo\n");
    now += CLOCK_SECOND;
    append(file, "three");
    files_flush(files);
    expect(path, "three\n");
    expect(other, "one\ntwo\n");

    assert_int_equal(unlink(path), 0);
    now += CLOCK_SECOND;
    files_flush(files); /* made anew also when nothing waits */
    expect(path, "");
    append(file, "four");

    assert_int_equal(rename(path, other), 0);
    set(path, "another's, torn");
    now += CLOCK_SECOND;
    files_flush(files);
    expect(path, "another's, torn\nfour\n");
    file_close(&file);
}

static void test_reopened(void **state)
{
    (void)state;
    struct file *file = open_log();
    append(file, "one");
    assert_int_equal(rename(path, other), 0);
    files_reopen(files);
    append(file, "two");
    files_flush(files);
    expect(other, "one\n");
    expect(path, "two\n");
    assert_int_equal(file_reopen(file, &error), 0);
    append(file, "three");
    file_close(&file);
    expect(path, "two\nthree\n");
}

static void test_folder_gone(void **state)
{
    (void)state;
    char inner[80], away[80], name[96];
    snprintf(inner, sizeof inner, "%s/inner", folder);
    snprintf(away, sizeof away, "%s/away", folder);
    snprintf(name, sizeof name, "%s/log", inner);
    assert_int_equal(mkdir(inner, 0700), 0);
    struct file *file = file_open(files, name, &error);
    assert_non_null(file);
    assert_int_equal(rename(inner, away), 0);
    now += CLOCK_SECOND;
    append(file, "one");
    files_flush(files);
    assert_string_equal(file_failure(file), "cannot be opened again: No such file or directory");
    append(file, "two");
    assert_int_equal(file_flush(file, false, &error), -1);
    assert_int_equal(mkdir(inner, 0700), 0);
    assert_int_equal(file_flush(file, false, &error), -1); /* it was looked at within the second */
    now += CLOCK_SECOND;
    assert_int_equal(file_flush(file, true, &error), 0);
    assert_null(file_failure(file));
    expect(name, "one\ntwo\n");
    file_close(&file);
    unlink(name);
    rmdir(inner);
    snprintf(name, sizeof name, "%s/log", away);
    expect(name, "");
    unlink(name);
    rmdir(away);
}

/* A file with "first", and as much of "second" and "third" as fits into 10 bytes. */
static struct file *half_written(void)
{
    struct file *file = open_log();
    append(file, "first");
    files_flush(files);
    append(file, "second");
    append(file, "third");
    disk_full_at(10);
    files_flush(files);
    expect(path, "first\nseco");
    expect_failure(file, EFBIG);
    return file;
}

static void test_full_then_room(void **state)
{
    (void)state;
    struct file *file = half_written();
    append(file, "fourth");
    assert_int_equal(file_flush(file, true, &error), -1);
    assert_string_equal(error.text, strerror(EFBIG));
    disk_full_at(0);
    files_flush(files);
    assert_null(file_failure(file));
    expect(path, "first\nsecond\nthird\nfourth\n");
    assert_int_equal(file_dropped(file), 0);
    file_close(&file);
}

static void test_full_little_by_little(void **state)
{
    (void)state;
    struct file *file = half_written();
    for (size_t room = 11; room < 40; room++) {
        append(file, "x");
        disk_full_at(room);
        files_flush(files);
    }
    disk_full_at(0);
    file_close(&file);
    expect(path, "first\nsecond\nthird\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx"
                 "\nx\nx\n");
}

static void test_full_then_cut(void **state)
{
    static const struct {
        off_t size;
        const char *after;
    } cases[] = {
        {0, "second\nthird\n"},
        {6, "first\nsecond\nthird\n"},
        {8, "first\nse\nsecond\nthird\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file *file = half_written();
        disk_full_at(0);
        assert_int_equal(truncate(path, cases[i].size), 0);
        files_flush(files);
        expect(path, cases[i].after);
        file_close(&file);
        unlink(path);
    }
}

static void test_full_then_moved(void **state)
{
    (void)state;
    struct file *file = half_written();
    disk_full_at(0);
    assert_int_equal(rename(path, other), 0);
    now += CLOCK_SECOND;
    files_flush(files);
    expect(path, "second\nthird\n");
    expect(other, "first\nseco");
    assert_null(file_failure(file));
    file_close(&file);
}

static void test_full_then_another_there(void **state)
{
    (void)state;
    struct file *file = half_written();
    disk_full_at(0);
    assert_int_equal(rename(path, other), 0);
    set(path, "as long as");
    now += CLOCK_SECOND;
    files_flush(files);
    expect(path, "as long as\nsecond\nthird\n");
    file_close(&file);
}

/* So much more that the buffer moves below the half of the line that is to follow. */
static void test_full_then_much_more(void **state)
{
    static char line[FILE_LINE_MAX], wanted[3 * FILE_LINE_MAX];
    (void)state;
    memset(line, 'x', sizeof line);
    struct file *file = open_log();
    append(file, "first");
    append(file, "second");
    disk_full_at(10);
    files_flush(files);
    for (int i = 0; i < 2; i++)
        assert_int_equal(file_append(file, line, 20000 - (size_t)i, &error), 0);
    assert_int_equal(file_append(file, line, sizeof line, &error), 0);
    disk_full_at(0);
    file_close(&file);
    snprintf(wanted, sizeof wanted, "first\nsecond\n%.20000s\n%.19999s\n%.65536s\n", line, line, line);
    expect(path, wanted);
}

static void test_full_then_reopened(void **state)
{
    (void)state;
    struct file *file = half_written();
    assert_int_equal(file_reopen(file, &error), -1);
    disk_full_at(0);
    assert_int_equal(file_reopen(file, &error), 0);
    expect(path, "first\nsecond\nthird\n");
    file_close(&file);
}

static void test_full_then_closed(void **state)
{
    (void)state;
    struct file *file = half_written();
    file_close(&file);
    disk_full_at(0);
    file = open_log();
    append(file, "next");
    file_close(&file);
    expect(path, "first\nseco\nnext\n");
}

/* The LF behind a torn line finds no room either. */
static void test_full_behind_torn(void **state)
{
    (void)state;
    set(path, "torn");
    struct file *file = open_log();
    append(file, "line");
    disk_full_at(4);
    files_flush(files);
    expect_failure(file, EFBIG);
    expect(path, "torn");
    disk_full_at(5);
    files_flush(files);
    expect(path, "torn\n");
    disk_full_at(0);
    files_flush(files);
    expect(path, "torn\nline\n");
    file_close(&file);
}

static void test_waiting_is_bounded(void **state)
{
    (void)state;
    static char line[1023];
    const size_t most = FILE_WAITING_MAX / (sizeof line + 1);
    memset(line, 'x', sizeof line);
    struct file *file = open_log();
    append(file, "12345");
    disk_full_at(6);
    for (size_t i = 0; i < most + 10; i++)
        if (file_append(file, line, sizeof line, &error) != 0)
            assert_string_equal(error.text, strerror(EFBIG));
    files_flush(files);
    expect(path, "12345\n");
    assert_int_equal(file_dropped(file), 10);
    assert_int_equal(file_dropped(file), 0);
    disk_full_at(0);
    assert_false(files_take(files, path, true)); /* all that waited is there now, but not what was dropped */
    assert_true(files_take(files, path, true));
    assert_null(file_failure(file));
    assert_int_equal(size_of(path), 6 + most * 1024);
    append(file, "after");
    assert_int_equal(file_dropped(file), 0);
    file_close(&file);
    assert_int_equal(size_of(path), 6 + most * 1024 + 6);
}

/* A line that was dropped is not there, whatever the disk says by the time it is asked. */
static void test_takes_nothing_with_a_gap(void **state)
{
    (void)state;
    static char line[1023];
    memset(line, 'x', sizeof line);
    struct file *file = open_log();
    append(file, "12345");
    assert_true(files_take(files, path, true));
    disk_full_at(6);
    while (file_append(file, line, sizeof line, &error) == 0)
        continue;
    assert_false(files_take(files, path, true));
    assert_false(files_take(files, path, false));
    disk_full_at(0);
    assert_false(files_take(files, path, true));
    assert_true(files_take(files, path, true));

    disk_full_at(6);
    while (file_append(file, line, sizeof line, &error) == 0)
        continue;
    disk_full_at(0);
    files_flush(files); /* between two batches: what comes after it is whole again */
    append(file, "after");
    assert_true(files_take(files, path, true));
    file_close(&file);
}

/* Whoever asks for the disk gets it in a file that can be found. */
static void test_takes_nothing_that_was_deleted(void **state)
{
    (void)state;
    struct file *file = open_log();
    append(file, "one");
    assert_true(files_take(files, path, true));
    assert_int_equal(unlink(path), 0);
    append(file, "two");
    assert_true(files_take(files, path, true));
    expect(path, "two\n");
    file_close(&file);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, files_begin, files_end)
    const struct CMUnitTest tests[] = {
        TEST(test_waits_for_the_batch),
        TEST(test_much_leaves_before),
        TEST(test_mode),
        TEST(test_refused),
        TEST(test_too_many),
        TEST(test_torn_end),
        TEST(test_refused_lines),
        TEST(test_moved),
        TEST(test_reopened),
        TEST(test_folder_gone),
        TEST(test_full_then_room),
        TEST(test_full_little_by_little),
        TEST(test_full_then_cut),
        TEST(test_full_then_moved),
        TEST(test_full_then_another_there),
        TEST(test_full_then_much_more),
        TEST(test_full_then_reopened),
        TEST(test_full_then_closed),
        TEST(test_full_behind_torn),
        TEST(test_waiting_is_bounded),
        TEST(test_takes_nothing_with_a_gap),
        TEST(test_takes_nothing_that_was_deleted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
