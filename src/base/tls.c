/* SPDX-License-Identifier: MIT */
/* TLS by OpenSSL. */
#include "base/tls.h"

#include "base/memory.h"
#include "base/secret_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    KEY_FILE_MAX = 64 * 1024,
    OUTPUT_MAX = 16 * 1024, /* bytes sent at a time: those of the longest record */
    FILES = 3,              /* CA, certificate, key */
};

struct tls_context {
    const struct config_tls *config;
    SSL_CTX *ssl;
    struct stat files[FILES]; /* as they were before they were read */
};

struct tls {
    SSL *ssl;
    const struct config_tls *config;
    struct error failure;
    size_t output_size; /* bytes of `output` that were taken and not sent; OpenSSL wants to see them again */
    char output[OUTPUT_MAX];
};

/* Files */

static const char *file_path(const struct config_tls *config, size_t i)
{
    const char *const paths[FILES] = {config->ca, config->certificate_file, config->key_file};
    return paths[i];
}

static struct stat file_look(const struct config_tls *config, size_t i)
{
    struct stat status;
    if (file_path(config, i) == NULL || stat(file_path(config, i), &status) != 0)
        memset(&status, 0, sizeof status);
    return status;
}

static bool file_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

bool tls_context_outdated(const struct tls_context *context)
{
    for (size_t i = 0; i < FILES; i++) {
        const struct stat now = file_look(context->config, i);
        if (!file_same(&now, &context->files[i]))
            return true;
    }
    return false;
}

/* `fallback` where OpenSSL had no trouble with the file itself, but with what is in it. */
static int file_failed(const char *path, const char *what, const char *fallback, struct error *error)
{
    const unsigned long code = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : fallback;
    ERR_clear_error();
    return error_set(error, "%s: cannot use the %s: %s", path, what, reason);
}

static int ca_load(SSL_CTX *ssl, const char *path, struct error *error)
{
    struct stat status;
    if (path == NULL)
        return SSL_CTX_set_default_verify_paths(ssl) == 1 ? 0 : error_set(error, "the system's CAs cannot be used");
    if (stat(path, &status) != 0)
        return error_set(error, "%s: cannot use the CA certificates: %s", path, strerror(errno));
    if (S_ISDIR(status.st_mode) ? SSL_CTX_load_verify_dir(ssl, path) == 1 : SSL_CTX_load_verify_file(ssl, path) == 1)
        return 0;
    return file_failed(path, "CA certificates", "there is no certificate in PEM in it", error);
}

/* Where OpenSSL asks for the passphrase: there is nobody to ask. */
static int no_passphrase(char *buffer, int size, int writing, void *argument)
{
    (void)buffer, (void)size, (void)writing, (void)argument;
    return -1;
}

static EVP_PKEY *key_parse(const char *path, const char *text, size_t size, struct error *error)
{
    BIO *bio = BIO_new_mem_buf(text, (int)size);
    if (bio == NULL)
        memory_exhausted();
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    ERR_clear_error();
    if (key == NULL)
        error_set(error, "%s: there is no private key in PEM in it that needs no passphrase", path);
    return key;
}

static int key_load(SSL_CTX *ssl, const struct config_tls *config, struct error *error)
{
    const char *path = config->key_file;
    char *text = sodium_malloc(KEY_FILE_MAX + 1);
    if (text == NULL)
        memory_exhausted();
    const ssize_t size = secret_file_read(path, "TLS key", text, KEY_FILE_MAX, error);
    EVP_PKEY *key = size >= 0 ? key_parse(path, text, (size_t)size, error) : NULL;
    sodium_free(text);
    if (key == NULL)
        return -1;
    const bool used = SSL_CTX_use_PrivateKey(ssl, key) == 1 && SSL_CTX_check_private_key(ssl) == 1;
    EVP_PKEY_free(key);
    ERR_clear_error();
    return used ? 0
                : error_set(error, "%s: the TLS key does not belong to the certificate in %s", path,
                            config->certificate_file);
}

static int certificate_load(SSL_CTX *ssl, const struct config_tls *config, struct error *error)
{
    if (config->certificate_file == NULL)
        return 0;
    if (SSL_CTX_use_certificate_chain_file(ssl, config->certificate_file) != 1)
        return file_failed(config->certificate_file, "TLS certificate", "there is no certificate in PEM in it", error);
    return key_load(ssl, config, error);
}

static SSL_CTX *ssl_context_new(const struct config_tls *config)
{
    static const int versions[] = {[CONFIG_TLS_1_2] = TLS1_2_VERSION, [CONFIG_TLS_1_3] = TLS1_3_VERSION};
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    if (ssl == NULL || SSL_CTX_set_min_proto_version(ssl, versions[config->minimum_version]) != 1)
        memory_exhausted();
    /* What is said over it shows by itself where it ends. Without renegotiation, reading never waits for writing. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ssl, 1); /* one read for a record, not two */
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(ssl), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return ssl;
}

struct tls_context *tls_context_new(const struct config_tls *config, struct error *error)
{
    struct tls_context *context = memory_zeroed(sizeof *context);
    ERR_clear_error();
    context->config = config;
    for (size_t i = 0; i < FILES; i++)
        context->files[i] = file_look(config, i);
    context->ssl = ssl_context_new(config);
    if (ca_load(context->ssl, config->ca, error) != 0 || certificate_load(context->ssl, config, error) != 0)
        tls_context_free(&context);
    return context;
}

void tls_context_free(struct tls_context **context)
{
    if (*context == NULL)
        return;
    SSL_CTX_free((*context)->ssl);
    free(*context);
    *context = NULL;
}

/* Failures */

/* Our check of the server's certificate. */
static void certificate_refused(struct tls *tls, long result)
{
    static const char said[] = "our check of the server's certificate failed";
    const char *cas = tls->config->ca != NULL ? tls->config->ca : "the system's CAs";
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        error_set(&tls->failure, "%s: it, or a CA's above it, has expired; renew it there", said);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        error_set(&tls->failure, "%s: it is not valid yet; compare the clocks of the two machines", said);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        error_set(&tls->failure, "%s: no CA that is trusted here has issued it (%s); name its CA in tls-ca", said, cas);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        error_set(&tls->failure, "%s: it is for another name; use one that stands in it, in the URL or tls-server-name",
                  said);
        return;
    default: error_set(&tls->failure, "%s: %s", said, X509_verify_cert_error_string(result));
    }
}

/* What the server has said no to. */
static void alert_heard(struct tls *tls, int alert)
{
    static const struct {
        int alert;
        const char *text;
    } alerts[] = {
        {SSL3_AD_HANDSHAKE_FAILURE, "the server refused the handshake: it may want a certificate of ours "
                                    "(tls-certificate-file), or have no cipher in common with us"},
        {SSL3_AD_BAD_CERTIFICATE, "the server refused our certificate: its check of it failed"},
        {SSL3_AD_UNSUPPORTED_CERTIFICATE, "the server refused our certificate: it is of a kind that it does not take"},
        {SSL3_AD_CERTIFICATE_REVOKED, "the server refused our certificate: it was revoked"},
        {SSL3_AD_CERTIFICATE_EXPIRED, "the server refused our certificate: it has expired; renew it here"},
        {SSL3_AD_CERTIFICATE_UNKNOWN, "the server refused our certificate"},
        {TLS1_AD_UNKNOWN_CA,
         "the server refused our certificate: it trusts no CA that has issued it; name that CA there"},
        {TLS1_AD_PROTOCOL_VERSION, "the server speaks no version of TLS that is allowed here (tls-minimum-version)"},
        {TLS1_AD_UNRECOGNIZED_NAME, "the server does not go by the name in the URL or tls-server-name"},
        {TLS13_AD_CERTIFICATE_REQUIRED,
         "the server wants a certificate of ours; give tls-certificate-file and tls-key-file"},
    };
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        if (alerts[i].alert == alert) {
            error_set(&tls->failure, "%s", alerts[i].text);
            return;
        }
    }
    error_set(&tls->failure, "the server ended TLS: %s", SSL_alert_desc_string_long(alert));
}

/* Texts of OpenSSL's own are constants; nothing of what came is in them. */
static void protocol_failed(struct tls *tls)
{
    const unsigned long code = ERR_peek_error();
    const int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        certificate_refused(tls, SSL_get_verify_result(tls->ssl));
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255)
        alert_heard(tls, reason - SSL_AD_REASON_OFFSET);
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
             (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_WRONG_SSL_VERSION))
        alert_heard(tls, TLS1_AD_PROTOCOL_VERSION);
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && SSL_in_init(tls->ssl) &&
             (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG))
        error_set(&tls->failure, "what answers does not speak TLS; is the port right?");
    else
        error_set(&tls->failure, "TLS failed: %s", text != NULL ? text : "unknown error");
}

/* What SSL_get_error said of a call, as recv and send say it; 0: the end. */
static ssize_t outcome(struct tls *tls, int result, bool writing)
{
    const int error = errno;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_ZERO_RETURN: errno = EPIPE; return writing ? -1 : 0;
    case SSL_ERROR_SYSCALL:
        errno = error != 0 ? error : ECONNRESET;
        error_set(&tls->failure, "%s", strerror(errno));
        return -1;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        if (writing == (SSL_want(tls->ssl) == SSL_WRITING)) {
            errno = EAGAIN;
            return -1;
        }
        error_set(&tls->failure, "TLS failed: the server wants to renegotiate");
        break;
    default: protocol_failed(tls);
    }
    errno = EPROTO;
    return -1;
}

const char *tls_failure(const struct tls *tls)
{
    return tls->failure.text;
}

/* Connections */

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* SNI is for names alone (RFC 6066, 3). */
static bool host_set(SSL *ssl, const char *host)
{
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_new(const struct tls_context *context, int fd, const char *host)
{
    struct tls *tls = malloc(sizeof *tls);
    if (tls == NULL)
        return NULL;
    tls->config = context->config;
    tls->output_size = 0;
    tls->failure.text[0] = '\0';
    tls->ssl = SSL_new(context->ssl);
    if (tls->config->server_name != NULL)
        host = tls->config->server_name;
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1 || !host_set(tls->ssl, host)) {
        tls_free(&tls);
        return NULL;
    }
    SSL_set_connect_state(tls->ssl);
    return tls;
}

void tls_free(struct tls **tls)
{
    if (*tls == NULL)
        return;
    SSL_free((*tls)->ssl);
    OPENSSL_cleanse((*tls)->output, sizeof(*tls)->output);
    free(*tls);
    *tls = NULL;
}

enum tls_handshake tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    errno = 0;
    const int result = SSL_do_handshake(tls->ssl);
    if (result == 1)
        return TLS_DONE;
    const int error = SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return TLS_READ;
    if (error == SSL_ERROR_WANT_WRITE)
        return TLS_WRITE;
    if (error == SSL_ERROR_ZERO_RETURN || (error == SSL_ERROR_SYSCALL && errno == 0))
        error_set(&tls->failure, "the server closed the connection in the TLS handshake");
    else
        (void)outcome(tls, result, false);
    return TLS_FAILED;
}

ssize_t tls_recv(struct tls *tls, void *bytes, size_t size)
{
    size_t held = 0;
    do {
        size_t got = 0;
        ERR_clear_error();
        errno = 0;
        const int result = SSL_read_ex(tls->ssl, (char *)bytes + held, size - held, &got);
        if (result == 1)
            held += got;
        else
            return held > 0 ? (ssize_t)held : outcome(tls, result, false);
    } while (held < size && tls_has_input(tls));
    return (ssize_t)held;
}

bool tls_has_input(const struct tls *tls)
{
    return SSL_has_pending(tls->ssl) == 1;
}

/* Sends what was taken, all or nothing: OpenSSL does not write a part of a record's bytes and be done with it. */
static int output_send(struct tls *tls)
{
    size_t sent;
    ERR_clear_error();
    errno = 0;
    const int result = SSL_write_ex(tls->ssl, tls->output, tls->output_size, &sent);
    if (result != 1)
        return (int)outcome(tls, result, true);
    tls->output_size = 0;
    return 0;
}

static size_t output_take(struct tls *tls, const struct iovec *parts, size_t n)
{
    for (size_t i = 0; i < n && tls->output_size < OUTPUT_MAX; i++) {
        const size_t room = OUTPUT_MAX - tls->output_size;
        const size_t size = parts[i].iov_len < room ? parts[i].iov_len : room;
        memcpy(tls->output + tls->output_size, parts[i].iov_base, size);
        tls->output_size += size;
    }
    return tls->output_size;
}

ssize_t tls_send(struct tls *tls, const struct iovec *parts, size_t n)
{
    if (tls->output_size > 0 && output_send(tls) != 0)
        return -1;
    const size_t taken = output_take(tls, parts, n);
    /* Some of it may have gone out when this fails: it counts as taken, and the next call fails. */
    if (taken > 0)
        (void)output_send(tls);
    return (ssize_t)taken;
}

bool tls_has_output(const struct tls *tls)
{
    return tls->output_size > 0;
}
