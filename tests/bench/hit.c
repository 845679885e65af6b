/* SPDX-License-Identifier: MIT */
/* What a cached GET costs the server alone: a worker's own objects, from the event of a readable socket to the answers
 * on it, with the client in the same process. Nothing in it is left to chance, so that instructions can be counted
 * (tests/bench/instructions does); `perf record` finds little here but the server.
 *
 *     tests/bench/hit TOKENS DEPTH REQUESTS [resp]
 *
 * looks up REQUESTS of TOKENS cached tokens in a fixed order, on eight connections with DEPTH of them a read, and says
 * what one took. */
#include "base/log.h"
#include "base/memory.h"
#include "keep/invalidation.h"
#include "worker/audit.h"
#include "worker/connection.h"
#include "worker/request.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 8, DEPTH_MAX = 128, REQUEST_SIZE = 128, ANSWER_MAX = 1024, WARM_TURNS = 64 };

/* Redis, which nobody asks here. */

struct redis_link *redis_link_new(const struct redis_link_settings *settings)
{
    (void)settings;
    return memory_zeroed(1);
}

void redis_link_free(struct redis_link **link)
{
    free(*link);
    *link = NULL;
}

const struct config_redis *redis_link_config(const struct redis_link *link)
{
    (void)link;
    abort();
}

uint64_t redis_link_losses(const struct redis_link *link)
{
    (void)link;
    return 0;
}

void redis_link_command(struct redis_link *link, enum redis_kind kind, redis_callback *callback, void *argument,
                        int argc, const char *const *argv, const size_t *argv_sizes)
{
    (void)link, (void)kind, (void)callback, (void)argument, (void)argc, (void)argv, (void)argv_sizes;
    fprintf(stderr, "a look-up was no hit\n");
    exit(EXIT_FAILURE);
}

void redis_link_changes(struct redis_link *link, redis_callback *callback, void *argument, size_t n,
                        const struct redis_words *commands)
{
    (void)link, (void)callback, (void)argument, (void)n, (void)commands;
    abort();
}

struct invalidation *invalidation_new(const struct invalidation_settings *settings)
{
    *settings->state = (struct invalidation_state){.lease_until = INT64_MAX, .up = true};
    return memory_zeroed(1);
}

void invalidation_connected(struct invalidation *link)
{
    (void)link;
}

void invalidation_free(struct invalidation **link)
{
    free(*link);
    *link = NULL;
}

/* The first cache that the keep makes is that of the known tokens. */

static struct cache *known;

struct cache *__real_cache_new(size_t max_bytes, size_t max_entries);
struct cache *__wrap_cache_new(size_t max_bytes, size_t max_entries);

struct cache *__wrap_cache_new(size_t max_bytes, size_t max_entries)
{
    struct cache *cache = __real_cache_new(max_bytes, max_entries);
    if (known == NULL)
        known = cache;
    return cache;
}

static struct {
    struct config config;
    struct shared *shared;
    struct worker worker;
    int clients[CLIENTS];
    unsigned tokens, depth;
    bool resp;
    uint64_t random;
    char asked[CLIENTS][DEPTH_MAX][TOKEN_SIZE + 1];
    char requests[DEPTH_MAX * REQUEST_SIZE];
    char answers[DEPTH_MAX * ANSWER_MAX];
} the;

static void fail(const char *text)
{
    fprintf(stderr, "hit: %s\n", text);
    exit(EXIT_FAILURE);
}

/* The key of a number: all keys look as random ones do. */
static void make_token(struct token *token, unsigned number)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t bits = number + 1;
    for (size_t i = 0; i < TOKEN_PART_SIZE; i++) {
        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        token->key[i] = alphabet[bits >> 58];
    }
    memset(token->secret, 's', TOKEN_PART_SIZE);
}

static void fill_cache(void)
{
    static const char *const scopes[] = {"exec:admin", "read:all", "user:token"};
    static const struct token_group groups[] = {{"users", 1000}, {"operators", 2000}, {"night-shift", 2001}};
    const struct shared *shared = the.shared;
    struct token_data data = {
        .username = "alice-the-operator",
        .type = TOKEN_TYPE_USER,
        .scopes = scopes,
        .n_scopes = 3,
        .created = 1700000000,
        .expires = INT64_C(4000000000),
        .name = "Alice Liddell",
        .email = "alice-the-operator@example.org",
        .uid = 1000,
        .gid = 1000,
        .has_groups = true,
        .groups = groups,
        .n_groups = 3,
    };
    for (unsigned i = 0; i < the.tokens; i++) {
        unsigned char bytes[crypto_shorthash_BYTES];
        uint64_t hash;
        make_token(&data.token, i);
        crypto_shorthash(bytes, (const unsigned char *)data.token.key, TOKEN_PART_SIZE, shared->hash_seed);
        memcpy(&hash, bytes, sizeof hash);
        struct cache_entry *entry = cache_entry_new(hash, &data, generation_now(shared, hash), INT64_MAX);
        if (entry == NULL)
            memory_exhausted();
        cache_insert(known, entry);
    }
    if (cache_entries(known) != the.tokens)
        fail("the cache does not hold all tokens");
}

static void make_worker(void)
{
    static char prefix[] = "token:", name[] = "bench";
    static struct config_listener listener = {.name = name, .role = ROLE_VERIFY};
    static const struct worker_listener bound = {.fd = -1, .config = &listener};
    static struct worker_setup setup;
    static const struct event_peer peer = {.kind = PEER_UNIX};
    struct worker *worker = &the.worker;
    the.config = (struct config){.redis = {.prefix = prefix},
                                 .max_line = 65536,
                                 .max_inflight = 1,
                                 .cache_bytes = SIZE_MAX,
                                 .cache_entries = the.tokens,
                                 .cache_negative_entries = 1,
                                 .cache_ttl = 3600,
                                 .cache_negative_ttl = 1};
    the.shared = shared_create();
    if (the.shared == NULL)
        fail("no shared memory");
    memset(the.shared->hash_seed, 7, sizeof the.shared->hash_seed);
    setup = (struct worker_setup){.config = &the.config, .shared = the.shared, .reports_fd = -1};
    worker->setup = &setup;
    worker->config = &the.config;
    worker->slot = &the.shared->slots[0];
    worker->base = event_base_new();
    worker->scratch = memory_zeroed(CONNECTION_SCRATCH_SIZE);
    worker->settle = evtimer_new(worker->base, worker_on_settle, worker);
    TAILQ_INIT(&worker->connections);
    TAILQ_INIT(&worker->unsettled);
    TAILQ_INIT(&worker->spare);
    worker->audit = audit_new(worker);
    worker->keep =
        keep_new(&(struct keep_settings){.base = worker->base, .config = &the.config, .shared = the.shared, .slot = 0});
    worker_read_clocks(worker);
    for (unsigned i = 0; i < CLIENTS; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
            fail("no socket");
        the.clients[i] = pair[0];
        fcntl(pair[1], F_SETFL, O_NONBLOCK);
        connection_open(worker, &bound, pair[1], &peer);
    }
    worker_settle(worker);
}

/* Writes as many requests as make a read. */
static void write_requests(unsigned client)
{
    size_t size = 0;
    for (unsigned i = 0; i < the.depth; i++) {
        struct token token;
        the.random = the.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        make_token(&token, (unsigned)(the.random >> 33) % the.tokens);
        token_format(&token, the.asked[client][i]);
        size += (size_t)snprintf(the.requests + size, REQUEST_SIZE,
                                 the.resp ? "*2\r\n$3\r\nGET\r\n$48\r\n%s\r\n" : "GET %s\n", the.asked[client][i]);
    }
    if (write(the.clients[client], the.requests, size) != (ssize_t)size)
        fail("cannot write");
}

/* Every request must have its answer, in its turn. */
static void read_answers(unsigned client)
{
    const ssize_t size = read(the.clients[client], the.answers, sizeof the.answers);
    const char *at = the.answers, *end = the.answers + (size > 0 ? size : 0);
    for (unsigned i = 0; i < the.depth; i++) {
        at = memmem(at, (size_t)(end - at), the.asked[client][i], TOKEN_SIZE);
        if (at == NULL)
            fail("an answer is missing or wrong");
        at += TOKEN_SIZE;
    }
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One turn of the worker's loop: all that is counted. tests/bench/instructions finds it by this name. */
void turn(struct event_base *base);
__attribute__((noinline)) void turn(struct event_base *base)
{
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* The same, uncounted: what is taken once, such as memory, is taken here. */
static void warm_turn(struct event_base *base)
{
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* Looks up `turns` times; returns the seconds of CPU time that it took the server. */
static double look_up(unsigned turns, void (*serve)(struct event_base *base))
{
    double spent = 0;
    for (unsigned i = 0; i < turns; i++) {
        for (unsigned client = 0; client < CLIENTS; client++)
            write_requests(client);
        const double before = cpu_seconds();
        serve(the.worker.base);
        spent += cpu_seconds() - before;
        for (unsigned client = 0; client < CLIENTS; client++)
            read_answers(client);
    }
    return spent;
}

static void tear_down(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        close(the.clients[i]);
    event_base_loop(the.worker.base, EVLOOP_NONBLOCK);
    keep_free(&the.worker.keep);
    audit_stop(the.worker.audit);
    event_free(the.worker.settle);
    audit_free(&the.worker.audit);
    request_free_spare(&the.worker);
    buffer_pool_free();
    event_base_free(the.worker.base);
    free(the.worker.scratch);
    shared_destroy(&the.shared);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--compiler") == 0) {
#ifdef __clang__
        printf("clang-%d\n", __clang_major__);
#else
        printf("gcc-%d\n", __GNUC__);
#endif
        return EXIT_SUCCESS;
    }
    if (argc < 4)
        fail("TOKENS DEPTH REQUESTS [resp]");
    the.tokens = (unsigned)strtoul(argv[1], NULL, 10);
    the.depth = (unsigned)strtoul(argv[2], NULL, 10);
    const unsigned requests = (unsigned)strtoul(argv[3], NULL, 10);
    the.resp = argc > 4 && strcmp(argv[4], "resp") == 0;
    if (the.tokens == 0 || the.depth == 0 || the.depth > DEPTH_MAX || requests < the.depth * CLIENTS ||
        sodium_init() < 0)
        fail("TOKENS, DEPTH or REQUESTS is out of range");
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    make_worker();
    fill_cache();
    look_up(WARM_TURNS, warm_turn);
    const unsigned turns = requests / the.depth / CLIENTS;
    const double spent = look_up(turns, turn);
    printf("%u requests, %.0f ns each\n", turns * the.depth * CLIENTS, spent * 1e9 / turns / the.depth / CLIENTS);
    tear_down();
    return EXIT_SUCCESS;
}
