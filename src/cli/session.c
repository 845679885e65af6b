/* SPDX-License-Identifier: MIT */
/* A connection to a server. */
#include "cli/session.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct session {
    int fd;
    const char *name; /* the server's, for messages */
    struct session_limits limits;
    void (*waiting)(int64_t seconds);
    int64_t asked; /* when the request was sent */
    int64_t deadline;
    size_t start;   /* of what was received and not taken yet */
    size_t scanned; /* no newline before here */
    size_t end;
    char buffer[ANSWER_LINE_MAX];
};

struct session *session_open(const struct session_target *target, const struct session_limits *limits,
                             struct failure *failure)
{
    int64_t deadline = clock_boot() + limits->timeout;
    int fd = dial(target, deadline, failure);
    if (fd < 0)
        return NULL;
    struct session *session = malloc(sizeof *session);
    if (session == NULL) {
        close(fd);
        failure_set(failure, "internal", "out of memory");
        return NULL;
    }
    session->fd = fd;
    session->name = target->server != NULL ? target->server : target->socket;
    session->limits = *limits;
    session->waiting = NULL;
    session->asked = 0;
    session->deadline = deadline;
    session->start = session->scanned = session->end = 0;
    return session;
}

void session_on_wait(struct session *session, void (*waiting)(int64_t seconds))
{
    session->waiting = waiting;
}

/* Waits for the socket, telling the one who asked to be told. */
static int session_wait(struct session *session, short events, struct failure *failure)
{
    struct pollfd poller = {.fd = session->fd, .events = events};
    for (;;) {
        int64_t now = clock_boot(), left = session->deadline - now;
        if (left <= 0)
            return failure_set(failure, "timeout", "no answer from %s within %g seconds; --timeout gives it longer",
                               session->name, (double)session->limits.timeout / (double)CLOCK_SECOND);
        int64_t slice = left < CLOCK_SECOND ? left : CLOCK_SECOND;
        int ready = poll(&poller, 1, (int)(slice / (CLOCK_SECOND / 1000)) + 1);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return failure_set(failure, "internal", "cannot wait for %s: %s", session->name, strerror(errno));
        if (session->waiting != NULL)
            session->waiting((clock_boot() - session->asked) / CLOCK_SECOND);
    }
}

static int session_write(struct session *session, const char *bytes, size_t size, struct failure *failure)
{
    while (size > 0) {
        ssize_t n = send(session->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return 0;
        } else if (errno == EAGAIN) {
            if (session_wait(session, POLLOUT, failure) != 0)
                return -1;
        } else if (errno != EINTR) {
            return failure_set(failure, "closed", "cannot send to %s: %s", session->name, strerror(errno));
        }
    }
    return 0;
}

int session_send(struct session *session, const char *line, struct failure *failure)
{
    size_t size = strlen(line);
    char *bytes = malloc(size + 1);
    if (bytes == NULL)
        return failure_set(failure, "internal", "out of memory");
    memcpy(bytes, line, size);
    bytes[size] = '\n';
    session->asked = clock_boot();
    session->deadline = session->asked + session->limits.timeout;
    int result = session_write(session, bytes, size + 1, failure);
    sodium_memzero(bytes, size + 1);
    free(bytes);
    return result;
}

/* Receives more bytes behind those that are there. */
static int session_fill(struct session *session, struct failure *failure)
{
    size_t held = session->end - session->start;
    if (session->end == sizeof session->buffer) {
        if (held == sizeof session->buffer)
            return failure_set(failure, "protocol", "%s sent a line of more than %d bytes; is it tokenkeepd?",
                               session->name, ANSWER_LINE_MAX);
        memmove(session->buffer, session->buffer + session->start, held);
        session->scanned -= session->start;
        session->start = 0;
        session->end = held;
    }
    if (session_wait(session, POLLIN, failure) != 0)
        return -1;
    ssize_t n = recv(session->fd, session->buffer + session->end, sizeof session->buffer - session->end, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return failure_set(failure, "closed", "the connection to %s was lost before the answer was whole: %s",
                           session->name, strerror(errno));
    if (n == 0)
        return failure_set(failure, "closed", "%s closed the connection before the answer was whole; see its log",
                           session->name);
    session->end += (size_t)n;
    if (session->limits.patient)
        session->deadline = clock_boot() + session->limits.timeout;
    return 0;
}

/* Whether text may go to a terminal as it is: no C0 or C1 control characters, valid UTF-8. */
static bool text_is_clean(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < size && (unsigned char)text[i + 1] < 0xa0))
            return false;
    }
    return utf8_valid(text, size, NULL);
}

static const struct {
    const char *word;
    enum answer_class class;
    bool alone; /* nothing need follow */
} answer_classes[] = {
    {"OK", ANSWER_OK, true},
    {"NO", ANSWER_NO, false},
    {"ERR", ANSWER_ERR, false},
    {"+", ANSWER_ITEM, false},
};

static bool answer_parse(const char *line, size_t size, struct answer *answer)
{
    if (!text_is_clean(line, size))
        return false;
    for (size_t i = 0; i < sizeof answer_classes / sizeof answer_classes[0]; i++) {
        size_t word = strlen(answer_classes[i].word);
        if (strncmp(line, answer_classes[i].word, word) != 0)
            continue;
        if (line[word] != ' ' && !(line[word] == '\0' && answer_classes[i].alone))
            continue;
        answer->class = answer_classes[i].class;
        answer->text = line + word + (line[word] == ' ' ? 1 : 0);
        answer->size = size - (size_t)(answer->text - line);
        return true;
    }
    return false;
}

int session_receive(struct session *session, struct answer *answer, struct failure *failure)
{
    char *newline, *buffer = session->buffer;
    while ((newline = memchr(buffer + session->scanned, '\n', session->end - session->scanned)) == NULL) {
        session->scanned = session->end;
        if (session_fill(session, failure) != 0)
            return -1;
    }
    const char *line = buffer + session->start;
    *newline = '\0';
    session->start = session->scanned = (size_t)(newline + 1 - buffer);
    if (!answer_parse(line, (size_t)(newline - line), answer))
        return failure_set(failure, "protocol", "%s sent an answer that is not of the protocol; is it tokenkeepd?",
                           session->name);
    return 0;
}

void session_free(struct session **session)
{
    if (*session == NULL)
        return;
    close((*session)->fd);
    sodium_memzero((*session)->buffer, sizeof(*session)->buffer);
    free(*session);
    *session = NULL;
}
