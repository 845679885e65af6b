/* SPDX-License-Identifier: MIT */
/* A request being executed, and its answer. */
#include "worker/request.h"

#include "base/memory.h"
#include "worker/command.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    enum metric metric;
} codes[] = {
    [ERR_BADREQ] = {"badreq", METRIC_ERR_BADREQ}, [ERR_TOOLONG] = {"toolong", METRIC_ERR_TOOLONG},
    [ERR_DENIED] = {"denied", METRIC_ERR_DENIED}, [ERR_BUSY] = {"busy", METRIC_ERR_BUSY},
    [ERR_AUDIT] = {"audit", METRIC_ERR_AUDIT},    [ERR_UNAVAIL] = {"unavail", METRIC_ERR_UNAVAIL},
    [ERR_CORRUPT] = {"corrupt", METRICS},         [ERR_INTERNAL] = {"internal", METRICS},
};

struct worker *request_worker(const struct request *request)
{
    return request->connection->worker;
}

struct request *request_begin(struct connection *connection, const struct input *input)
{
    struct worker *worker = connection->worker;
    struct request *request = TAILQ_FIRST(&worker->spare);
    if (request != NULL)
        TAILQ_REMOVE(&worker->spare, request, order);
    else
        request = memory_zeroed(sizeof *request);
    request->connection = connection;
    request->began = worker->now.boot;
    request->resp = input->resp;
    if (input->tag[0] != '\0')
        memcpy(request->tag, input->tag, sizeof request->tag);
    connection->unanswered++;
    if (request->tag[0] == '\0')
        TAILQ_INSERT_TAIL(&connection->untagged, request, order);
    worker_count(worker, METRIC_REQUESTS);
    return request;
}

void *request_keep(struct request *request, size_t size)
{
    request->kept = memory_zeroed(size);
    request->kept_size = size;
    request->connection->held_size += size;
    return request->kept;
}

static void request_end(struct request *request)
{
    struct connection *connection = request->connection;
    struct worker *worker = connection->worker;
    connection->unanswered--;
    if (request->stream.keys != NULL)
        keep_scan_done(worker->keep, &request->stream.keys);
    buffer_free(&request->answer);
    connection->held_size -= request->kept_size;
    if (request->kept != NULL)
        free(request->kept);
    sodium_memzero(request, sizeof *request);
    TAILQ_INSERT_HEAD(&worker->spare, request, order);
    connection_unsettle(connection);
}

void request_free_spare(struct worker *worker)
{
    struct request *request;
    while ((request = TAILQ_FIRST(&worker->spare)) != NULL) {
        TAILQ_REMOVE(&worker->spare, request, order);
        free(request);
    }
}

/* Whether its answer may go out now: nothing streams, and it has a tag or is the oldest without one. */
static bool on_turn(const struct request *request)
{
    const struct connection *connection = request->connection;
    return connection->streaming == NULL && (request->tag[0] != '\0' || request == TAILQ_FIRST(&connection->untagged));
}

/* Where the answer's bytes go: out, or to where they wait. */
static struct buffer *answer_buffer(struct request *request)
{
    return on_turn(request) ? &request->connection->out : &request->answer;
}

/* Sends what waited in the answer's own buffer, or begins to stream it. */
static void emit(struct request *request)
{
    struct connection *connection = request->connection;
    if (request->streams) {
        connection->streaming = request;
        return;
    }
    buffer_add(&connection->out, buffer_bytes(&request->answer), buffer_size(&request->answer));
    connection->held_size -= buffer_size(&request->answer);
    request_end(request);
}

/* Sends all that has come to its turn. */
static void emit_ready(struct connection *connection)
{
    struct request *request;
    while (connection->streaming == NULL && (request = TAILQ_FIRST(&connection->held)) != NULL) {
        TAILQ_REMOVE(&connection->held, request, order);
        emit(request);
    }
    while (connection->streaming == NULL && (request = TAILQ_FIRST(&connection->untagged)) != NULL && request->done) {
        TAILQ_REMOVE(&connection->untagged, request, order);
        emit(request);
    }
}

/* The answer has been rendered: every answer_ function ends here. */
static void answered(struct request *request)
{
    struct connection *connection = request->connection;
    request->done = true;
    connection->barriers -= request->barrier;
    connection->writes -= request->write;
    if (connection->state == CONNECTION_CLOSED) {
        if (request->tag[0] == '\0')
            TAILQ_REMOVE(&connection->untagged, request, order);
        buffer_free(&connection->out);
        request_end(request);
        return;
    }
    if (request->tag[0] != '\0')
        TAILQ_INSERT_TAIL(&connection->held, request, order);
    if (buffer_size(&request->answer) > 0) {
        buffer_fit(&request->answer);
        connection->held_size += buffer_size(&request->answer);
    }
    emit_ready(connection);
    connection_unsettle(connection);
}

void request_abandon(struct connection *connection)
{
    struct request *request, *next;
    if (connection->quit != NULL)
        request_answer_quit(connection);
    if (connection->streaming != NULL)
        request_end(connection->streaming);
    connection->streaming = NULL;
    while ((request = TAILQ_FIRST(&connection->held)) != NULL) {
        TAILQ_REMOVE(&connection->held, request, order);
        request_end(request);
    }
    for (request = TAILQ_FIRST(&connection->untagged); request != NULL; request = next) {
        next = TAILQ_NEXT(request, order);
        if (!request->done)
            continue;
        TAILQ_REMOVE(&connection->untagged, request, order);
        request_end(request);
    }
}

/* The beginning of a line of the answer: the tag. */
static struct buffer *begin_line(struct request *request)
{
    struct buffer *out = answer_buffer(request);
    if (request->tag[0] != '\0') {
        buffer_add(out, "#", 1);
        buffer_add_text(out, request->tag);
        buffer_add(out, " ", 1);
    }
    return out;
}

/* A RESP string. Every hit in RESP comes by here: printf would be a sixth of its cost. */
static void add_bulk(struct buffer *out, const char *text, size_t size)
{
    char head[24];
    char *start = head + sizeof head - 2;
    memcpy(start, "\r\n", 2);
    size_t left = size;
    do
        *--start = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    *--start = '$';
    const size_t head_size = (size_t)(head + sizeof head - start);
    char *end = mempcpy(buffer_extend(out, head_size + size + 2), start, head_size);
    memcpy(mempcpy(end, text, size), "\r\n", 2);
}

static void answer_simple(struct request *request, const char *line, const char *resp)
{
    worker_count(request_worker(request), METRIC_ANSWERS_OK);
    if (request->resp)
        buffer_add_text(answer_buffer(request), resp);
    else
        buffer_add_text(begin_line(request), line);
    answered(request);
}

void answer_ok(struct request *request)
{
    answer_simple(request, "OK\n", "+OK\r\n");
}

void request_answer_quit(struct connection *connection)
{
    struct request *quit = connection->quit;
    connection->quit = NULL;
    answer_ok(quit);
}

void answer_pong(struct request *request)
{
    answer_simple(request, "OK\n", "+PONG\r\n");
}

void answer_raw(struct request *request, const char *bytes)
{
    answer_simple(request, bytes, bytes);
}

void answer_text(struct request *request, const char *text, size_t size)
{
    worker_count(request_worker(request), METRIC_ANSWERS_OK);
    if (request->resp) {
        add_bulk(answer_buffer(request), text, size);
    } else {
        char *end = mempcpy(buffer_extend(begin_line(request), size + 4), "OK ", 3);
        memcpy(mempcpy(end, text, size), "\n", 1);
    }
    answered(request);
}

void answer_count(struct request *request, uint64_t count)
{
    worker_count(request_worker(request), METRIC_ANSWERS_OK);
    if (request->resp)
        buffer_add_format(answer_buffer(request), ":%" PRIu64 "\r\n", count);
    else
        buffer_add_format(begin_line(request), "OK %" PRIu64 "\n", count);
    answered(request);
}

void answer_no(struct request *request, const char *reason)
{
    worker_count(request_worker(request), METRIC_ANSWERS_NO);
    if (!request->resp)
        buffer_add_format(begin_line(request), "NO %s\n", reason);
    else if (strcmp(reason, "invalid") == 0)
        buffer_add_text(answer_buffer(request), "$-1\r\n");
    else
        buffer_add_format(answer_buffer(request), "-NO %s\r\n", reason);
    answered(request);
}

void answer_no_detail(struct request *request, const char *kind, struct word detail)
{
    struct worker *worker = request_worker(request);
    struct buffer *out = request->resp ? answer_buffer(request) : begin_line(request);
    worker_count(worker, METRIC_ANSWERS_NO);
    buffer_add_text(out, request->resp ? "-NO " : "NO ");
    buffer_add_text(out, kind);
    buffer_add(out, " ", 1);
    buffer_add(out, detail.text, detail.size);
    buffer_add_text(out, request->resp ? "\r\n" : "\n");
    answered(request);
}

void answer_err(struct request *request, enum err_code code, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE + 64];
    struct worker *worker = request_worker(request);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    worker_count(worker, METRIC_ANSWERS_ERR);
    if (codes[code].metric != METRICS)
        worker_count(worker, codes[code].metric);
    if (request->resp)
        buffer_add_format(answer_buffer(request), "-ERR %s %s\r\n", codes[code].text, text);
    else
        buffer_add_format(begin_line(request), "ERR %s %s\n", codes[code].text, text);
    answered(request);
}

void answer_begin_pairs(struct request *request, size_t n)
{
    if (request->resp)
        buffer_add_format(answer_buffer(request), "*%zu\r\n", 2 * n);
}

void answer_pair(struct request *request, const char *name, const char *value)
{
    if (request->resp) {
        add_bulk(answer_buffer(request), name, strlen(name));
        add_bulk(answer_buffer(request), value, strlen(value));
    } else {
        buffer_add_format(begin_line(request), "+ %s %s\n", name, value);
    }
}

void answer_end_pairs(struct request *request)
{
    answer_simple(request, "OK\n", "");
}

static void answer_stream(struct request *request, bool marked)
{
    worker_count(request_worker(request), METRIC_ANSWERS_OK);
    request->streams = true;
    request->stream.marked = marked;
    answered(request);
}

void answer_keys(struct request *request, struct keyset *keys)
{
    request->stream.keys = keys;
    request->stream.counts[0] = keyset_count(keys);
    request->stream.n_counts = 1;
    answer_stream(request, false);
}

void answer_verified(struct request *request)
{
    answer_stream(request, true);
}

/* RESP says how long an array is before its first element, so there it is silent. */
bool answer_progress(void *argument, uint64_t done, uint64_t of)
{
    struct request *request = argument;
    struct connection *connection = request->connection;
    if (connection->state == CONNECTION_CLOSED)
        return false;
    if (request->resp || !on_turn(request) || buffer_size(&connection->out) > 0)
        return true;
    buffer_add_format(begin_line(request), "+ progress %" PRIu64 " %" PRIu64 "\n", done, of);
    connection_unsettle(connection);
    return true;
}

static void add_integer(struct buffer *out, uint64_t number)
{
    buffer_add_format(out, ":%" PRIu64 "\r\n", number);
}

static void add_key_count(struct request *request, const struct key_counts *counts, size_t key)
{
    char id[2 * VAULT_KEY_ID_SIZE + 1], text[sizeof id + 48];
    sodium_bin2hex(id, sizeof id, counts->keys[key].id, VAULT_KEY_ID_SIZE);
    const int size =
        snprintf(text, sizeof text, "%s %zu %" PRIu64, id, key < counts->n_own ? key + 1 : 0, counts->keys[key].values);
    if (request->resp)
        add_bulk(answer_buffer(request), text, (size_t)size);
    else
        buffer_add_format(begin_line(request), "+ %s\n", text);
}

void answer_key_counts(struct request *request, const struct key_counts *counts)
{
    worker_count(request_worker(request), METRIC_ANSWERS_OK);
    if (request->resp) {
        buffer_add_text(answer_buffer(request), "*3\r\n");
        add_integer(answer_buffer(request), counts->unreadable);
        add_integer(answer_buffer(request), counts->unindexed);
        buffer_add_format(answer_buffer(request), "*%zu\r\n", counts->n);
    }
    for (size_t key = 0; key < counts->n; key++)
        add_key_count(request, counts, key);
    if (!request->resp)
        buffer_add_format(begin_line(request), "OK %" PRIu64 " %" PRIu64 "\n", counts->unreadable, counts->unindexed);
    answered(request);
}

static void stream_begin(struct request *request, struct buffer *out)
{
    const uint64_t *counts = request->stream.counts;
    request->stream.begun = true;
    if (!request->resp)
        return;
    if (!request->stream.marked) {
        buffer_add_format(out, "*%" PRIu64 "\r\n", counts[0]);
        return;
    }
    buffer_add_format(out, "*%zu\r\n", request->stream.n_counts + 1);
    for (size_t i = 0; i < request->stream.n_counts; i++)
        add_integer(out, counts[i]);
    buffer_add_format(out, "*%" PRIu64 "\r\n", counts[1]); /* as many as are bad */
}

static void stream_record(struct request *request, struct buffer *out, const struct keyset_record *record)
{
    char text[128];
    enum store_flaw flaw = (enum store_flaw)(record->mark & ~SCAN_MARK_DELETED);
    int size = snprintf(text, sizeof text, request->stream.marked ? "%.*s %s%s" : "%.*s", TOKEN_PART_SIZE, record->key,
                        store_flaw_text(flaw), (record->mark & SCAN_MARK_DELETED) != 0 ? "; deleted" : "");
    if (request->resp) {
        add_bulk(out, text, (size_t)size);
        return;
    }
    if (request->tag[0] != '\0')
        buffer_add_format(out, "#%s ", request->tag);
    buffer_add_format(out, "+ %s\n", text);
}

static void stream_end(struct request *request, struct buffer *out)
{
    struct connection *connection = request->connection;
    if (!request->resp) {
        if (request->tag[0] != '\0')
            buffer_add_format(out, "#%s ", request->tag);
        buffer_add_text(out, "OK");
        for (size_t i = 0; i < request->stream.n_counts; i++)
            buffer_add_format(out, " %" PRIu64, request->stream.counts[i]);
        buffer_add_text(out, "\n");
    }
    connection->streaming = NULL;
    request_end(request);
    emit_ready(connection);
}

void request_stream(struct connection *connection)
{
    struct request *request = connection->streaming;
    struct buffer *out = &connection->out;
    if (!request->stream.begun)
        stream_begin(request, out);
    while (buffer_size(out) < CONNECTION_OUT_MAX) {
        const struct keyset_record *record = keyset_next(request->stream.keys, &request->stream.cursor);
        if (record == NULL) {
            stream_end(request, out);
            return;
        }
        if (!request->stream.marked || record->mark != 0)
            stream_record(request, out, record);
    }
}
