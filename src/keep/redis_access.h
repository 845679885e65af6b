/* SPDX-License-Identifier: MIT */
/* What lets us in to Redis: the password, and for TLS the certificates and our key. Read at the start, when we may
 * still be root, and again before each new connection, so that they can be replaced while we run. */
#ifndef TK_KEEP_REDIS_ACCESS_H
#define TK_KEEP_REDIS_ACCESS_H

#include "base/config.h"
#include "base/error.h"
#include "base/tls.h"

struct redis_access;

/* Reads what `config`, which must outlive the result, names. NULL with `error` set. */
struct redis_access *redis_access_open(const struct config_redis *config, struct error *error)
    __attribute__((warn_unused_result));

/* Reads again what has changed. What cannot be read, or does not fit together while somebody replaces it, stays as it
 * was read last; a log line says so once. Files that are for another user alone stay as they are without a word. */
void redis_access_renew(struct redis_access *access);

/* Says in the log which files this process can no longer read, now that it is no longer root. */
void redis_access_note_unreadable(const struct redis_access *access);

/* The password; NULL: there is no login. Good until the next redis_access_renew. */
const char *redis_access_password(const struct redis_access *access);

/* What TLS connections are made with; NULL: there is no TLS. Good until the next redis_access_renew. */
const struct tls_context *redis_access_tls(const struct redis_access *access);

/* Wipes, frees and sets to NULL; a NULL *access is left alone. */
void redis_access_free(struct redis_access **access);

#endif
