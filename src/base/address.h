/* SPDX-License-Identifier: MIT */
/* The addresses of listeners, as tokenkeepd.conf(5) writes them. Nothing is resolved: they are numeric, "*" or
 * "localhost". */
#ifndef TK_BASE_ADDRESS_H
#define TK_BASE_ADDRESS_H

#include "base/error.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } socket;           /* ready for bind(2); its family says which member it is */
    socklen_t size;     /* of that member */
    bool both_families; /* "*": [::] with IPV6_V6ONLY off, or 0.0.0.0 where there is no IPv6; else IPV6_V6ONLY is on */
};

/* Reads "127.0.0.1:7117", "[::1]:7117", "*:7117", "localhost:7117" (which is 127.0.0.1) or "unix:/absolute/path".
 * Returns 0, or -1 with `error` set; its text does not quote the address. */
int address_parse(const char *text, struct address *address, struct error *error) __attribute__((warn_unused_result));

/* Whether only this machine can reach it: unix sockets, 127.0.0.0/8 and ::1. */
bool address_is_local(const struct address *address);

/* Whether two listeners cannot have these addresses at once: the same path, or one port on the same or on all
 * addresses. */
bool address_overlaps(const struct address *a, const struct address *b);

/* Reads a port, 1 to 65535, from exactly `size` bytes of decimal digits. Returns 0, or -1 with `error` set. */
int address_parse_port(const char *text, size_t size, uint16_t *port, struct error *error)
    __attribute__((warn_unused_result));

#endif
