/* SPDX-License-Identifier: MIT */
/* A redis link under test. */
#include "link_fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void on_batch(void *argument)
{
    struct link_fixture *fixture = argument;
    fixture->batches++;
}

void fixture_init(struct link_fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->base = event_base_new();
    assert_true(sodium_init() >= 0);
    fixture->shared = shared_create();
    fixture->answers = calloc(ANSWERS_MAX, sizeof *fixture->answers);
    assert_true(fixture->base != NULL && fixture->shared != NULL && fixture->answers != NULL);
    strcpy(fixture->shared->instance, "test");
    fixture->config.connect_timeout = 0.5;
    fixture->config.command_timeout = 0.5;
    fixture->settings = (struct redis_link_settings){
        .base = fixture->base,
        .config = &fixture->config,
        .batch_done = on_batch,
        .batch_argument = fixture,
    };
    fixture_join(fixture, fixture, 0);
    fixture->saved_stderr = -1;
}

void fixture_join(struct link_fixture *fixture, const struct link_fixture *first, unsigned slot)
{
    fixture->settings.shared = first->shared;
    fixture->settings.slot = slot;
    fixture->slot = &first->shared->slots[slot];
    shared_slot_use(first->shared, slot);
}

void fixture_destroy(struct link_fixture *fixture)
{
    if (fixture->saved_stderr >= 0)
        fprintf(stderr, "%s", fixture_log_end(fixture));
    redis_link_free(&fixture->link);
    fixture_password(fixture, NULL);
    fixture_turn(fixture, 1);
    event_base_free(fixture->base);
    shared_destroy(&fixture->shared);
    free(fixture->answers);
}

void fixture_use_unix(struct link_fixture *fixture, const char *path)
{
    static char url[] = "unix:test";
    fixture->config.kind = CONFIG_REDIS_UNIX;
    fixture->config.url = url;
    fixture->config.path = (char *)(uintptr_t)path;
}

void fixture_use_tcp(struct link_fixture *fixture, const char *host, uint16_t port)
{
    static char url[] = "redis://test";
    fixture->config.kind = CONFIG_REDIS_TCP;
    fixture->config.url = url;
    fixture->config.host = (char *)(uintptr_t)host;
    fixture->config.port = port;
}

void fixture_password(struct link_fixture *fixture, const char *password)
{
    struct error error;
    redis_access_free(&fixture->settings.access);
    if (fixture->password_file[0] != '\0')
        unlink(fixture->password_file);
    fixture->password_file[0] = '\0';
    if (password == NULL)
        return;
    strcpy(fixture->password_file, "/tmp/test-password-XXXXXX");
    int fd = mkstemp(fixture->password_file);
    assert_int_equal(write(fd, password, strlen(password)), strlen(password));
    close(fd);
    fixture->config.password_file = fixture->password_file;
    fixture->settings.access = redis_access_open(&fixture->config, &error);
    assert_non_null(fixture->settings.access);
}

void fixture_link(struct link_fixture *fixture)
{
    fixture->link = redis_link_new(&fixture->settings);
    assert_non_null(fixture->link);
}

static void render(const redisReply *reply, char *out, size_t size)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        snprintf(out, size, "%lld", reply->integer);
    } else if (reply->type == REDIS_REPLY_NIL) {
        snprintf(out, size, "nil");
    } else if (reply->type != REDIS_REPLY_ARRAY) {
        snprintf(out, size, "%.*s", (int)reply->len, reply->str);
    } else {
        snprintf(out, size, "[");
        for (size_t i = 0; i < reply->elements; i++) {
            size_t n = strlen(out);
            render(reply->element[i], out + n, size - n);
            n = strlen(out);
            snprintf(out + n, size - n, i + 1 < reply->elements ? " " : "]");
        }
    }
}

static void on_answer(void *argument, enum redis_outcome outcome, const redisReply *reply)
{
    struct answer *answer = argument;
    struct link_fixture *fixture = answer->fixture;
    answer->called++;
    answer->outcome = outcome;
    answer->order = ++fixture->answered;
    assert_int_equal(reply != NULL, outcome == REDIS_REPLIED);
    if (reply != NULL) {
        render(reply, answer->text, sizeof answer->text);
        answer->size = reply->len;
    }
}

unsigned fixture_ask_words(struct link_fixture *fixture, enum redis_kind kind, int argc, const char *const *argv,
                           const size_t *sizes)
{
    assert_true(fixture->n < ANSWERS_MAX);
    struct answer *answer = &fixture->answers[fixture->n++];
    unsigned answered = fixture->answered;
    answer->fixture = fixture;
    redis_link_command(fixture->link, kind, on_answer, answer, argc, argv, sizes);
    assert_int_equal(fixture->answered, answered); /* never from within */
    return fixture->n - 1;
}

unsigned fixture_ask(struct link_fixture *fixture, enum redis_kind kind, ...)
{
    const char *argv[16];
    size_t sizes[16];
    int argc = 0;
    va_list words;
    va_start(words, kind);
    while ((argv[argc] = va_arg(words, const char *)) != NULL) {
        sizes[argc] = strlen(argv[argc]);
        argc++;
    }
    va_end(words);
    return fixture_ask_words(fixture, kind, argc, argv, sizes);
}

static void on_timer(evutil_socket_t fd, short events, void *argument)
{
    bool *over = argument;
    (void)fd;
    (void)events;
    *over = true;
}

static bool turn(struct link_fixture *fixture, unsigned milliseconds, bool until_answered)
{
    bool over = false;
    struct event *timer = evtimer_new(fixture->base, on_timer, &over);
    struct timeval wait = {milliseconds / 1000, milliseconds % 1000 * 1000};
    evtimer_add(timer, &wait);
    while (!over && !(until_answered && fixture->answered == fixture->n))
        event_base_loop(fixture->base, EVLOOP_ONCE);
    event_free(timer);
    return !over;
}

bool fixture_wait(struct link_fixture *fixture, unsigned milliseconds)
{
    return turn(fixture, milliseconds, true);
}

void fixture_turn(struct link_fixture *fixture, unsigned milliseconds)
{
    (void)turn(fixture, milliseconds, false);
}

void fixture_wait_up(struct link_fixture *fixture)
{
    int64_t end = clock_boot() + 5 * CLOCK_SECOND;
    do {
        fixture_turn(fixture, 5);
        unsigned ping = fixture_ask(fixture, REDIS_READ, "PING", NULL);
        assert_true(fixture_wait(fixture, 5000));
        if (fixture->answers[ping].outcome == REDIS_REPLIED)
            return;
    } while (clock_boot() < end);
    fail_msg("the link does not come up");
}

void fixture_log_begin(struct link_fixture *fixture)
{
    fixture->log = tmpfile();
    assert_non_null(fixture->log);
    fflush(stderr);
    fixture->saved_stderr = dup(STDERR_FILENO);
    dup2(fileno(fixture->log), STDERR_FILENO);
}

const char *fixture_log_end(struct link_fixture *fixture)
{
    fflush(stderr);
    dup2(fixture->saved_stderr, STDERR_FILENO);
    close(fixture->saved_stderr);
    fixture->saved_stderr = -1;
    rewind(fixture->log);
    size_t n = fread(fixture->log_text, 1, sizeof fixture->log_text - 1, fixture->log);
    fixture->log_text[n] = '\0';
    fclose(fixture->log);
    return fixture->log_text;
}

unsigned occurrences(const char *text, const char *word)
{
    unsigned n = 0;
    while ((text = strstr(text, word)) != NULL) {
        text += strlen(word);
        n++;
    }
    return n;
}

uint64_t fixture_metric(const struct link_fixture *fixture, enum metric metric)
{
    return atomic_load(&fixture->slot->metrics[metric]);
}
