/* SPDX-License-Identifier: MIT */
/* The index by user. */
#include "keep/user_index.h"

#include "keep/token.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
    SHIFT_MIN = 10, /* 17 minutes */
    SHIFT_STEP = 4,
    SHIFT_MAX = 26,                          /* 2 years */
    SPANS_PER_LIFE = 16,                     /* a life is shorter than so many spans */
    SPANS_READ = 1 + SPANS_PER_LIFE + 1 + 1, /* and one each for clocks that are behind and ahead */
    LEVELS = (SHIFT_MAX - SHIFT_MIN) / SHIFT_STEP + 1,
};

_Static_assert(USER_INDEX_SETS == LEVELS * SPANS_READ + 1, "the sets of one user");

/* Removes what is not young. */
static const char forget_old[] = "local gone = 0 "
                                 "for i = 2, #ARGV do "
                                 "local made = redis.call('ZSCORE', KEYS[1], ARGV[i]) "
                                 "if made and tonumber(made) <= tonumber(ARGV[1]) then "
                                 "gone = gone + redis.call('ZREM', KEYS[1], ARGV[i]) end end "
                                 "return gone";

static const char sweep_old[] =
    "local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2]) "
    "if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end "
    "return #old";

/* By the life that the data tell, so that it can be told again when the token is deleted; `created` is the client's,
 * and may be anything. */
struct user_index_span user_index_span_of(const struct token_data *data, int64_t now)
{
    const int64_t left = data->expires - now, life = data->expires - data->created;
    if (data->expires == 0 || left >> SHIFT_MAX >= SPANS_PER_LIFE)
        return (struct user_index_span){0, 0};
    unsigned shift = SHIFT_MIN;
    while (shift < SHIFT_MAX && (life > left ? life : left) >> shift >= SPANS_PER_LIFE)
        shift += SHIFT_STEP;
    return (struct user_index_span){shift, data->expires >> shift};
}

struct user_index_span user_index_span_nth(size_t i, int64_t now)
{
    const size_t level = i / SPANS_READ;
    if (level >= LEVELS)
        return (struct user_index_span){0, 0};
    const unsigned shift = SHIFT_MIN + SHIFT_STEP * (unsigned)level;
    return (struct user_index_span){shift, (now >> shift) + (int64_t)(i % SPANS_READ) - 1};
}

void user_index_name(const struct vault *vault, size_t key, const char *prefix, const char *username,
                     struct user_index_span span, struct user_index_name *name)
{
    char plain[CONFIG_PREFIX_MAX + 2 + TOKEN_DATA_USERNAME_MAX + 2 * (1 + NUMBER_DIGITS_MAX)];
    char hash[USER_INDEX_HASH_SIZE + 1];
    unsigned char blind[VAULT_BLIND_SIZE];
    const size_t prefix_size = strnlen(prefix, CONFIG_PREFIX_MAX);
    char *at = mempcpy(mempcpy(plain, prefix, prefix_size), "u.", 2);
    at = mempcpy(at, username, strnlen(username, TOKEN_DATA_USERNAME_MAX));
    if (span.shift != 0) {
        *at++ = '.';
        at = number_put(at, span.shift);
        *at++ = '.';
        at = number_put(at, (uint64_t)span.number);
    }
    vault_blind(vault, key, plain, (size_t)(at - plain), blind);
    sodium_bin2base64(hash, sizeof hash, blind, sizeof blind, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    memcpy(mempcpy(name->text, plain, prefix_size + 2), hash, USER_INDEX_HASH_SIZE);
    name->size = prefix_size + 2 + USER_INDEX_HASH_SIZE;
}

static void put_word(struct user_index_entry *entry, struct redis_words *words, const char *text, size_t size)
{
    const size_t row = words == &entry->expire;
    entry->texts[row][words->n] = text;
    entry->sizes[row][words->n++] = size;
}

void user_index_entry(struct user_index_entry *entry, const struct vault *vault, const char *prefix,
                      const struct token_data *data, int64_t now)
{
    const struct user_index_span span = user_index_span_of(data, now);
    entry->add = (struct redis_words){0, entry->texts[0], entry->sizes[0]};
    entry->expire = (struct redis_words){0, entry->texts[1], entry->sizes[1]};
    user_index_name(vault, 0, prefix, data->username, span, &entry->name);
    put_word(entry, &entry->add, "ZADD", 4);
    put_word(entry, &entry->add, entry->name.text, entry->name.size);
    put_word(entry, &entry->add, "GT", 2);
    put_word(entry, &entry->add, entry->made, (size_t)(number_put(entry->made, (uint64_t)now) - entry->made));
    put_word(entry, &entry->add, data->token.key, TOKEN_PART_SIZE);
    if (span.shift == 0)
        return;
    put_word(entry, &entry->expire, "EXPIREAT", 8);
    put_word(entry, &entry->expire, entry->name.text, entry->name.size);
    put_word(entry, &entry->expire, entry->until,
             (size_t)(number_put(entry->until, (uint64_t)(span.number + 1) << span.shift) - entry->until));
}

void user_index_forget(struct redis_link *link, const struct user_index_name *name, int64_t made_before,
                       const char (*keys)[TOKEN_PART_SIZE], size_t n, redis_callback *callback, void *argument)
{
    char made[24];
    const char *words[5 + USER_INDEX_FORGET_MAX] = {"EVAL", forget_old, "1", name->text, made};
    size_t sizes[5 + USER_INDEX_FORGET_MAX] = {4, sizeof forget_old - 1, 1, name->size};
    sizes[4] = (size_t)snprintf(made, sizeof made, "%lld", (long long)made_before);
    for (size_t i = 0; i < n; i++) {
        words[5 + i] = keys[i];
        sizes[5 + i] = TOKEN_PART_SIZE;
    }
    redis_link_command(link, REDIS_READ, callback, argument, (int)(5 + n), words, sizes);
}

void user_index_sweep(struct redis_link *link, const struct user_index_name *name, int64_t made_before,
                      redis_callback *callback, void *argument)
{
    char made[24], most[24];
    const char *words[] = {"EVAL", sweep_old, "1", name->text, made, most};
    size_t sizes[] = {4, sizeof sweep_old - 1, 1, name->size, 0, 0};
    sizes[4] = (size_t)snprintf(made, sizeof made, "%lld", (long long)made_before);
    sizes[5] = (size_t)snprintf(most, sizeof most, "%d", USER_INDEX_FORGET_MAX);
    redis_link_command(link, REDIS_READ, callback, argument, 6, words, sizes);
}

bool user_index_name_valid(const char *text, size_t size)
{
    return size == 2 + USER_INDEX_HASH_SIZE && text[0] == 'u' && text[1] == '.' &&
           token_part_valid(text + 2, TOKEN_PART_SIZE) &&
           token_part_valid(text + size - TOKEN_PART_SIZE, TOKEN_PART_SIZE);
}
