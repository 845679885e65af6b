/* SPDX-License-Identifier: MIT */
/* The log. */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
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
} settings = {LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "tokenkeepd"};

void log_configure(enum log_level level, enum log_format format)
{
    settings.level = level;
    settings.format = format;
}

void log_name_process(const char *name)
{
    snprintf(settings.process, sizeof settings.process, "%s", name);
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

static void __attribute__((format(printf, 2, 0))) log_line(enum log_level level, const char *format, va_list arguments)
{
    if (level > settings.level)
        return;
    char message[MESSAGE_SIZE], escaped[2 * MESSAGE_SIZE], when[64], line[LINE_SIZE];
    vsnprintf(message, sizeof message, format, arguments);
    for (char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    format_time(when, sizeof when);
    int n;
    if (settings.format == LOG_FORMAT_JSON) {
        escape_json(escaped, message);
        n = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"message\":\"%s\"}\n",
                     when, level_names[level], settings.process, (int)getpid(), escaped);
    } else {
        n = snprintf(line, sizeof line, "%s %s %s[%d]: %s\n", when, level_names[level], settings.process, (int)getpid(), message);
    }
    if (n > 0 && (size_t)n < sizeof line && write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nobody is left to tell */
}

#define LOG_FUNCTION(name, level)              \
    void name(const char *format, ...)         \
    {                                          \
        va_list arguments;                     \
        va_start(arguments, format);           \
        log_line(level, format, arguments);    \
        va_end(arguments);                     \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
