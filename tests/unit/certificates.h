/* SPDX-License-Identifier: MIT */
/* Certificates of a test's own, with keys on P-256. */
#ifndef TK_TESTS_CERTIFICATES_H
#define TK_TESTS_CERTIFICATES_H

#include <openssl/x509.h>
#include <sys/types.h>

enum { DAY = 24 * 60 * 60 };

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

/* `issuer` NULL: self-signed, a CA. `names` as subjectAltName, or NULL. `from` and `until` in seconds from now. */
struct identity identity_new(const struct identity *issuer, const char *names, long from, long until);
void identity_free(struct identity *identity);

/* As PEM; the key with a passphrase, unless that is NULL. */
void certificate_write(const char *path, X509 *certificate);
void key_write(const char *path, EVP_PKEY *key, const char *passphrase, mode_t mode);

#endif
