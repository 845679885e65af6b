/* SPDX-License-Identifier: MIT */
/* The answers that a bench receives. */
#include "cli/bench_answer.h"

#include <stdbool.h>
#include <string.h>

/* The first line, without its end. Returns the bytes that it has with its end, or PARTIAL or BAD. */
static long line_find(const char *bytes, size_t size, bool crlf, size_t *line)
{
    const char *newline = memchr(bytes, '\n', size);
    if (newline == NULL)
        return size >= BENCH_ANSWER_MAX ? BENCH_ANSWER_BAD : BENCH_ANSWER_PARTIAL;
    *line = (size_t)(newline - bytes);
    if (crlf && (*line == 0 || newline[-1] != '\r'))
        return BENCH_ANSWER_BAD;
    *line -= crlf ? 1 : 0;
    return newline + 1 - bytes;
}

static bool begins_with(const char *text, size_t size, const char *word)
{
    size_t length = strlen(word);
    return size >= length && memcmp(text, word, length) == 0;
}

static bool is_word(const char *text, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

static long line_parse(const char *bytes, size_t size, struct bench_answer *answer)
{
    size_t line;
    long taken = line_find(bytes, size, false, &line);
    if (taken <= 0)
        return taken;
    *answer = (struct bench_answer){.class = BENCH_ANSWER_REFUSED, .text = bytes, .size = line};
    if (begins_with(bytes, line, "OK ")) {
        answer->class = BENCH_ANSWER_VALUE;
        answer->text += 3;
        answer->size -= 3;
    } else if (is_word(bytes, line, "OK")) {
        answer->class = BENCH_ANSWER_DONE;
    } else if (is_word(bytes, line, "NO invalid")) {
        answer->class = BENCH_ANSWER_NONE;
    } else if (!begins_with(bytes, line, "NO ") && !begins_with(bytes, line, "ERR ")) {
        return BENCH_ANSWER_BAD;
    }
    return taken;
}

/* A whole number from `text` on, digits alone, up to a space or the line's end; -1 when it is none, or too large. */
static long number_read(const char *text, size_t size)
{
    long number = 0;
    size_t i = 0;
    for (; i < size && text[i] != ' '; i++) {
        if (text[i] < '0' || text[i] > '9' || number > BENCH_ANSWER_MAX)
            return -1;
        number = number * 10 + (text[i] - '0');
    }
    return i == 0 || number > BENCH_ANSWER_MAX ? -1 : number;
}

/* A value of `length` bytes and CRLF, behind a head of `head` bytes. */
static long value_take(const char *bytes, size_t size, size_t head, long length, struct bench_answer *answer)
{
    size_t whole = head + (size_t)length + 2;
    if (length < 0 || whole > BENCH_ANSWER_MAX)
        return BENCH_ANSWER_BAD;
    if (size < whole)
        return BENCH_ANSWER_PARTIAL;
    if (memcmp(bytes + whole - 2, "\r\n", 2) != 0)
        return BENCH_ANSWER_BAD;
    *answer = (struct bench_answer){.class = BENCH_ANSWER_VALUE, .text = bytes + head, .size = (size_t)length};
    return (long)whole;
}

static long resp_parse(const char *bytes, size_t size, struct bench_answer *answer)
{
    size_t line;
    long head = line_find(bytes, size, true, &line);
    if (head <= 0)
        return head;
    const char *text = bytes + 1;
    const size_t rest = line == 0 ? 0 : line - 1;
    *answer = (struct bench_answer){.class = BENCH_ANSWER_DONE, .text = text, .size = rest};
    switch (bytes[0]) {
    case '+': return head;
    case ':': answer->class = is_word(text, rest, "0") ? BENCH_ANSWER_NONE : BENCH_ANSWER_DONE; return head;
    case '-': answer->class = BENCH_ANSWER_REFUSED; return head;
    case '$':
        if (!is_word(text, rest, "-1"))
            return value_take(bytes, size, (size_t)head, number_read(text, rest), answer);
        answer->class = BENCH_ANSWER_NONE;
        return head;
    }
    return BENCH_ANSWER_BAD;
}

static long memcached_parse(const char *bytes, size_t size, struct bench_answer *answer)
{
    size_t line;
    long head = line_find(bytes, size, true, &line);
    if (head <= 0)
        return head;
    if (begins_with(bytes, line, "VA "))
        return value_take(bytes, size, (size_t)head, number_read(bytes + 3, line - 3), answer);
    *answer = (struct bench_answer){.class = BENCH_ANSWER_REFUSED, .text = bytes, .size = line};
    if (begins_with(bytes, line, "HD"))
        answer->class = BENCH_ANSWER_DONE;
    else if (begins_with(bytes, line, "EN") || begins_with(bytes, line, "NF"))
        answer->class = BENCH_ANSWER_NONE;
    return head;
}

long bench_answer_parse(enum bench_protocol protocol, const char *bytes, size_t size, struct bench_answer *answer)
{
    switch (protocol) {
    case BENCH_LINE: return line_parse(bytes, size, answer);
    case BENCH_RESP:
    case BENCH_REDIS: return resp_parse(bytes, size, answer);
    case BENCH_MEMCACHED: return memcached_parse(bytes, size, answer);
    }
    return BENCH_ANSWER_BAD;
}
