/* SPDX-License-Identifier: MIT */
/* Reads replies from Redis with bounded memory. hiredis' reader believes every length and count that it reads, so the
 * headers are walked here first, and it is given only what is within the limits below and those of redis_link.h.
 * Replies that are a single string, nil or status, and have come whole, never reach it and are not copied. */
#ifndef TK_KEEP_REDIS_READER_H
#define TK_KEEP_REDIS_READER_H

#include "keep/redis_link.h"

enum {
    REDIS_LINE_MAX = 64 * 1024,          /* bytes of a status, an error or an integer */
    REDIS_DEPTH_MAX = 7,                 /* arrays within arrays; hiredis holds no more */
    REDIS_REPLY_MAX = 64 * 1024 * 1024,  /* bytes of one reply, without the strings that are thrown away */
    REDIS_STRING_MAX = 512 * 1024 * 1024 /* of a string that is thrown away; Redis itself takes no longer ones */
};

struct redis_reader;

enum redis_reading {
    REDIS_READING_MORE,   /* everything was taken, and no reply is complete */
    REDIS_READING_REPLY,  /* a reply is complete; there may be bytes left */
    REDIS_READING_BROKEN, /* what came cannot be a reply within the limits: the connection is of no more use */
};

/* NULL when there is no memory. */
struct redis_reader *redis_reader_new(void) __attribute__((warn_unused_result));

/* A reply that was read. */
struct redis_taken {
    const redisReply *reply; /* NULL: none */
    redisReply *parsed;      /* hiredis', or NULL: all is in here */
    redisReply direct;
    char status[16];
};

/* Takes bytes that came, in pieces of any size, up to the end of the first reply among them; moves *data and *size past
 * what was taken. Sets taken->reply with REDIS_READING_REPLY, and to NULL else; the caller lets go of it with
 * redis_taken_free. A string that is a reply of its own may stand in the caller's data, without a NUL behind it. Once
 * broken, always broken. */
enum redis_reading redis_reader_take(struct redis_reader *reader, const char **data, size_t *size,
                                     struct redis_taken *taken);

/* Frees the reply and sets it to NULL; one that is NULL is left alone. */
void redis_taken_free(struct redis_taken *taken);

/* What was wrong, once it is broken: a constant text, nothing of what came in it. */
const char *redis_reader_error(const struct redis_reader *reader);

/* Frees *reader and sets it to NULL; a NULL *reader is left alone. */
void redis_reader_free(struct redis_reader **reader);

/* The length of an error's first word, such as "LOADING", at most 32; 0 when the reply is no error or begins otherwise.
 * The rest of an error may quote what was sent, so only this word may be logged. */
int redis_error_word(const redisReply *reply);

#endif
