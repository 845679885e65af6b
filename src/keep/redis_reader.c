/* SPDX-License-Identifier: MIT */
/* Reads replies from Redis with bounded memory: a walk over the headers of RESP2 that decides what hiredis' reader
 * sees. */
#include "keep/redis_reader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum place {
    PLACE_START,  /* before an item's type byte */
    PLACE_LINE,   /* in a status, error or integer */
    PLACE_LENGTH, /* in the length of a string or the count of an array */
    PLACE_STRING, /* in a string or its line end */
    PLACE_THROWN, /* the same, of a string over the limit */
    PLACE_BROKEN,
};

struct redis_reader {
    redisReader *parser;
    const char *error;
    enum place place;
    char header[16]; /* a length or count, from its type byte to its line end; held back until it is known to be good */
    size_t header_size;
    size_t line_size;                /* bytes so far of the line that PLACE_LINE is in */
    char line_last;                  /* the last of them */
    size_t left;                     /* bytes to come of the string and its line end */
    unsigned depth;                  /* arrays that are open */
    size_t left_in[REDIS_DEPTH_MAX]; /* items to come in each */
    size_t reply_size;               /* bytes of this reply that the parser was given */
    size_t reply_elements;           /* elements of all arrays of this reply */
};

struct redis_reader *redis_reader_new(void)
{
    struct redis_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return NULL;
    reader->parser = redisReaderCreate();
    if (reader->parser == NULL)
        redis_reader_free(&reader);
    return reader;
}

void redis_reader_free(struct redis_reader **reader)
{
    if (*reader == NULL)
        return;
    if ((*reader)->parser != NULL)
        redisReaderFree((*reader)->parser);
    free(*reader);
    *reader = NULL;
}

const char *redis_reader_error(const struct redis_reader *reader)
{
    return reader->error;
}

static void fail(struct redis_reader *reader, const char *error)
{
    reader->error = error;
    reader->place = PLACE_BROKEN;
}

static void feed(struct redis_reader *reader, const char *data, size_t size)
{
    reader->reply_size += size;
    if (reader->reply_size > REDIS_REPLY_MAX)
        fail(reader, "a reply over the limit");
    else if (redisReaderFeed(reader->parser, data, size) != REDIS_OK)
        fail(reader, "no memory for a reply");
}

/* Returns whether the item that ended here was the reply's last. */
static bool item_end(struct redis_reader *reader)
{
    if (reader->place == PLACE_BROKEN)
        return false;
    reader->place = PLACE_START;
    while (reader->depth > 0 && --reader->left_in[reader->depth - 1] == 0)
        reader->depth--;
    return reader->depth == 0;
}

/* Looks at the type byte and leaves it to what comes next. */
static void item_start(struct redis_reader *reader, char type)
{
    switch (type) {
    case '+':
    case '-':
    case ':':
        reader->line_size = 0;
        reader->line_last = '\0';
        reader->place = PLACE_LINE;
        return;
    case '$':
    case '*':
        reader->header_size = 0;
        reader->place = PLACE_LENGTH;
        return;
    default: fail(reader, "a reply of a kind that RESP2 does not have");
    }
}

/* The parser too takes the first CR LF for the line's end, so that the two always agree on it. */
static size_t take_line(struct redis_reader *reader, const char *data, size_t size, bool *ended)
{
    const char *newline = memchr(data, '\n', size);
    size_t n = newline == NULL ? size : (size_t)(newline - data) + 1;
    char before = n > 1 ? data[n - 2] : reader->line_last;
    reader->line_size += n;
    reader->line_last = data[n - 1];
    if (reader->line_size > REDIS_LINE_MAX)
        fail(reader, "a line over the limit");
    else if (newline != NULL && before != '\r')
        fail(reader, "a line that does not end in CR LF");
    else
        feed(reader, data, n);
    *ended = newline != NULL;
    return n;
}

/* The number in the held header, -1 for a nil; -2 when it is none. */
static long header_number(const struct redis_reader *reader)
{
    const char *digit = reader->header + 1, *end = reader->header + reader->header_size - 2;
    if (end <= digit || *end != '\r')
        return -2;
    if (end - digit == 2 && digit[0] == '-' && digit[1] == '1')
        return -1;
    long number = 0;
    for (; digit < end; digit++) {
        if (*digit < '0' || *digit > '9')
            return -2;
        number = 10 * number + (*digit - '0');
    }
    return number;
}

static void string_begin(struct redis_reader *reader, long length)
{
    if (length > REDIS_STRING_MAX) {
        fail(reader, "a string of impossible length");
        return;
    }
    reader->left = (size_t)length + 2;
    reader->place = length > REDIS_BULK_MAX ? PLACE_THROWN : PLACE_STRING;
    if (reader->place == PLACE_STRING)
        feed(reader, reader->header, reader->header_size);
}

static bool array_begin(struct redis_reader *reader, long count)
{
    if (reader->reply_elements + (size_t)count > REDIS_ELEMENTS_MAX) {
        fail(reader, "an array over the limit");
        return false;
    }
    if (reader->depth == REDIS_DEPTH_MAX) {
        fail(reader, "arrays nested too deep");
        return false;
    }
    reader->place = PLACE_START;
    feed(reader, reader->header, reader->header_size);
    if (count == 0)
        return item_end(reader);
    reader->reply_elements += (size_t)count;
    reader->left_in[reader->depth++] = (size_t)count;
    return false;
}

/* The header's bytes are gathered one by one: there are few of them, and none may reach the parser before the last is
 * known. */
static bool take_length(struct redis_reader *reader, char byte)
{
    if (reader->header_size == sizeof reader->header) {
        fail(reader, "a length or count of too many digits");
        return false;
    }
    reader->header[reader->header_size++] = byte;
    if (byte != '\n')
        return false;
    long number = header_number(reader);
    if (number < -1) {
        fail(reader, "a length or count that is no number");
        return false;
    }
    if (number == -1) {
        feed(reader, reader->header, reader->header_size);
        return item_end(reader);
    }
    if (reader->header[0] == '*')
        return array_begin(reader, number);
    string_begin(reader, number);
    return false;
}

static size_t take_string(struct redis_reader *reader, const char *data, size_t size, bool *ended)
{
    static const char too_long[] = "-" REDIS_TOO_LONG "\r\n";
    size_t left = reader->left, n = left < size ? left : size;
    if ((left >= 2 && left - 2 < n && data[left - 2] != '\r') || (left - 1 < n && data[left - 1] != '\n'))
        fail(reader, "a string that does not end in CR LF");
    else if (reader->place == PLACE_STRING)
        feed(reader, data, n);
    else if (left == n)
        feed(reader, too_long, sizeof too_long - 1);
    reader->left -= n;
    *ended = reader->left == 0;
    return n;
}

/* Returns how many bytes it took; sets *complete when they ended the reply. */
static size_t take_step(struct redis_reader *reader, const char *data, size_t size, bool *complete)
{
    bool ended = false;
    size_t n = 0;
    switch (reader->place) {
    case PLACE_START: item_start(reader, *data); return 0;
    case PLACE_LENGTH: *complete = take_length(reader, *data); return 1;
    case PLACE_LINE: n = take_line(reader, data, size, &ended); break;
    case PLACE_STRING:
    case PLACE_THROWN: n = take_string(reader, data, size, &ended); break;
    case PLACE_BROKEN: return size;
    }
    if (ended)
        *complete = item_end(reader);
    return n;
}

/* Lets the parser work off what it was given, so that it never holds more than an item in bytes. */
static void *parse(struct redis_reader *reader, bool complete)
{
    void *reply = NULL;
    if (reader->place == PLACE_BROKEN)
        return NULL;
    if (redisReaderGetReply(reader->parser, &reply) != REDIS_OK)
        fail(reader, "a reply that does not parse");
    else if (complete != (reply != NULL))
        fail(reader, "a reply that ends elsewhere than it says");
    if (reader->place == PLACE_BROKEN && reply != NULL) {
        freeReplyObject(reply);
        reply = NULL;
    }
    return reply;
}

/* The number between `at` and the line end in front of `end`, at most eight digits; -1 when that is not what stands
 * there. Sets *after behind the line end. */
static long whole_number(const char *at, const char *end, const char **after)
{
    long number = 0;
    const char *first = at;
    while (at < end && *at >= '0' && *at <= '9' && at - first < 8)
        number = 10 * number + (*at++ - '0');
    if (at == first || (*first == '0' && at - first > 1) || end - at < 2 || at[0] != '\r' || at[1] != '\n')
        return -1;
    *after = at + 2;
    return number;
}

static const char *take_whole_string(const char *data, const char *end, struct redis_taken *taken)
{
    const char *text;
    if (end - data >= 5 && memcmp(data, "$-1\r\n", 5) == 0) {
        taken->direct.type = REDIS_REPLY_NIL;
        return data + 5;
    }
    long length = whole_number(data + 1, end, &text);
    if (length < 0 || length > REDIS_BULK_MAX || end - text < length + 2 || memcmp(text + length, "\r\n", 2) != 0)
        return NULL;
    taken->direct.type = REDIS_REPLY_STRING;
    taken->direct.str = (char *)(uintptr_t)text; /* nobody writes to it: the reply is constant */
    taken->direct.len = (size_t)length;
    return text + length + 2;
}

static const char *take_whole_integer(const char *data, const char *end, struct redis_taken *taken)
{
    const char *after;
    const long number = whole_number(data + 1, end, &after);
    taken->direct.type = REDIS_REPLY_INTEGER;
    taken->direct.integer = number;
    return number < 0 ? NULL : after;
}

static const char *take_whole_status(const char *data, const char *end, struct redis_taken *taken)
{
    const char *text = data + 1, *newline = memchr(text, '\n', (size_t)(end - text));
    if (newline == NULL || newline == text || newline[-1] != '\r' || newline - text > (long)sizeof taken->status)
        return NULL;
    size_t length = (size_t)(newline - 1 - text);
    memcpy(taken->status, text, length);
    taken->status[length] = '\0';
    taken->direct.type = REDIS_REPLY_STATUS;
    taken->direct.str = taken->status;
    taken->direct.len = length;
    return newline + 1;
}

/* Takes a reply that is all there and needs neither memory nor the parser: what nearly all commands are answered with.
 * Leaves everything else as it is. */
static bool take_whole(const char **data, size_t *size, struct redis_taken *taken)
{
    const char *end = *data + *size, *rest = NULL;
    taken->direct = (redisReply){.type = REDIS_REPLY_NIL};
    if (*size > 0 && **data == '$')
        rest = take_whole_string(*data, end, taken);
    else if (*size > 0 && **data == '+')
        rest = take_whole_status(*data, end, taken);
    else if (*size > 0 && **data == ':')
        rest = take_whole_integer(*data, end, taken);
    if (rest == NULL)
        return false;
    *data = rest;
    *size = (size_t)(end - rest);
    taken->reply = &taken->direct;
    return true;
}

enum redis_reading redis_reader_take(struct redis_reader *reader, const char **data, size_t *size,
                                     struct redis_taken *taken)
{
    bool complete = false;
    taken->reply = taken->parsed = NULL;
    if (reader->place == PLACE_START && reader->depth == 0 && take_whole(data, size, taken))
        return REDIS_READING_REPLY;
    while (*size > 0 && !complete && reader->place != PLACE_BROKEN) {
        size_t n = take_step(reader, *data, *size, &complete);
        *data += n;
        *size -= n;
    }
    taken->reply = taken->parsed = parse(reader, complete);
    if (reader->place == PLACE_BROKEN)
        return REDIS_READING_BROKEN;
    if (!complete)
        return REDIS_READING_MORE;
    reader->reply_size = 0;
    reader->reply_elements = 0;
    return REDIS_READING_REPLY;
}

void redis_taken_free(struct redis_taken *taken)
{
    if (taken->parsed != NULL)
        freeReplyObject(taken->parsed);
    taken->reply = taken->parsed = NULL;
}

int redis_error_word(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return 0;
    size_t size = strspn(reply->str, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return size > 32 ? 32 : (int)size;
}
