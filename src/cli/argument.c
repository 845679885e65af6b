/* SPDX-License-Identifier: MIT */
/* What a command is given. */
#include "cli/argument.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORD_MAX = 64 * 1024,    /* a request line's usual limit: no word can be longer */
    INPUT_MAX = 1024 * 1024, /* more JSON than any server takes in a line */
    PART_SIZE = 22,          /* of a token: its key, and its secret */
};

#define PART_ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static const char standard_input[] = "standard input";

bool argument_is_key(const char *text)
{
    return strspn(text, PART_ALPHABET) == PART_SIZE && text[PART_SIZE] == '\0';
}

bool argument_is_token(const char *text)
{
    if (strncmp(text, "gt-", 3) != 0 || strspn(text + 3, PART_ALPHABET) != PART_SIZE || text[3 + PART_SIZE] != '.')
        return false;
    return argument_is_key(text + 3 + PART_SIZE + 1);
}

/* Reads `from`, which messages call `name`, to its end or, with `one_line`, to its first newline, which is left out.
 * The text gets a terminating NUL behind its *size bytes. */
static char *input_read(FILE *from, const char *name, bool one_line, size_t max, size_t *size, struct error *error)
{
    char *text = malloc(max + 1);
    size_t n = 0;
    int c = EOF;
    while (text != NULL && n <= max && (c = getc(from)) != EOF && !(one_line && c == '\n'))
        text[n++] = (char)c;
    if (text != NULL && n <= max && !ferror(from)) {
        text[n] = '\0';
        *size = n;
        return text;
    }
    if (text == NULL)
        error_set(error, "out of memory");
    else if (n > max)
        error_set(error, "%s is longer than %zu bytes", name, max);
    else
        error_set(error, "cannot read %s: %s", name, strerror(errno));
    free(text);
    return NULL;
}

int argument_check(const char *name, const char *word, size_t size, struct error *error)
{
    if (size == 0)
        return error_set(error, "%s is empty", name);
    if (word[0] == '/')
        return error_set(error, "%s looks like a file's name; to read a file, give - and redirect stdin", name);
    for (size_t i = 0; i < size; i++)
        if (word[i] <= ' ' || word[i] > '~')
            return error_set(error, "%s must be one word of printable ASCII characters", name);
    return 0;
}

char *argument_word(const char *name, const char *text, struct error *error)
{
    size_t size = strlen(text);
    bool from_input = strcmp(text, "-") == 0;
    char *word = from_input ? input_read(stdin, standard_input, true, WORD_MAX, &size, error) : strdup(text);
    if (word == NULL)
        return NULL;
    if (from_input && size > 0 && word[size - 1] == '\r')
        word[--size] = '\0';
    if (argument_check(name, word, size, error) == 0)
        return word;
    free(word);
    return NULL;
}

static char *json_read(FILE *from, const char *name, struct error *error)
{
    size_t size;
    char *input = input_read(from, name, false, INPUT_MAX, &size, error);
    if (input == NULL)
        return NULL;
    char *compact = argument_json_compact(input, size, error);
    free(input);
    return compact;
}

char *argument_json(const char *text, struct error *error)
{
    if (strcmp(text, "-") != 0)
        return argument_json_compact(text, strlen(text), error);
    return json_read(stdin, standard_input, error);
}

char *argument_json_file(const char *path, struct error *error)
{
    if (strcmp(path, "-") == 0)
        return json_read(stdin, standard_input, error);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(error, "cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    char *json = json_read(file, path, error);
    fclose(file);
    return json;
}

/* jansson's own message quotes the text, which may hold a secret. */
static const char *json_reason(const json_error_t *failure)
{
    switch (json_error_code(failure)) {
    case json_error_invalid_utf8: return "invalid UTF-8";
    case json_error_premature_end_of_input: return "the text ends too early";
    case json_error_end_of_input_expected: return "something follows the end";
    case json_error_null_character:
    case json_error_null_byte_in_key: return "a NUL character";
    case json_error_duplicate_key: return "a name is there twice";
    case json_error_numeric_overflow: return "a number is too large";
    case json_error_stack_overflow: return "too deeply nested";
    case json_error_out_of_memory: return "out of memory";
    default: return "not JSON";
    }
}

static int json_check(const char *text, size_t size, struct error *error)
{
    json_error_t failure;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &failure);
    if (value == NULL)
        return error_set(error, "JSON, line %d, column %d: %s", failure.line, failure.column, json_reason(&failure));
    bool is_object = json_is_object(value);
    json_decref(value);
    if (!is_object)
        return error_set(error, "JSON must be an object, {\"username\": ...}");
    /* The one control character that JSON allows inside a string as it is, and a request line does not. */
    if (memchr(text, 0x7f, size) != NULL)
        return error_set(error, "JSON holds a control character; write it as \\u007f");
    return 0;
}

/* A string's end, given its opening quote. The text has been parsed before: the end is there. */
static const char *string_end(const char *quote)
{
    const char *c = quote + 1;
    while (*c != '"')
        c += *c == '\\' ? 2 : 1;
    return c;
}

char *argument_json_compact(const char *text, size_t size, struct error *error)
{
    if (json_check(text, size, error) != 0)
        return NULL;
    char *compact = malloc(size + 1), *to = compact;
    if (compact == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    for (const char *c = text; c < text + size; c++) {
        if (*c == '"') {
            const char *end = string_end(c);
            to = mempcpy(to, c, (size_t)(end - c));
            c = end;
        }
        if (*c != ' ' && *c != '\t' && *c != '\r' && *c != '\n')
            *to++ = *c;
    }
    *to = '\0';
    return compact;
}
