/* SPDX-License-Identifier: MIT */
/* The line protocol's framing. */
#include "base/utf8.h"
#include "worker/input.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Sixteen bytes, looked at together; as signed numbers, those from 0x80 on are below all others. */
typedef signed char block __attribute__((vector_size(16)));

static block odd_ones(const char *text)
{
    block bytes;
    memcpy(&bytes, text, sizeof bytes);
    return (bytes < 0x20) | (bytes == 0x7f);
}

/* Whether all is printing ASCII, as almost every request is. False for what is short. */
static bool is_printing(const char *text, size_t size)
{
    uint64_t halves[2];
    if (size < sizeof(block))
        return false;
    block odd = odd_ones(text + size - sizeof(block));
    for (size_t i = 0; i + sizeof(block) < size; i += sizeof(block))
        odd |= odd_ones(text + i);
    memcpy(halves, &odd, sizeof halves);
    return (halves[0] | halves[1]) == 0;
}

const char *input_text_flaw(const char *text, size_t size)
{
    bool ascii = true;
    if (is_printing(text, size))
        return NULL;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return "control characters are not allowed";
        ascii &= c < 0x80;
    }
    return ascii || utf8_valid(text, size, NULL) ? NULL : "not valid UTF-8";
}

static struct word first_word(const char *text, size_t size)
{
    const char *space = memchr(text, ' ', size);
    return (struct word){text, space != NULL ? (size_t)(space - text) : size};
}

static bool is_method(struct word word)
{
    static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                          "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strlen(methods[i]) == word.size && strncasecmp(methods[i], word.text, word.size) == 0)
            return true;
    return false;
}

/* A request line or a header of HTTP. A browser can be made to send such a thing here with a command in its body.
 * `first` is the line's first word. */
static bool is_http(const char *line, size_t size, struct word first)
{
    static const char version[] = " HTTP/1.";
    const size_t version_size = sizeof version - 1;
    if (size > version_size && line[size - 1] >= '0' && line[size - 1] <= '9' &&
        memcmp(line + size - 1 - version_size, version, version_size) == 0)
        return true;
    if (first.size > 0 && first.text[first.size - 1] == ':')
        return true;
    return first.size + 1 < size && line[first.size + 1] == '/' && is_method(first);
}

static bool tag_valid(struct word word)
{
    if (word.size < 2 || word.size > 1 + INPUT_TAG_MAX)
        return false;
    for (size_t i = 1; i < word.size; i++)
        if (!isalnum((unsigned char)word.text[i]) && word.text[i] != '-' && word.text[i] != '_')
            return false;
    return true;
}

/* Takes the tag, if the line begins with one, off the front. `first` is the line's first word. */
static void take_tag(struct input *input, const char *line, size_t size, struct word first)
{
    input->tag[0] = '\0';
    input->rest = (struct word){line, size};
    input->words[0] = first;
    if (size == 0 || line[0] != '#')
        return;
    if (!tag_valid(first)) {
        input->flaw = "a tag is # and 1 to 32 of A-Z a-z 0-9 - _";
        return;
    }
    memcpy(input->tag, first.text + 1, first.size - 1);
    input->tag[first.size - 1] = '\0';
    size_t taken = first.size < size ? first.size + 1 : size;
    input->rest = (struct word){line + taken, size - taken};
    input->words[0] = first_word(input->rest.text, input->rest.size);
}

enum input_result line_read(const char *bytes, size_t size, size_t max_line, struct input *input, size_t *used)
{
    size_t window = size < max_line + 2 ? size : max_line + 2;
    const char *end = memchr(bytes, '\n', window);
    input->resp = false;
    input->flaw = NULL;
    input->n_words = 0;
    *used = size + 1;
    if (end == NULL && (window <= max_line || (window == max_line + 1 && bytes[max_line] == '\r')))
        return INPUT_MORE;
    size_t line_size = end != NULL ? (size_t)(end - bytes) : window;
    *used = line_size + 1;
    if (end != NULL && line_size > 0 && bytes[line_size - 1] == '\r')
        line_size--;
    if (line_size == 0)
        return INPUT_NOTHING;
    const struct word first = first_word(bytes, line_size);
    take_tag(input, bytes, line_size, first);
    if (end == NULL || line_size > max_line)
        return INPUT_TOO_LONG;
    if (is_http(bytes, line_size, first))
        return INPUT_FOREIGN;
    const char *flaw = input_text_flaw(bytes, line_size);
    if (flaw != NULL)
        input->flaw = flaw;
    return INPUT_REQUEST;
}

bool line_split(struct input *input, bool json)
{
    struct word rest = input->rest, word = input->words[0];
    input->n_words = 0;
    for (;;) {
        if (word.size == 0)
            return false;
        if (input->n_words < INPUT_WORDS_MAX)
            input->words[input->n_words] = word;
        input->n_words++;
        if (word.size == rest.size)
            return true;
        rest.text += word.size + 1;
        rest.size -= word.size + 1;
        word = json ? rest : first_word(rest.text, rest.size);
    }
}
