/* SPDX-License-Identifier: MIT */
/* The store: single tokens in Redis, sealed. */
#include "keep/store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/pool.h"
#include "keep/codec.h"
#include "keep/notices.h"
#include "keep/redis_refusal.h"
#include "keep/user_index.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MAX_SIZE = CONFIG_PREFIX_MAX + TOKEN_PART_SIZE,
    VALUE_SMALL = 4096, /* bytes of a value up to which it takes no memory but the stack's */
};

struct store {
    struct redis_link *link;
    const struct vault *vault;
    struct reports *reports;
    char name[NAME_MAX_SIZE + 1]; /* the prefix, and behind it the key that was asked for last */
    size_t prefix_size;
    char prefix[CONFIG_PREFIX_MAX + 1];
    int64_t next_refusal;  /* when the next refusal may be logged */
    int64_t next_eviction; /* when it may be logged again that Redis evicts */
    struct notices flaws;
    struct pool operations;
};

/* A command on its way, or a change with what comes before it. */
struct operation {
    struct store *store;
    const char *command;
    char key[TOKEN_PART_SIZE];
    unsigned before; /* answers that come before the change's own */
    void (*before_replied)(struct operation *operation, const redisReply *reply);
    bool index_failed;       /* a write: there may be no entry in the index */
    struct token_data *data; /* a delete: what was there, if it can be read; wiped with the operation */
    store_read_callback *read;
    store_change_callback *change;
    bool (*understand)(const redisReply *reply, enum store_result *result); /* false: not an answer to the command */
    bool may_do_nothing;                                                    /* STORE_NOTHING is one of the answers */
    void *argument;
};

struct store *store_new(struct redis_link *link, const struct vault *vault, const char *prefix, struct reports *reports)
{
    struct store *store = memory_zeroed(sizeof *store);
    store->link = link;
    store->operations.size = sizeof(struct operation);
    store->vault = vault;
    store->reports = reports;
    store->prefix_size = strnlen(prefix, CONFIG_PREFIX_MAX);
    memcpy(store->prefix, prefix, store->prefix_size);
    memcpy(store->name, prefix, store->prefix_size);
    return store;
}

void store_free(struct store **store)
{
    if (*store == NULL)
        return;
    pool_empty(&(*store)->operations);
    free(*store);
    *store = NULL;
}

struct redis_link *store_link(const struct store *store)
{
    return store->link;
}

const char *store_prefix(const struct store *store)
{
    return store->prefix;
}

const struct vault *store_vault(const struct store *store)
{
    return store->vault;
}

const char *store_name(struct store *store, const char key[TOKEN_PART_SIZE], size_t *size)
{
    memcpy(store->name + store->prefix_size, key, TOKEN_PART_SIZE);
    *size = store->prefix_size + TOKEN_PART_SIZE;
    return store->name;
}

const char *store_flaw_text(enum store_flaw flaw)
{
    static const char *const texts[] = {
        [STORE_FLAW_NONE] = "nothing",
        [STORE_FLAW_TRUNCATED] = "too short for a sealed value",
        [STORE_FLAW_FORMAT] = "unknown format",
        [STORE_FLAW_UNKNOWN_KEY] = "sealed with a key that is not in the keyring",
        [STORE_FLAW_FORGED] = "altered, or moved from another key",
        [STORE_FLAW_UNDECODABLE] = "does not decode",
        [STORE_FLAW_MISPLACED] = "data of another token",
        [STORE_FLAW_TOO_LONG] = "too long for a sealed value",
        [STORE_FLAW_NOT_A_STRING] = "not a string",
    };
    return texts[flaw];
}

static enum store_flaw flaw_of(enum vault_result result)
{
    switch (result) {
    case VAULT_OK: return STORE_FLAW_NONE;
    case VAULT_TRUNCATED: return STORE_FLAW_TRUNCATED;
    case VAULT_BAD_FORMAT: return STORE_FLAW_FORMAT;
    case VAULT_UNKNOWN_KEY: return STORE_FLAW_UNKNOWN_KEY;
    case VAULT_FORGED: return STORE_FLAW_FORGED;
    }
    return STORE_FLAW_FORMAT;
}

void store_log_refusal(struct store *store, const char *command, const redisReply *reply)
{
    int64_t now = clock_boot();
    if (now < store->next_refusal)
        return;
    store->next_refusal = now + 10 * CLOCK_SECOND;
    struct error message, said;
    redis_refusal_explain(redis_link_config(store->link), command, reply, &said);
    error_set(&message, "Redis refuses %s", command);
    log_error("%s: %s", message.text, said.text);
    reports_problem(store->reports, &(struct problem){.kind = event_text("redis.refused"),
                                                      .message = event_text(message.text),
                                                      .error = event_text(said.text)});
}

static bool has_line(const redisReply *info, const char *line)
{
    return memmem(info->str, info->len, line, strlen(line)) != NULL;
}

void store_look_for_eviction(struct store *store, const redisReply *info)
{
    static const char message[] = "Redis may evict: LIST USER and DELETE USER may pass tokens over";
    const int64_t now = clock_boot();
    if (now < store->next_eviction || info->type != REDIS_REPLY_STRING || !has_line(info, "\nmaxmemory_policy:") ||
        has_line(info, "\nmaxmemory_policy:noeviction\r") || has_line(info, "\nmaxmemory:0\r"))
        return;
    store->next_eviction = now + 600 * CLOCK_SECOND;
    log_error("%s; set its maxmemory-policy to noeviction, then run VERIFYALL FIX", message);
    reports_problem(store->reports, &(struct problem){.kind = event_text("redis.evicts"),
                                                      .message = event_text(message),
                                                      .error = event_text("maxmemory-policy is not noeviction")});
}

static void log_flaw(struct store *store, const char *key, enum store_flaw flaw, const char *detail)
{
    unsigned left_out;
    if (!notices_due(&store->flaws, key, TOKEN_PART_SIZE, clock_boot(), &left_out))
        return;
    struct error reason;
    size_t name_size;
    const char *name = store_name(store, key, &name_size);
    error_set(&reason, "%s%s%s", store_flaw_text(flaw), detail[0] != '\0' ? ": " : "", detail);
    log_error("value of %.*s cannot be read: %s; it counts as no token%s", (int)name_size, name, reason.text,
              notices_left_out(left_out));
    reports_problem(store->reports,
                    &(struct problem){.kind = event_text("token.corrupt"),
                                      .message = event_text("a stored value cannot be read; it counts as no token"),
                                      .key = {name, name_size},
                                      .error = event_text(reason.text)});
}

static struct token_data *open_value(struct store *store, const char *key, const unsigned char *value, size_t size,
                                     enum store_flaw *flaw, struct error *error)
{
    size_t name_size, plain_size = 0;
    const char *name = store_name(store, key, &name_size);
    unsigned char small[VALUE_SMALL], *plain = size <= sizeof small ? small : malloc(size);
    if (plain == NULL)
        memory_exhausted(); /* it must not look like a value that may be deleted */
    struct token_data *data = NULL;
    *flaw = flaw_of(vault_open(store->vault, name, name_size, value, size, plain, &plain_size));
    if (*flaw == STORE_FLAW_NONE && (data = codec_decode(plain, plain_size, error)) == NULL)
        *flaw = STORE_FLAW_UNDECODABLE;
    if (data != NULL && memcmp(data->token.key, key, TOKEN_PART_SIZE) != 0) {
        *flaw = STORE_FLAW_MISPLACED;
        token_data_free(&data);
    }
    sodium_memzero(plain, plain_size);
    if (plain != small)
        free(plain);
    return data;
}

enum store_result store_open(struct store *store, const char key[TOKEN_PART_SIZE], const redisReply *reply,
                             struct token_data **data, enum store_flaw *flaw, struct error *error)
{
    *flaw = STORE_FLAW_NONE;
    error->text[0] = '\0';
    if (reply->type == REDIS_REPLY_NIL)
        return STORE_NOTHING;
    if (reply->type == REDIS_REPLY_STRING)
        *data = open_value(store, key, (const unsigned char *)reply->str, reply->len, flaw, error);
    else if (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, REDIS_TOO_LONG) == 0)
        *flaw = STORE_FLAW_TOO_LONG;
    else if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE", 9) == 0)
        *flaw = STORE_FLAW_NOT_A_STRING;
    else {
        store_log_refusal(store, "GET", reply);
        return STORE_UNAVAILABLE;
    }
    return *flaw == STORE_FLAW_NONE ? STORE_DONE : STORE_UNREADABLE;
}

static struct operation *operation_new(struct store *store, const char *command, const char *key, void *argument)
{
    struct operation *operation = pool_take(&store->operations);
    operation->store = store;
    operation->command = command;
    operation->argument = argument;
    memcpy(operation->key, key, TOKEN_PART_SIZE);
    return operation;
}

static void read_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct operation *operation = argument;
    struct token_data *data = NULL;
    struct error error;
    enum store_flaw flaw;
    enum store_result result = STORE_UNAVAILABLE;
    if (outcome == REDIS_REPLIED)
        result = store_open(operation->store, operation->key, reply, &data, &flaw, &error);
    if (result == STORE_UNREADABLE)
        log_flaw(operation->store, operation->key, flaw, error.text);
    operation->read(operation->argument, result, data);
    pool_give(&operation->store->operations, operation);
}

void store_read(struct store *store, const char key[TOKEN_PART_SIZE], store_read_callback *callback, void *argument)
{
    struct operation *operation = operation_new(store, "GET", key, argument);
    operation->read = callback;
    size_t sizes[2] = {3, 0};
    const char *words[2] = {"GET", store_name(store, key, &sizes[1])};
    redis_link_command(store->link, REDIS_READ, read_replied, operation, 2, words, sizes);
}

/* SET answers OK, or nil when NX found a value. */
static bool written(const redisReply *reply, enum store_result *result)
{
    *result = reply->type == REDIS_REPLY_NIL ? STORE_NOTHING : STORE_DONE;
    return reply->type == REDIS_REPLY_NIL || (reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0);
}

/* UNLINK answers how many of the one key there were, and so do our scripts. */
static bool counted(const redisReply *reply, enum store_result *result)
{
    *result = reply->integer == 0 ? STORE_NOTHING : STORE_DONE;
    return reply->type == REDIS_REPLY_INTEGER && (reply->integer == 0 || reply->integer == 1);
}

static enum store_result change_result(struct operation *operation, const redisReply *reply)
{
    enum store_result result;
    if (operation->understand(reply, &result) && (result == STORE_DONE || operation->may_do_nothing))
        return result;
    store_log_refusal(operation->store, operation->command, reply);
    return reply->type == REDIS_REPLY_ERROR ? STORE_UNAVAILABLE : STORE_UNCERTAIN;
}

static void index_failed(struct operation *operation, const char *command, const redisReply *reply)
{
    operation->index_failed = true;
    store_log_refusal(operation->store, command, reply);
}

/* 0 would say that the set is gone again, and the new entry with it. */
static void expiry_replied(struct operation *operation, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer != 1)
        index_failed(operation, "EXPIREAT", reply);
}

static void entry_replied(struct operation *operation, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER)
        index_failed(operation, "ZADD", reply);
    operation->before_replied = expiry_replied; /* where there is one */
}

/* What is about to be deleted says whose it is. Whatever else comes is deleted all the same. */
static void doomed_replied(struct operation *operation, const redisReply *reply)
{
    struct error error;
    enum store_flaw flaw;
    if (reply->type == REDIS_REPLY_STRING &&
        store_open(operation->store, operation->key, reply, &operation->data, &flaw, &error) != STORE_DONE)
        operation->data = NULL;
}

static void forgotten(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    if (outcome == REDIS_REPLIED && reply->type != REDIS_REPLY_INTEGER)
        store_log_refusal(argument, "EVAL", reply);
}

void store_forget(struct store *store, const struct token_data *data, size_t key)
{
    const int64_t now = clock_wall();
    const struct user_index_span span = user_index_span_of(data, now);
    struct user_index_name name;
    for (; key < vault_keys(store->vault); key++) {
        user_index_name(store->vault, key, store->prefix, data->username, span, &name);
        user_index_forget(store->link, &name, now - USER_INDEX_YOUNG, &data->token.key, 1, forgotten, store);
    }
}

static void change_replied(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct operation *operation = argument;
    enum store_result result = STORE_UNAVAILABLE;
    if (outcome == REDIS_REPLIED && operation->before > 0) {
        operation->before_replied(operation, reply);
        operation->before--;
        return;
    }
    switch (outcome) {
    case REDIS_REPLIED: result = change_result(operation, reply); break;
    case REDIS_UNAVAILABLE: break;
    case REDIS_UNCERTAIN: result = STORE_UNCERTAIN; break;
    }
    if (result == STORE_DONE && operation->index_failed)
        result = STORE_UNCERTAIN;
    if (result == STORE_DONE && operation->data != NULL)
        store_forget(operation->store, operation->data, 0);
    token_data_free(&operation->data);
    operation->change(operation->argument, result);
    pool_give(&operation->store->operations, operation);
}

/* Encodes and seals in one place: `small`, or malloc'd memory when that is too small. */
static unsigned char *seal(struct store *store, const struct token_data *data, unsigned char small[VALUE_SMALL],
                           size_t *sealed_size)
{
    unsigned char *sealed = small;
    size_t room = VALUE_SMALL - VAULT_OVERHEAD, name_size;
    size_t size = codec_encode(data, sealed + VAULT_PLAIN_AT, room);
    if (size > room) {
        sodium_memzero(small, VALUE_SMALL);
        sealed = malloc(size + VAULT_OVERHEAD);
        if (sealed == NULL || codec_encode(data, sealed + VAULT_PLAIN_AT, size) != size)
            memory_exhausted();
    }
    const char *name = store_name(store, data->token.key, &name_size);
    vault_seal(store->vault, name, name_size, sealed + VAULT_PLAIN_AT, size, sealed);
    *sealed_size = size + VAULT_OVERHEAD;
    return sealed;
}

/* Sends a change, and before it what makes the token's entry in the index. */
static void change_behind_entry(struct operation *operation, const struct token_data *data,
                                const struct redis_words *change)
{
    struct store *store = operation->store;
    struct user_index_entry entry;
    user_index_entry(&entry, store->vault, store->prefix, data, clock_wall());
    struct redis_words commands[3] = {entry.add, entry.expire};
    operation->before = entry.expire.n > 0 ? 2 : 1;
    operation->before_replied = entry_replied;
    commands[operation->before] = *change;
    redis_link_changes(store->link, change_replied, operation, operation->before + 1, commands);
}

void store_write(struct store *store, const struct token_data *data, bool replace, store_change_callback *callback,
                 void *argument)
{
    struct operation *operation = operation_new(store, "SET", data->token.key, argument);
    operation->change = callback;
    operation->understand = written;
    operation->may_do_nothing = !replace;
    size_t name_size, sealed_size;
    unsigned char small[VALUE_SMALL], *sealed = seal(store, data, small, &sealed_size);
    const char *name = store_name(store, data->token.key, &name_size);

    char expires[NUMBER_DIGITS_MAX];
    const char *words[6] = {"SET", name, (const char *)sealed};
    size_t sizes[6] = {3, name_size, sealed_size};
    int n = 3;
    if (data->expires != 0) {
        words[n] = "EXAT", sizes[n++] = 4;
        sizes[n] = (size_t)(number_put(expires, (uint64_t)data->expires) - expires);
        words[n++] = expires;
    }
    if (!replace)
        words[n] = "NX", sizes[n++] = 2;
    change_behind_entry(operation, data, &(struct redis_words){n, words, sizes});
    if (sealed != small)
        free(sealed);
}

void store_delete(struct store *store, const char key[TOKEN_PART_SIZE], store_change_callback *callback, void *argument)
{
    struct operation *operation = operation_new(store, "UNLINK", key, argument);
    operation->change = callback;
    operation->understand = counted;
    operation->may_do_nothing = true;
    operation->before = 1;
    operation->before_replied = doomed_replied;
    size_t sizes[2][2] = {{3, 0}, {6, 0}};
    const char *name = store_name(store, key, &sizes[0][1]);
    sizes[1][1] = sizes[0][1];
    const char *words[2][2] = {{"GET", name}, {"UNLINK", name}};
    const struct redis_words commands[2] = {{2, words[0], sizes[0]}, {2, words[1], sizes[1]}};
    redis_link_changes(store->link, change_replied, operation, 2, commands);
}

/* Deletes a value only while it is still the one that was read. */
static const char delete_same[] =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end return 0";

void store_delete_same(struct store *store, const char key[TOKEN_PART_SIZE], const redisReply *value,
                       store_change_callback *callback, void *argument)
{
    struct operation *operation = operation_new(store, "EVAL", key, argument);
    operation->change = callback;
    operation->understand = counted;
    operation->may_do_nothing = true;
    size_t name_size;
    const char *name = store_name(store, key, &name_size);
    const char *words[] = {"EVAL", delete_same, "1", name, value->str};
    const size_t sizes[] = {4, sizeof delete_same - 1, 1, name_size, value->len};
    redis_link_command(store->link, REDIS_CHANGE, change_replied, operation, 5, words, sizes);
}

/* Replaces a value only while it is still the one that was read. */
static const char replace_same[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
                                   "redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL') return 1";

void store_reseal(struct store *store, const struct token_data *data, const redisReply *value,
                  store_change_callback *callback, void *argument)
{
    struct operation *operation = operation_new(store, "EVAL", data->token.key, argument);
    operation->change = callback;
    operation->understand = counted;
    operation->may_do_nothing = true;
    size_t name_size, sealed_size;
    unsigned char small[VALUE_SMALL], *sealed = seal(store, data, small, &sealed_size);
    const char *name = store_name(store, data->token.key, &name_size);
    const char *words[] = {"EVAL", replace_same, "1", name, value->str, (const char *)sealed};
    const size_t sizes[] = {4, sizeof replace_same - 1, 1, name_size, value->len, sealed_size};
    change_behind_entry(operation, data, &(struct redis_words){6, words, sizes});
    if (sealed != small)
        free(sealed);
}

/* The answer of EXPIREAT, where there is one, or else that of ZADD takes the place of a change's. */
void store_index(struct store *store, const struct token_data *data, store_change_callback *callback, void *argument)
{
    struct user_index_entry entry;
    user_index_entry(&entry, store->vault, store->prefix, data, clock_wall());
    struct operation *operation =
        operation_new(store, entry.expire.n > 0 ? "EXPIREAT" : "ZADD", data->token.key, argument);
    operation->change = callback;
    operation->understand = counted;
    operation->before = entry.expire.n > 0 ? 1 : 0;
    operation->before_replied = entry_replied;
    operation->may_do_nothing = operation->before == 0;
    const struct redis_words commands[] = {entry.add, entry.expire};
    redis_link_changes(store->link, change_replied, operation, operation->before + 1, commands);
}
