/* SPDX-License-Identifier: MIT */
/* Taking new connections from the listeners that all workers share, so that each worker gets its part. */
#ifndef TK_WORKER_ACCEPT_H
#define TK_WORKER_ACCEPT_H

#include "worker/context.h"

struct acceptor;

/* Begins to accept on all listeners of the worker's setup. */
struct acceptor *acceptor_new(struct worker *worker);

/* Accepts no more and closes this process' copies of the listeners; frees and sets to NULL; a NULL *acceptor is left
 * alone. */
void acceptor_free(struct acceptor **acceptor);

#endif
