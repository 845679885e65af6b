/* SPDX-License-Identifier: MIT */
/* Two keeps, whose links to Redis a test plays. */
#include "keep_fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "keep/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The link as played here. */

struct sent sent[64];
size_t n_sent;
char written[WRITTEN_MAX];
size_t written_size;

struct redis_link {
    const struct config_redis *config;
};

struct redis_link *redis_link_new(const struct redis_link_settings *settings)
{
    struct redis_link *link = calloc(1, sizeof *link);
    assert_non_null(link);
    link->config = settings->config;
    return link;
}

const struct config_redis *redis_link_config(const struct redis_link *link)
{
    return link->config;
}

void redis_link_free(struct redis_link **link)
{
    free(*link);
    *link = NULL;
}

/* The invalidation links of the two, which a case plays as well. */
struct invalidation_settings links[2];

struct invalidation {
    int unused;
};

struct invalidation *invalidation_new(const struct invalidation_settings *settings)
{
    links[settings->slot] = *settings;
    *settings->state = (struct invalidation_state){.lease_until = INT64_MAX, .epoch = 1, .up = true};
    return calloc(1, sizeof(struct invalidation));
}

void invalidation_connected(struct invalidation *link)
{
    (void)link;
}

void invalidation_free(struct invalidation **link)
{
    free(*link);
    *link = NULL;
}

uint64_t losses;

uint64_t redis_link_losses(const struct redis_link *link)
{
    (void)link;
    return losses;
}

void redis_link_command(struct redis_link *link, enum redis_kind kind, redis_callback *callback, void *argument,
                        int argc, const char *const *argv, const size_t *argv_sizes)
{
    (void)link;
    assert_true(n_sent < sizeof sent / sizeof *sent);
    struct sent *one = &sent[n_sent++];
    *one = (struct sent){.callback = callback, .argument = argument, .kind = kind};
    snprintf(one->word, sizeof one->word, "%.*s", (int)argv_sizes[0], argv[0]);
    if (argc > 2 && strcmp(one->word, "SET") == 0) {
        assert_true(argv_sizes[2] <= sizeof written);
        written_size = argv_sizes[2];
        memcpy(written, argv[2], written_size);
    }
}

/* A change is known by its last command; those before it are answered as if all was well with the index. */
void redis_link_changes(struct redis_link *link, redis_callback *callback, void *argument, size_t n,
                        const struct redis_words *commands)
{
    const struct redis_words *last = &commands[n - 1];
    redis_link_command(link, REDIS_CHANGE, callback, argument, last->n, last->texts, last->sizes);
    sent[n_sent - 1].before = n - 1;
}

void reply(size_t i, const redisReply *answer)
{
    struct sent one = sent[i];
    assert_non_null(one.callback);
    sent[i].callback = NULL;
    for (size_t k = 0; k < one.before; k++)
        one.callback(one.argument, REDIS_REPLIED, &(redisReply){.type = REDIS_REPLY_INTEGER, .integer = 1});
    one.callback(one.argument, REDIS_REPLIED, answer);
}

void reply_nil(size_t i)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_NIL});
}

void reply_integer(size_t i, long long value)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_INTEGER, .integer = value});
}

void reply_ok(size_t i)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_STATUS, .str = (char[]){"OK"}, .len = 2});
}

void reply_lost(size_t i, enum redis_outcome outcome)
{
    struct sent one = sent[i];
    sent[i].callback = NULL;
    one.callback(one.argument, outcome, NULL);
}

/* The two workers, and what their clients heard. */

struct the the;

uint64_t generation(void)
{
    /* Moves of any key count: every case uses one key. */
    uint64_t sum = generation_now(the.shared, 0);
    for (uint64_t i = 1; i < SHARED_GENERATIONS; i++)
        sum += generation_now(the.shared, i);
    return sum;
}

void on_get(void *argument, enum keep_result result, const struct cache_entry *entry)
{
    struct heard *heard = argument;
    heard->called = true;
    heard->result = result;
    heard->generation = generation();
    if (entry != NULL)
        snprintf(heard->username, sizeof heard->username, "%.*s", (int)entry->username_size,
                 cache_entry_username(entry));
}

void on_change(void *argument, enum keep_result result)
{
    on_get(argument, result, NULL);
}

void get(struct keep *keep, const char *secret, struct heard *heard)
{
    struct keep_time now = {clock_boot(), clock_wall()};
    *heard = (struct heard){0};
    keep_get(keep, &now, KEY, secret, on_get, heard);
}

void reply_value(size_t i)
{
    reply(i, &(redisReply){.type = REDIS_REPLY_STRING, .str = (char *)the.value, .len = the.value_size});
}

void seal_value(const char *username)
{
    struct error error;
    char json[256];
    size_t plain_size;
    snprintf(json, sizeof json, "{\"token\":\"gt-%s.%s\",\"username\":\"%s\",\"token_type\":\"user\",\"scopes\":[]}",
             KEY, SECRET, username);
    struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, clock_wall(), &error);
    assert_non_null(data);
    unsigned char plain[1024];
    plain_size = codec_encode(data, plain, sizeof plain);
    vault_seal(the.vault, "token:" KEY, strlen("token:" KEY), plain, plain_size, the.value);
    the.value_size = plain_size + VAULT_OVERHEAD;
    token_data_free(&data);
}

/* What happens on the first worker's link. */
void announce(enum invalidation_change change, const char *key)
{
    links[0].changed(links[0].argument, change, key);
}

void lose_link(void)
{
    links[0].state->lease_until = 0;
    links[0].state->up = false;
    links[0].state->epoch++;
    announce(INVALIDATION_LOST, NULL);
}

void regain_link(void)
{
    links[0].state->up = true;
    links[0].state->epoch++;
    announce(INVALIDATION_HEARING, NULL);
    links[0].state->lease_until = INT64_MAX;
}

struct keep *make_keep(unsigned slot)
{
    struct keep *keep = keep_new(&(struct keep_settings){
        .base = the.base, .config = &the.config, .shared = the.shared, .slot = slot, .vault = the.vault});
    assert_non_null(keep);
    return keep;
}

int set_up(void **state)
{
    static char prefix[] = "token:";
    char path[] = "/tmp/tokenkeep-test-XXXXXX";
    struct error error = {""};
    (void)state;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    int fd = mkstemp(path);
    dprintf(fd, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    close(fd);
    the.vault = vault_open_keyring(path, &error);
    unlink(path);
    the.base = event_base_new();
    the.shared = shared_create();
    the.config = (struct config){.redis = {.prefix = prefix},
                                 .max_inflight = 8,
                                 .cache_bytes = 1 << 20,
                                 .cache_entries = 100,
                                 .cache_negative_entries = 100,
                                 .cache_ttl = 60,
                                 .cache_negative_ttl = 60};
    the.first = make_keep(0);
    the.second = make_keep(1);
    n_sent = 0;
    seal_value("alice");
    return the.vault == NULL;
}

/* Every case ends with its commands answered. */
int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_sent; i++)
        if (sent[i].callback != NULL)
            return -1;
    keep_free(&the.first);
    keep_free(&the.second);
    vault_free(&the.vault);
    shared_destroy(&the.shared);
    event_base_free(the.base);
    return 0;
}

void warm(struct keep *keep)
{
    struct heard heard;
    size_t before = n_sent;
    get(keep, SECRET, &heard);
    assert_int_equal(n_sent, before + 1);
    reply_value(before);
    assert_int_equal(heard.result, KEEP_DONE);
}

void assert_cached(struct keep *keep, enum keep_result expected)
{
    struct heard heard;
    size_t before = n_sent;
    get(keep, SECRET, &heard);
    assert_int_equal(n_sent, before);
    assert_true(heard.called);
    assert_int_equal(heard.result, expected);
}

/* The next look-up asks Redis; it is told that there is nothing. */
void assert_asks(struct keep *keep)
{
    struct heard heard;
    size_t before = n_sent;
    get(keep, SECRET, &heard);
    assert_false(heard.called);
    assert_int_equal(n_sent, before + 1);
    reply_nil(before);
    assert_int_equal(heard.result, KEEP_INVALID);
}
