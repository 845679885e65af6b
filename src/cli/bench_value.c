/* SPDX-License-Identifier: MIT */
/* Token data of a wanted size, for the bench to store. */
#include "cli/bench_value.h"

#include "base/clock.h"
#include "keep/codec.h"
#include "keep/token_data.h"
#include "keep/vault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In msgpack: {"name": "bench-group-000", "id": 100000} as a map of two. */
enum { GROUP_SIZE = 1 + 5 + 16 + 3 + 5, NAME_MAX_SIZE = 31 };

/* With `n_groups` groups, and a name of so many characters. */
static char *json_make(const char *token, size_t n_groups, size_t name_size, int64_t expires)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    fprintf(out,
            "{\"token\":\"%s\",\"username\":\"" BENCH_USER_ZERO "\",\"token_type\":\"user\",\"scopes\":[\"read:all\"],",
            token);
    fprintf(out, "\"created\":%" PRId64 ",\"expires\":%" PRId64 ",\"name\":\"%.*s\"", clock_wall(), expires,
            (int)name_size, "measured by tokenkeep bench....");
    for (size_t i = 0; i < n_groups; i++)
        fprintf(out, "%s{\"name\":\"bench-group-%03zu\",\"id\":%zu}", i == 0 ? ",\"groups\":[" : ",", i, 100000 + i);
    fputs(n_groups == 0 ? "}" : "]}", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

size_t bench_value_size(const char *json, const char *token)
{
    /* The place of a token is no token: any that is one does for measuring. */
    char any[TOKEN_SIZE + 1];
    memset(any, 'a', sizeof any);
    memcpy(any, "gt-", 3);
    any[3 + TOKEN_PART_SIZE] = '.';
    char *copy = strdup(json), *at = copy == NULL ? NULL : strstr(copy, token);
    size_t size = 0;
    if (at != NULL) {
        memcpy(at, any, TOKEN_SIZE);
        struct token_data *data = token_data_from_json(copy, strlen(copy), TOKEN_DATA_WITH_TOKEN, clock_wall(), NULL);
        if (data != NULL)
            size = codec_size(data) + VAULT_OVERHEAD;
        token_data_free(&data);
    }
    free(copy);
    return size;
}

static size_t size_of(const char *token, size_t n_groups, size_t name_size, int64_t expires)
{
    char *json = json_make(token, n_groups, name_size, expires);
    size_t size = json == NULL ? 0 : bench_value_size(json, token);
    free(json);
    return size;
}

/* As many groups as fit, then a longer name. The bytes of the list itself are measured, not known. */
char *bench_value_make(const char *token, size_t size, int64_t expires)
{
    size_t least = size_of(token, 0, 1, expires);
    size_t n_groups = size > least ? (size - least) / GROUP_SIZE : 0;
    while (n_groups > 0 && size_of(token, n_groups, 1, expires) > size)
        n_groups--;
    size_t has = size_of(token, n_groups, 1, expires), missing = size > has ? size - has : 0;
    return json_make(token, n_groups, 1 + (missing < NAME_MAX_SIZE ? missing : NAME_MAX_SIZE - 1), expires);
}
