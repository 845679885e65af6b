/* SPDX-License-Identifier: MIT */
/* Listeners: what is bound, what is refused, what a reload keeps, and which socket files are removed. */
#include "master/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static const struct listeners none = {.n = 0};
static struct shared *shared;
static char folder[64];
static char texts[8][160];

/* An address that lives until the test ends. */
static char *address_at(unsigned i, const char *before, const char *middle, const char *after)
{
    snprintf(texts[i], sizeof texts[i], "%s%s%s", before, middle, after);
    return texts[i];
}

static char name[] = "public";

static struct config_listener at(char *address)
{
    return (struct config_listener){.name = name, .address = address, .mode = 0660};
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/tokenkeep-test-XXXXXX");
    shared = shared_create();
    return shared != NULL && mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    shared_destroy(&shared);
    return rmdir(folder);
}

static int unix_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const int result = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    close(fd);
    return result;
}

static void unix_leave_stale(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

/* A port of the family that was free a moment ago, as text. */
static const char *free_port(int family)
{
    static char port[8];
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } address = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    socklen_t size = sizeof address.in6;
    if (family == AF_INET)
        address.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(family, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, &address.any, family == AF_INET ? sizeof address.in4 : sizeof address.in6) != 0)
        skip();
    assert_int_equal(getsockname(fd, &address.any, &size), 0);
    close(fd);
    snprintf(port, sizeof port, "%u", ntohs(family == AF_INET ? address.in4.sin_port : address.in6.sin6_port));
    return port;
}

static bool ip4_connects(const char *port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const bool connected = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

static bool ip6_connects(const char *port)
{
    const struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const int fd = socket(AF_INET6, SOCK_STREAM, 0);
    const bool connected = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

static enum listener_result open_one(struct listeners *next, const struct listeners *running, struct config *config,
                                     char *address, struct error *error)
{
    config->n_listeners = 1;
    config->listeners[0] = at(address);
    return listeners_open(next, running, config, shared, error);
}

static void binds_each_family(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        int family;
        bool ip4, ip6;
    } rows[] = {
        {"127.0.0.1:", AF_INET, true, false}, {"[::1]:", AF_INET6, false, true},  {"[::]:", AF_INET6, false, true},
        {"*:", AF_INET6, true, true},         {"0.0.0.0:", AF_INET, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config config = {0};
        struct listeners opened;
        struct error error;
        const char *port = free_port(rows[i].family);
        assert_int_equal(open_one(&opened, &none, &config, address_at(0, rows[i].host, port, ""), &error), LISTENER_OK);
        assert_int_equal(ip4_connects(port), rows[i].ip4);
        assert_int_equal(ip6_connects(port), rows[i].ip6);
        assert_true((fcntl(opened.items[0].fd, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(opened.items[0].fd, F_GETFD) & FD_CLOEXEC) != 0);
        listeners_close(&opened, NULL);
        assert_false(rows[i].ip4 && ip4_connects(port));
    }
}

static void names_an_address_in_use(void **state)
{
    (void)state;
    struct config config = {0}, other = {0};
    struct listeners opened, second;
    struct error error;
    char *address = address_at(0, "127.0.0.1:", free_port(AF_INET), "");
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_OK);
    assert_int_equal(listener_check(&config.listeners[0], &error), LISTENER_BUSY);
    assert_int_equal(open_one(&second, &none, &other, address, &error), LISTENER_BUSY);
    assert_int_equal(second.n, 0);
    assert_non_null(strstr(error.text, "listener \"public\""));
    assert_non_null(strstr(error.text, address));
    listeners_close(&opened, NULL);
    assert_int_equal(listener_check(&config.listeners[0], &error), LISTENER_OK);
}

static void gives_a_socket_its_mode(void **state)
{
    (void)state;
    static const mode_t modes[] = {0600, 0660, 0666, 0777};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct config config = {.n_listeners = 1, .listeners = {at(address_at(0, "unix:", folder, "/s"))}};
        struct listeners opened;
        struct error error;
        struct stat file;
        config.listeners[0].mode = modes[i];
        const mode_t before = umask(0027);
        assert_int_equal(listeners_open(&opened, &none, &config, shared, &error), LISTENER_OK);
        assert_int_equal(umask(before), 0027);
        assert_int_equal(lstat(listener_path(&config.listeners[0]), &file), 0);
        assert_int_equal(file.st_mode & 07777, modes[i]);
        listeners_close(&opened, NULL);
        assert_int_equal(lstat(listener_path(&config.listeners[0]), &file), -1);
    }
}

static void refuses_an_unknown_owner(void **state)
{
    (void)state;
    char nobody[] = "no-such-name-here";
    struct config config = {.n_listeners = 1, .listeners = {at(address_at(0, "unix:", folder, "/s"))}};
    struct listeners opened;
    struct error error;
    config.listeners[0].group = nobody;
    assert_int_equal(listener_check(&config.listeners[0], &error), LISTENER_FAILED);
    assert_int_equal(listeners_open(&opened, &none, &config, shared, &error), LISTENER_FAILED);
    assert_non_null(strstr(error.text, nobody));
    assert_int_equal(access(listener_path(&config.listeners[0]), F_OK), -1);
}

static void replaces_a_stale_socket(void **state)
{
    (void)state;
    struct config config = {0};
    struct listeners opened;
    struct error error;
    char *address = address_at(0, "unix:", folder, "/s"), *path = address + strlen("unix:");
    unix_leave_stale(path);
    assert_int_equal(unix_connect(path), ECONNREFUSED);
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_OK);
    assert_int_equal(unix_connect(path), 0);
    listeners_close(&opened, NULL);
}

static void leaves_a_live_socket(void **state)
{
    (void)state;
    struct config config = {0}, other = {0};
    struct listeners opened, second;
    struct error error;
    char *address = address_at(0, "unix:", folder, "/s");
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_OK);
    assert_int_equal(open_one(&second, &none, &other, address, &error), LISTENER_BUSY);
    assert_int_equal(listener_check(&other.listeners[0], &error), LISTENER_BUSY);
    assert_int_equal(unix_connect(listener_path(&config.listeners[0])), 0);
    listeners_close(&opened, NULL);
}

static void leaves_another_file(void **state)
{
    (void)state;
    struct config config = {0};
    struct listeners opened;
    struct error error;
    char *address = address_at(0, "unix:", folder, "/s"), *path = address + strlen("unix:");
    close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_FAILED);
    assert_int_equal(listener_check(&config.listeners[0], &error), LISTENER_FAILED);
    assert_int_equal(unlink(path), 0);
}

/* Somebody removed our socket and made a file or socket of his own: that one stays. */
static void removes_its_own_socket_alone(void **state)
{
    (void)state;
    struct config config = {0};
    struct listeners opened;
    struct error error;
    char *address = address_at(0, "unix:", folder, "/s"), *path = address + strlen("unix:");
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_OK);
    assert_int_equal(unlink(path), 0);
    unix_leave_stale(path);
    listeners_close(&opened, NULL);
    assert_int_equal(unlink(path), 0);
}

static void checks_a_folder(void **state)
{
    (void)state;
    struct error error;
    const struct config_listener good = at(address_at(0, "unix:", folder, "/s")),
                                 bad = at(address_at(1, "unix:", folder, "/none/s"));
    assert_int_equal(listener_check(&good, &error), LISTENER_OK);
    assert_int_equal(access(listener_path(&good), F_OK), -1);
    assert_int_equal(listener_check(&bad, &error), LISTENER_FAILED);
    assert_non_null(strstr(error.text, "folder"));
}

static void keeps_what_a_reload_keeps(void **state)
{
    (void)state;
    struct config before = {.n_listeners = 2}, after = {.n_listeners = 2};
    struct listeners running, next;
    struct error error;
    struct stat file;
    before.listeners[0] = at(address_at(0, "unix:", folder, "/kept"));
    before.listeners[1] = at(address_at(1, "unix:", folder, "/gone"));
    after.listeners[0] = at(address_at(2, "unix:", folder, "/new"));
    after.listeners[1] = at(address_at(3, "unix:", folder, "/kept"));
    after.listeners[1].mode = 0600;
    assert_int_equal(listeners_open(&running, &none, &before, shared, &error), LISTENER_OK);
    assert_int_equal(listeners_open(&next, &running, &after, shared, &error), LISTENER_OK);
    assert_int_equal(next.items[1].fd, running.items[0].fd);
    assert_int_equal(next.items[1].id, running.items[0].id);
    assert_ptr_equal(next.items[1].config, &after.listeners[1]);
    assert_int_not_equal(next.items[0].id, running.items[0].id);
    assert_int_not_equal(next.items[0].id, running.items[1].id);
    listeners_close(&running, &next);
    assert_int_equal(lstat(texts[0] + strlen("unix:"), &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    assert_int_equal(unix_connect(texts[0] + strlen("unix:")), 0);
    assert_int_equal(unix_connect(texts[1] + strlen("unix:")), ENOENT);
    assert_int_equal(unix_connect(texts[2] + strlen("unix:")), 0);
    listeners_close(&next, NULL);
}

static void changes_nothing_when_one_fails(void **state)
{
    (void)state;
    struct config before = {.n_listeners = 1}, after = {.n_listeners = 3};
    struct listeners running, next;
    struct error error;
    struct stat file;
    before.listeners[0] = at(address_at(0, "unix:", folder, "/kept"));
    after.listeners[0] = at(address_at(1, "unix:", folder, "/kept"));
    after.listeners[0].mode = 0600;
    after.listeners[1] = at(address_at(2, "unix:", folder, "/new"));
    after.listeners[2] = at(address_at(3, "unix:", folder, "/none/s"));
    assert_int_equal(listeners_open(&running, &none, &before, shared, &error), LISTENER_OK);
    assert_int_equal(listeners_open(&next, &running, &after, shared, &error), LISTENER_FAILED);
    assert_int_equal(next.n, 0);
    assert_int_equal(unix_connect(texts[0] + strlen("unix:")), 0);
    assert_int_equal(lstat(texts[0] + strlen("unix:"), &file), 0);
    assert_int_equal(file.st_mode & 07777, 0660);
    assert_int_equal(unix_connect(texts[2] + strlen("unix:")), ENOENT);
    listeners_close(&running, NULL);
}

static void binds_a_removed_socket_anew(void **state)
{
    (void)state;
    struct config before = {0}, after = {0};
    struct listeners running, next;
    struct error error;
    char *address = address_at(0, "unix:", folder, "/s"), *path = address + strlen("unix:");
    assert_int_equal(open_one(&running, &none, &before, address, &error), LISTENER_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_one(&next, &running, &after, address, &error), LISTENER_OK);
    assert_int_not_equal(next.items[0].fd, running.items[0].fd);
    listeners_close(&running, &next);
    assert_int_equal(unix_connect(path), 0);
    listeners_close(&next, NULL);
}

static void waits_for_former_connections(void **state)
{
    (void)state;
    struct config config = {0};
    struct listeners opened;
    struct error error;
    char *address = address_at(0, "unix:", folder, "/s");
    shared_slot_use(shared, 9);
    for (unsigned id = 0; id < SHARED_LISTENERS; id++)
        atomic_store(&shared->slots[7].connections[id], id != 41);
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_OK);
    assert_int_equal(opened.items[0].id, 41);
    listeners_close(&opened, NULL);
    atomic_store(&shared->slots[9].connections[41], 1);
    assert_int_equal(open_one(&opened, &none, &config, address, &error), LISTENER_FAILED);
    assert_int_equal(access(address + strlen("unix:"), F_OK), -1);
}

static void describes_them(void **state)
{
    (void)state;
    struct config_listener a = at(address_at(0, "127.0.0.1:", "7117", "")), b = at(address_at(1, "unix:", "/s", ""));
    struct listeners listeners = {.n = 2, .items = {{.config = &a}, {.config = &b}}};
    char line[64], cut[12];
    b.role = ROLE_MANAGE;
    listeners_describe(&listeners, line, sizeof line);
    assert_string_equal(line, "127.0.0.1:7117 (verify), unix:/s (manage)");
    listeners_describe(&listeners, cut, sizeof cut);
    assert_string_equal(cut, "127.0.0.1:7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(binds_each_family, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_an_address_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_a_socket_its_mode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_an_unknown_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_a_stale_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_a_live_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_another_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removes_its_own_socket_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checks_a_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_what_a_reload_keeps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_nothing_when_one_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(binds_a_removed_socket_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waits_for_former_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(describes_them, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
