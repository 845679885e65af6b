/* SPDX-License-Identifier: MIT */
/* One request as it came over the wire, in either framing, before anybody asks what it means. tokenkeep-protocol(7) has
 * the framings. */
#ifndef TK_WORKER_INPUT_H
#define TK_WORKER_INPUT_H

#include <stdbool.h>
#include <stddef.h>

enum {
    INPUT_WORDS_MAX = 1024, /* stored; more are counted */
    INPUT_TAG_MAX = 32,
};

struct word {
    const char *text; /* not terminated; in the bytes that were read */
    size_t size;
};

struct input {
    bool resp;
    char tag[INPUT_TAG_MAX + 1]; /* "": none */
    const char *flaw;            /* what makes it a bad request whatever its command, or NULL */
    struct word rest;            /* a line behind its tag; its words but the first are split by line_split */
    size_t n_words;
    struct word words[INPUT_WORDS_MAX];
};

enum input_result {
    INPUT_REQUEST,  /* a whole request; *used bytes belong to it */
    INPUT_NOTHING,  /* *used bytes that ask for nothing: an empty line, `*0` */
    INPUT_MORE,     /* the request is not whole yet; another look is worth it when *used bytes are there */
    INPUT_TOO_LONG, /* more than max-line, or going to be */
    INPUT_BROKEN,   /* RESP that cannot be told where it ends; input->flaw says why */
    INPUT_FOREIGN,  /* HTTP, most likely a forged request of somebody's browser: to be closed without a word */
};

/* Reads one line from the front of the bytes. `max_line` counts without the line's end. Of the words the first alone is
 * set. For INPUT_TOO_LONG too, the tag is set when there is one. */
enum input_result line_read(const char *bytes, size_t size, size_t max_line, struct input *input, size_t *used)
    __attribute__((warn_unused_result));

/* Splits input->rest into input->words; with `json`, into the command word and all the rest. False when two spaces
 * follow each other or one ends the line. */
bool line_split(struct input *input, bool json) __attribute__((warn_unused_result));

/* Reads one RESP2 request, an array of bulk strings, from the front of the bytes. `max_line` counts all its bytes. */
enum input_result resp_read(const char *bytes, size_t size, size_t max_line, struct input *input, size_t *used)
    __attribute__((warn_unused_result));

/* What is wrong with the bytes of a request's text, or NULL: control characters, invalid UTF-8. */
const char *input_text_flaw(const char *text, size_t size);

#endif
