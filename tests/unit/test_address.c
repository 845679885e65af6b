/* SPDX-License-Identifier: MIT */
/* Addresses of listeners: what is one, which are this machine's alone, and which are in each other's way. */
#include "base/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PATH_107 \
    "/bcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefg"
#define NO_HOST                                                                                              \
    "the host is neither a numeric address (IPv6 in brackets), nor * for all, nor localhost; names are not " \
    "looked up here"
#define NO_PORT    "there is no port from 1 to 65535; end the address in one, such as :7117"
#define NO_NUMBER  "the port is not a number; give 1 to 65535"
#define NO_ADDRESS "this is no address; give HOST:PORT, [IPV6]:PORT, *:PORT or unix:/PATH"

/* As "family host port" or "unix path". */
static const char *describe(const struct address *address)
{
    static char text[200];
    char host[INET6_ADDRSTRLEN];
    if (address->socket.any.sa_family == AF_UNIX) {
        assert_int_equal(address->size, sizeof address->socket.un);
        snprintf(text, sizeof text, "unix %s", address->socket.un.sun_path);
    } else if (address->socket.any.sa_family == AF_INET) {
        assert_int_equal(address->size, sizeof address->socket.in4);
        snprintf(text, sizeof text, "4 %s %d", inet_ntop(AF_INET, &address->socket.in4.sin_addr, host, sizeof host),
                 ntohs(address->socket.in4.sin_port));
    } else {
        assert_int_equal(address->size, sizeof address->socket.in6);
        snprintf(text, sizeof text, "6 %s %d%s", inet_ntop(AF_INET6, &address->socket.in6.sin6_addr, host, sizeof host),
                 ntohs(address->socket.in6.sin6_port), address->both_families ? " both" : "");
    }
    return text;
}

static void good_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
        bool local;
    } cases[] = {
        {"127.0.0.1:7117", "4 127.0.0.1 7117", true},
        {"127.255.255.254:1", "4 127.255.255.254 1", true},
        {"localhost:65535", "4 127.0.0.1 65535", true},
        {"0.0.0.0:80", "4 0.0.0.0 80", false},
        {"192.0.2.7:80", "4 192.0.2.7 80", false},
        {"[::1]:7117", "6 ::1 7117", true},
        {"[::]:7117", "6 :: 7117", false},
        {"[2001:db8::1]:7117", "6 2001:db8::1 7117", false},
        {"[::ffff:127.0.0.1]:7117", "6 ::ffff:127.0.0.1 7117", false},
        {"[1111:2222:3333:4444:5555:6666:7777:8888]:1", "6 1111:2222:3333:4444:5555:6666:7777:8888 1", false},
        {"*:7117", "6 :: 7117 both", false},
        {"unix:/run/a.sock", "unix /run/a.sock", true},
        {"unix:" PATH_107, "unix " PATH_107, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address address;
        struct error error = {""};
        assert_int_equal(address_parse(cases[i].text, &address, &error), 0);
        assert_string_equal(error.text, "");
        assert_string_equal(describe(&address), cases[i].expected);
        assert_int_equal(address_is_local(&address), cases[i].local);
    }
}

static void bad_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", NO_ADDRESS},
        {"7117", NO_ADDRESS},
        {"/run/a.sock", NO_ADDRESS},
        {":7117", NO_HOST},
        {"127.0.0.1", NO_ADDRESS},
        {"127.0.0.1:", NO_PORT},
        {"127.0.0.1:0", NO_PORT},
        {"127.0.0.1:65536", NO_PORT},
        {"127.0.0.1:4294967297", NO_PORT},
        {"127.0.0.1:99999999999999999999", NO_PORT},
        {"127.0.0.1:+1", NO_NUMBER},
        {"127.0.0.1:1x", NO_NUMBER},
        {"127.0.0.1: 1", NO_NUMBER},
        {"127.0.0:1", NO_HOST},
        {"127.0.0.1.1:1", NO_HOST},
        {"256.0.0.1:1", NO_HOST},
        {"localhosts:1", NO_HOST},
        {"example.org:1", NO_HOST},
        {"::1:7117", NO_HOST},
        {"[::1:7117", NO_HOST},
        {"[]:7117", NO_HOST},
        {"[:7117", NO_HOST},
        {"[127.0.0.1]:7117", NO_HOST},
        {"[fe80::1%eth0]:7117", NO_HOST},
        {"[*]:7117", NO_HOST},
        {"**:7117", NO_HOST},
        {"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:1", NO_HOST},
        {"unix:", "the path of a unix socket is not absolute; give unix:/PATH"},
        {"unix:run/a.sock", "the path of a unix socket is not absolute; give unix:/PATH"},
        {"unix:" PATH_107 "7", "the path of the unix socket has 108 bytes; give one of at most 107"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address address;
        struct error error;
        assert_int_equal(address_parse(cases[i].text, &address, &error), -1);
        assert_string_equal(error.text, cases[i].error);
    }
}

static void overlaps(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool overlap;
    } cases[] = {
        {"127.0.0.1:1", "127.0.0.1:1", true},
        {"127.0.0.1:1", "127.0.0.1:2", false},
        {"127.0.0.1:1", "127.0.0.2:1", false},
        {"127.0.0.1:1", "localhost:1", true},
        {"127.0.0.1:1", "0.0.0.0:1", true},
        {"127.0.0.1:1", "*:1", true},
        {"127.0.0.1:1", "*:2", false},
        {"127.0.0.1:1", "[::]:1", false},
        {"127.0.0.1:1", "[::1]:1", false},
        {"[::1]:1", "[0::1]:1", true},
        {"[::1]:1", "[::2]:1", false},
        {"[::1]:1", "[::]:1", true},
        {"[::1]:1", "0.0.0.0:1", false},
        {"[::1]:1", "*:1", true},
        {"*:1", "*:1", true},
        {"unix:/a", "unix:/a", true},
        {"unix:/a", "unix:/b", false},
        {"unix:/a", "*:1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address a, b;
        assert_int_equal(address_parse(cases[i].a, &a, NULL), 0);
        assert_int_equal(address_parse(cases[i].b, &b, NULL), 0);
        assert_int_equal(address_overlaps(&a, &b), cases[i].overlap);
        assert_int_equal(address_overlaps(&b, &a), cases[i].overlap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(overlaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
