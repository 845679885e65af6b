/* SPDX-License-Identifier: MIT */
/* How many stored values each key has sealed. */
#include "keep/key_counts.h"

#include <string.h>

void key_counts_init(struct key_counts *counts, const struct vault *vault)
{
    *counts = (struct key_counts){.n_own = vault_keys(vault), .n = vault_keys(vault)};
    for (size_t key = 0; key < counts->n; key++)
        memcpy(counts->keys[key].id, vault_key_id(vault, key), VAULT_KEY_ID_SIZE);
}

void key_counts_add(struct key_counts *counts, const unsigned char id[VAULT_KEY_ID_SIZE])
{
    size_t key = 0;
    while (key < counts->n && memcmp(counts->keys[key].id, id, VAULT_KEY_ID_SIZE) != 0)
        key++;
    if (key == counts->n_own + KEY_COUNTS_STRANGERS) {
        counts->unreadable++;
        return;
    }
    if (key == counts->n) {
        memcpy(counts->keys[key].id, id, VAULT_KEY_ID_SIZE);
        counts->n++;
    }
    counts->keys[key].values++;
}
