/* SPDX-License-Identifier: MIT */
/* The client's commands. One table is the whole truth about them; tokenkeep(1) is checked against it. */
#ifndef TK_CLI_COMMANDS_H
#define TK_CLI_COMMANDS_H

#include "cli/bench_options.h"
#include "cli/policy.h"
#include "cli/session.h"

#include <stdbool.h>
#include <stddef.h>

/* Exit statuses. */
enum {
    STATUS_YES = 0,
    STATUS_NO = 1,         /* a definitive no */
    STATUS_NO_VERDICT = 2, /* the server could not say, or could not be asked */
    STATUS_USAGE = 64,
};

struct options {
    struct session_target target;
    bool json;
    double timeout; /* seconds; 0: the command's own */
    bool fix;
    bool yes;
    bool keys; /* of `stats` */
    struct policy_options policy;
    struct bench_options bench;
};

enum command_flag {
    COMMAND_JSON = 1 << 0,    /* the first argument is JSON, not a word */
    COMMAND_CHANGES = 1 << 1, /* without an answer, the change may have been made or not */
    COMMAND_LONG = 1 << 2,    /* may take minutes */
    COMMAND_FIX = 1 << 3,     /* takes --fix */
    COMMAND_YES = 1 << 4,     /* takes --yes */
    COMMAND_POLICY = 1 << 5,  /* takes the options of `policy try` */
    COMMAND_BENCH = 1 << 6,   /* takes those of `bench` */
    COMMAND_KEYS = 1 << 7,    /* takes --keys, and takes longer with it */
};

struct client;

struct command {
    const char *name;  /* one word, or two */
    const char *first; /* its first argument, which `-` takes from standard input; NULL: none */
    const char *rest;  /* further ones, as the usage line has them; NULL: none */
    size_t min, max;   /* number of arguments */
    unsigned flags;    /* of enum command_flag */
    const char *verb;  /* the request's first word; NULL: no server is asked */
    const char *no;    /* what a NO makes false in JSON */
    const char *help;
    int (*run)(struct client *client); /* returns an exit status */
};

/* All commands, in the manual's order; the last has no name. */
extern const struct command commands[];

/* The command whose name the words begin with, or NULL; *n_used is how many of them the name has. */
const struct command *command_find(char *const *words, size_t n_words, size_t *n_used);

/* Runs a command with its arguments, whose number has been checked, and returns the exit status. */
int command_run(const struct command *command, const struct options *options, char *const *arguments,
                size_t n_arguments) __attribute__((warn_unused_result));

#endif
