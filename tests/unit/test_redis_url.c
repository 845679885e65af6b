/* SPDX-License-Identifier: MIT */
/* The URL of Redis: each form and each mistake, and that no error ever quotes one. */
#include "base/redis_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONG_96 "/bcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdefghi0abcdef"
#define NO_KIND                                                                                       \
    "the URL is of no known kind; give redis://HOST:PORT/DATABASE, the same with rediss:// for TLS, " \
    "sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE, unix:/PATH or private:/FOLDER"
#define NO_MASTER "the name of the master behind the sentinels is missing"
#define PASSWORD                                                                                                    \
    "there is a password in the URL, where others may see it; give the user in redis.username and the password in " \
    "a file of its own, redis.password-file"

static void release(struct config_redis *redis)
{
    redis_url_clear(redis);
    free(redis->username);
}

static void assert_same(const char *is, const char *expected)
{
    assert_string_equal(is != NULL ? is : "(null)", expected != NULL ? expected : "(null)");
}

static void good_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        struct config_redis expected;
    } cases[] = {
        {"redis://127.0.0.1:6379/0", {.host = "127.0.0.1", .port = 6379}},
        {"redis://localhost", {.host = "localhost", .port = 6379}},
        {"redis://redis-1.example.org:1/", {.host = "redis-1.example.org", .port = 1}},
        {"redis://h:65535/65535", {.host = "h", .port = 65535, .database = 65535}},
        {"redis://h/15", {.host = "h", .port = 6379, .database = 15}},
        {"redis://[::1]", {.host = "::1", .port = 6379}},
        {"redis://[2001:db8::7]:7000/1", {.host = "2001:db8::7", .port = 7000, .database = 1}},
        {"redis://bob@h", {.host = "h", .port = 6379, .username = "bob"}},
        {"redis://token_keep-1@[::1]:7/3", {.host = "::1", .port = 7, .database = 3, .username = "token_keep-1"}},
        {"rediss://h", {.host = "h", .port = 6379, .encrypted = true}},
        {"rediss://bob@[::1]:7/3", {.host = "::1", .port = 7, .database = 3, .username = "bob", .encrypted = true}},
        {"sentinel://h/m",
         {.kind = CONFIG_REDIS_SENTINEL, .n_sentinels = 1, .sentinels = {{"h", 26379}}, .master_name = "m"}},
        {"sentinel://bob@[::1],b:7,10.0.0.1:26380/my-master_1.x/15",
         {.kind = CONFIG_REDIS_SENTINEL,
          .n_sentinels = 3,
          .sentinels = {{"::1", 26379}, {"b", 7}, {"10.0.0.1", 26380}},
          .master_name = "my-master_1.x",
          .database = 15,
          .username = "bob"}},
        {"unix:/run/redis.sock", {.kind = CONFIG_REDIS_UNIX, .path = "/run/redis.sock"}},
        {"unix:///run/redis.sock", {.kind = CONFIG_REDIS_UNIX, .path = "/run/redis.sock"}},
        {"unix:/run/redis.sock?db=9", {.kind = CONFIG_REDIS_UNIX, .path = "/run/redis.sock", .database = 9}},
        {"private:/var/lib/tk",
         {.kind = CONFIG_REDIS_PRIVATE, .path = "/var/lib/tk/redis.sock", .directory = "/var/lib/tk"}},
        {"private:/var/lib/tk//",
         {.kind = CONFIG_REDIS_PRIVATE, .path = "/var/lib/tk/redis.sock", .directory = "/var/lib/tk"}},
        {"private:/", {.kind = CONFIG_REDIS_PRIVATE, .path = "/redis.sock", .directory = "/"}},
        {"private:" LONG_96, {.kind = CONFIG_REDIS_PRIVATE, .path = LONG_96 "/redis.sock", .directory = LONG_96}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config_redis redis = {0};
        struct error error = {""};
        assert_int_equal(redis_url_parse(cases[i].url, &redis, &error), 0);
        assert_int_equal(redis.kind, cases[i].expected.kind);
        assert_same(redis.url, cases[i].url);
        assert_same(redis.host, cases[i].expected.host);
        assert_int_equal(redis.port, cases[i].expected.port);
        assert_same(redis.path, cases[i].expected.path);
        assert_same(redis.directory, cases[i].expected.directory);
        assert_int_equal(redis.database, cases[i].expected.database);
        assert_int_equal(redis.encrypted, cases[i].expected.encrypted);
        assert_int_equal(redis.n_sentinels, cases[i].expected.n_sentinels);
        for (size_t n = 0; n < redis.n_sentinels; n++) {
            assert_same(redis.sentinels[n].name, cases[i].expected.sentinels[n].name);
            assert_int_equal(redis.sentinels[n].port, cases[i].expected.sentinels[n].port);
        }
        assert_same(redis.master_name, cases[i].expected.master_name);
        assert_same(redis.username, cases[i].expected.username);
        release(&redis);
    }
}

static const struct {
    const char *url, *error;
} bad_cases[] = {
    {"", NO_KIND},
    {"hunter2", NO_KIND},
    {"http://hunter2/", NO_KIND},
    {"redis:hunter2", NO_KIND},
    {"rediss://", "the host is missing"},
    {"cluster://hunter2", "cluster is not in this version; give redis://, rediss://, sentinel://, unix: or private:"},
    {"sentinel://", "the host is missing"},
    {"sentinel://hunter2", NO_MASTER},
    {"sentinel://hunter2/", NO_MASTER},
    {"sentinel://hunter2//0", NO_MASTER},
    {"sentinel://a,hunter2,/m", "the host is missing"},
    {"sentinel://,hunter2/m", "the host is missing"},
    {"sentinel://a:hunter2,b/m", "the port is not a number; give 1 to 65535"},
    {"sentinel://a,b:hunter2@c/m", PASSWORD},
    {"sentinel://a/hunter2!",
     "the name of the master behind the sentinels is too long or has characters that it cannot have"},
    {"sentinel://a/m/hunter2", "the database is not a number from 0 to 65535"},
    {"sentinel://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,hunter2/m", "there are more than 16 sentinels"},
    {"redis://bob:hunter2@h", PASSWORD},
    {"redis://:hunter2@h", PASSWORD},
    {"redis://bob:hun/ter2@h", PASSWORD},
    {"redis://bob:hunter2@@h", PASSWORD},
    {"rediss://bob:hunter2@h", PASSWORD},
    {"redis://bob:hun%ter2@h", PASSWORD},
    {"redis://hunter2%20@h", "percent-encoding is not understood; write the character itself"},
    {"redis://hunter2 @h", "the URL has a space, a control character or one beyond ASCII in it"},
    {"redis://h/\xc3\xa9", "the URL has a space, a control character or one beyond ASCII in it"},
    {"redis://", "the host is missing"},
    {"redis://@h", "the user name before the @ is missing"},
    {"redis://:1", "the host is missing"},
    {"redis:///0", "the host is missing"},
    {"redis://hunter2?db=0", "the host is too long or has characters that it cannot have"},
    {"redis://hun&ter2", "the host is too long or has characters that it cannot have"},
    {"redis://hun/ter2@h", "the user name before the @ is too long or has characters that it cannot have"},
    {"redis://hunter2:", "there is no port from 1 to 65535; end the address in one, such as :7117"},
    {"redis://hunter2:0", "there is no port from 1 to 65535; end the address in one, such as :7117"},
    {"redis://h:hunter2", "the port is not a number; give 1 to 65535"},
    {"redis://h/hunter2", "the database is not a number from 0 to 65535"},
    {"redis://h/65536", "the database is not a number from 0 to 65535"},
    {"redis://h/0000000", "the database is not a number from 0 to 65535"},
    {"redis://h/-1", "the database is not a number from 0 to 65535"},
    {"redis://h/1/2", "the database is not a number from 0 to 65535"},
    {"redis://[::1", "the brackets of the IPv6 address do not close before the port"},
    {"redis://[::1]6379", "the brackets of the IPv6 address do not close before the port"},
    {"redis://[hunter2]", "what stands in brackets is no IPv6 address"},
    {"redis://[]", "what stands in brackets is no IPv6 address"},
    {"unix:hunter2", "the path of the Redis socket is not absolute; give unix:/PATH"},
    {"unix:", "the path of the Redis socket is not absolute; give unix:/PATH"},
    {"unix://hunter2/a", "the path of the Redis socket is not absolute; give unix:/PATH"},
    {"unix:/hunter2?db=", "the database is not a number from 0 to 65535"},
    {"unix:/hunter2?db=x", "the database is not a number from 0 to 65535"},
    {"unix:/a?hunter2", "behind the path of the Redis socket stands something else than ?db=NUMBER"},
    {"unix:" LONG_96 "/redis.sock1", "the path of the Redis socket has 108 bytes; it can have 107"},
    {"private:hunter2", "the folder of the private Redis is not absolute; give private:/FOLDER"},
    {"private:" LONG_96 "x", "the path of the Redis socket has 108 bytes; it can have 107"},
};

static void bad_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        struct config_redis redis = {0};
        struct error error;
        assert_int_equal(redis_url_parse(bad_cases[i].url, &redis, &error), -1);
        assert_string_equal(error.text, bad_cases[i].error);
        assert_null(strstr(error.text, "hun"));
        release(&redis);
    }
}

static void later_url_replaces(void **state)
{
    (void)state;
    struct config_redis redis = {0};
    struct error error;
    assert_int_equal(redis_url_parse("rediss://h:7/3", &redis, &error), 0);
    assert_int_equal(redis_url_parse("sentinel://a,b/m/3", &redis, &error), 0);
    assert_null(redis.host);
    assert_int_equal(redis_url_parse("unix:/a", &redis, &error), 0);
    assert_int_equal(redis.n_sentinels, 0);
    assert_null(redis.sentinels[0].name);
    assert_null(redis.master_name);
    assert_false(redis.encrypted);
    assert_int_equal(redis.port, 0);
    assert_int_equal(redis.database, 0);
    assert_int_equal(redis_url_private("/with space and %", &redis, &error), 0);
    assert_string_equal(redis.url, "private:/with space and %");
    assert_string_equal(redis.path, "/with space and %/redis.sock");
    redis.username = strdup("alice");
    assert_int_equal(redis_url_parse("redis://bob@h", &redis, &error), -1);
    assert_string_equal(error.text, "the user stands in the URL and in redis.username; keep one of them");
    release(&redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls),
        cmocka_unit_test(bad_urls),
        cmocka_unit_test(later_url_replaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
