/* SPDX-License-Identifier: MIT */
/* RESP2 framing of requests: `*N`, then N times `$SIZE` and the bytes, every line ended by CRLF. */
#include "worker/input.h"

#include <string.h>

enum { LENGTH_DIGITS_MAX = 10, BULK_SIZE_MIN = 6 /* $0 and two CRLF */, WORDS_CHEAP = 64 };

struct reader {
    const char *at, *end;
    size_t missing; /* bytes of an unfinished string that are not there, as far as is known */
};

/* Reads a marker, digits and CRLF: the value goes to *value. */
static enum input_result read_length(struct reader *reader, char marker, size_t *value)
{
    const char *c = reader->at;
    *value = 0;
    if (c == reader->end)
        return INPUT_MORE;
    if (*c++ != marker)
        return INPUT_BROKEN;
    for (; c < reader->end && *c >= '0' && *c <= '9'; c++) {
        if (c - reader->at > LENGTH_DIGITS_MAX)
            return INPUT_TOO_LONG;
        *value = *value * 10 + (size_t)(*c - '0');
    }
    if (c == reader->end)
        return INPUT_MORE;
    if (c == reader->at + 1 || *c != '\r')
        return INPUT_BROKEN;
    if (c + 1 == reader->end)
        return INPUT_MORE;
    if (c[1] != '\n')
        return INPUT_BROKEN;
    reader->at = c + 2;
    return INPUT_REQUEST;
}

static enum input_result read_bulk(struct reader *reader, size_t room, struct word *word)
{
    size_t size;
    enum input_result result = read_length(reader, '$', &size);
    if (result != INPUT_REQUEST)
        return result;
    if (size > room)
        return INPUT_TOO_LONG;
    size_t held = (size_t)(reader->end - reader->at);
    if ((held > size && reader->at[size] != '\r') || (held > size + 1 && reader->at[size + 1] != '\n'))
        return INPUT_BROKEN;
    if (held < size + 2) {
        reader->missing = size + 2 - held;
        return INPUT_MORE;
    }
    *word = (struct word){reader->at, size};
    reader->at += size + 2;
    return INPUT_REQUEST;
}

/* *needed is set for INPUT_MORE: how many bytes must be there before looking again can tell more. */
static enum input_result read_array(struct reader *reader, size_t max_line, struct input *input, size_t *needed)
{
    const char *start = reader->at;
    enum input_result result = read_length(reader, '*', &input->n_words);
    *needed = (size_t)(reader->end - start) + 1;
    if (result != INPUT_REQUEST)
        return result;
    for (size_t i = 0; i < input->n_words; i++) {
        struct word word;
        size_t taken = (size_t)(reader->at - start), left = input->n_words - i;
        if (taken > max_line || left > (max_line - taken) / BULK_SIZE_MIN)
            return INPUT_TOO_LONG;
        result = read_bulk(reader, max_line - taken, &word);
        /* Where a mistake would show is where to look next; but many words are not looked through for every byte. */
        if (result == INPUT_MORE && reader->missing > 2)
            *needed += reader->missing - 2;
        else if (result == INPUT_MORE && i >= WORDS_CHEAP && taken + left * BULK_SIZE_MIN > *needed)
            *needed = taken + left * BULK_SIZE_MIN;
        if (result != INPUT_REQUEST)
            return result;
        if (input->flaw == NULL)
            input->flaw = input_text_flaw(word.text, word.size);
        if (i < INPUT_WORDS_MAX)
            input->words[i] = word;
    }
    return (size_t)(reader->at - start) > max_line ? INPUT_TOO_LONG : INPUT_REQUEST;
}

enum input_result resp_read(const char *bytes, size_t size, size_t max_line, struct input *input, size_t *used)
{
    struct reader reader = {bytes, bytes + size, 0};
    size_t needed;
    input->resp = true;
    input->tag[0] = '\0';
    input->flaw = NULL;
    enum input_result result = read_array(&reader, max_line, input, &needed);
    *used = result == INPUT_MORE ? needed : (size_t)(reader.at - bytes);
    if (result == INPUT_BROKEN)
        input->flaw = "not a RESP array of bulk strings";
    if (result == INPUT_MORE && needed > max_line)
        return INPUT_TOO_LONG;
    return result == INPUT_REQUEST && input->n_words == 0 ? INPUT_NOTHING : result;
}
