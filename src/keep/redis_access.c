/* SPDX-License-Identifier: MIT */
/* What lets us in to Redis. */
#include "keep/redis_access.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/secret_file.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PASSWORD_MAX = 512 };

struct redis_access {
    const struct config_redis *config;
    char *password;          /* NULL: none */
    struct tls_context *tls; /* NULL: none */
    struct error said;       /* the last failure to read again, so that it is logged once; empty: none */
};

static char *password_read(const struct config_redis *config, struct error *error)
{
    return secret_file_line(config->password_file, "Redis password", PASSWORD_MAX, error);
}

struct redis_access *redis_access_open(const struct config_redis *config, struct error *error)
{
    struct redis_access *access = memory_zeroed(sizeof *access);
    access->config = config;
    if ((config->password_file != NULL && (access->password = password_read(config, error)) == NULL) ||
        (config->encrypted && (access->tls = tls_context_new(&config->tls, error)) == NULL))
        redis_access_free(&access);
    return access;
}

/* Whether it is for others alone, such as root's: a reload reads it. */
static bool not_for_us(const char *path)
{
    return path != NULL && access(path, R_OK) != 0 && errno == EACCES;
}

static int password_renew(struct redis_access *access, struct error *error)
{
    if (access->password == NULL || not_for_us(access->config->password_file))
        return 0;
    char *password = password_read(access->config, error);
    if (password == NULL)
        return -1;
    if (strcmp(password, access->password) != 0)
        log_info("redis %s: the password has changed", access->config->url);
    sodium_free(access->password);
    access->password = password;
    return 0;
}

static int tls_renew(struct redis_access *access, struct error *error)
{
    const struct config_tls *config = &access->config->tls;
    if (access->tls == NULL || !tls_context_outdated(access->tls) || not_for_us(config->ca) ||
        not_for_us(config->certificate_file) || not_for_us(config->key_file))
        return 0;
    struct tls_context *tls = tls_context_new(config, error);
    if (tls == NULL)
        return -1;
    log_info("redis %s: the certificates have changed", access->config->url);
    tls_context_free(&access->tls);
    access->tls = tls;
    return 0;
}

void redis_access_renew(struct redis_access *access)
{
    struct error error;
    if (password_renew(access, &error) == 0 && tls_renew(access, &error) == 0) {
        access->said.text[0] = '\0';
        return;
    }
    if (strcmp(error.text, access->said.text) != 0)
        log_warning("redis %s: what was read before goes on being used: %s", access->config->url, error.text);
    access->said = error;
}

void redis_access_note_unreadable(const struct redis_access *access)
{
    const struct config_tls *tls = &access->config->tls;
    const char *const paths[] = {access->config->password_file, tls->ca, tls->certificate_file, tls->key_file};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (not_for_us(paths[i]))
            log_info("%s: workers cannot read it once they have given up root, so a new one needs a reload; to have it "
                     "read at each connection, give it to their group and chmod 0640",
                     paths[i]);
}

const char *redis_access_password(const struct redis_access *access)
{
    return access->password;
}

const struct tls_context *redis_access_tls(const struct redis_access *access)
{
    return access->tls;
}

void redis_access_free(struct redis_access **access)
{
    if (*access == NULL)
        return;
    sodium_free((*access)->password);
    tls_context_free(&(*access)->tls);
    free(*access);
    *access = NULL;
}
