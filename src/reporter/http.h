/* SPDX-License-Identifier: MIT */
/* HTTP posts on the event loop, by libcurl. TLS is verified, redirects are not followed, the proxy comes from the
 * environment and never stands before loopback. Whom to trust is in the system's certificates, or in the file that the
 * environment names in SSL_CERT_FILE. An address is a secret: none is ever logged or in an error's text. */
#ifndef TK_REPORTER_HTTP_H
#define TK_REPORTER_HTTP_H

#include "base/error.h"

#include <event2/event.h>
#include <stddef.h>

enum {
    HTTP_POSTS_MAX = 64,         /* under way at once */
    HTTP_ADDRESS_MAX = 4096,     /* bytes */
    HTTP_BODY_MAX = 1024 * 1024, /* bytes sent */
    HTTP_ANSWER_MAX = 16 * 1024, /* bytes of the answer's body that are kept; the rest is thrown away */
    HTTP_TIMEOUT_MAX = 300,      /* seconds; longer ones are shortened to it */
};

struct http;
struct http_post;

/* Never NULL: without memory the process ends. From here on the process ignores SIGPIPE. */
struct http *http_new(struct event_base *base) __attribute__((warn_unused_result));

/* Ends every post without its callback, frees and sets to NULL; a NULL *http is left alone. */
void http_free(struct http **http);

/* Whether the address may be posted to: https, or http to loopback (127.0.0.0/8, ::1, localhost), with no user or
 * password in it. Returns 0, or -1 with `error`, which does not hold the address. */
int http_address_check(const char *address, struct error *error) __attribute__((warn_unused_result));

struct http_answer {
    int status;          /* 0: there was no answer, `failure` says why */
    const char *failure; /* NULL when there was one */
    const char *body;    /* with a NUL behind it */
    size_t body_size;
    long retry_after; /* seconds, at most a day, of the Retry-After header (seconds or a date); -1: none */
};

typedef void http_callback(void *argument, const struct http_answer *answer);

/* Posts `size` bytes with the given Content-Type, and calls back once, never before this returns, at the latest after
 * `timeout` seconds. The answer lives until the callback returns; the post has ended when it begins. Everything given
 * is copied. NULL with `error` when the address or the type is refused, the body too long, or too many posts are under
 * way; then there is no callback. What goes over a connection that was kept, and that the other side closes before it
 * says a word, is sent once more over a new one. */
struct http_post *http_post(struct http *http, const char *address, const char *type, const char *body, size_t size,
                            double timeout, http_callback *callback, void *argument, struct error *error)
    __attribute__((warn_unused_result));

/* Lets a post that is under way go on without its callback: whoever waited for the answer is gone. */
void http_forget(struct http_post *post);

/* Posts under way. */
size_t http_waiting(const struct http *http);

#endif
