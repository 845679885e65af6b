/* SPDX-License-Identifier: MIT */
/* How many stored values each key has sealed: whether a key of the keyring can go. */
#ifndef TK_KEEP_KEY_COUNTS_H
#define TK_KEEP_KEY_COUNTS_H

#include "keep/vault.h"

#include <stddef.h>
#include <stdint.h>

enum { KEY_COUNTS_STRANGERS = 16 }; /* keys that the keyring does not hold and that are told apart */

struct key_count {
    unsigned char id[VAULT_KEY_ID_SIZE];
    uint64_t values;
};

struct key_counts {
    size_t n_own, n; /* the keyring's keys, in its order; with the strangers behind them */
    struct key_count keys[VAULT_KEYS_MAX + KEY_COUNTS_STRANGERS];
    uint64_t unreadable; /* values that are not any key's, and those of further strangers */
    uint64_t unindexed;  /* readable values without an entry in the index by user under the first key */
};

/* The keys of the keyring, without a value. */
void key_counts_init(struct key_counts *counts, const struct vault *vault);

/* Counts a value of the key with this id. */
void key_counts_add(struct key_counts *counts, const unsigned char id[VAULT_KEY_ID_SIZE]);

#endif
