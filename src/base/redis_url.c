/* SPDX-License-Identifier: MIT */
/* Where Redis is. */
#include "base/redis_url.h"

#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379, DATABASE_MAX = 65535, USER_MAX = 128, MASTER_NAME_MAX = 128 };

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define HOST_BYTES   ALPHANUMERIC "._-"
#define USER_BYTES   ALPHANUMERIC "._-+"

/* As Sentinel itself takes them. */
#define MASTER_NAME_BYTES ALPHANUMERIC "._-"

#define OUT_OF_MEMORY "out of memory"

static void clear_string(char **string)
{
    free(*string);
    *string = NULL;
}

void redis_url_clear(struct config_redis *redis)
{
    clear_string(&redis->url);
    clear_string(&redis->host);
    clear_string(&redis->path);
    clear_string(&redis->directory);
    clear_string(&redis->master_name);
    while (redis->n_sentinels > 0)
        clear_string(&redis->sentinels[--redis->n_sentinels].name);
    redis->port = 0;
    redis->database = 0;
    redis->encrypted = false;
}

static int parse_database(const char *text, unsigned *database, struct error *error)
{
    size_t size = strlen(text);
    if (size == 0 || size > 5 || strspn(text, "0123456789") != size || strtoul(text, NULL, 10) > DATABASE_MAX)
        return error_set(error, "the database is not a number from 0 to %d", DATABASE_MAX);
    *database = (unsigned)strtoul(text, NULL, 10);
    return 0;
}

/* A piece of the URL made of `allowed` bytes alone, copied. */
static int parse_piece(const char *text, size_t size, const char *allowed, size_t most, const char *what, char **piece,
                       struct error *error)
{
    if (size == 0)
        return error_set(error, "the %s is missing", what);
    if (size > most || strspn(text, allowed) < size)
        return error_set(error, "the %s is too long or has characters that it cannot have", what);
    *piece = strndup(text, size);
    return *piece != NULL ? 0 : error_set(error, OUT_OF_MEMORY);
}

int redis_url_check_host(const char *host, struct error *error)
{
    struct in6_addr address;
    const size_t size = strlen(host);
    if (inet_pton(AF_INET6, host, &address) == 1 ||
        (size > 0 && size <= CONFIG_HOST_MAX && strspn(host, HOST_BYTES) == size))
        return 0;
    return error_set(error, "this is neither the name nor the address of a machine");
}

static int parse_ip6_host(const char *text, size_t size, char **host, struct error *error)
{
    struct in6_addr address;
    *host = strndup(text, size);
    if (*host == NULL)
        return error_set(error, OUT_OF_MEMORY);
    if (inet_pton(AF_INET6, *host, &address) != 1)
        return error_set(error, "what stands in brackets is no IPv6 address");
    return 0;
}

/* HOST, HOST:PORT, [IPV6] or [IPV6]:PORT in exactly `size` bytes; *port is set to what holds when none is given. */
static int parse_host(const char *text, size_t size, char **host, uint16_t *port_number, struct error *error)
{
    const char *end = text + size, *port;
    if (size > 0 && text[0] == '[') {
        const char *bracket = memchr(text, ']', size);
        if (bracket == NULL || (bracket + 1 < end && bracket[1] != ':'))
            return error_set(error, "the brackets of the IPv6 address do not close before the port");
        if (parse_ip6_host(text + 1, (size_t)(bracket - text) - 1, host, error) != 0)
            return -1;
        port = bracket + 1;
    } else {
        port = memchr(text, ':', size);
        if (port == NULL)
            port = end;
        if (parse_piece(text, (size_t)(port - text), HOST_BYTES, CONFIG_HOST_MAX, "host", host, error) != 0)
            return -1;
    }
    return port == end ? 0 : address_parse_port(port + 1, (size_t)(end - port) - 1, port_number, error);
}

/* USER@ at the beginning of *rest, if it is there, which then stands behind it. */
static int parse_user(const char **rest, struct config_redis *redis, struct error *error)
{
    const char *at = strrchr(*rest, '@');
    if (at == NULL)
        return 0;
    if (redis->username != NULL)
        return error_set(error, "the user stands in the URL and in redis.username; keep one of them");
    if (parse_piece(*rest, (size_t)(at - *rest), USER_BYTES, USER_MAX, "user name before the @", &redis->username,
                    error) != 0)
        return -1;
    *rest = at + 1;
    return 0;
}

/* Nothing, a slash, or a slash and a number. */
static int parse_database_end(const char *rest, struct config_redis *redis, struct error *error)
{
    if (rest[0] == '\0' || strcmp(rest, "/") == 0)
        return 0;
    return parse_database(rest + 1, &redis->database, error);
}

/* What follows redis:// or rediss:// */
static int parse_tcp(const char *rest, bool encrypted, struct config_redis *redis, struct error *error)
{
    redis->kind = CONFIG_REDIS_TCP;
    redis->encrypted = encrypted;
    redis->port = REDIS_PORT;
    if (parse_user(&rest, redis, error) != 0)
        return -1;
    size_t size = strcspn(rest, "/");
    if (parse_host(rest, size, &redis->host, &redis->port, error) != 0)
        return -1;
    return parse_database_end(rest + size, redis, error);
}

/* HOST[:PORT][,HOST[:PORT] ...] in exactly `size` bytes. */
static int parse_sentinels(const char *text, size_t size, struct config_redis *redis, struct error *error)
{
    const char *end = text + size;
    for (;;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        struct config_host *sentinel = &redis->sentinels[redis->n_sentinels];
        if (redis->n_sentinels == CONFIG_SENTINELS_MAX)
            return error_set(error, "there are more than %d sentinels", CONFIG_SENTINELS_MAX);
        redis->n_sentinels++;
        sentinel->port = SENTINEL_PORT;
        if (parse_host(text, (size_t)((comma != NULL ? comma : end) - text), &sentinel->name, &sentinel->port, error) !=
            0)
            return -1;
        if (comma == NULL)
            return 0;
        text = comma + 1;
    }
}

/* What follows sentinel:// */
static int parse_sentinel(const char *rest, struct config_redis *redis, struct error *error)
{
    redis->kind = CONFIG_REDIS_SENTINEL;
    if (parse_user(&rest, redis, error) != 0)
        return -1;
    size_t size = strcspn(rest, "/");
    if (parse_sentinels(rest, size, redis, error) != 0)
        return -1;
    rest += size + (rest[size] == '/');
    size = strcspn(rest, "/");
    if (parse_piece(rest, size, MASTER_NAME_BYTES, MASTER_NAME_MAX, "name of the master behind the sentinels",
                    &redis->master_name, error) != 0)
        return -1;
    return parse_database_end(rest + size, redis, error);
}

static int check_socket_path(const char *path, struct error *error)
{
    size_t most = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    if (strlen(path) > most)
        return error_set(error, "the path of the Redis socket has %zu bytes; it can have %zu", strlen(path), most);
    return 0;
}

/* What follows unix: */
static int parse_unix(const char *rest, struct config_redis *redis, struct error *error)
{
    redis->kind = CONFIG_REDIS_UNIX;
    if (strncmp(rest, "///", 3) == 0)
        rest += 2;
    if (rest[0] != '/' || rest[1] == '/')
        return error_set(error, "the path of the Redis socket is not absolute; give unix:/PATH");
    size_t size = strcspn(rest, "?");
    redis->path = strndup(rest, size);
    if (redis->path == NULL)
        return error_set(error, OUT_OF_MEMORY);
    if (check_socket_path(redis->path, error) != 0)
        return -1;
    if (rest[size] == '\0')
        return 0;
    if (strncmp(rest + size, "?db=", 4) != 0)
        return error_set(error, "behind the path of the Redis socket stands something else than ?db=NUMBER");
    return parse_database(rest + size + 4, &redis->database, error);
}

static char *concatenate(const char *first, const char *second)
{
    char *result;
    return asprintf(&result, "%s%s", first, second) >= 0 ? result : NULL;
}

static int set_private(const char *directory, struct config_redis *redis, struct error *error)
{
    redis->kind = CONFIG_REDIS_PRIVATE;
    if (directory[0] != '/')
        return error_set(error, "the folder of the private Redis is not absolute; give private:/FOLDER");
    size_t size = strlen(directory);
    while (size > 1 && directory[size - 1] == '/')
        size--;
    redis->directory = strndup(directory, size);
    if (redis->directory != NULL)
        redis->path = concatenate(redis->directory, size > 1 ? "/redis.sock" : "redis.sock");
    if (redis->path == NULL)
        return error_set(error, OUT_OF_MEMORY);
    return check_socket_path(redis->path, error);
}

int redis_url_private(const char *directory, struct config_redis *redis, struct error *error)
{
    redis_url_clear(redis);
    redis->url = concatenate("private:", directory);
    return redis->url != NULL ? set_private(directory, redis, error) : error_set(error, OUT_OF_MEMORY);
}

/* A password is looked for before anything else is said, so that the advice is about it. */
static bool has_password(const char *url)
{
    const char *user = strstr(url, "://");
    const char *at = strrchr(url, '@');
    return user != NULL && at != NULL && user + 3 < at && memchr(user + 3, ':', (size_t)(at - user) - 3) != NULL;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static int check_whole(const char *url, struct error *error)
{
    if (has_password(url))
        return error_set(error,
                         "there is a password in the URL, where others may see it; give the user in redis.username and "
                         "the password in a file of its own, redis.password-file");
    if (starts_with(url, "cluster://"))
        return error_set(error,
                         "cluster is not in this version; give redis://, rediss://, sentinel://, unix: or private:");
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return error_set(error, "the URL has a space, a control character or one beyond ASCII in it");
    if (strchr(url, '%') != NULL)
        return error_set(error, "percent-encoding is not understood; write the character itself");
    return 0;
}

int redis_url_parse(const char *url, struct config_redis *redis, struct error *error)
{
    if (check_whole(url, error) != 0)
        return -1;
    redis_url_clear(redis);
    redis->url = strdup(url);
    if (redis->url == NULL)
        return error_set(error, OUT_OF_MEMORY);
    if (starts_with(url, "redis://"))
        return parse_tcp(url + strlen("redis://"), false, redis, error);
    if (starts_with(url, "rediss://"))
        return parse_tcp(url + strlen("rediss://"), true, redis, error);
    if (starts_with(url, "sentinel://"))
        return parse_sentinel(url + strlen("sentinel://"), redis, error);
    if (starts_with(url, "unix:"))
        return parse_unix(url + strlen("unix:"), redis, error);
    if (starts_with(url, "private:"))
        return set_private(url + strlen("private:"), redis, error);
    return error_set(error,
                     "the URL is of no known kind; give redis://HOST:PORT/DATABASE, the same with rediss:// for TLS, "
                     "sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE, unix:/PATH or private:/FOLDER");
}
