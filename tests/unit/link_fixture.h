/* SPDX-License-Identifier: MIT */
/* A redis link under test: its loop, what its commands were answered, and what it logged. */
#ifndef TK_TESTS_LINK_FIXTURE_H
#define TK_TESTS_LINK_FIXTURE_H

#include "keep/redis_link.h"

#include <stdio.h>

enum { ANSWERS_MAX = 20000, ANSWER_TEXT = 48 };

struct answer {
    struct link_fixture *fixture; /* that asked */
    unsigned called;
    enum redis_outcome outcome;
    unsigned order;         /* 1 for the first callback of all */
    char text[ANSWER_TEXT]; /* the reply as text, cut; arrays in brackets */
    size_t size;            /* of the reply's string */
};

struct link_fixture {
    struct event_base *base;
    struct shared *shared;
    struct shared_slot *slot; /* that of the link */
    struct config_redis config;
    struct redis_link_settings settings;
    struct redis_link *link;
    struct answer *answers;
    unsigned n;        /* commands given */
    unsigned answered; /* callbacks that came */
    unsigned batches;
    char password_file[64]; /* empty: none */
    FILE *log;              /* standard error goes here while it is captured */
    int saved_stderr;
    char log_text[16384];
};

/* Sets everything up but the link: connect-timeout and command-timeout 0.5 s, slot 0 of an instance "test". */
void fixture_init(struct link_fixture *fixture);

/* For the second worker of a machine: slot `slot` of the first one's shared memory. */
void fixture_join(struct link_fixture *fixture, const struct link_fixture *first, unsigned slot);
void fixture_destroy(struct link_fixture *fixture);

void fixture_use_unix(struct link_fixture *fixture, const char *path);
void fixture_use_tcp(struct link_fixture *fixture, const char *host, uint16_t port);
/* What it logs in with from here on; NULL: nothing. Not while there is a link. */
void fixture_password(struct link_fixture *fixture, const char *password);

void fixture_link(struct link_fixture *fixture);

/* Gives a command of words, the last followed by NULL, or of `argc` words with sizes; returns the index of its
 * answer. */
unsigned fixture_ask(struct link_fixture *fixture, enum redis_kind kind, ...) __attribute__((sentinel));
unsigned fixture_ask_words(struct link_fixture *fixture, enum redis_kind kind, int argc, const char *const *argv,
                           const size_t *sizes);

/* Turns the loop until all commands are answered, or for so many milliseconds. False when the time was over first. */
bool fixture_wait(struct link_fixture *fixture, unsigned milliseconds);
void fixture_turn(struct link_fixture *fixture, unsigned milliseconds);

/* Turns the loop until Redis answers a PING again: the link is up. */
void fixture_wait_up(struct link_fixture *fixture);

/* From here on standard error is kept; fixture_log_end gives it back and returns what was written. */
void fixture_log_begin(struct link_fixture *fixture);
const char *fixture_log_end(struct link_fixture *fixture);

/* How often `word` is in `text`. */
unsigned occurrences(const char *text, const char *word);

uint64_t fixture_metric(const struct link_fixture *fixture, enum metric metric);

#endif
