/* SPDX-License-Identifier: MIT */
/* The listeners: binding them, keeping them over a reload, removing stale and former unix sockets. */
#include "master/listener.h"

#include "base/address.h"
#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static const char unix_scheme[] = "unix:";

const char *listener_path(const struct config_listener *config)
{
    const size_t n = sizeof unix_scheme - 1;
    return strncmp(config->address, unix_scheme, n) == 0 ? config->address + n : NULL;
}

/* ---- TCP ---- */

/* Returns the descriptor, or -1 with errno set. */
static int tcp_socket(const struct address *address)
{
    const int one = 1, v6only = !address->both_families;
    const int family = address->socket.any.sa_family;
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        (family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) == 0) &&
        bind(fd, &address->socket.any, address->size) == 0)
        return fd;
    const int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static enum listener_result tcp_bind(const struct address *address, int *fd, struct error *error)
{
    *fd = tcp_socket(address);
    /* A kernel without IPv6 still has all its IPv4 addresses. */
    if (*fd < 0 && errno != EADDRINUSE && address->both_families) {
        struct address ip4 = {.size = sizeof ip4.socket.in4};
        ip4.socket.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = address->socket.in6.sin6_port};
        *fd = tcp_socket(&ip4);
    }
    if (*fd >= 0)
        return LISTENER_OK;
    error_set(error, "%s", strerror(errno));
    return errno == EADDRINUSE ? LISTENER_BUSY : LISTENER_FAILED;
}

/* ---- unix sockets ---- */

/* What connecting says: 0, or the errno. */
static int unix_try_connecting(const struct sockaddr_un *address)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    const int reason = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    return reason;
}

/* LISTENER_OK: nothing is at the path, or a socket that nobody listens on (*stale). */
static enum listener_result unix_look(const struct sockaddr_un *address, bool *stale, struct error *error)
{
    struct stat file;
    *stale = false;
    if (lstat(address->sun_path, &file) != 0) {
        if (errno == ENOENT)
            return LISTENER_OK;
        error_set(error, "%s", strerror(errno));
        return LISTENER_FAILED;
    }
    if (!S_ISSOCK(file.st_mode)) {
        error_set(error, "the file exists and is not a socket");
        return LISTENER_FAILED;
    }
    const int reason = unix_try_connecting(address);
    *stale = reason == ECONNREFUSED;
    if (*stale || reason == ENOENT)
        return LISTENER_OK;
    if (reason == 0 || reason == EAGAIN) {
        error_set(error, "another program listens on it");
        return LISTENER_BUSY;
    }
    error_set(error, "the socket exists, and whether it is in use cannot be told: %s", strerror(reason));
    return LISTENER_FAILED;
}

static int unix_owner(const struct config_listener *config, uid_t *user, gid_t *group, struct error *error)
{
    *user = (uid_t)-1;
    *group = (gid_t)-1;
    if (config->owner != NULL) {
        const struct passwd *entry = getpwnam(config->owner);
        if (entry == NULL)
            return error_set(error, "there is no user \"%s\"", config->owner);
        *user = entry->pw_uid;
    }
    if (config->group != NULL) {
        const struct group *entry = getgrnam(config->group);
        if (entry == NULL)
            return error_set(error, "there is no group \"%s\"", config->group);
        *group = entry->gr_gid;
    }
    return 0;
}

static int unix_set_access(const struct config_listener *config, struct error *error)
{
    const char *path = listener_path(config);
    uid_t user;
    gid_t group;
    if (unix_owner(config, &user, &group, error) != 0)
        return -1;
    if (lchown(path, user, group) != 0)
        return error_set(error, "cannot change the owner: %s", strerror(errno));
    if (chmod(path, config->mode) != 0)
        return error_set(error, "cannot change the mode: %s", strerror(errno));
    return 0;
}

static bool unix_is_ours(const struct listener *listener)
{
    struct stat file;
    return lstat(listener_path(listener->config), &file) == 0 && file.st_dev == listener->device &&
           file.st_ino == listener->inode;
}

/* The socket is nobody's but ours until owner and mode are as configured; nothing can connect before listen(). */
static int unix_bind_fresh(struct listener *listener, const struct sockaddr_un *address, struct error *error)
{
    struct stat file;
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0)
        return error_set(error, "%s", strerror(errno));
    const mode_t before = umask(0177);
    const bool bound = bind(listener->fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
                       lstat(address->sun_path, &file) == 0;
    const int reason = errno;
    umask(before);
    if (bound) {
        listener->device = file.st_dev;
        listener->inode = file.st_ino;
        if (unix_set_access(listener->config, error) == 0)
            return 0;
        unlink(address->sun_path);
    } else {
        error_set(error, "cannot make the socket: %s", strerror(reason));
    }
    close(listener->fd);
    return -1;
}

static enum listener_result unix_bind(struct listener *listener, const struct sockaddr_un *address, struct error *error)
{
    bool stale;
    const enum listener_result found = unix_look(address, &stale, error);
    if (found != LISTENER_OK)
        return found;
    if (stale && unlink(address->sun_path) != 0) {
        error_set(error, "cannot remove the stale socket: %s", strerror(errno));
        return LISTENER_FAILED;
    }
    return unix_bind_fresh(listener, address, error) == 0 ? LISTENER_OK : LISTENER_FAILED;
}

static enum listener_result unix_check(const struct config_listener *config, const struct sockaddr_un *address,
                                       struct error *error)
{
    uid_t user;
    gid_t group;
    bool stale;
    if (unix_owner(config, &user, &group, error) != 0)
        return LISTENER_FAILED;
    char folder[sizeof address->sun_path];
    memcpy(folder, address->sun_path, sizeof folder);
    char *slash = strrchr(folder, '/'); /* there is one: the path is absolute */
    slash[slash == folder] = '\0';
    if (access(folder, W_OK | X_OK) != 0) {
        error_set(error, "the folder cannot be written to: %s", strerror(errno));
        return LISTENER_FAILED;
    }
    return unix_look(address, &stale, error);
}

/* ---- both ---- */

/* Puts the listener's name before what went wrong. */
static void error_name(const struct config_listener *config, struct error *error)
{
    char reason[ERROR_TEXT_SIZE];
    memcpy(reason, error->text, sizeof reason);
    error_set(error, "listener \"%s\", %s: %s", config->name, config->address, reason);
}

static enum listener_result listener_bind(struct listener *listener, struct error *error)
{
    struct address address;
    if (address_parse(listener->config->address, &address, error) != 0)
        return LISTENER_FAILED;
    enum listener_result result = listener_path(listener->config) != NULL
                                      ? unix_bind(listener, &address.socket.un, error)
                                      : tcp_bind(&address, &listener->fd, error);
    if (result != LISTENER_OK || listen(listener->fd, BACKLOG) == 0)
        return result;
    /* Two programs can bind a port before either listens. */
    result = errno == EADDRINUSE ? LISTENER_BUSY : LISTENER_FAILED;
    error_set(error, "%s", strerror(errno));
    if (listener_path(listener->config) != NULL && unix_is_ours(listener))
        unlink(listener_path(listener->config));
    close(listener->fd);
    return result;
}

static bool listeners_have_fd(const struct listeners *listeners, int fd)
{
    for (size_t i = 0; i < listeners->n; i++)
        if (listeners->items[i].fd == fd)
            return true;
    return false;
}

static bool listeners_have_id(const struct listeners *listeners, unsigned id)
{
    for (size_t i = 0; i < listeners->n; i++)
        if (listeners->items[i].id == id)
            return true;
    return false;
}

/* Connections of a former listener still count under its id, until the last of them has ended. */
static int id_find(const struct listeners *next, const struct listeners *running, const struct shared *shared,
                   unsigned *id, struct error *error)
{
    for (*id = 0; *id < SHARED_LISTENERS; ++*id)
        if (!listeners_have_id(next, *id) && !listeners_have_id(running, *id) &&
            shared_listener_connections(shared, *id) == 0)
            return 0;
    return error_set(error, "too many former listeners still have connections; try again later");
}

/* The running listener to go on with, NULL when there is none: a removed socket file is bound anew. */
static const struct listener *running_find(const struct listeners *running, const struct config_listener *config)
{
    for (size_t i = 0; i < running->n; i++) {
        const struct listener *listener = &running->items[i];
        if (strcmp(listener->config->address, config->address) == 0)
            return listener_path(config) == NULL || unix_is_ours(listener) ? listener : NULL;
    }
    return NULL;
}

static enum listener_result listener_open(struct listeners *next, const struct listeners *running,
                                          const struct config_listener *config, const struct shared *shared,
                                          struct error *error)
{
    struct listener *listener = &next->items[next->n];
    const struct listener *same = running_find(running, config);
    if (same != NULL && !listeners_have_fd(next, same->fd)) {
        *listener = *same;
        listener->config = config;
        next->n++;
        return listener_path(config) == NULL || unix_set_access(config, error) == 0 ? LISTENER_OK : LISTENER_FAILED;
    }
    *listener = (struct listener){.fd = -1, .config = config};
    if (id_find(next, running, shared, &listener->id, error) != 0)
        return LISTENER_FAILED;
    const enum listener_result result = listener_bind(listener, error);
    if (result == LISTENER_OK)
        next->n++;
    return result;
}

/* Gives the sockets that were kept their former mode and owner back. */
static void listeners_restore_access(const struct listeners *running)
{
    struct error error;
    for (size_t i = 0; i < running->n; i++)
        if (listener_path(running->items[i].config) != NULL && unix_is_ours(&running->items[i]) &&
            unix_set_access(running->items[i].config, &error) != 0)
            log_warning("listener \"%s\": %s", running->items[i].config->name, error.text);
}

enum listener_result listeners_open(struct listeners *next, const struct listeners *running,
                                    const struct config *config, const struct shared *shared, struct error *error)
{
    next->n = 0;
    for (size_t i = 0; i < config->n_listeners; i++) {
        const enum listener_result result = listener_open(next, running, &config->listeners[i], shared, error);
        if (result == LISTENER_OK)
            continue;
        error_name(&config->listeners[i], error);
        listeners_close(next, running);
        listeners_restore_access(running);
        return result;
    }
    return LISTENER_OK;
}

void listeners_close(struct listeners *gone, const struct listeners *kept)
{
    for (size_t i = 0; i < gone->n; i++) {
        struct listener *listener = &gone->items[i];
        if (kept != NULL && listeners_have_fd(kept, listener->fd))
            continue;
        /* Before the close: while the socket is open, no other file can have its inode. */
        if (listener_path(listener->config) != NULL && unix_is_ours(listener))
            unlink(listener_path(listener->config));
        close(listener->fd);
    }
    gone->n = 0;
}

enum listener_result listener_check(const struct config_listener *config, struct error *error)
{
    int fd = -1;
    struct address address;
    enum listener_result result = LISTENER_FAILED;
    if (address_parse(config->address, &address, error) == 0)
        result = listener_path(config) != NULL ? unix_check(config, &address.socket.un, error)
                                               : tcp_bind(&address, &fd, error);
    if (fd >= 0)
        close(fd);
    if (result != LISTENER_OK)
        error_name(config, error);
    return result;
}

void listeners_describe(const struct listeners *listeners, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < listeners->n && used < size; i++) {
        const struct config_listener *config = listeners->items[i].config;
        const int n = snprintf(text + used, size - used, "%s%s (%s)", i == 0 ? "" : ", ", config->address,
                               config->role == ROLE_MANAGE ? "manage" : "verify");
        used += n > 0 ? (size_t)n : 0;
    }
}
