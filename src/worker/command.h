/* SPDX-License-Identifier: MIT */
/* The commands: one table is the whole truth about them. Adding a command is a row here, a handler, and a line in
 * tokenkeep-protocol(7). */
#ifndef TK_WORKER_COMMAND_H
#define TK_WORKER_COMMAND_H

#include "keep/policy.h"
#include "worker/connection.h"
#include "worker/input.h"
#include "worker/request.h"

#include <stdbool.h>
#include <stddef.h>

enum command_flags {
    COMMAND_BARRIER = 1, /* a change, or over all tokens: untagged requests behind it wait until it is answered */
    COMMAND_CHANGE = 8,  /* refused while the audit log is required and cannot be written */
    COMMAND_JSON = 2,    /* its one argument takes the rest of the line */
    COMMAND_RESP = 4,    /* what Redis clients say on connecting: known in RESP alone, not in HELP */
    COMMAND_FORMS = 16,  /* the next row is a form of it, whose name has a second word */
    COMMAND_WRITE = 32, /* a change that looks nothing up and goes to Redis at once: others of the kind need not wait */
};

/* `words` are the arguments, without the command's word: as many as the row allows. They are gone when the handler
 * returns. */
typedef void command_handler(struct request *request, const struct word *words, size_t n_words);

struct command {
    const char *name;
    const char *arguments; /* as HELP shows them */
    size_t min_words, max_words;
    enum role role; /* the least a listener must allow */
    int flags;
    command_handler *handler;
    enum policy_point point; /* what policies call it; POLICY_POINTS: it does not concern them */
    const char *help;
};

/* Whether an untagged request must wait for what is under way on its connection: for changes and for requests over all
 * tokens. A STORE or ISSUE need not wait for others: Redis gets them in their order, and they look at nothing. */
bool command_waits(const struct connection *connection, const struct input *input);

/* Checks a request in the protocol's order (command known, role, number of arguments) and hands it to its handler, or
 * answers what is wrong. */
void command_execute(struct connection *connection, struct input *input);

/* The rows of the table; *n is set to their number. */
const struct command *command_table(size_t *n);

#endif
