/* SPDX-License-Identifier: MIT */
/* The log. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 1024, LINE_SIZE = 2 * MESSAGE_SIZE + 256 };

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static struct {
    enum log_level level;
    enum log_format format;
    char process[32];
    unsigned long lost; /* lines since the last that was written */
    bool opened;
    int fd; /* once opened: standard error, or the same pipe or terminal without waiting */
} settings = {LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "tokenkeepd", 0, false, STDERR_FILENO};

void log_configure(enum log_level level, enum log_format format)
{
    settings.level = level;
    settings.format = format;
}

bool log_wants(enum log_level level)
{
    return level <= settings.level;
}

void log_name_process(const char *name)
{
    snprintf(settings.process, sizeof settings.process, "%s", name);
}

const char *log_process(void)
{
    return settings.process;
}

/* Control characters are gone already: quote and backslash are all that JSON still needs escaped. */
static size_t escape_json(char *to, const char *from)
{
    size_t n = 0;
    for (; *from != '\0'; from++) {
        if (*from == '"' || *from == '\\')
            to[n++] = '\\';
        to[n++] = *from;
    }
    to[n] = '\0';
    return n;
}

static void format_time(char *out, size_t size)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char seconds[32];
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out, size, "%s.%06ldZ", seconds, now.tv_nsec / 1000);
}

void log_reopen(void)
{
    struct stat info;
    if (settings.opened && settings.fd != STDERR_FILENO)
        close(settings.fd);
    settings.opened = true;
    settings.fd = STDERR_FILENO;
    if (fstat(STDERR_FILENO, &info) != 0 || !(S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)))
        return;
    /* A description of our own: O_NONBLOCK on the one that we were given would be shared with the shell. */
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        settings.fd = fd;
}

int log_descriptor(void)
{
    if (!settings.opened)
        log_reopen();
    return settings.fd;
}

/* Writes one line unless that would wait: a log that nobody reads must not stop a server. */
static bool write_line(const char *line, size_t size)
{
    int fd = log_descriptor();
    if (fd != STDERR_FILENO)
        return write(fd, line, size) >= 0;
    struct pollfd poller = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t n = send(STDERR_FILENO, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK)
        n = poll(&poller, 1, 0) == 1 && (poller.revents & POLLOUT) != 0 ? write(STDERR_FILENO, line, size) : -1;
    return n >= 0;
}

static void format_and_write(enum log_level level, const char *message)
{
    char escaped[2 * MESSAGE_SIZE], when[64], line[LINE_SIZE];
    format_time(when, sizeof when);
    int n;
    if (settings.format == LOG_FORMAT_JSON) {
        escape_json(escaped, message);
        n = snprintf(line, sizeof line,
                     "{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"message\":\"%s\"}\n", when,
                     level_names[level], settings.process, (int)getpid(), escaped);
    } else {
        n = snprintf(line, sizeof line, "%s %s %s[%d]: %s\n", when, level_names[level], settings.process, (int)getpid(),
                     message);
    }
    if (n > 0 && (size_t)n < sizeof line && !write_line(line, (size_t)n))
        settings.lost++;
}

static void say_what_is_lost(void)
{
    char message[MESSAGE_SIZE];
    unsigned long lost = settings.lost;
    snprintf(message, sizeof message, "%lu lines before this one could not be written", lost);
    settings.lost = 0;
    format_and_write(LOG_LEVEL_WARNING, message);
    if (settings.lost > 0)
        settings.lost = lost; /* this one could not either */
}

static void __attribute__((format(printf, 2, 0))) log_line(enum log_level level, const char *format, va_list arguments)
{
    char message[MESSAGE_SIZE];
    if (!log_wants(level))
        return;
    if (settings.lost > 0)
        say_what_is_lost();
    vsnprintf(message, sizeof message, format, arguments);
    for (char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    format_and_write(level, message);
}

#define LOG_FUNCTION(name, level)           \
    void name(const char *format, ...)      \
    {                                       \
        va_list arguments;                  \
        va_start(arguments, format);        \
        log_line(level, format, arguments); \
        va_end(arguments);                  \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
