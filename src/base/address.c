/* SPDX-License-Identifier: MIT */
/* The addresses of listeners. */
#include "base/address.h"

#include <arpa/inet.h>
#include <string.h>

int address_parse_port(const char *text, size_t size, uint16_t *port, struct error *error)
{
    unsigned value = 0;
    for (size_t i = 0; i < size && value <= UINT16_MAX; i++) {
        if (text[i] < '0' || text[i] > '9')
            return error_set(error, "the port is not a number; give 1 to 65535");
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value == 0 || value > UINT16_MAX)
        return error_set(error, "there is no port from 1 to 65535; end the address in one, such as :7117");
    *port = (uint16_t)value;
    return 0;
}

static int parse_unix(const char *path, struct address *address, struct error *error)
{
    struct sockaddr_un *un = &address->socket.un;
    if (path[0] != '/')
        return error_set(error, "the path of a unix socket is not absolute; give unix:/PATH");
    size_t size = strlen(path);
    if (size >= sizeof un->sun_path)
        return error_set(error, "the path of the unix socket has %zu bytes; give one of at most %zu", size,
                         sizeof un->sun_path - 1);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, size + 1);
    address->size = sizeof *un;
    return 0;
}

static int parse_ip6(const char *host, uint16_t port, struct address *address)
{
    struct sockaddr_in6 *in6 = &address->socket.in6;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    address->size = sizeof *in6;
    return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : -1;
}

static int parse_ip4(const char *host, uint16_t port, struct address *address)
{
    struct sockaddr_in *in4 = &address->socket.in4;
    in4->sin_family = AF_INET;
    in4->sin_port = htons(port);
    address->size = sizeof *in4;
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &in4->sin_addr) == 1 ? 0 : -1;
}

int address_parse(const char *text, struct address *address, struct error *error)
{
    *address = (struct address){0};
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, address, error);

    char host[INET6_ADDRSTRLEN + 2];
    uint16_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return error_set(error, "this is no address; give HOST:PORT, [IPV6]:PORT, *:PORT or unix:/PATH");
    size_t size = (size_t)(colon - text);
    if (address_parse_port(colon + 1, strlen(colon + 1), &port, error) != 0)
        return -1;
    if (size < sizeof host) {
        memcpy(host, text, size);
        host[size] = '\0';
        address->both_families = strcmp(host, "*") == 0;
        if (address->both_families)
            return parse_ip6("::", port, address);
        if (host[0] != '[' && parse_ip4(host, port, address) == 0)
            return 0;
        if (host[0] == '[' && host[size - 1] == ']') {
            host[size - 1] = '\0';
            if (parse_ip6(host + 1, port, address) == 0)
                return 0;
        }
    }
    return error_set(error, "the host is neither a numeric address (IPv6 in brackets), nor * for all, nor localhost; "
                            "names are not looked up here");
}

bool address_is_local(const struct address *address)
{
    switch (address->socket.any.sa_family) {
    case AF_UNIX: return true;
    case AF_INET: return ntohl(address->socket.in4.sin_addr.s_addr) >> 24 == 127;
    default: return IN6_IS_ADDR_LOOPBACK(&address->socket.in6.sin6_addr);
    }
}

static in_port_t port_of(const struct address *address)
{
    return address->socket.any.sa_family == AF_INET ? address->socket.in4.sin_port : address->socket.in6.sin6_port;
}

static bool is_any(const struct address *address, sa_family_t family)
{
    if (address->both_families)
        return true;
    if (address->socket.any.sa_family != family)
        return false;
    if (family == AF_INET)
        return address->socket.in4.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&address->socket.in6.sin6_addr);
}

bool address_overlaps(const struct address *a, const struct address *b)
{
    sa_family_t family_a = a->socket.any.sa_family, family_b = b->socket.any.sa_family;
    if (family_a == AF_UNIX || family_b == AF_UNIX)
        return family_a == family_b && strcmp(a->socket.un.sun_path, b->socket.un.sun_path) == 0;
    if (port_of(a) != port_of(b))
        return false;
    if (is_any(a, family_b) || is_any(b, family_a))
        return true;
    if (family_a != family_b)
        return false;
    if (family_a == AF_INET)
        return a->socket.in4.sin_addr.s_addr == b->socket.in4.sin_addr.s_addr;
    return IN6_ARE_ADDR_EQUAL(&a->socket.in6.sin6_addr, &b->socket.in6.sin6_addr);
}
