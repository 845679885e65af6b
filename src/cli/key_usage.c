/* SPDX-License-Identifier: MIT */
/* Which keys of the server's keyring are in use. */
#include "cli/key_usage.h"

#include <stdio.h>

bool key_usage_add(json_t *keys, const char id[KEY_USAGE_ID_SIZE], json_int_t place, json_int_t values)
{
    json_t *key = json_pack("{s:s%,s:I,s:I}", "id", id, (size_t)KEY_USAGE_ID_SIZE, "place", place, "values", values);
    return json_array_append_new(keys, key) == 0;
}

/* What is in the index by user under no other key than this goes with it. */
static const char *use_of(json_int_t place, json_int_t values, json_int_t unindexed)
{
    if (place == 0)
        return "missing";
    if (place == 1)
        return "seals";
    return values == 0 && unindexed == 0 ? "may go" : "in use";
}

void key_usage_judge(json_t *keys, json_int_t unindexed)
{
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key)
    {
        const char *use = use_of(json_integer_value(json_object_get(key, "place")),
                                 json_integer_value(json_object_get(key, "values")), unindexed);
        json_object_set_new(key, "use", json_string(use));
    }
}

void key_usage_print(const json_t *keys)
{
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key)
    {
        char place[24] = "-";
        const json_int_t number = json_integer_value(json_object_get(key, "place"));
        if (number > 0)
            snprintf(place, sizeof place, "%" JSON_INTEGER_FORMAT, number);
        printf("%-2s %s %10" JSON_INTEGER_FORMAT " %s\n", place, json_string_value(json_object_get(key, "id")),
               json_integer_value(json_object_get(key, "values")), json_string_value(json_object_get(key, "use")));
    }
}
