/* SPDX-License-Identifier: MIT */
/* HTTP posts: libcurl's multi interface, driven by the event loop. */
#include "reporter/http.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

enum {
    TYPE_MAX = 128,
    HEADERS_MAX = 64 * 1024,    /* bytes of an answer's headers */
    ANSWER_READ_MAX = 1 << 20,  /* bytes of an answer's body, after which nobody listens any more */
    IDLE_CONNECTIONS_MAX = 8,   /* kept to be used again */
    RETRY_AFTER_MAX = 24 * 3600 /* seconds */
};

struct http {
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    TAILQ_HEAD(, http_post) posts;
    size_t waiting;
};

struct http_post {
    TAILQ_ENTRY(http_post) link;
    struct http *http;
    CURL *easy;
    CURLU *address;
    struct curl_slist *headers;
    http_callback *callback;
    void *argument;
    bool enough; /* of the answer's body: we ended it */
    size_t headers_read;
    size_t body_read;
    size_t body_size;
    char body[HTTP_ANSWER_MAX + 1];
};

static void post_free(struct http_post *post)
{
    curl_easy_cleanup(post->easy);
    curl_slist_free_all(post->headers);
    curl_url_cleanup(post->address);
    free(post);
}

static void post_remove(struct http_post *post)
{
    curl_multi_remove_handle(post->http->multi, post->easy);
    TAILQ_REMOVE(&post->http->posts, post, link);
    post->http->waiting--;
}

/* Of a header that may come from anybody: seconds or a date. */
static long parse_retry_after(const char *value)
{
    long seconds;
    if (value[0] != '\0' && value[strspn(value, "0123456789")] == '\0') {
        seconds = strtol(value, NULL, 10);
    } else {
        time_t date = curl_getdate(value, NULL);
        if (date == -1)
            return -1;
        seconds = (long)(date - (time_t)clock_wall());
    }
    return seconds < 0 ? 0 : seconds > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : seconds;
}

static void post_finish(struct http_post *post, CURLcode result)
{
    struct http_answer answer = {.body = post->body, .body_size = post->body_size, .retry_after = -1};
    struct curl_header *header;
    long status = 0;
    post->body[post->body_size] = '\0';
    if (result == CURLE_OK || post->enough)
        curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    if (status == 0)
        answer.failure = curl_easy_strerror(result);
    else if (curl_easy_header(post->easy, "Retry-After", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
        answer.retry_after = parse_retry_after(header->value);
    post_remove(post);
    if (post->callback != NULL)
        post->callback(post->argument, &answer);
    post_free(post);
}

static void posts_finish(struct http *http)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        char *post = NULL;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &post) == CURLE_OK)
            post_finish((struct http_post *)post, message->data.result);
    }
}

/* libcurl looks up names in threads that it makes in here: they are to take no signal that is meant for the process. */
static void act(struct http *http, curl_socket_t fd, int events)
{
    sigset_t all, before;
    int running;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    curl_multi_socket_action(http->multi, fd, events, &running);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    posts_finish(http);
}

static void on_socket(evutil_socket_t fd, short events, void *argument)
{
    act(argument, fd,
        ((events & EV_READ) != 0 ? CURL_CSELECT_IN : 0) | ((events & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static void on_timer(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    act(argument, CURL_SOCKET_TIMEOUT, 0);
}

/* libcurl: watch this socket for `what` from now on. What it keeps for us with the socket is the event. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *argument, void *kept)
{
    struct http *http = argument;
    struct event *event = kept;
    (void)easy;
    if (event != NULL)
        event_free(event);
    event = NULL;
    if (what != CURL_POLL_REMOVE) {
        int events = ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) | ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);
        event = event_new(http->base, fd, (short)(events | EV_PERSIST), on_socket, http);
        if (event == NULL || event_add(event, NULL) < 0)
            memory_exhausted();
    }
    curl_multi_assign(http->multi, fd, event);
    return 0;
}

/* libcurl: call when so much time has passed; -1: do not. */
static int set_timer(CURLM *multi, long milliseconds, void *argument)
{
    struct http *http = argument;
    (void)multi;
    if (milliseconds < 0)
        return event_del(http->timer);
    struct timeval wait = {milliseconds / 1000, milliseconds % 1000 * 1000};
    return event_add(http->timer, &wait);
}

struct http *http_new(struct event_base *base)
{
    struct http *http = memory_zeroed(sizeof *http);
    TAILQ_INIT(&http->posts);
    http->base = base;
    signal(SIGPIPE, SIG_IGN);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        memory_exhausted();
    http->multi = curl_multi_init();
    http->timer = evtimer_new(base, on_timer, http);
    if (http->multi == NULL || http->timer == NULL)
        memory_exhausted();
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS_MAX);
    return http;
}

void http_free(struct http **http)
{
    struct http_post *post;
    if (*http == NULL)
        return;
    while ((post = TAILQ_FIRST(&(*http)->posts)) != NULL) {
        post_remove(post);
        post_free(post);
    }
    curl_multi_cleanup((*http)->multi);
    event_free((*http)->timer);
    curl_global_cleanup();
    free(*http);
    *http = NULL;
}

static bool host_is_loopback(const char *host)
{
    struct in_addr inet;
    struct in6_addr inet6;
    char text[64];
    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &inet) == 1)
        return ntohl(inet.s_addr) >> 24 == 127;
    if (host[0] != '[' || strlen(host) >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(host + 1, "]"), host + 1);
    return inet_pton(AF_INET6, text, &inet6) == 1 && IN6_IS_ADDR_LOOPBACK(&inet6);
}

static int address_look(CURLU *url, bool *loopback, struct error *error)
{
    char *scheme = NULL, *host = NULL;
    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        error_set(error, "the address cannot be read");
    else
        *loopback = host_is_loopback(host);
    bool known = scheme != NULL && host != NULL;
    bool allowed = known && (strcmp(scheme, "https") == 0 || (strcmp(scheme, "http") == 0 && *loopback));
    if (known && !allowed)
        error_set(error, "the address must be https, or http to 127.0.0.1, [::1] or localhost");
    curl_free(scheme);
    curl_free(host);
    return allowed ? 0 : -1;
}

/* What is looked at is what is posted to: libcurl gets the result, and never reads the text again. Sets *loopback. */
static CURLU *address_parse(const char *address, bool *loopback, struct error *error)
{
    if (strlen(address) > HTTP_ADDRESS_MAX) {
        error_set(error, "the address is longer than %d bytes", HTTP_ADDRESS_MAX);
        return NULL;
    }
    CURLU *url = curl_url();
    if (url == NULL)
        memory_exhausted();
    CURLUcode code = curl_url_set(url, CURLUPART_URL, address, CURLU_DISALLOW_USER);
    if (code == CURLUE_USER_NOT_ALLOWED)
        error_set(error, "the address must have no user or password in it");
    else if (code != CURLUE_OK)
        error_set(error, "the address cannot be read");
    else if (address_look(url, loopback, error) == 0)
        return url;
    curl_url_cleanup(url);
    return NULL;
}

int http_address_check(const char *address, struct error *error)
{
    bool loopback;
    CURLU *url = address_parse(address, &loopback, error);
    curl_url_cleanup(url);
    return url != NULL ? 0 : -1;
}

static size_t on_header(char *bytes, size_t one, size_t size, void *argument)
{
    struct http_post *post = argument;
    (void)bytes;
    post->headers_read += one * size;
    return post->headers_read <= HEADERS_MAX ? one * size : 0;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *argument)
{
    struct http_post *post = argument;
    size_t room = HTTP_ANSWER_MAX - post->body_size;
    size_t kept = one * size < room ? one * size : room;
    memcpy(post->body + post->body_size, bytes, kept);
    post->body_size += kept;
    post->body_read += one * size;
    post->enough = post->body_read > ANSWER_READ_MAX;
    return post->enough ? 0 : one * size;
}

/* Whom to post to, and how much he is trusted. */
static bool set_target(const struct http_post *post, bool loopback)
{
    const char *certificates = getenv("SSL_CERT_FILE");
    CURL *easy = post->easy;
    return curl_easy_setopt(easy, CURLOPT_CURLU, post->address) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           (!loopback || curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           (certificates == NULL || curl_easy_setopt(easy, CURLOPT_CAINFO, certificates) == CURLE_OK);
}

static bool set_content(const struct http_post *post, const char *body, size_t size)
{
    CURL *easy = post->easy;
    return curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, "tokenkeep") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, post->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK;
}

/* QUICK_EXIT: a post that ends while its name is looked up must not wait for the thread that does it. */
static bool set_handling(struct http_post *post, double timeout)
{
    long milliseconds = timeout < 0.001              ? 1
                        : timeout < HTTP_TIMEOUT_MAX ? (long)(timeout * 1000)
                                                     : HTTP_TIMEOUT_MAX * 1000L;
    CURL *easy = post->easy;
    return curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, milliseconds) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, post) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, post) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, post) == CURLE_OK;
}

/* An empty Expect: the body is sent at once, without asking whether it may. */
static struct curl_slist *headers_new(const char *type)
{
    char line[sizeof "Content-Type: " + TYPE_MAX];
    snprintf(line, sizeof line, "Content-Type: %s", type);
    struct curl_slist *first = curl_slist_append(NULL, line);
    struct curl_slist *all = first != NULL ? curl_slist_append(first, "Expect:") : NULL;
    if (all == NULL)
        curl_slist_free_all(first);
    return all;
}

/* A line's end in it would be a header of somebody else's. */
static bool type_valid(const char *type)
{
    size_t size = strlen(type);
    for (const char *c = type; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            return false;
    return size > 0 && size <= TYPE_MAX;
}

static int post_check(const struct http *http, const char *type, size_t size, struct error *error)
{
    if (size > HTTP_BODY_MAX)
        return error_set(error, "the body is longer than %d bytes", HTTP_BODY_MAX);
    if (!type_valid(type))
        return error_set(error, "the type must be 1 to %d printable ASCII characters", TYPE_MAX);
    if (http->waiting >= HTTP_POSTS_MAX)
        return error_set(error, "%d posts are under way already", HTTP_POSTS_MAX);
    return 0;
}

struct http_post *http_post(struct http *http, const char *address, const char *type, const char *body, size_t size,
                            double timeout, http_callback *callback, void *argument, struct error *error)
{
    bool loopback = false;
    CURLU *url = post_check(http, type, size, error) == 0 ? address_parse(address, &loopback, error) : NULL;
    if (url == NULL)
        return NULL;
    struct http_post *post = memory_zeroed(sizeof *post);
    post->http = http;
    post->address = url;
    post->callback = callback;
    post->argument = argument;
    post->easy = curl_easy_init();
    post->headers = headers_new(type);
    if (post->easy == NULL || post->headers == NULL || !set_target(post, loopback) || !set_content(post, body, size) ||
        !set_handling(post, timeout) || curl_multi_add_handle(http->multi, post->easy) != CURLM_OK) {
        error_set(error, "there is no memory for it");
        post_free(post);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&http->posts, post, link);
    http->waiting++;
    return post;
}

void http_forget(struct http_post *post)
{
    post->callback = NULL;
}

size_t http_waiting(const struct http *http)
{
    return http->waiting;
}
