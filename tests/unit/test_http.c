/* SPDX-License-Identifier: MIT */
/* HTTP posts to a real receiver, tests/integration/receiver.py, whose answer an address' path chooses. */
#include "reporter/http.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    char folder[32];
    pid_t pid;
    int input; /* it ends when this is closed */
    int http, https, other;
} receiver = {.folder = "/tmp/tk-http-XXXXXX"};

static struct event_base *base;
static struct http *http;
static struct error error;

/* What became of a post. */
struct outcome {
    int calls;
    int status;
    long retry_after;
    size_t size;
    char failure[128];
    char body[HTTP_ANSWER_MAX + 1];
};

static double monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int receiver_start(void **state)
{
    int in[2], out[2];
    char script[256], line[64] = "";
    (void)state;
    const char *srcdir = getenv("srcdir");
    snprintf(script, sizeof script, "%s/tests/integration/receiver.py", srcdir != NULL ? srcdir : "..");
    if (mkdtemp(receiver.folder) == NULL || pipe(in) != 0 || pipe(out) != 0)
        return -1;
    receiver.pid = fork();
    if (receiver.pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        execlp("python3", "python3", script, receiver.folder, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    receiver.input = in[1];
    for (size_t n = 0; strchr(line, '\n') == NULL && n < sizeof line - 1 && read(out[0], line + n, 1) == 1;)
        n++;
    close(out[0]);
    return sscanf(line, "%d %d %d\n", &receiver.http, &receiver.https, &receiver.other) == 3 ? 0 : -1;
}

static int receiver_stop(void **state)
{
    static const char *const made[] = {"certificate.pem", "certificate.key", "other.pem", "other.key", "trusted.pem"};
    char path[64];
    int status;
    (void)state;
    close(receiver.input);
    if (waitpid(receiver.pid, &status, 0) != receiver.pid || status != 0)
        return -1;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        snprintf(path, sizeof path, "%s/%s", receiver.folder, made[i]);
        unlink(path);
    }
    return rmdir(receiver.folder);
}

static void trust(bool trusted)
{
    char path[64];
    snprintf(path, sizeof path, "%s/trusted.pem", receiver.folder);
    if (trusted)
        setenv("SSL_CERT_FILE", path, 1);
    else
        unsetenv("SSL_CERT_FILE");
}

static int http_begin(void **state)
{
    (void)state;
    trust(true);
    base = event_base_new();
    http = http_new(base);
    return 0;
}

static int http_end(void **state)
{
    static const char *const variables[] = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"};
    (void)state;
    http_free(&http);
    http_free(&http);
    event_base_free(base);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    return 0;
}

/* An address of the receiver that answers like this. */
static const char *answering(const char *scheme, const char *host, int port, const char *words)
{
    static char address[256];
    snprintf(address, sizeof address, "%s://%s:%d/answer/%s", scheme, host, port, words);
    return address;
}

static void on_answer(void *argument, const struct http_answer *answer)
{
    struct outcome *outcome = argument;
    outcome->calls++;
    outcome->status = answer->status;
    outcome->retry_after = answer->retry_after;
    outcome->size = answer->body_size;
    assert_int_equal(answer->status == 0, answer->failure != NULL);
    snprintf(outcome->failure, sizeof outcome->failure, "%s", answer->failure != NULL ? answer->failure : "");
    assert_true(answer->body_size <= HTTP_ANSWER_MAX);
    memcpy(outcome->body, answer->body, answer->body_size + 1);
    assert_int_equal(outcome->body[outcome->size], '\0');
}

static void begin_post(const char *address, double timeout, struct outcome *outcome)
{
    if (http_post(http, address, "application/json", "{}", 2, timeout, on_answer, outcome, &error) == NULL)
        fail_msg("%s", error.text);
    assert_int_equal(outcome->calls, 0);
}

/* Turns the loop until the outcome is there. */
static void await(const struct outcome *outcome)
{
    double end = monotonic() + 20;
    while (outcome->calls == 0 && monotonic() < end)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(outcome->calls, 1);
}

static struct outcome *post(const char *address, double timeout)
{
    static struct outcome outcome;
    memset(&outcome, 0, sizeof outcome);
    begin_post(address, timeout, &outcome);
    await(&outcome);
    assert_int_equal(http_waiting(http), 0);
    return &outcome;
}

static void expect_status(const char *address, int status)
{
    struct outcome *outcome = post(address, 10);
    assert_string_equal(outcome->failure, "");
    assert_int_equal(outcome->status, status);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *address, *why; /* NULL: allowed */
    } cases[] = {
        {"https://hooks.example/services/secret", NULL},
        {"HTTPS://hooks.example:8443/secret?a=b#c", NULL},
        {"https://10.0.0.1/secret", NULL},
        {"https://[2001:db8::1]/secret", NULL},
        {"http://127.0.0.1:8080/secret", NULL},
        {"http://127.255.255.254/secret", NULL},
        {"http://127.1/secret", NULL},
        {"http://0x7f.1/secret", NULL},
        {"http://2130706433/secret", NULL},
        {"http://[::1]:80/secret", NULL},
        {"http://[0:0:0:0:0:0:0:1]/secret", NULL},
        {"http://localhost/secret", NULL},
        {"http://LocalHost:99/secret", NULL},
        {"http://hooks.example/secret", "https, or http to 127.0.0.1"},
        {"http://128.0.0.1/secret", "https, or http to 127.0.0.1"},
        {"http://126.255.255.255/secret", "https, or http to 127.0.0.1"},
        {"http://2147483649/secret", "https, or http to 127.0.0.1"},
        {"http://[::2]/secret", "https, or http to 127.0.0.1"},
        {"http://127.0.0.1.secret.example/", "https, or http to 127.0.0.1"},
        {"http://localhost.secret.example/", "https, or http to 127.0.0.1"},
        {"http://secret.localhost/", "https, or http to 127.0.0.1"},
        {"http://127.0.0.1%2esecret.example/", "https, or http to 127.0.0.1"},
        {"ftp://127.0.0.1/secret", "https, or http to 127.0.0.1"},
        {"file:///secret", "the address"},
        {"https://user@hooks.example/secret", "user or password"},
        {"https://user:secret@hooks.example/", "user or password"},
        {"http://127.0.0.1:80@secret.example/", "user or password"},
        {"http://127.0.0.1\\@secret.example/", "the address"},
        {"hooks.example/secret", "cannot be read"},
        {"//127.0.0.1/secret", "cannot be read"},
        {"/secret", "cannot be read"},
        {"", "cannot be read"},
        {"secret", "cannot be read"},
        {"http:///secret.example/", "https, or http to 127.0.0.1"},
        {"https://", "cannot be read"},
        {"https://hooks.example:secret/", "cannot be read"},
        {"https://hooks.example:99999/secret", "cannot be read"},
        {"https://hooks .example/secret", "cannot be read"},
        {"https://hooks.example/secret\r\nHost: x", "cannot be read"},
        {"https://[::1/secret", "cannot be read"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error.text[0] = '\0';
        int result = http_address_check(cases[i].address, &error);
        if (result != (cases[i].why == NULL ? 0 : -1) ||
            (cases[i].why != NULL && strstr(error.text, cases[i].why) == NULL))
            fail_msg("%s: %d, \"%s\"", cases[i].address, result, error.text);
        assert_null(strstr(error.text, "secret"));
    }
    static char address[HTTP_ADDRESS_MAX + 2];
    memset(address, 'x', sizeof address - 1);
    memcpy(address, "https://hooks.example/", 22);
    assert_int_equal(http_address_check(address, &error), -1);
    assert_non_null(strstr(error.text, "longer than"));
    address[HTTP_ADDRESS_MAX] = '\0';
    assert_int_equal(http_address_check(address, &error), 0);
}

static void test_what_is_sent(void **state)
{
    static struct outcome outcome;
    (void)state;
    memset(&outcome, 0, sizeof outcome);
    char body[] = "{\"a\\u0000\": 1} and \0 more", type[] = "text/x-test; charset=utf-8", address[256];
    snprintf(address, sizeof address, "%s", answering("http", "localhost", receiver.http, "echo"));
    assert_non_null(http_post(http, address, type, body, sizeof body - 1, 10, on_answer, &outcome, &error));
    memset(body, 'x', sizeof body); /* everything was copied */
    memset(type, 'x', sizeof type);
    memset(address, 'x', sizeof address);
    await(&outcome);
    assert_int_equal(outcome.status, 200);
    static const char *const sent[] = {
        "\"body\": \"{\\\"a\\\\u0000\\\": 1} and \\u0000 more\"",
        "\"content-type\": \"text/x-test; charset=utf-8\"",
        "\"content-length\": \"25\"",
        "\"host\": \"localhost:",
        "\"method\": \"POST\"",
        "\"user-agent\": \"tokenkeep\"",
    };
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        if (strstr(outcome.body, sent[i]) == NULL)
            fail_msg("%s is not in %s", sent[i], outcome.body);
    assert_null(strstr(outcome.body, "expect"));
    assert_null(strstr(outcome.body, "cookie"));
}

static void test_answers(void **state)
{
    static const struct {
        const char *words;
        int status;
        long retry_at_least, retry_at_most;
    } cases[] = {
        {"200", 200, -1, -1},
        {"500", 500, -1, -1},
        {"404", 404, -1, -1},
        {"redirect", 302, -1, -1},
        {"429", 429, -1, -1},
        {"429_7", 429, 7, 7},
        {"429_0", 429, 0, 0},
        {"503_99999", 503, 86400, 86400},
        {"503_99999999999999999999999999", 503, 86400, 86400},
        {"429_-7", 429, -1, -1},
        {"429_soon", 429, -1, -1},
        {"429_7.5", 429, -1, -1},
        {"429_Fri,_31_Dec_1999_23:59:59_GMT", 429, 0, 0},
        {"429_Fri,_31_Dec_2100_23:59:59_GMT", 429, 86400, 86400},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome *outcome = post(answering("http", "127.0.0.1", receiver.http, cases[i].words), 10);
        if (outcome->status != cases[i].status || outcome->retry_after < cases[i].retry_at_least ||
            outcome->retry_after > cases[i].retry_at_most)
            fail_msg("%s: %d, %ld", cases[i].words, outcome->status, outcome->retry_after);
        assert_string_equal(outcome->body, "ok");
    }
}

static void test_retry_after_date(void **state)
{
    char words[64];
    (void)state;
    time_t soon = time(NULL) + 100;
    strftime(words, sizeof words, "429_%a,_%d_%b_%Y_%H:%M:%S_GMT", gmtime(&soon));
    struct outcome *outcome = post(answering("http", "127.0.0.1", receiver.http, words), 10);
    assert_in_range(outcome->retry_after, 80, 100);
}

static void test_no_answer(void **state)
{
    static const struct {
        const char *words, *failure;
    } cases[] = {
        {"nothing", "Server returned nothing (no headers, no data)"},
        {"garbage", "Unsupported protocol"},
        {"headers", "Failed writing received data to disk/application"},
        {"silent", "Timeout was reached"},
        {"slow_5", "Timeout was reached"},
        {"drip", "Timeout was reached"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double begun = monotonic();
        struct outcome *outcome = post(answering("http", "127.0.0.1", receiver.http, cases[i].words), 0.5);
        assert_string_equal(outcome->failure, cases[i].failure);
        assert_int_equal(outcome->retry_after, -1);
        assert_true(monotonic() - begun < 3);
    }
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct outcome *outcome = post(answering("http", "127.0.0.1", free_port(), "200"), 10);
    assert_string_equal(outcome->failure, "Couldn't connect to server");
}

static void test_long_answer(void **state)
{
    (void)state;
    struct outcome *outcome = post(answering("http", "127.0.0.1", receiver.http, "huge"), 10);
    assert_int_equal(outcome->status, 200);
    assert_int_equal(outcome->size, HTTP_ANSWER_MAX);
    expect_status(answering("http", "127.0.0.1", receiver.http, "200"), 200);
}

static void test_tls(void **state)
{
    static const char refused[] = "SSL peer certificate or SSH remote key was not OK";
    (void)state;
    expect_status(answering("https", "127.0.0.1", receiver.https, "200"), 200);
    expect_status(answering("https", "localhost", receiver.https, "200"), 200);
    assert_string_equal(post(answering("https", "localhost", receiver.other, "200"), 10)->failure, refused);
    trust(false);
    http_end(NULL);
    base = event_base_new();
    http = http_new(base);
    assert_string_equal(post(answering("https", "localhost", receiver.https, "200"), 10)->failure, refused);
    assert_non_null(post(answering("https", "localhost", receiver.http, "200"), 10)->failure);
}

static void refused(const char *address, const char *type, size_t size, const char *why)
{
    static char body[HTTP_BODY_MAX + 1];
    assert_null(http_post(http, address, type, body, size, 10, on_answer, NULL, &error));
    if (strstr(error.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, why);
    assert_int_equal(http_waiting(http), 0);
}

static void test_refused(void **state)
{
    static struct outcome outcome;
    static char body[HTTP_BODY_MAX];
    char type[200];
    const char *address = answering("http", "127.0.0.1", receiver.http, "200");
    (void)state;
    memset(&outcome, 0, sizeof outcome);
    refused("http://secret.example/", "text/plain", 1, "http to 127.0.0.1");
    refused(address, "text/plain", HTTP_BODY_MAX + 1, "the body is longer");
    refused(address, "text/plain\r\nX-More: 1", 1, "the type");
    refused(address, "", 1, "the type");
    memset(type, 'x', sizeof type - 1);
    type[sizeof type - 1] = '\0';
    refused(address, type, 1, "the type");
    type[128] = '\0';
    assert_non_null(http_post(http, address, type, body, sizeof body, 10, on_answer, &outcome, &error));
    await(&outcome);
    assert_int_equal(outcome.status, 200);
}

static void test_too_many(void **state)
{
    static struct outcome outcomes[HTTP_POSTS_MAX];
    (void)state;
    memset(outcomes, 0, sizeof outcomes);
    const char *address = answering("http", "127.0.0.1", receiver.http, "silent");
    for (int i = 0; i < HTTP_POSTS_MAX; i++)
        begin_post(address, i == 0 ? 0.3 : 10, &outcomes[i]);
    assert_null(http_post(http, address, "text/plain", "", 0, 10, on_answer, NULL, &error));
    assert_string_equal(error.text, "64 posts are under way already");
    await(&outcomes[0]);
    assert_int_equal(http_waiting(http), HTTP_POSTS_MAX - 1);
    http_free(&http); /* with all of them under way */
    for (int i = 1; i < HTTP_POSTS_MAX; i++)
        assert_int_equal(outcomes[i].calls, 0);
}

static void on_first(void *argument, const struct http_answer *answer)
{
    assert_int_equal(answer->status, 200);
    assert_int_equal(http_waiting(http), 0);
    begin_post(answering("http", "127.0.0.1", receiver.http, "500"), 10, argument);
}

static void test_post_from_a_callback(void **state)
{
    static struct outcome second;
    (void)state;
    memset(&second, 0, sizeof second);
    const char *address = answering("http", "127.0.0.1", receiver.http, "200");
    assert_non_null(http_post(http, address, "text/plain", "", 0, 10, on_first, &second, &error));
    await(&second);
    assert_int_equal(second.status, 500);
}

/* It is not ended: that would be seen at once. */
static void test_forget(void **state)
{
    static struct outcome outcome;
    (void)state;
    memset(&outcome, 0, sizeof outcome);
    const char *address = answering("http", "127.0.0.1", receiver.http, "slow_0.1");
    const double begun = monotonic();
    http_forget(http_post(http, address, "text/plain", "", 0, 10, on_answer, &outcome, &error));
    assert_int_equal(http_waiting(http), 1);
    while (http_waiting(http) > 0 && monotonic() < begun + 20)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(http_waiting(http), 0);
    assert_true(monotonic() - begun >= 0.1);
    assert_int_equal(outcome.calls, 0);
}

static int entries(const char *path)
{
    DIR *directory = opendir(path);
    int n = 0;
    while (readdir(directory) != NULL)
        n++;
    closedir(directory);
    return n;
}

static void test_connections_are_kept(void **state)
{
    (void)state;
    int before = 0;
    for (int i = 0; i < 20; i++) {
        int now = entries("/proc/self/fd");
        if (i == 2)
            before = now;
        if (i > 2)
            assert_int_equal(now, before);
        expect_status(answering("https", "127.0.0.1", receiver.https, "200"), 200);
    }
}

/* Takes what a proxy would be told by one post to `address`; "" when nobody comes. */
static const char *asked_of_proxy(const char *address)
{
    static char text[1024];
    char proxy[64];
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", ntohs(name.sin_port));
    setenv("http_proxy", proxy, 1);
    setenv("https_proxy", proxy, 1);
    setenv("all_proxy", proxy, 1);
    text[0] = '\0';
    (void)post(address, 0.5);
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0) {
        ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    close(listener);
    return text;
}

static void test_proxy(void **state)
{
    (void)state;
    assert_memory_equal(asked_of_proxy("https://hooks.invalid/secret"), "CONNECT hooks.invalid:443 HTTP/1.1\r\n", 36);
    assert_memory_equal(asked_of_proxy("https://10.0.0.1:444/secret"), "CONNECT 10.0.0.1:444 HTTP/1.1\r\n", 31);
    assert_string_equal(asked_of_proxy(answering("http", "127.0.0.1", receiver.http, "200")), "");
    assert_string_equal(asked_of_proxy(answering("http", "localhost", receiver.http, "200")), "");
    assert_string_equal(asked_of_proxy(answering("https", "127.1", receiver.https, "200")), "");
    assert_string_equal(asked_of_proxy(answering("https", "[::1]", receiver.https, "200")), "");
    setenv("no_proxy", "hooks.invalid", 1);
    assert_string_equal(asked_of_proxy("https://hooks.invalid/secret"), "");
}

static _Atomic bool looked_up, signals_blocked, found;

/* In place of the real one, for libcurl's threads: takes its time over some names. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    sigset_t blocked;
    (void)service;
    (void)hints;
    (void)result;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    signals_blocked = sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGALRM) == 1;
    looked_up = true;
    for (int i = 0; i < 1000 && strncmp(node, "slow", 4) == 0 && !found; i++)
        usleep(5000);
    return EAI_NONAME;
}

static void test_name_lookup(void **state)
{
    static struct outcome outcome;
    (void)state;
    memset(&outcome, 0, sizeof outcome);
    assert_string_equal(post("https://hooks.invalid/secret", 10)->failure, "Couldn't resolve host name");
    assert_true(looked_up);
    assert_true(signals_blocked);
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    assert_int_equal(sigismember(&blocked, SIGTERM), 0);

    double begun = monotonic();
    assert_string_equal(post("https://slow.invalid/secret", 0.2)->failure, "Timeout was reached");
    begin_post("https://slow2.invalid/", 10, &outcome);
    event_base_loop(base, EVLOOP_NONBLOCK);
    http_free(&http);
    assert_int_equal(outcome.calls, 0);
    assert_true(monotonic() - begun < 2);
    found = true;
    while (entries("/proc/self/task") > 3)
        usleep(5000);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, http_begin, http_end)
    const struct CMUnitTest tests[] = {
        TEST(test_addresses),
        TEST(test_what_is_sent),
        TEST(test_answers),
        TEST(test_retry_after_date),
        TEST(test_no_answer),
        TEST(test_nobody_there),
        TEST(test_long_answer),
        TEST(test_tls),
        TEST(test_refused),
        TEST(test_too_many),
        TEST(test_post_from_a_callback),
        TEST(test_forget),
        TEST(test_connections_are_kept),
        TEST(test_proxy),
        TEST(test_name_lookup),
    };
    return cmocka_run_group_tests(tests, receiver_start, receiver_stop);
}
