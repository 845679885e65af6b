/* SPDX-License-Identifier: MIT */
/* Where Redis is, as the option redis.url of tokenkeepd.conf(5) writes it. */
#ifndef TK_BASE_REDIS_URL_H
#define TK_BASE_REDIS_URL_H

#include "base/config.h"
#include "base/error.h"

/* Reads redis://[USER@]HOST[:PORT][/DATABASE], the same with rediss:// for TLS,
 * sentinel://[USER@]HOST[:PORT][,HOST[:PORT] ...]/NAME[/DATABASE], unix:PATH[?db=DATABASE] or private:DIRECTORY into
 * the fields kind, url, host, port, sentinels, n_sentinels, master_name, path, directory, database and encrypted of
 * `redis`; what an earlier URL left in them is freed. A user goes to `username`; that there is one already is an error.
 * What was set belongs to the caller, also on failure. Returns 0, or -1 with `error` set; its text never quotes the
 * URL, which may have a password in it. */
int redis_url_parse(const char *url, struct config_redis *redis, struct error *error)
    __attribute__((warn_unused_result));

/* The same for private:DIRECTORY, whatever characters the absolute `directory` has. */
int redis_url_private(const char *directory, struct config_redis *redis, struct error *error)
    __attribute__((warn_unused_result));

/* Forgets a URL: frees and zeroes what redis_url_parse has set, but for the user. */
void redis_url_clear(struct config_redis *redis);

/* Whether a name or numeric address could be that of a machine. Returns 0, or -1 with `error` set. */
int redis_url_check_host(const char *host, struct error *error) __attribute__((warn_unused_result));

#endif
