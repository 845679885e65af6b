/* SPDX-License-Identifier: MIT */
/* The handlers of the commands on the server and the connection. */
#include "worker/handlers.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool word_is(struct word word, const char *text)
{
    return word.size == strlen(text) && strncasecmp(word.text, text, word.size) == 0;
}

void handle_ping(struct request *request, const struct word *words, size_t n_words)
{
    if (n_words == 0)
        answer_pong(request);
    else
        answer_text(request, words[0].text, words[0].size);
}

void handle_echo(struct request *request, const struct word *words, size_t n_words)
{
    (void)n_words;
    answer_text(request, words[0].text, words[0].size);
}

void handle_help(struct request *request, const struct word *words, size_t n_words)
{
    size_t rows, shown = 0;
    const struct command *table = command_table(&rows);
    (void)words, (void)n_words;
    for (size_t i = 0; i < rows; i++)
        shown += (table[i].flags & COMMAND_RESP) == 0;
    answer_begin_pairs(request, shown);
    for (size_t i = 0; i < rows; i++) {
        char purpose[192];
        if ((table[i].flags & COMMAND_RESP) != 0)
            continue;
        snprintf(purpose, sizeof purpose, "%s%s%s", table[i].arguments, table[i].arguments[0] != '\0' ? " " : "",
                 table[i].help);
        answer_pair(request, table[i].name, purpose);
    }
    answer_end_pairs(request);
}

void handle_quit(struct request *request, const struct word *words, size_t n_words)
{
    (void)words, (void)n_words;
    request->connection->quit = request;
    connection_finish(request->connection, CONNECTION_END_QUIT);
}

/* What is not a sum of counters: states of the whole server. */
struct gauges {
    uint64_t workers, connections, cache_entries, cache_bytes;
    uint64_t links; /* workers whose cache may answer */
    uint64_t lag;   /* of the slowest invalidation link, in microseconds */
};

static struct gauges read_gauges(const struct shared *shared)
{
    struct gauges gauges = {0};
    const int64_t now = clock_boot();
    for (uint32_t i = 0; i < shared_slots_used(shared); i++) {
        const struct shared_slot *slot = &shared->slots[i];
        gauges.workers += atomic_load(&slot->accepting);
        gauges.connections += atomic_load(&slot->connections_held);
        gauges.cache_entries += atomic_load(&slot->cache_entries);
        gauges.cache_bytes += atomic_load(&slot->cache_bytes);
        gauges.links += now < atomic_load(&slot->cache_lease);
        const uint64_t lag = atomic_load(&slot->invalidation_lag);
        if (lag > gauges.lag)
            gauges.lag = lag;
    }
    return gauges;
}

static uint64_t sum_metric(const struct shared *shared, enum metric metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < shared_slots_used(shared); i++)
        sum += atomic_load(&shared->slots[i].metrics[metric]);
    return sum;
}

/* What was told to the reporter. */
struct told {
    uint64_t sent, dropped, lost;
};

static struct told read_told(const struct shared *shared)
{
    const struct shared_sender *master = &shared->senders[SHARED_SENDER_MASTER];
    struct told told = {atomic_load(&master->sent), atomic_load(&master->dropped), atomic_load(&shared->reports_lost)};
    for (uint32_t i = 0; i < shared_slots_used(shared); i++) {
        told.sent += atomic_load(&shared->senders[i].sent);
        told.dropped += atomic_load(&shared->senders[i].dropped);
    }
    return told;
}

static void answer_number(struct request *request, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    answer_pair(request, name, text);
}

void handle_stats(struct request *request, const struct word *words, size_t n_words)
{
    const struct worker *worker = request_worker(request);
    const struct shared *shared = worker->setup->shared;
    const struct gauges gauges = read_gauges(shared);
    const struct told told = read_told(shared);
    const struct {
        const char *name;
        uint64_t value;
    } states[] = {
        {"uptime", (uint64_t)((clock_boot() - shared->started) / CLOCK_SECOND)},
        {"workers", gauges.workers},
        {"connections", gauges.connections},
        {"cache-entries", gauges.cache_entries},
        {"cache-bytes", gauges.cache_bytes},
        {"invalidation-links", gauges.links},
        {"invalidation-lag", gauges.lag},
        {"events-sent", told.sent},
        {"events-dropped", told.dropped},
        {"events-lost", told.lost},
    };
    const size_t n = sizeof states / sizeof *states;
    (void)words, (void)n_words;
    answer_begin_pairs(request, n + METRICS);
    for (size_t i = 0; i < n; i++)
        answer_number(request, states[i].name, states[i].value);
    for (enum metric metric = 0; metric < METRICS; metric++)
        answer_number(request, metric_name(metric), sum_metric(shared, metric));
    answer_end_pairs(request);
}

/* The answers that follow are what a Redis server would say, so far as its clients care. */

void handle_hello(struct request *request, const struct word *words, size_t n_words)
{
    char answer[256];
    if (n_words > 0 && !word_is(words[0], "2")) {
        answer_raw(request, "-NOPROTO unsupported protocol version\r\n");
        return;
    }
    if (n_words > 1) {
        answer_err(request, ERR_BADREQ, "HELLO takes a protocol version alone");
        return;
    }
    snprintf(answer, sizeof answer,
             "*14\r\n$6\r\nserver\r\n$9\r\ntokenkeep\r\n$7\r\nversion\r\n$%zu\r\n%s\r\n$5\r\nproto\r\n:2\r\n$"
             "2\r\nid\r\n:%" PRIu64
             "\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
             strlen(PACKAGE_VERSION), PACKAGE_VERSION, request->connection->number);
    answer_raw(request, answer);
}

void handle_client(struct request *request, const struct word *words, size_t n_words)
{
    if (word_is(words[0], "ID") && n_words == 1)
        answer_count(request, request->connection->number);
    else if ((word_is(words[0], "SETNAME") && n_words == 2) || (word_is(words[0], "SETINFO") && n_words == 3))
        answer_ok(request);
    else
        answer_err(request, ERR_BADREQ, "CLIENT takes SETNAME, SETINFO or ID");
}

void handle_select(struct request *request, const struct word *words, size_t n_words)
{
    (void)n_words;
    if (word_is(words[0], "0"))
        answer_ok(request);
    else
        answer_err(request, ERR_BADREQ, "there is database 0 alone");
}

void handle_command(struct request *request, const struct word *words, size_t n_words)
{
    (void)words, (void)n_words;
    answer_raw(request, "*0\r\n");
}
