/* SPDX-License-Identifier: MIT */
/* Trying a Redis. The connections say by themselves what is wrong with a login and with what belongs to a connection;
 * here are the commands on keys, all that a server ever sends: an integration test holds the two against each other. */
#include "keep/redis_probe.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/shared.h"
#include "keep/invalidation.h"
#include "keep/redis_link.h"
#include "keep/redis_refusal.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 7, NAME_SIZE = CONFIG_PREFIX_MAX + 32, LOOK_INTERVAL = 20000 /* microseconds */ };

/* In place of these words stand the names of a string and of a sorted set, and a time a minute from now. */
static const char STRING[] = "(string)", SET[] = "(set)", SOON[] = "(soon)";

static const struct probe {
    const char *words[WORDS_MAX];
    int type; /* of the reply */
} probes[] = {
    {{"SET", STRING, "1", "EX", "60"}, REDIS_REPLY_STATUS},
    {{"GET", STRING}, REDIS_REPLY_STRING},
    {{"EVAL", "return redis.call('UNLINK', KEYS[1])", "1", STRING}, REDIS_REPLY_INTEGER},
    {{"UNLINK", STRING}, REDIS_REPLY_INTEGER},
    {{"SCAN", "0", "COUNT", "1"}, REDIS_REPLY_ARRAY},
    {{"ZADD", SET, "GT", "1", "probe"}, REDIS_REPLY_INTEGER},
    {{"EXPIREAT", SET, SOON}, REDIS_REPLY_INTEGER},
    {{"ZSCORE", SET, "probe"}, REDIS_REPLY_STRING},
    {{"ZCARD", SET}, REDIS_REPLY_INTEGER},
    {{"ZSCAN", SET, "0"}, REDIS_REPLY_ARRAY},
    {{"ZRANGEBYSCORE", SET, "-inf", "0"}, REDIS_REPLY_ARRAY},
    {{"ZREM", SET, "probe"}, REDIS_REPLY_INTEGER},
    {{"WAIT", "0", "1"}, REDIS_REPLY_INTEGER}, /* the last: only where replicas are waited for */
};

enum { PROBES = sizeof probes / sizeof *probes };

static size_t probes_of(const struct config_redis *config)
{
    return config->min_replicas_acked > 0 ? PROBES : PROBES - 1;
}

struct trial {
    const struct config_redis *config;
    struct event_base *base;
    struct shared *shared;
    struct redis_link *link;
    struct invalidation *invalidation;
    struct invalidation_state state;
    int64_t until; /* clock_boot */
    char string[NAME_SIZE], set[NAME_SIZE + 2], soon[24];
    size_t answered, refused, lost;
};

struct answer {
    struct trial *trial;
    const struct probe *probe;
};

static void on_answered(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    const struct answer *answer = argument;
    struct trial *trial = answer->trial;
    struct error said;
    trial->answered++;
    if (outcome != REDIS_REPLIED) {
        trial->lost++;
        return;
    }
    if (reply->type == answer->probe->type)
        return;
    trial->refused++;
    redis_refusal_explain(trial->config, answer->probe->words[0], reply, &said);
    log_error("redis %s: %s was answered with %s", trial->config->url, answer->probe->words[0], said.text);
}

static const char *word_of(const struct trial *trial, const char *word)
{
    return word == STRING ? trial->string : word == SET ? trial->set : word == SOON ? trial->soon : word;
}

static void probe_send(struct answer *answer)
{
    const char *words[WORDS_MAX];
    size_t sizes[WORDS_MAX];
    int n = 0;
    for (; n < WORDS_MAX && answer->probe->words[n] != NULL; n++) {
        words[n] = word_of(answer->trial, answer->probe->words[n]);
        sizes[n] = strlen(words[n]);
    }
    redis_link_command(answer->trial->link, REDIS_READ, on_answered, answer, n, words, sizes);
}

static void on_change(void *argument, enum invalidation_change change, const char *key)
{
    (void)argument, (void)change, (void)key;
}

/* A lease says that the link is up and a beat has come back on it. */
static void on_look(evutil_socket_t fd, short events, void *argument)
{
    struct trial *trial = argument;
    (void)fd, (void)events;
    const bool over = trial->answered == probes_of(trial->config) && (trial->lost > 0 || trial->state.lease_until != 0);
    if (over || clock_boot() > trial->until)
        event_base_loopbreak(trial->base);
}

/* Names that no token has, nor anything else: a dot is in no key, and the rest is random. */
static void names_make(struct trial *trial)
{
    uint64_t random;
    randombytes_buf(&random, sizeof random);
    snprintf(trial->string, sizeof trial->string, "%s.check.%016" PRIx64, trial->config->prefix, random);
    snprintf(trial->set, sizeof trial->set, "%s.z", trial->string);
    snprintf(trial->soon, sizeof trial->soon, "%lld", (long long)clock_wall() + 60);
}

static void trial_start(struct trial *trial, struct redis_access *access)
{
    trial->base = event_base_new();
    trial->shared = shared_create();
    if (trial->base == NULL || trial->shared == NULL)
        memory_exhausted();
    trial->until = clock_boot() + CLOCK_SECOND + clock_from_seconds(trial->config->connect_timeout) +
                   clock_from_seconds(trial->config->command_timeout);
    trial->link = redis_link_new(&(struct redis_link_settings){
        .base = trial->base, .config = trial->config, .access = access, .shared = trial->shared});
    if (trial->link == NULL)
        memory_exhausted();
    trial->invalidation = invalidation_new(&(struct invalidation_settings){.base = trial->base,
                                                                           .config = trial->config,
                                                                           .access = access,
                                                                           .shared = trial->shared,
                                                                           .commands = trial->link,
                                                                           .state = &trial->state,
                                                                           .changed = on_change});
    if (trial->invalidation == NULL)
        memory_exhausted();
    names_make(trial);
}

static void trial_end(struct trial *trial)
{
    redis_link_free(&trial->link);
    invalidation_free(&trial->invalidation);
    event_base_free(trial->base);
    shared_destroy(&trial->shared);
}

/* What was refused has been said already. */
static bool verdict(const struct trial *trial)
{
    if (trial->answered < probes_of(trial->config) || trial->lost > 0)
        log_error("Redis at %s does not answer", trial->config->url);
    else if (trial->state.lease_until == 0)
        log_error("redis %s: changes by others are not announced, so the cache could not be used", trial->config->url);
    else
        return trial->refused == 0;
    return false;
}

bool redis_probe(const struct config_redis *config, struct redis_access *access)
{
    static const struct timeval interval = {0, LOOK_INTERVAL};
    struct trial trial = {.config = config};
    struct answer answers[PROBES];
    trial_start(&trial, access);
    struct event *look = event_new(trial.base, -1, EV_PERSIST, on_look, &trial);
    if (look == NULL || event_add(look, &interval) != 0)
        memory_exhausted();
    for (size_t i = 0; i < probes_of(config); i++) {
        answers[i] = (struct answer){&trial, &probes[i]};
        probe_send(&answers[i]);
    }
    event_base_dispatch(trial.base);
    const bool well = verdict(&trial);
    event_free(look);
    trial_end(&trial);
    return well;
}
