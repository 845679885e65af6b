/* SPDX-License-Identifier: MIT */
/* Folders that the master keeps for others: the one that `--state` names, with its keyring, and a private Redis'
 * own. */
#ifndef TK_MASTER_STATE_H
#define TK_MASTER_STATE_H

#include "base/error.h"

#include <stdbool.h>

/* Makes sure that the folder `path` is there, belongs to `user` (NULL or not root: to who runs this) and can be written
 * by nobody else. A missing one is made with mode 0700 when `make` is true, else it is passed over; its parent must
 * exist. Returns 0, or -1 with `error` set. */
int state_directory_ready(const char *path, const char *user, bool make, struct error *error)
    __attribute__((warn_unused_result));

/* Makes the keyring file `path` with one random key, unless it is there; after a crash it is there whole or not at all.
 * Refused when `directory` already holds stored tokens: a new key would open none of them. Returns 0, or -1 with
 * `error` set. */
int state_keyring_ready(const char *path, const char *directory, struct error *error)
    __attribute__((warn_unused_result));

#endif
