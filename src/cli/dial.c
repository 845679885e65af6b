/* SPDX-License-Identifier: MIT */
/* Connecting to a server. */
#include "cli/dial.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int failure_set(struct failure *failure, const char *code, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    failure->code = code;
    return error_set(&failure->error, "%s", text);
}

static const char *connect_hint(int reason)
{
    switch (reason) {
    case ENOENT: return "no such file; is tokenkeepd running? name its socket with --socket";
    case ECONNREFUSED: return "connection refused; is tokenkeepd running there?";
    case EACCES:
    case EPERM:
        return "permission denied; its listener's mode, owner and group say who may connect, see tokenkeepd.conf(5)";
    case EAGAIN:
    case EINPROGRESS:
    case ETIMEDOUT: return "no answer in time; is tokenkeepd stopped or overloaded, or the address wrong?";
    default: return strerror(reason);
    }
}

static struct timeval time_left(int64_t deadline)
{
    int64_t left = deadline - clock_boot();
    if (left < CLOCK_SECOND / 1000)
        left = CLOCK_SECOND / 1000; /* zero would mean for ever */
    return (struct timeval){.tv_sec = left / CLOCK_SECOND, .tv_usec = left % CLOCK_SECOND / 1000};
}

/* A connected socket, or -1 with errno set. A blocking connect() ends after SO_SNDTIMEO. */
static int socket_connect(const struct sockaddr *address, socklen_t size, int64_t deadline)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval left = time_left(deadline);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) == 0 && connect(fd, address, size) == 0)
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static int connect_unix(const char *path, int64_t deadline, struct failure *failure)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return failure_set(failure, "usage", "the socket's path is longer than %zu bytes", sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    int fd = socket_connect((const struct sockaddr *)&address, sizeof address, deadline);
    if (fd < 0)
        failure_set(failure, "connect", "cannot connect to %s: %s", path, connect_hint(errno));
    return fd;
}

/* Splits HOST:PORT, brackets around an IPv6 address taken off. -1 when it is something else. */
static int server_split(const char *server, char *host, size_t host_size, const char **port)
{
    const char *colon = strrchr(server, ':');
    if (colon == NULL || colon == server || strlen(colon + 1) > 5 || colon[1] == '\0' ||
        colon[1 + strspn(colon + 1, "0123456789")] != '\0')
        return -1;
    size_t size = (size_t)(colon - server);
    bool bracketed = size > 2 && server[0] == '[' && server[size - 1] == ']';
    if (!bracketed && memchr(server, ':', size) != NULL)
        return -1;
    if (size >= host_size || strtol(colon + 1, NULL, 10) < 1 || strtol(colon + 1, NULL, 10) > 65535)
        return -1;
    snprintf(host, host_size, "%.*s", (int)(bracketed ? size - 2 : size), bracketed ? server + 1 : server);
    *port = colon + 1;
    return 0;
}

static int connect_tcp(const char *server, int64_t deadline, struct failure *failure)
{
    char host[256];
    const char *port;
    if (server_split(server, host, sizeof host, &port) != 0)
        return failure_set(failure, "usage", "--server takes HOST:PORT or [IPv6 ADDRESS]:PORT, as in 127.0.0.1:7117");
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int result = getaddrinfo(host, port, &wanted, &found);
    if (result != 0)
        return failure_set(failure, "connect", "cannot connect to %s: %s", server,
                           result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
    int fd = -1;
    for (const struct addrinfo *one = found; one != NULL && fd < 0; one = one->ai_next)
        fd = socket_connect(one->ai_addr, one->ai_addrlen, deadline);
    int reason = errno;
    freeaddrinfo(found);
    if (fd < 0)
        failure_set(failure, "connect", "cannot connect to %s: %s", server, connect_hint(reason));
    return fd;
}

int dial(const struct session_target *target, int64_t deadline, struct failure *failure)
{
    return target->server != NULL ? connect_tcp(target->server, deadline, failure)
                                  : connect_unix(target->socket, deadline, failure);
}
