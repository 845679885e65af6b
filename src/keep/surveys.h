/* SPDX-License-Identifier: MIT */
/* The requests over many tokens that a worker has under way, over all of them or over those of a user: how many there
 * may be, and what the caches must hear of them. keep.h has what each function promises. */
#ifndef TK_KEEP_SURVEYS_H
#define TK_KEEP_SURVEYS_H

#include "keep/keep.h"

#include <stddef.h>

struct surveys;

/* All that is given must outlive it. *waiting is the number of requests that wait on Redis, which each of them is
 * counted in. Without memory the process ends. */
struct surveys *surveys_new(const struct keep_settings *settings, struct store *store, size_t *waiting)
    __attribute__((returns_nonnull, warn_unused_result));

/* Frees without calling back, and sets to NULL; a NULL *surveys is left alone. After the store's link. */
void surveys_free(struct surveys **surveys);

/* What keep_scan, keep_user and keep_scan_done do. */
void surveys_scan(struct surveys *surveys, enum scan_work work, keep_scan_callback *callback, void *argument);
void surveys_user(struct surveys *surveys, enum user_work work, const char *username, keep_scan_callback *callback,
                  void *argument);
void surveys_done(struct surveys *surveys, struct keyset **keys);

#endif
