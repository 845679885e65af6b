/* SPDX-License-Identifier: MIT */
/* The bench's requests as bytes. */
#include "cli/bench_request.h"

#include "base/clock.h"
#include "cli/bench_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands for a token, or for its key, while a request is made: no other byte of a request is an '@'. */
#define PLACE_KEY   "@@@@@@@@@@@@@@@@@@@@@@"
#define PLACE_TOKEN PLACE_KEY PLACE_KEY "@@@@"
_Static_assert(sizeof PLACE_KEY - 1 == TOKEN_PART_SIZE && sizeof PLACE_TOKEN - 1 == TOKEN_SIZE, "a place's size");

/* With the prefix of tokenkeepd's own keys, "token:", in length, and never among them. */
#define PLAIN_KEY "bench:" PLACE_KEY

/* The same as an array of bulk strings. */
static char *resp_make(const char *const *words, size_t n)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    fprintf(out, "*%zu\r\n", n);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static char *line_make(const char *verb, const char *argument)
{
    char *text;
    return asprintf(&text, "%s %s\n", verb, argument) < 0 ? NULL : text;
}

static char *memcached_store(const char *value, const char *lifetime)
{
    char *text;
    return asprintf(&text, "ms " PLAIN_KEY " %zu T%s\r\n%s\r\n", strlen(value), lifetime, value) < 0 ? NULL : text;
}

/* The text of a kind's request, with places. `value` is what is stored. */
static char *text_make(enum bench_protocol protocol, enum bench_kind kind, const char *value, const char *lifetime)
{
    const char *get[] = {"GET", protocol == BENCH_REDIS ? PLAIN_KEY : PLACE_TOKEN};
    const char *store[] = {"STORE", value};
    const char *set[] = {"SET", PLAIN_KEY, value, "EX", lifetime};
    const char *delete[] = {protocol == BENCH_REDIS ? "DEL" : "DELETE",
                            protocol == BENCH_REDIS ? PLAIN_KEY : PLACE_KEY};
    const bool asks = kind != BENCH_STORE && kind != BENCH_DELETE;
    if (protocol == BENCH_MEMCACHED)
        return asks                  ? strdup("mg " PLAIN_KEY " v\r\n")
               : kind == BENCH_STORE ? memcached_store(value, lifetime)
                                     : strdup("md " PLAIN_KEY "\r\n");
    if (protocol == BENCH_LINE)
        return asks                  ? line_make(get[0], get[1])
               : kind == BENCH_STORE ? line_make(store[0], store[1])
                                     : line_make(delete[0], delete[1]);
    if (asks)
        return resp_make(get, 2);
    if (kind == BENCH_DELETE)
        return resp_make(delete, 2);
    return protocol == BENCH_REDIS ? resp_make(set, 5) : resp_make(store, 2);
}

/* Notes where the places are. */
static void places_find(struct bench_request *request)
{
    size_t n = 0;
    for (const char *at = strchr(request->text, '@'); at != NULL; at = strchr(at, '@')) {
        request->part_size = strspn(at, "@");
        request->places[n++] = (size_t)(at - request->text);
        at += request->part_size;
    }
    const char *user = strstr(request->text, BENCH_USER_ZERO);
    request->user = user == NULL ? 0 : (size_t)(user - request->text) + strlen(BENCH_USER);
    request->part = request->part_size == TOKEN_SIZE ? 0 : 3;
    request->size = strlen(request->text);
}

/* For others than tokenkeepd: the key, to know it again, and filling. */
static char *plain_value(size_t size)
{
    char *value = malloc(size + 1);
    if (value == NULL)
        return NULL;
    memset(value, 'x', size);
    memcpy(value, PLACE_KEY, TOKEN_PART_SIZE);
    value[size] = '\0';
    return value;
}

int bench_requests_make(struct bench_requests *requests, enum bench_protocol protocol, size_t value_size,
                        uint32_t users, int64_t expires, struct error *error)
{
    char lifetime[24];
    int bad = 0;
    snprintf(lifetime, sizeof lifetime, "%" PRId64, expires - clock_wall());
    *requests = (struct bench_requests){.size_max = 0};
    bool plain = protocol == BENCH_REDIS || protocol == BENCH_MEMCACHED;
    char *value = plain ? plain_value(value_size) : bench_value_make(PLACE_TOKEN, value_size, expires);
    for (enum bench_kind kind = BENCH_HIT; kind < BENCH_KINDS && bad == 0; kind++) {
        struct bench_request *request = &requests->of[kind];
        request->text = value == NULL ? NULL : text_make(protocol, kind, value, lifetime);
        if (request->text == NULL)
            bad = error_set(error, "out of memory");
        else
            places_find(request);
        request->users = users;
        if (request->size > requests->size_max)
            requests->size_max = request->size;
    }
    free(value);
    return bad;
}

void bench_requests_free(struct bench_requests *requests)
{
    for (size_t kind = 0; kind < BENCH_KINDS; kind++) {
        free(requests->of[kind].text);
        requests->of[kind].text = NULL;
    }
}

/* Some number, always the same for a token. */
static uint64_t token_number(const char token[TOKEN_SIZE])
{
    uint64_t number;
    memcpy(&number, token + 3, sizeof number);
    return number;
}

void bench_request_write(const struct bench_request *request, const char token[TOKEN_SIZE], char *out)
{
    memcpy(out, request->text, request->size);
    memcpy(out + request->places[0], token + request->part, request->part_size);
    if (request->places[1] != 0)
        memcpy(out + request->places[1], token + request->part, request->part_size);
    if (request->user == 0)
        return;
    uint64_t user = token_number(token) % request->users;
    for (size_t i = BENCH_USER_DIGITS; i > 0; user /= 10)
        out[request->user + --i] = (char)('0' + user % 10);
}
