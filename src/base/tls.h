/* SPDX-License-Identifier: MIT */
/* TLS on our own non-blocking sockets, the client's side of it, by OpenSSL 3: who the server must be, who we are, and
 * bytes in and out as recv and sendmsg have them. */
#ifndef TK_BASE_TLS_H
#define TK_BASE_TLS_H

#include "base/config.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What connections are made with: the CAs, our certificate and its key, as they were read at one time. */
struct tls_context;

/* Reads the files that `config` names; the key's is read as secret_file.h says. NULL with `error` set, which names the
 * file and never has anything of it. `config` must outlive the result. */
struct tls_context *tls_context_new(const struct config_tls *config, struct error *error)
    __attribute__((warn_unused_result));

/* Whether one of the files has been changed or replaced since, or cannot be looked at any more. */
bool tls_context_outdated(const struct tls_context *context);

/* Frees *context and sets it to NULL; a NULL *context is left alone. Connections made with it stay as they are. */
void tls_context_free(struct tls_context **context);

/* One connection. */
struct tls;

/* For the connected socket `fd`, which stays the caller's, to be closed after tls_free. The server's certificate must
 * be for `host`, a name or an address, unless the configuration names another; a name is told to the server as well.
 * NULL when there is no memory. */
struct tls *tls_new(const struct tls_context *context, int fd, const char *host) __attribute__((warn_unused_result));

/* Frees *tls and sets it to NULL; a NULL *tls is left alone. Nothing is sent. */
void tls_free(struct tls **tls);

enum tls_handshake {
    TLS_DONE,   /* the server is who it must be, and bytes may flow */
    TLS_READ,   /* call again when the socket can be read */
    TLS_WRITE,  /* ...or written */
    TLS_FAILED, /* tls_failure says why */
};

/* Goes on with the handshake. That it is DONE does not mean that the server has accepted our certificate: since TLS 1.3
 * a refusal comes with the first bytes to be read. */
enum tls_handshake tls_handshake(struct tls *tls) __attribute__((warn_unused_result));

/* As recv: fills `bytes` with what there is, at most `size`; 0 when the server is done sending; -1 with errno EAGAIN,
 * EPROTO (tls_failure says more), or the socket's. */
ssize_t tls_recv(struct tls *tls, void *bytes, size_t size) __attribute__((warn_unused_result));

/* Whether bytes have come that tls_recv has not handed out yet: the socket does not become readable for them. */
bool tls_has_input(const struct tls *tls);

/* As sendmsg: takes bytes from the front of `n` parts, as many as there is room for, and sends them. What it takes is
 * sent whatever is asked of it later, and nothing is taken before: while it cannot be sent, errors are EAGAIN. With no
 * parts it only sends what waits. -1 with errno as tls_recv. */
ssize_t tls_send(struct tls *tls, const struct iovec *parts, size_t n) __attribute__((warn_unused_result));

/* Whether bytes that were taken have not been sent yet: call tls_send when the socket can be written. */
bool tls_has_output(const struct tls *tls);

/* Why it failed, for people: whose check of what said no, and what to do. */
const char *tls_failure(const struct tls *tls);

#endif
