/* SPDX-License-Identifier: MIT */
/* TLS, with OpenSSL's own server at the other end of a socket pair: who is believed, who is not and what is said of it,
 * and bytes in both directions through sockets that take few. */
#include "base/tls.h"
#include "certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static struct identity ca, other_ca, server, client;

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static unsigned n;
    char *path = paths[n++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void text_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int group_set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_true(sodium_init() >= 0);
    strcpy(folder, "/tmp/test-tls-XXXXXX");
    assert_non_null(mkdtemp(folder));
    ca = identity_new(NULL, NULL, -DAY, DAY);
    other_ca = identity_new(NULL, NULL, -DAY, DAY);
    server = identity_new(&ca, "DNS:redis.example.org,IP:127.0.0.1,IP:::1", -DAY, DAY);
    client = identity_new(&ca, NULL, -DAY, DAY);
    certificate_write(in_folder("ca"), ca.certificate);
    certificate_write(in_folder("other-ca"), other_ca.certificate);
    certificate_write(in_folder("client"), client.certificate);
    key_write(in_folder("key"), client.key, NULL, 0600);
    return 0;
}

static int group_tear_down(void **state)
{
    static const char *const names[] = {"ca", "other-ca", "client", "key", "locked", "open", "wrong", "empty", "turn"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in_folder(names[i]));
    rmdir(folder);
    identity_free(&ca);
    identity_free(&other_ca);
    identity_free(&server);
    identity_free(&client);
    return 0;
}

/* Both ends of a connection. */
struct pair {
    struct tls_context *context;
    struct tls *tls;
    SSL_CTX *server_context;
    SSL *server;
    int fds[2]; /* ours, the server's */
};

static void pair_open(struct pair *pair, const struct config_tls *config, const char *host)
{
    struct error error = {""};
    *pair = (struct pair){.context = tls_context_new(config, &error)};
    assert_string_equal(error.text, "");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair->fds), 0);
    pair->tls = tls_new(pair->context, pair->fds[0], host);
    assert_non_null(pair->tls);
}

static void pair_serve(struct pair *pair, const struct identity *identity)
{
    pair->server_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(pair->server_context, 0);
    assert_int_equal(SSL_CTX_use_certificate(pair->server_context, identity->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(pair->server_context, identity->key), 1);
    pair->server = SSL_new(pair->server_context);
    SSL_set_fd(pair->server, pair->fds[1]);
    SSL_set_accept_state(pair->server);
}

static void pair_close(struct pair *pair)
{
    tls_free(&pair->tls);
    assert_null(pair->tls);
    tls_context_free(&pair->context);
    SSL_free(pair->server);
    SSL_CTX_free(pair->server_context);
    close(pair->fds[0]);
    if (pair->fds[1] >= 0)
        close(pair->fds[1]);
    ERR_clear_error();
}

/* Until both ends are done, or ours has failed. */
static bool pair_shake_hands(struct pair *pair)
{
    enum tls_handshake step = TLS_READ;
    bool server_done = pair->server == NULL;
    for (unsigned i = 0; i < 50 && (step != TLS_DONE || !server_done); i++) {
        if (step != TLS_DONE)
            step = tls_handshake(pair->tls);
        if (step == TLS_FAILED)
            return false;
        if (!server_done)
            server_done = SSL_do_handshake(pair->server) == 1;
        ERR_clear_error();
    }
    return step == TLS_DONE;
}

#define OUR_CHECK "our check of the server's certificate failed: "

static void checks_the_server(void **state)
{
    (void)state;
    struct identity expired = identity_new(&ca, "DNS:redis.example.org", -2 * DAY, -DAY);
    struct identity early = identity_new(&ca, "DNS:redis.example.org", DAY, 2 * DAY);
    struct identity stranger = identity_new(&other_ca, "DNS:redis.example.org", -DAY, DAY);
    struct identity lone = identity_new(NULL, "DNS:redis.example.org", -DAY, DAY);
    struct identity wild = identity_new(&ca, "DNS:*.example.org", -DAY, DAY);
    const struct {
        const struct identity *identity;
        const char *host, *server_name, *failure; /* failure NULL: all is well */
    } cases[] = {
        {&server, "redis.example.org", NULL, NULL},
        {&server, "REDIS.example.org", NULL, NULL},
        {&server, "127.0.0.1", NULL, NULL},
        {&server, "::1", NULL, NULL},
        {&server, "10.0.0.1", "redis.example.org", NULL},
        {&server, "elsewhere", "127.0.0.1", NULL},
        {&wild, "redis.example.org", NULL, NULL},
        {&wild, "a.redis.example.org", NULL, OUR_CHECK "it is for another name"},
        {&expired, "redis.example.org", NULL, OUR_CHECK "it, or a CA's above it, has expired; renew it there"},
        {&early, "redis.example.org", NULL, OUR_CHECK "it is not valid yet; compare the clocks"},
        {&stranger, "redis.example.org", NULL, OUR_CHECK "no CA that is trusted here has issued it ("},
        {&lone, "redis.example.org", NULL, OUR_CHECK "no CA that is trusted here has issued it ("},
        {&server, "example.org", NULL, OUR_CHECK "it is for another name"},
        {&server, "127.0.0.2", NULL, OUR_CHECK "it is for another name"},
        {&server, "redis.example.org", "other.example.org", OUR_CHECK "it is for another name"},
        {&server, "", NULL, OUR_CHECK "it is for another name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca"),
                                    .server_name = (char *)(uintptr_t)cases[i].server_name};
        pair_open(&pair, &config, cases[i].host[0] != '\0' ? cases[i].host : "x");
        pair_serve(&pair, cases[i].identity);
        assert_int_equal(pair_shake_hands(&pair), cases[i].failure == NULL);
        assert_int_equal(strncmp(tls_failure(pair.tls), cases[i].failure != NULL ? cases[i].failure : "",
                                 cases[i].failure != NULL ? strlen(cases[i].failure) : 1),
                         0);
        pair_close(&pair);
    }
    identity_free(&expired);
    identity_free(&early);
    identity_free(&stranger);
    identity_free(&lone);
    identity_free(&wild);
}

static const char *seen_name(struct pair *pair)
{
    const char *name = SSL_get_servername(pair->server, TLSEXT_NAMETYPE_host_name);
    return name != NULL ? name : "(none)";
}

static void tells_names_to_the_server(void **state)
{
    (void)state;
    static const struct {
        const char *host, *server_name, *seen;
    } cases[] = {
        {"redis.example.org", NULL, "redis.example.org"},
        {"127.0.0.1", NULL, "(none)"},
        {"127.0.0.1", "redis.example.org", "redis.example.org"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca"),
                                    .server_name = (char *)(uintptr_t)cases[i].server_name};
        pair_open(&pair, &config, cases[i].host);
        pair_serve(&pair, &server);
        assert_true(pair_shake_hands(&pair));
        assert_string_equal(seen_name(&pair), cases[i].seen);
        pair_close(&pair);
    }
}

/* The server's answer to our certificate, in the handshake or, since TLS 1.3, with the first bytes. */
static void hears_why_the_server_refuses(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *client, *ca, *failure; /* whose certificate we show; whom the server trusts */
    } cases[] = {
        {TLS1_3_VERSION, NULL, "ca", "the server wants a certificate of ours; give tls-certificate-file"},
        {TLS1_2_VERSION, NULL, "ca", "the server refused the handshake: it may want a certificate of ours"},
        {TLS1_3_VERSION, "client", "other-ca", "the server refused our certificate: it trusts no CA"},
        {TLS1_2_VERSION, "client", "other-ca", "the server refused our certificate: it trusts no CA"},
        {TLS1_3_VERSION, "client", "ca", NULL},
        {TLS1_2_VERSION, "client", "ca", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
        char byte, certificate[128], key[128];
        strcpy(certificate, in_folder("client"));
        strcpy(key, in_folder("key"));
        if (cases[i].client != NULL) {
            config.certificate_file = certificate;
            config.key_file = key;
        }
        pair_open(&pair, &config, "127.0.0.1");
        pair_serve(&pair, &server);
        SSL_set_max_proto_version(pair.server, cases[i].version);
        SSL_set_verify(pair.server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        assert_int_equal(SSL_CTX_load_verify_file(pair.server_context, in_folder(cases[i].ca)), 1);
        const bool shaken = pair_shake_hands(&pair);
        const ssize_t n = shaken ? tls_recv(pair.tls, &byte, 1) : -1;
        assert_int_equal(n, -1);
        if (cases[i].failure == NULL) {
            assert_true(shaken && errno == EAGAIN);
        } else {
            assert_true(!shaken || errno == EPROTO);
            assert_int_equal(strncmp(tls_failure(pair.tls), cases[i].failure, strlen(cases[i].failure)), 0);
        }
        pair_close(&pair);
    }
}

static void refuses_old_versions(void **state)
{
    (void)state;
    static const char failure[] = "the server speaks no version of TLS that is allowed here (tls-minimum-version)";
    static const struct {
        enum config_tls_version minimum;
        int version;
        bool good;
    } cases[] = {
        {CONFIG_TLS_1_2, TLS1_1_VERSION, false}, {CONFIG_TLS_1_2, TLS1_2_VERSION, true},
        {CONFIG_TLS_1_2, TLS1_3_VERSION, true},  {CONFIG_TLS_1_3, TLS1_2_VERSION, false},
        {CONFIG_TLS_1_3, TLS1_3_VERSION, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca"), .minimum_version = cases[i].minimum};
        pair_open(&pair, &config, "127.0.0.1");
        pair_serve(&pair, &server);
        SSL_set_min_proto_version(pair.server, TLS1_VERSION);
        SSL_set_max_proto_version(pair.server, cases[i].version);
        assert_int_equal(pair_shake_hands(&pair), cases[i].good);
        assert_string_equal(tls_failure(pair.tls), cases[i].good ? "" : failure);
        pair_close(&pair);
    }
}

static void says_what_does_not_speak_tls(void **state)
{
    (void)state;
    static const char no_tls[] = "what answers does not speak TLS; is the port right?";
    static const struct {
        const char *said, *failure; /* said "": hangs up */
    } cases[] = {
        {"-ERR unknown command\r\n", no_tls}, {"HTTP/1.1 400 Bad Request\r\n\r\n", no_tls},
        {"\x16\x03\x01\xff\xff\x01", no_tls}, {"\x15\x03\x03\x05\xff-secret-", NULL}, /* records that do not end */
        {"\x16\x03\x03\x01\x0asecret", NULL}, {"", "the server closed the connection in the TLS handshake"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
        pair_open(&pair, &config, "127.0.0.1");
        assert_int_equal(tls_handshake(pair.tls), TLS_READ);
        const size_t size = strlen(cases[i].said);
        assert_int_equal(write(pair.fds[1], cases[i].said, size), size);
        if (size == 0)
            shutdown(pair.fds[1], SHUT_WR);
        if (cases[i].failure == NULL) {
            assert_int_equal(tls_handshake(pair.tls), TLS_READ);
        } else {
            assert_int_equal(tls_handshake(pair.tls), TLS_FAILED);
            assert_int_equal(strncmp(tls_failure(pair.tls), cases[i].failure, strlen(cases[i].failure)), 0);
            assert_null(strstr(tls_failure(pair.tls), "secret"));
        }
        pair_close(&pair);
    }
}

/* What byte number `i` of a long text is. */
static char byte_at(size_t i)
{
    return (char)(i * 31 + (i >> 8) * 7);
}

/* The server reads what there is; returns how much, checked against the text from `at` on. */
static size_t server_read(struct pair *pair, size_t at)
{
    static char bytes[100000];
    size_t got, all = 0;
    while (SSL_read_ex(pair->server, bytes, sizeof bytes, &got) == 1) {
        for (size_t i = 0; i < got; i++)
            assert_int_equal(bytes[i], byte_at(at + all + i));
        all += got;
    }
    ERR_clear_error();
    return all;
}

/* Far more than the socket takes, in parts of odd sizes that are other parts when it is tried again. */
static void sends_all_in_order(void **state)
{
    (void)state;
    enum { ALL = 3000000 };
    struct pair pair;
    struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
    char *text = malloc(ALL);
    size_t sent = 0, heard = 0;
    unsigned full = 0;
    for (size_t i = 0; i < ALL; i++)
        text[i] = byte_at(i);
    pair_open(&pair, &config, "127.0.0.1");
    pair_serve(&pair, &server);
    assert_true(pair_shake_hands(&pair));
    for (size_t step = 1; heard < ALL; step = step * 7 % 40009) {
        struct iovec parts[3];
        size_t n = 0, at = sent;
        for (; n < 3 && at < ALL; at += parts[n++].iov_len)
            parts[n] = (struct iovec){text + at, ALL - at < step ? ALL - at : step};
        const ssize_t taken = tls_send(pair.tls, parts, n);
        if (taken < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(tls_has_output(pair.tls));
            full++;
            /* The first part of what is to be sent changes while some of it waits. */
            parts[0] = (struct iovec){(char *)(uintptr_t) "changed", 7};
            assert_int_equal(tls_send(pair.tls, parts, 1), -1);
            heard += server_read(&pair, heard);
        } else {
            sent += (size_t)taken;
            if (sent == ALL)
                heard += server_read(&pair, heard);
        }
    }
    assert_true(full > 5);
    assert_int_equal(sent, ALL);
    assert_false(tls_has_output(pair.tls));
    assert_int_equal(tls_send(pair.tls, NULL, 0), 0);
    free(text);
    pair_close(&pair);
}

static void receives_all_in_order(void **state)
{
    (void)state;
    enum { ALL = 1000000 };
    static char text[ALL], bytes[50000];
    struct pair pair;
    struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
    size_t sent = 0, heard = 0;
    for (size_t i = 0; i < ALL; i++)
        text[i] = byte_at(i);
    pair_open(&pair, &config, "127.0.0.1");
    pair_serve(&pair, &server);
    assert_true(pair_shake_hands(&pair));
    SSL_set_mode(pair.server, SSL_MODE_ENABLE_PARTIAL_WRITE);
    while (heard < ALL) {
        size_t wrote = 0;
        while (sent < ALL && SSL_write_ex(pair.server, text + sent, ALL - sent, &wrote) == 1)
            sent += wrote;
        ERR_clear_error();
        ssize_t got;
        while ((got = tls_recv(pair.tls, bytes, sizeof bytes)) > 0) {
            /* As much as there is room for, while there is any. */
            assert_true((size_t)got == sizeof bytes || !tls_has_input(pair.tls) || tls_recv(pair.tls, bytes, 0) <= 0);
            for (ssize_t i = 0; i < got; i++)
                assert_int_equal(bytes[i], byte_at(heard + (size_t)i));
            heard += (size_t)got;
        }
        assert_int_equal(errno, EAGAIN);
    }
    shutdown(pair.fds[1], SHUT_WR);
    assert_int_equal(tls_recv(pair.tls, bytes, sizeof bytes), 0);
    pair_close(&pair);
}

/* A server that asks for new keys in the middle. */
static void follows_a_change_of_keys(void **state)
{
    (void)state;
    struct pair pair;
    struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
    char bytes[16];
    size_t size;
    pair_open(&pair, &config, "127.0.0.1");
    pair_serve(&pair, &server);
    assert_true(pair_shake_hands(&pair));
    assert_int_equal(SSL_key_update(pair.server, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_write_ex(pair.server, "answer", 6, &size), 1);
    assert_int_equal(tls_recv(pair.tls, bytes, sizeof bytes), 6);
    assert_int_equal(tls_send(pair.tls, &(struct iovec){bytes, 6}, 1), 6);
    assert_int_equal(SSL_read_ex(pair.server, bytes, sizeof bytes, &size), 1);
    assert_memory_equal(bytes, "answer", 6);
    pair_close(&pair);
}

/* A stream that somebody changes on its way. */
static void notices_what_was_altered(void **state)
{
    (void)state;
    struct pair pair;
    struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
    char bytes[64];
    pair_open(&pair, &config, "127.0.0.1");
    pair_serve(&pair, &server);
    assert_true(pair_shake_hands(&pair));
    assert_int_equal(write(pair.fds[1], "\x17\x03\x03\x00\x20................................", 37), 37);
    assert_int_equal(tls_recv(pair.tls, bytes, sizeof bytes), -1);
    assert_int_equal(errno, EPROTO);
    assert_int_equal(strncmp(tls_failure(pair.tls), "TLS failed: ", 12), 0);
    pair_close(&pair);
}

/* All records that are there, not one. */
static void reads_all_records_at_once(void **state)
{
    (void)state;
    struct pair pair;
    struct config_tls config = {.ca = (char *)(uintptr_t)in_folder("ca")};
    char bytes[64];
    size_t size;
    pair_open(&pair, &config, "127.0.0.1");
    pair_serve(&pair, &server);
    assert_true(pair_shake_hands(&pair));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(SSL_write_ex(pair.server, "record", 6, &size), 1);
    assert_int_equal(tls_recv(pair.tls, bytes, sizeof bytes), 30);
    assert_false(tls_has_input(pair.tls));
    pair_close(&pair);
}

static void says_which_file_is_wrong(void **state)
{
    (void)state;
    static char good_ca[128], good_client[128], good_key[128], missing[128], empty[128], locked[128], open[128],
        wrong[128];
    char *const places[] = {good_ca, good_client, good_key, missing, empty, locked, open, wrong};
    static const char *const names[] = {"ca", "client", "key", "missing", "empty", "locked", "open", "wrong"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        strcpy(places[i], in_folder(names[i]));
    text_write(empty, "-----BEGIN NOTHING-----\nsecret\n");
    chmod(empty, 0600);
    key_write(locked, client.key, "passphrase", 0600);
    key_write(open, client.key, NULL, 0644);
    key_write(wrong, server.key, NULL, 0600);
    static const struct {
        struct config_tls config;
        const char *file, *text;
    } cases[] = {
        {{.ca = missing}, missing, ": cannot use the CA certificates: No such file or directory"},
        {{.ca = empty}, empty, ": cannot use the CA certificates: there is no certificate in PEM in it"},
        {{good_ca, missing, good_key, NULL, 0}, missing, ": cannot use the TLS certificate: No such file or directory"},
        {{good_ca, empty, good_key, NULL, 0}, empty, ": cannot use the TLS certificate: there is no certificate"},
        {{good_ca, good_client, missing, NULL, 0}, missing, ": cannot open the TLS key: No such file or directory"},
        {{good_ca, good_client, empty, NULL, 0}, empty, ": there is no private key in PEM in it"},
        {{good_ca, good_client, locked, NULL, 0}, locked, ": there is no private key in PEM in it that needs no pass"},
        {{good_ca, good_client, open, NULL, 0}, open, ": others can use the TLS key or its group can write it"},
        {{good_ca, good_client, wrong, NULL, 0}, wrong, ": the TLS key does not belong to the certificate in "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error;
        const size_t size = strlen(cases[i].file);
        assert_null(tls_context_new(&cases[i].config, &error));
        assert_int_equal(strncmp(error.text, cases[i].file, size), 0);
        assert_int_equal(strncmp(error.text + size, cases[i].text, strlen(cases[i].text)), 0);
        assert_null(strstr(error.text, "secret"));
    }
    struct tls_context *none = NULL;
    tls_context_free(&none);
}

static void notices_changed_files(void **state)
{
    (void)state;
    char path[128], other[128];
    struct error error;
    strcpy(path, in_folder("turn"));
    strcpy(other, in_folder("empty"));
    struct config_tls config = {.ca = path};
    certificate_write(path, ca.certificate);
    struct tls_context *context = tls_context_new(&config, &error);
    assert_non_null(context);
    assert_false(tls_context_outdated(context));
    certificate_write(other, other_ca.certificate);
    assert_int_equal(rename(other, path), 0);
    assert_true(tls_context_outdated(context));
    unlink(path);
    assert_true(tls_context_outdated(context));
    tls_context_free(&context);
}

/* A folder, of which OpenSSL takes what has the right name, and the system's own CAs, which know nothing of ours. */
static void takes_cas_from_a_folder(void **state)
{
    (void)state;
    char link[128], hashed[32];
    snprintf(hashed, sizeof hashed, "%08lx.0",
             X509_NAME_hash_ex(X509_get_subject_name(ca.certificate), NULL, NULL, NULL));
    strcpy(link, in_folder(hashed));
    assert_int_equal(symlink("ca", link), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct pair pair;
        struct config_tls config = {.ca = i == 0 ? folder : NULL};
        pair_open(&pair, &config, "127.0.0.1");
        pair_serve(&pair, &server);
        assert_int_equal(pair_shake_hands(&pair), i == 0);
        assert_int_equal(strstr(tls_failure(pair.tls), "(the system's CAs)") != NULL, i == 1);
        pair_close(&pair);
    }
    unlink(link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_the_server),
        cmocka_unit_test(tells_names_to_the_server),
        cmocka_unit_test(hears_why_the_server_refuses),
        cmocka_unit_test(refuses_old_versions),
        cmocka_unit_test(says_what_does_not_speak_tls),
        cmocka_unit_test(sends_all_in_order),
        cmocka_unit_test(receives_all_in_order),
        cmocka_unit_test(reads_all_records_at_once),
        cmocka_unit_test(follows_a_change_of_keys),
        cmocka_unit_test(notices_what_was_altered),
        cmocka_unit_test(says_which_file_is_wrong),
        cmocka_unit_test(notices_changed_files),
        cmocka_unit_test(takes_cas_from_a_folder),
    };
    return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
