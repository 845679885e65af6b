/* SPDX-License-Identifier: MIT */
/* The log: whole lines, no control characters, and no waiting for a reader that does not read. */
#include "base/log.h"

#include <setjmp.h>
#include <poll.h>
#include <pty.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int saved;

enum kind { PIPE, SOCKET, TERMINAL, KINDS };

static int make_ends(enum kind kind, int ends[2])
{
    switch (kind) {
    case PIPE: return pipe(ends);
    case SOCKET: return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    default: return openpty(&ends[0], &ends[1], NULL, NULL, NULL);
    }
}

/* Puts one end of a pipe, a socket or a terminal in place of standard error; returns the end to read. */
static int capture(enum kind kind)
{
    int ends[2];
    assert_int_equal(make_ends(kind, ends), 0);
    saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_reopen();
    return ends[0];
}

static void release(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    log_reopen();
}

static size_t read_all(int fd, char *text, size_t size)
{
    ssize_t n = read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* Reads until nothing more is there; a terminal hands out a little at a time. */
static void drain(int fd, char *text, size_t size)
{
    size_t held = 0;
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    while (poll(&poller, 1, 100) == 1 && held + 1 < size)
        held += read_all(fd, text + held, size - held);
}

static void test_lines(void **state)
{
    char text[4096];
    (void)state;
    int fd = capture(PIPE);
    log_name_process("test");
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("one\ntwo\x7f %d", 3);
    log_debug("not this");
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_error("a \"b\" \\");
    release();
    read_all(fd, text, sizeof text);
    close(fd);
    assert_non_null(strstr(text, " info test["));
    assert_non_null(strstr(text, "]: one?two? 3\n"));
    assert_null(strstr(text, "not this"));
    assert_non_null(strstr(text, "\"level\":\"error\""));
    assert_non_null(strstr(text, "\"message\":\"a \\\"b\\\" \\\\\"}\n"));
}

static void test_nobody_reads(void **state)
{
    static char text[1 << 20];
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    for (enum kind kind = PIPE; kind < KINDS; kind++) {
        int fd = capture(kind);
        for (unsigned i = 0; i < 100000; i++) /* would wait for ever */
            log_info("line %u of many that nobody reads, so that whatever is between fills up", i);
        drain(fd, text, sizeof text);
        assert_true(text[0] != '\0');
        log_info("the reader is back");
        drain(fd, text, sizeof text);
        release();
        close(fd);
        assert_non_null(strstr(text, "lines before this one could not be written"));
        assert_non_null(strstr(text, "the reader is back"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
