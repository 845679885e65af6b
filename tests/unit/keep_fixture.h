/* SPDX-License-Identifier: MIT */
/* The real keep, store, cache and vault, twice over one shared memory, as two workers have them. Only their links to
 * Redis are played: the command link notes each command and answers when a test says so, and an invalidation link says
 * what a test makes it say, so that every order of events can be had. */
#ifndef TK_TESTS_KEEP_FIXTURE_H
#define TK_TESTS_KEEP_FIXTURE_H

#include "keep/invalidation.h"
#include "keep/keep.h"

#define KEY          "abcdefghijklmnopqrstuv"
#define SECRET       "ABCDEFGHIJKLMNOPQRSTUV"
#define OTHER_SECRET "ABCDEFGHIJKLMNOPQRSTUW"

enum { WRITTEN_MAX = 16 * 1024 };

/* A command that was sent. */
struct sent {
    redis_callback *callback;
    void *argument;
    char word[16];
    enum redis_kind kind;
    size_t before; /* answers to what is sent with it */
};

extern struct sent sent[64];
extern size_t n_sent;
extern char written[WRITTEN_MAX]; /* the value of the last SET */
extern size_t written_size;
extern uint64_t losses;                       /* what redis_link_losses says */
extern struct invalidation_settings links[2]; /* of the two workers; up and with a lease when a case begins */

struct the {
    struct event_base *base;
    struct shared *shared;
    struct config config;
    struct vault *vault;
    struct keep *first, *second;
    unsigned char value[1024];
    size_t value_size;
};

extern struct the the;

/* What a client heard. */
struct heard {
    bool called;
    enum keep_result result;
    char username[32];
    uint64_t generation; /* of the key when it was heard */
};

/* Set up and tear down a case. Every case ends with its commands answered. */
int set_up(void **state);
int tear_down(void **state);
struct keep *make_keep(unsigned slot);

/* Answers to command number `i`. */
void reply(size_t i, const redisReply *answer);
void reply_nil(size_t i);
void reply_integer(size_t i, long long value);
void reply_ok(size_t i);
void reply_lost(size_t i, enum redis_outcome outcome);
void reply_value(size_t i); /* the value that seal_value made */
void seal_value(const char *username);

/* The sum of all generations: every case uses one key. */
uint64_t generation(void);

/* Callbacks that note in a struct heard. */
void on_get(void *argument, enum keep_result result, const struct cache_entry *entry);
void on_change(void *argument, enum keep_result result);

/* Looks KEY up. */
void get(struct keep *keep, const char *secret, struct heard *heard);

/* Has KEY in the cache; asserts that it is answered from there; that Redis is asked, which says that there is nothing.
 */
void warm(struct keep *keep);
void assert_cached(struct keep *keep, enum keep_result expected);
void assert_asks(struct keep *keep);

/* What happens on the first worker's invalidation link. */
void announce(enum invalidation_change change, const char *key);
void lose_link(void);
void regain_link(void);

#endif
