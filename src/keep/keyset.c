/* SPDX-License-Identifier: MIT */
/* A set of token keys: spread over small buckets by a seeded hash, so that nobody can choose keys that share one; each
 * bucket is sorted by itself. */
#include "keep/keyset.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096 };

struct bucket {
    struct keyset_record *records;
    uint32_t count, capacity;
};

struct keyset {
    size_t count;
    unsigned unique; /* buckets that have been made unique */
    struct bucket buckets[BUCKETS];
};

struct keyset *keyset_new(void)
{
    return calloc(1, sizeof(struct keyset));
}

static bool bucket_grow(struct bucket *bucket)
{
    uint32_t capacity = bucket->capacity == 0 ? 8 : bucket->capacity * 2;
    struct keyset_record *records = realloc(bucket->records, capacity * sizeof *records);
    if (records == NULL)
        return false;
    bucket->records = records;
    bucket->capacity = capacity;
    return true;
}

bool keyset_add(struct keyset *set, uint64_t hash, const char key[TOKEN_PART_SIZE])
{
    struct bucket *bucket = &set->buckets[hash % BUCKETS];
    if (set->count >= KEYSET_MAX || (bucket->count == bucket->capacity && !bucket_grow(bucket)))
        return false;
    struct keyset_record *record = &bucket->records[bucket->count++];
    memcpy(record->key, key, TOKEN_PART_SIZE);
    record->mark = 0;
    set->count++;
    return true;
}

static int compare_records(const void *a, const void *b)
{
    return memcmp(((const struct keyset_record *)a)->key, ((const struct keyset_record *)b)->key, TOKEN_PART_SIZE);
}

static uint32_t bucket_unique(struct bucket *bucket)
{
    if (bucket->count < 2)
        return 0;
    qsort(bucket->records, bucket->count, sizeof *bucket->records, compare_records);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < bucket->count; i++)
        if (compare_records(&bucket->records[i], &bucket->records[kept - 1]) != 0)
            bucket->records[kept++] = bucket->records[i];
    uint32_t repeats = bucket->count - kept;
    bucket->count = kept;
    return repeats;
}

bool keyset_unique(struct keyset *set)
{
    for (unsigned i = 0; i < BUCKETS / KEYSET_STEPS && set->unique < BUCKETS; i++)
        set->count -= bucket_unique(&set->buckets[set->unique++]);
    return set->unique < BUCKETS;
}

size_t keyset_count(const struct keyset *set)
{
    return set->count;
}

/* The cursor is the bucket's number above the record's. */
struct keyset_record *keyset_next(struct keyset *set, uint64_t *cursor)
{
    uint32_t number = (uint32_t)(*cursor >> 32), index = (uint32_t)*cursor;
    while (number < BUCKETS && index >= set->buckets[number].count) {
        number++;
        index = 0;
    }
    if (number == BUCKETS)
        return NULL;
    *cursor = (uint64_t)number << 32 | (index + 1);
    return &set->buckets[number].records[index];
}

void keyset_free(struct keyset **set)
{
    if (*set == NULL)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        free((*set)->buckets[i].records);
    free(*set);
    *set = NULL;
}
