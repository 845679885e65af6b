/* SPDX-License-Identifier: MIT */
/* Token data: every rule of every field at its borders, the errors and what they may say, and the JSON that comes
 * out. */
#include "keep/codec.h"
#include "keep/token_data.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY    "abcdefghijklmnopqrstuv"
#define SECRET "ABCDEFGHIJKLMNOP0189-_"
#define TOKEN  "\"token\":\"gt-" KEY "." SECRET "\""
#define REST   "\"username\":\"u\",\"token_type\":\"user\",\"scopes\":[]"
#define OUT    TOKEN "," REST
#define NOW    INT64_C(1700000000)
#define S16    "0123456789abcdef"
#define S64    S16 S16 S16 S16

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Reads `json`, which lies in a block of its own without a NUL behind it. */
static struct token_data *read_json(const char *json, enum token_data_source source, struct error *error)
{
    size_t size = strlen(json);
    char *copy = malloc(size + 1);
    memcpy(copy, json, size);
    struct token_data *data = token_data_from_json(copy, size, source, NOW, error);
    free(copy);
    return data;
}

static void accepted(const char *json, const char *expected)
{
    struct error error = {""};
    struct token_data *data = read_json(json, TOKEN_DATA_WITH_TOKEN, &error);
    if (data == NULL)
        fail_msg("%s: %s", json, error.text);
    size_t size;
    char *out = token_data_to_json(data, &size);
    assert_string_equal(out, expected);
    assert_int_equal(size, strlen(out));
    free(out);
    token_data_free(&data);
    assert_null(data);
    token_data_free(&data);
}

static void refused(const char *json, enum token_data_source source, const char *expected)
{
    struct error error = {""};
    struct token_data *data = read_json(json, source, &error);
    if (data != NULL || strcmp(error.text, expected) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", json, data != NULL ? "accepted" : error.text, expected);
    assert_null(strstr(error.text, SECRET));
}

/* What may be given, as members behind the required ones, and how it comes out; NULL: just the same. */
static void accepts(void **state)
{
    (void)state;
    static const struct {
        const char *members, *out;
    } cases[] = {
        {",\"created\":0", NULL},
        {",\"created\":-0", ",\"created\":0"},
        {",\"created\":253402300799", NULL},
        {",\"created\":1,\"expires\":1700000001", NULL},
        {",\"created\":1,\"expires\":253402300799", NULL},
        {",\"created\":1,\"service\":\"x\"", NULL},
        {",\"created\":1,\"service\":\"" S64 "\"", NULL},
        {",\"created\":1,\"service\":\"\xf0\x9f\x98\x80" S16 S16 S16 "0123456789abcde\"", NULL},
        {",\"created\":1,\"name\":\"x\"", NULL},
        {",\"created\":1,\"name\":\"" S64 S64 S64 "\"", NULL},
        {",\"created\":1,\"email\":\"@\"", NULL},
        {",\"created\":1,\"uid\":1,\"gid\":1", NULL},
        {",\"created\":1,\"uid\":9007199254740993,\"gid\":9223372036854775807", NULL},
        {",\"created\":1,\"groups\":[]", NULL},
        {",\"created\":1,\"groups\":[{\"name\":\"a\",\"id\":1}]", NULL},
        {",\"created\":1,\"groups\":[{\"id\":9223372036854775807,\"name\":\"0.A_-.\"}]",
         ",\"created\":1,\"groups\":[{\"name\":\"0.A_-.\",\"id\":9223372036854775807}]"},
        {",\"created\":1,\"groups\":[{\"name\":\"Zz9\",\"id\":2},{\"name\":\"Zz9\",\"id\":2}]", NULL},
        {",\"gid\":2,\"uid\":1,\"created\":1", ",\"created\":1,\"uid\":1,\"gid\":2"},
        {",\"created\":null,\"expires\":null,\"service\":null,\"name\":null,\"email\":null,\"uid\":null,"
         "\"gid\":null,\"groups\":null",
         ",\"created\":1700000000"},
        {"", ",\"created\":1700000000"},
        {" , \"created\"\t:\r\n1 ", ",\"created\":1"},
        {",\"created\":1,\"name\":\"\\u00e4\\ud83d\\ude00\"", ",\"created\":1,\"name\":\"\xc3\xa4\xf0\x9f\x98\x80\""},
        {",\"created\":1,\"\\u006eame\":\"x\"", ",\"created\":1,\"name\":\"x\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char json[1024], out[1024];
        snprintf(json, sizeof json, "{" OUT "%s}", cases[i].members);
        snprintf(out, sizeof out, "{" OUT "%s}", cases[i].out != NULL ? cases[i].out : cases[i].members);
        accepted(json, out);
    }
}

/* Values of one required field, the others being there; NULL in place of an error: accepted. */
#define USERNAME   "username: must be 1 to 64 lower-case letters, digits and single inner hyphens, with a letter"
#define TYPE       "token_type: must be session, user, notebook, internal, service or oidc"
#define SCOPE(i)   "scopes[" #i "]: must be one or more of A-Z a-z 0-9 : . _ -"
#define TOKEN_RULE "token: must be gt-KEY.SECRET, each 22 characters of A-Z a-z 0-9 - _, or an object of the two"
#define PART_RULE  "must be 22 characters of A-Z a-z 0-9 - _"
static void required_fields(void **state)
{
    (void)state;
    static const struct {
        const char *field, *value, *error;
    } cases[] = {
        {"username", "\"a\"", NULL},
        {"username", "\"0a\"", NULL},
        {"username", "\"a-b-c-9\"", NULL},
        {"username", "\"" S64 "\"", NULL},
        {"username", "\"" S64 "0\"", USERNAME},
        {"username", "\"\"", USERNAME},
        {"username", "\"0\"", USERNAME},
        {"username", "\"1-2\"", USERNAME},
        {"username", "\"-\"", USERNAME},
        {"username", "\"-a\"", USERNAME},
        {"username", "\"a-\"", USERNAME},
        {"username", "\"a--b\"", USERNAME},
        {"username", "\"A\"", USERNAME},
        {"username", "\"aB\"", USERNAME},
        {"username", "\"a_b\"", USERNAME},
        {"username", "\"a.b\"", USERNAME},
        {"username", "\"a b\"", USERNAME},
        {"username", "\"\\u00e4a\"", USERNAME},
        {"username", "\"a\\n\"", USERNAME},
        {"username", "1", "username: must be a string"},
        {"username", "true", "username: must be a string"},
        {"username", "[\"a\"]", "username: must be a string"},
        {"username", "null", "username: is required"},
        {"token_type", "\"session\"", NULL},
        {"token_type", "\"user\"", NULL},
        {"token_type", "\"notebook\"", NULL},
        {"token_type", "\"internal\"", NULL},
        {"token_type", "\"service\"", NULL},
        {"token_type", "\"oidc\"", NULL},
        {"token_type", "\"\"", TYPE},
        {"token_type", "\"User\"", TYPE},
        {"token_type", "\"use\"", TYPE},
        {"token_type", "\"users\"", TYPE},
        {"token_type", "\"user \"", TYPE},
        {"token_type", "1", TYPE},
        {"token_type", "null", "token_type: is required"},
        {"scopes", "[]", NULL},
        {"scopes", "[\"AZaz09:._-\"]", NULL},
        {"scopes", "[\":\",\"a\"]", NULL},
        {"scopes", "\"a\"", "scopes: must be an array of at most 1000"},
        {"scopes", "{}", "scopes: must be an array of at most 1000"},
        {"scopes", "[\"a\",1]", "scopes[1]: must be a string"},
        {"scopes", "[null]", "scopes[0]: must be a string"},
        {"scopes", "[[\"a\"]]", "scopes[0]: must be a string"},
        {"scopes", "[\"z\",\"y\",\"x\",\"\"]", SCOPE(3)},
        {"scopes", "[\"z\",\"a b\"]", SCOPE(1)},
        {"scopes", "[\"a/b\"]", SCOPE(0)},
        {"scopes", "[\"a,b\"]", SCOPE(0)},
        {"scopes", "[\"\\u00e4\"]", SCOPE(0)},
        {"scopes", "null", "scopes: is required"},
        {"token", "\"gt-" KEY "." SECRET "\"", NULL},
        {"token", "{\"key\":\"" KEY "\",\"secret\":\"" SECRET "\"}", NULL},
        {"token", "{\"secret\":\"" SECRET "\",\"key\":\"" KEY "\"}", NULL},
        {"token", "\"gt-" KEY "." SECRET "x\"", TOKEN_RULE},
        {"token", "\"" KEY "." SECRET "\"", TOKEN_RULE},
        {"token", "\"\"", TOKEN_RULE},
        {"token", "1", TOKEN_RULE},
        {"token", "[\"" KEY "\",\"" SECRET "\"]", TOKEN_RULE},
        {"token", "{}", "token.key: is required"},
        {"token", "{\"key\":\"" KEY "\"}", "token.secret: is required"},
        {"token", "{\"secret\":\"" SECRET "\"}", "token.key: is required"},
        {"token", "{\"key\":null,\"secret\":\"" SECRET "\"}", "token.key: is required"},
        {"token", "{\"key\":\"" KEY "x\",\"secret\":\"" SECRET "\"}", "token.key: " PART_RULE},
        {"token", "{\"key\":\"" KEY "\",\"secret\":\"" SECRET "=\"}", "token.secret: " PART_RULE},
        {"token", "{\"key\":\"" KEY "\",\"secret\":7}", "token.secret: " PART_RULE},
        {"token", "{\"key\":\"" KEY "\",\"secret\":\"" SECRET "\",\"x\":1}", "token.x: unknown field"},
        {"token", "{\"key\":\"" KEY "\",\"secret\":\"" SECRET "\",\"key\":\"" KEY "\"}", "token.key: repeated field"},
        {"token", "null", "token: is required"},
    };
    static const char *const others[][2] = {
        {"token", TOKEN},
        {"username", "\"username\":\"u\""},
        {"token_type", "\"token_type\":\"user\""},
        {"scopes", "\"scopes\":[]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char json[1024];
        struct error error = {"accepted"};
        int size = snprintf(json, sizeof json, "{\"%s\":%s", cases[i].field, cases[i].value);
        for (size_t j = 0; j < COUNT(others); j++)
            if (strcmp(others[j][0], cases[i].field) != 0)
                size += snprintf(json + size, sizeof json - (size_t)size, ",%s", others[j][1]);
        strcat(json, "}");
        if (cases[i].error != NULL) {
            refused(json, TOKEN_DATA_WITH_TOKEN, cases[i].error);
            continue;
        }
        struct token_data *data = read_json(json, TOKEN_DATA_WITH_TOKEN, &error);
        assert_string_equal(error.text, "accepted");
        assert_true(token_data_check(data, NULL));
        assert_memory_equal(data->token.key, KEY, TOKEN_PART_SIZE);
        assert_memory_equal(data->token.secret, SECRET, TOKEN_PART_SIZE);
        token_data_free(&data);
    }
}

static void required_fields_left_out(void **state)
{
    (void)state;
    refused("{" REST "}", TOKEN_DATA_WITH_TOKEN, "token: is required");
    refused("{" TOKEN ",\"token_type\":\"user\",\"scopes\":[]}", TOKEN_DATA_WITH_TOKEN, "username: is required");
    refused("{" TOKEN ",\"username\":\"u\",\"scopes\":[]}", TOKEN_DATA_WITH_TOKEN, "token_type: is required");
    refused("{" TOKEN ",\"username\":\"u\",\"token_type\":\"user\"}", TOKEN_DATA_WITH_TOKEN, "scopes: is required");
    refused("{}", TOKEN_DATA_WITH_TOKEN, "token: is required");
    refused("{}", TOKEN_DATA_NEW_TOKEN, "username: is required");
}

/* What may not be given, behind the required fields. */
#define CREATED   "created: must be an integer from 0 to 253402300799"
#define EXPIRES   "expires: must be an integer from 1 to 253402300799"
#define ID(field) field ": must be an integer from 1 to 9223372036854775807"
#define GROUP(i)  "groups[" #i "].name: must be of A-Z a-z 0-9 . _ -, start with a letter or digit, and have a letter"
static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *members, *error;
    } cases[] = {
        {",\"created\":-1", CREATED},
        {",\"created\":253402300800", CREATED},
        {",\"created\":1.0", CREATED},
        {",\"created\":1e3", CREATED},
        {",\"created\":\"1\"", CREATED},
        {",\"created\":true", CREATED},
        {",\"created\":99999999999999999999", "created: number out of range"},
        {",\"created\":1e999", "created: number out of range"},
        {",\"expires\":0", EXPIRES},
        {",\"expires\":-1", EXPIRES},
        {",\"expires\":1", "expires: must be in the future"},
        {",\"expires\":1699999999", "expires: must be in the future"},
        {",\"expires\":1700000000", "expires: must be in the future"},
        {",\"expires\":253402300800", EXPIRES},
        {",\"expires\":1800000000.5", EXPIRES},
        {",\"expires\":false", EXPIRES},
        {",\"service\":\"\"", "service: must be 1 to 64 characters"},
        {",\"service\":\"" S64 "0\"", "service: must be 1 to 64 characters"},
        {",\"service\":\"\xc3\xa4" S64 "\"", "service: must be 1 to 64 characters"},
        {",\"service\":[]", "service: must be a string"},
        {",\"name\":\"\"", "name: must not be empty"},
        {",\"name\":{}", "name: must be a string"},
        {",\"name\":\"a\\u0000b\"", "name: U+0000 is not allowed"},
        {",\"email\":\"\"", "email: must not be empty"},
        {",\"email\":false", "email: must be a string"},
        {",\"uid\":0", ID("uid")},
        {",\"uid\":-1", ID("uid")},
        {",\"uid\":1.0", ID("uid")},
        {",\"uid\":true", ID("uid")},
        {",\"uid\":\"1\"", ID("uid")},
        {",\"uid\":9223372036854775808", "uid: number out of range"},
        {",\"gid\":0", ID("gid")},
        {",\"gid\":-9223372036854775809", "gid: number out of range"},
        {",\"groups\":{}", "groups: must be an array of at most 500"},
        {",\"groups\":[1]", "groups[0]: must be an object of name and id"},
        {",\"groups\":[{\"name\":\"a\",\"id\":1},null]", "groups[1]: must be an object of name and id"},
        {",\"groups\":[{\"id\":1}]", "groups[0].name: is required"},
        {",\"groups\":[{\"name\":\"a\"}]", "groups[0].id: is required"},
        {",\"groups\":[{\"name\":\"a\",\"id\":null}]", "groups[0].id: is required"},
        {",\"groups\":[{\"name\":1,\"id\":1}]", "groups[0].name: must be a string"},
        {",\"groups\":[{\"name\":\"\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"1\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"a\",\"id\":1},{\"name\":\".a\",\"id\":1}]", GROUP(1)},
        {",\"groups\":[{\"name\":\"_a\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"-a\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"a:b\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"a b\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"a\\u00e4\",\"id\":1}]", GROUP(0)},
        {",\"groups\":[{\"name\":\"a\",\"id\":0}]", ID("groups[0].id")},
        {",\"groups\":[{\"name\":\"a\",\"id\":1.0}]", ID("groups[0].id")},
        {",\"groups\":[{\"name\":\"a\",\"id\":9223372036854775808}]", "groups[0].id: number out of range"},
        {",\"groups\":[{\"name\":\"a\",\"id\":1,\"gid\":2}]", "groups[0].gid: unknown field"},
        {",\"groups\":[{\"name\":\"a\",\"id\":1,\"a b\":2}]", "groups[0]: an unknown field"},
        {",\"groups\":[{\"name\":\"a\",\"id\":1},{\"name\":\"a\",\"id\":1,\"id\":2}]", "groups[1].id: repeated field"},
        {",\"groups\":[{\"name\":\"],{\\\"\",\"name\":\"a\"}]", "groups[0].name: repeated field"},
        {",\"name\":\"\\\",\\\"x\\\":{\",\"uid\":1,\"uid\":2", "uid: repeated field"},
        {",\"expire\":1800000000", "expire: unknown field"},
        {",\"Expires\":1800000000", "Expires: unknown field"},
        {",\"x\":null", "x: unknown field"},
        {",\"" S64 "\":1", S64 ": unknown field"},
        {",\"" S64 "0\":1", "an unknown field"},
        {",\"\":1", "an unknown field"},
        {",\"a b\":1", "an unknown field"},
        {",\"a\\nb\":1", "an unknown field"},
        {",\"\xc3\xa4\":1", "an unknown field"},
        {",\"gt-" KEY "." SECRET "\":1", "an unknown field"},
        {",\"username\":\"v\"", "username: repeated field"},
        {",\"uid\":1,\"gid\":1,\"uid\":null", "uid: repeated field"},
        {",\"x\":{\"y\":{\"z\":1,\"z\":1}}", "x.y.z: repeated field"},
        {",\"x\":[[1,{}],{\"y\":[0,{\"z\":1,\"z\":1}]}]", "x[1].y[1]: repeated field"},
        {",\"x\":[[],[1,[2,3,{\"y\":1,\"y\":1}]]]", "x[1][1][2]: repeated field"},
        {",\"a b\":1,\"a b\":1", "JSON: repeated field"},
        {",\"x\":{\"a b\":1,\"a b\":1}", "x: repeated field"},
        {",\"x\\\"name\":1,\"x\\\"name\":1", "JSON: repeated field"},
        {",\"\\u006eame\":\"x\",\"name\":\"y\"", "name: repeated field"},
        {",\"name\":\"x\",\"\\u006eame\":\"y\"", "JSON: repeated field"},
        {",\"x\\u0000y\":1", "JSON: U+0000 is not allowed"},
        {",\"gt-" KEY "." SECRET "\":1,\"gt-" KEY "." SECRET "\":1", "JSON: repeated field"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char json[1024];
        snprintf(json, sizeof json, "{" OUT "%s}", cases[i].members);
        refused(json, TOKEN_DATA_WITH_TOKEN, cases[i].error);
    }
}

static void what_is_no_json(void **state)
{
    (void)state;
    static const struct {
        const char *json, *error;
    } cases[] = {
        {"", "JSON: not valid at byte 0"},
        {" ", "JSON: not valid at byte 1"},
        {"x", "JSON: not valid at byte 1"},
        {"1", "JSON: not valid at byte 1"},
        {"null", "JSON: not valid at byte 4"},
        {"\"gt-" KEY "." SECRET "\"", "JSON: not valid at byte 50"},
        {"[]", "must be an object"},
        {"[99999999999999999999]", "[0]: number out of range"},
        {"{", "JSON: not valid at byte 1"},
        {"}", "JSON: not valid at byte 1"},
        {"]]]", "JSON: not valid at byte 1"},
        {"{}}", "JSON: not valid at byte 3"},
        {"{} {}", "JSON: not valid at byte 4"},
        {"{\"a\":1,}", "JSON: not valid at byte 8"},
        {"{'a':1}", "JSON: not valid at byte 2"},
        {"{a:1}", "JSON: not valid at byte 2"},
        {"{\"a\":01}", "JSON: not valid at byte 6"},
        {"{\"a\":+1}", "JSON: not valid at byte 6"},
        {"{\"a\":.5}", "JSON: not valid at byte 6"},
        {"{\"a\":NaN}", "JSON: not valid at byte 8"},
        {"{\"a\":0x10}", "JSON: not valid at byte 7"},
        {"{\"a\":\"\n\"}", "JSON: not valid at byte 6"},
        {"{\"a\":\"\xff\"}", "JSON: not valid at byte 6"},
        {"{\"a\":\"\xed\xa0\x80\"}", "JSON: not valid at byte 6"},
        {"{\"a\":\"\\ud800\"}", "JSON: not valid at byte 13"},
        {"{\"a\":\"\\x\"}", "JSON: not valid at byte 8"},
        {"{\"a\":1} // b", "JSON: not valid at byte 9"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        refused(cases[i].json, TOKEN_DATA_WITH_TOKEN, cases[i].error);
    struct error error;
    assert_null(token_data_from_json("{}\0", 3, TOKEN_DATA_NEW_TOKEN, NOW, &error));
    assert_string_equal(error.text, "JSON: not valid at byte 3");
}

static void deep_nesting(void **state)
{
    (void)state;
    enum { LEVELS = 100000 };
    char *json = malloc(6 * LEVELS + 1000);
    for (int objects = 0; objects < 2; objects++) {
        for (size_t levels = 1000; levels <= LEVELS; levels *= 10) {
            char *end = json + sprintf(json, "{" OUT ",\"x\":");
            for (size_t i = 0; i < levels; i++)
                end += sprintf(end, "%s", objects ? "{\"a\":" : "[");
            *end++ = '1';
            for (size_t i = 0; i < levels; i++)
                *end++ = objects ? '}' : ']';
            strcpy(end, "}");
            refused(json, TOKEN_DATA_WITH_TOKEN, levels == 1000 ? "x: unknown field" : "JSON: nested too deeply");
        }
    }
    free(json);
}

/* ISSUE: the token is made here, and none may be given. */
static void new_tokens(void **state)
{
    (void)state;
    refused("{" TOKEN "," REST "}", TOKEN_DATA_NEW_TOKEN, "token: must be absent: a new token is made");
    refused("{\"token\":1," REST "}", TOKEN_DATA_NEW_TOKEN, "token: must be absent: a new token is made");
    refused("{\"token\":null,\"token\":null," REST "}", TOKEN_DATA_NEW_TOKEN, "token: repeated field");
    struct token_data *one = read_json("{" REST "}", TOKEN_DATA_NEW_TOKEN, NULL);
    struct token_data *two = read_json("{\"token\":null," REST "}", TOKEN_DATA_NEW_TOKEN, NULL);
    assert_true(token_data_check(one, NULL) && token_data_check(two, NULL));
    assert_memory_not_equal(one->token.key, two->token.key, TOKEN_PART_SIZE);
    assert_memory_not_equal(one->token.secret, two->token.secret, TOKEN_PART_SIZE);
    assert_int_equal(one->created, NOW);
    token_data_free(&one);
    token_data_free(&two);
}

static void scopes_are_sorted(void **state)
{
    (void)state;
    accepted("{" TOKEN ",\"username\":\"u\",\"token_type\":\"user\",\"created\":1,"
             "\"scopes\":[\"b\",\"a:b\",\"a\",\"B\",\"_\",\"b\",\"a-b\",\"a.b\",\"ab\",\"a\",\"9\",\"b\"]}",
             "{" TOKEN ",\"username\":\"u\",\"token_type\":\"user\","
             "\"scopes\":[\"9\",\"B\",\"_\",\"a\",\"a-b\",\"a.b\",\"a:b\",\"ab\",\"b\"],\"created\":1}");
}

/* JSON of `scopes` different scopes, each given `times`, and `groups` groups. */
static char *json_of(size_t scopes, size_t times, size_t groups)
{
    char *json = malloc(1000 + 40 * (scopes * times + groups)), *end = json;
    end += sprintf(
        end, "{" TOKEN
             ",\"username\":\"u\",\"token_type\":\"user\",\"created\":1,\"expires\":253402300799,\"service\":\"s\","
             "\"name\":\"n\",\"email\":\"e\",\"uid\":9223372036854775807,\"gid\":9223372036854775807,\"scopes\":[");
    for (size_t i = 0; i < scopes * times; i++)
        end += sprintf(end, "%s\"s%zu\"", i == 0 ? "" : ",", i % scopes);
    end += sprintf(end, "],\"groups\":[");
    for (size_t i = 0; i < groups; i++)
        end += sprintf(end, "%s{\"name\":\"g%zu\",\"id\":%zu}", i == 0 ? "" : ",", i, i + 1);
    strcpy(end, "]}");
    return json;
}

static void survives_the_codec(const struct token_data *data)
{
    struct error error = {""};
    size_t size, json_size;
    unsigned char *bytes = malloc(CODEC_SIZE_MAX);
    size = codec_encode(data, bytes, CODEC_SIZE_MAX);
    assert_true(size <= CODEC_SIZE_MAX);
    struct token_data *again = codec_decode(bytes, size, &error);
    assert_string_equal(error.text, "");
    char *json = token_data_to_json(data, &json_size), *json_again = token_data_to_json(again, &json_size);
    assert_string_equal(json, json_again);
    free(json);
    free(json_again);
    token_data_free(&again);
    free(bytes);
}

static void as_many_as_allowed(void **state)
{
    (void)state;
    char *json = json_of(1000, 1, 500);
    struct token_data *data = read_json(json, TOKEN_DATA_WITH_TOKEN, NULL);
    assert_int_equal(data->n_scopes, 1000);
    assert_int_equal(data->n_groups, 500);
    assert_true(data->has_groups);
    assert_string_equal(data->scopes[0], "s0");
    assert_string_equal(data->scopes[999], "s999");
    assert_string_equal(data->groups[499].name, "g499");
    assert_int_equal(data->groups[499].id, 500);
    survives_the_codec(data);
    token_data_free(&data);
    free(json);

    json = json_of(1, 1000, 0);
    data = read_json(json, TOKEN_DATA_WITH_TOKEN, NULL);
    assert_int_equal(data->n_scopes, 1);
    token_data_free(&data);
    free(json);

    static const size_t more[][4] = {{1001, 1, 0, 's'}, {1, 1001, 0, 's'}, {0, 0, 501, 'g'}};
    for (size_t i = 0; i < COUNT(more); i++) {
        json = json_of(more[i][0], more[i][1], more[i][2]);
        refused(json, TOKEN_DATA_WITH_TOKEN,
                more[i][3] == 's' ? "scopes: must be an array of at most 1000"
                                  : "groups: must be an array of at most 500");
        free(json);
    }
}

static void as_large_as_allowed(void **state)
{
    (void)state;
    char *json = malloc(CODEC_SIZE_MAX + 1000);
    int head = sprintf(json, "{" OUT ",\"created\":1,\"name\":\"");
    struct token_data *data = NULL;
    size_t name_size = CODEC_SIZE_MAX - 1000;
    for (int round = 0; round < 3; round++) { /* to learn what else there is; the most; one more */
        memset(json + head, 'x', name_size);
        strcpy(json + head + name_size, "\"}");
        if (round == 2) {
            refused(json, TOKEN_DATA_WITH_TOKEN, "more than 131072 bytes once stored");
            break;
        }
        data = read_json(json, TOKEN_DATA_WITH_TOKEN, NULL);
        assert_non_null(data);
        survives_the_codec(data);
        name_size += round == 0 ? CODEC_SIZE_MAX - codec_size(data) : 1;
        token_data_free(&data);
    }
    free(json);
}

/* Every code point, in a name: what comes out is the same name, and nothing in it acts on a terminal. */
static void strings_come_out_safe(void **state)
{
    (void)state;
    for (uint32_t point = 1; point <= 0x10ffff; point += point < 0x3000 ? 1 : 0x101) {
        if (point >= 0xd800 && point <= 0xdfff)
            continue;
        char in[300], units[16];
        if (point < 0x10000)
            snprintf(units, sizeof units, "\\u%04x", point);
        else
            snprintf(units, sizeof units, "\\u%04x\\u%04x", 0xd800 + ((point - 0x10000) >> 10),
                     0xdc00 + ((point - 0x10000) & 0x3ff));
        snprintf(in, sizeof in, "{" OUT ",\"name\":\"x%sy%s\"}", units, units);
        struct token_data *data = read_json(in, TOKEN_DATA_WITH_TOKEN, NULL);
        assert_non_null(data);
        size_t size;
        char *out = token_data_to_json(data, &size);
        for (size_t i = 0; i < size; i++) {
            unsigned char c = (unsigned char)out[i];
            assert_false(c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)out[i + 1] < 0xa0));
        }
        struct token_data *again = read_json(out, TOKEN_DATA_WITH_TOKEN, NULL);
        assert_non_null(again);
        assert_string_equal(again->name, data->name);
        free(out);
        token_data_free(&again);
        token_data_free(&data);
    }
}

static void escapes_as_written(void **state)
{
    (void)state;
#define NAMED(name) "{" OUT ",\"created\":1,\"name\":\"" name "\"}"
    accepted(NAMED("\\b\\f\\n\\r\\t\\/\\\\\\\"\\u0001"), NAMED("\\u0008\\u000c\\u000a\\u000d\\u0009/\\\\\\\"\\u0001"));
    accepted(NAMED("\x7f\xc2\x80\xc2\x9f\xc2\xa0\xc3\x80<>&'"), NAMED("\\u007f\\u0080\\u009f\xc2\xa0\xc3\x80<>&'"));
}

#define FULL                                                                                                  \
    "{" TOKEN ",\"username\":\"some-user\",\"token_type\":\"user\",\"scopes\":[\"a\",\"b:c\"],\"created\":1," \
    "\"expires\":1800000000,\"service\":\"s\",\"name\":\"N \xc3\xa4\",\"email\":\"e@f\",\"uid\":1,\"gid\":2," \
    "\"groups\":[{\"name\":\"g\",\"id\":3}]}"

static void cut_everywhere(void **state)
{
    (void)state;
    accepted(FULL, FULL);
    for (size_t cut = 0; cut < strlen(FULL); cut++) {
        char json[sizeof FULL];
        memcpy(json, FULL, cut);
        json[cut] = '\0';
        struct error error;
        assert_null(read_json(json, TOKEN_DATA_WITH_TOKEN, &error));
        assert_int_equal(strncmp(error.text, "JSON: not valid at byte ", 24), 0);
    }
}

/* Any byte changed: refused without a word of the secret, or something that keeps the rules. */
static void altered_everywhere(void **state)
{
    (void)state;
    char json[sizeof FULL] = FULL;
    for (size_t at = 0; at < strlen(FULL); at++) {
        for (int byte = 0; byte < 256; byte++) {
            struct error error = {""};
            json[at] = (char)byte;
            struct token_data *data = token_data_from_json(json, strlen(FULL), TOKEN_DATA_WITH_TOKEN, NOW, &error);
            assert_true(data != NULL ? token_data_check(data, NULL) && data->expires > 0 : error.text[0] != '\0');
            assert_null(strstr(error.text, SECRET));
            token_data_free(&data);
        }
        json[at] = FULL[at];
    }
}

static void types_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"session", "user", "notebook", "internal", "service", "oidc"};
    for (size_t i = 0; i < COUNT(names); i++) {
        enum token_type type;
        assert_string_equal(token_type_name((enum token_type)i), names[i]);
        assert_true(token_type_parse(names[i], strlen(names[i]), &type));
        assert_int_equal(type, i);
        assert_false(token_type_parse(names[i], strlen(names[i]) - 1, &type));
    }
}

/* token_data_check, on what no reader would have made. */
static void checks(void **state)
{
    (void)state;
    static const char *const bad_scopes[] = {"a", "b c"}, *const good_scopes[] = {"b", "a"};
    static const struct token_group no_id[] = {{"a", 1}, {"b", 0}}, big_id[] = {{"a", (uint64_t)INT64_MAX + 1}},
                                    no_name[] = {{"", 1}};
    struct token_data good = {.username = "u", .type = TOKEN_TYPE_USER, .scopes = good_scopes, .n_scopes = 2};
    assert_true(token_parse("gt-" KEY "." SECRET, TOKEN_SIZE, &good.token));
    assert_true(token_data_check(&good, NULL));
#define BAD(field, value, expected)                   \
    do {                                              \
        struct token_data bad = good;                 \
        struct error error = {""};                    \
        bad.field = value;                            \
        assert_false(token_data_check(&bad, &error)); \
        assert_string_equal(error.text, expected);    \
    } while (0)
    BAD(token.key[21], '=', "token: key and secret must be 22 characters of A-Z a-z 0-9 - _ each");
    BAD(token.secret[0], '\0', "token: key and secret must be 22 characters of A-Z a-z 0-9 - _ each");
    BAD(username, NULL, USERNAME);
    BAD(type, (enum token_type)6, TYPE);
    BAD(type, (enum token_type) - 1, TYPE);
    BAD(scopes, bad_scopes, SCOPE(1));
    BAD(n_scopes, 1001, "scopes: must be at most 1000");
    BAD(n_groups, 501, "groups: must be at most 500");
    BAD(created, -1, CREATED);
    BAD(created, TOKEN_DATA_TIME_MAX + 1, CREATED);
    BAD(expires, -1, EXPIRES);
    BAD(expires, TOKEN_DATA_TIME_MAX + 1, EXPIRES);
    BAD(uid, (uint64_t)INT64_MAX + 1, ID("uid"));
    BAD(gid, UINT64_MAX, ID("gid"));
    BAD(service, "", "service: must be 1 to 64 characters");
    BAD(name, "", "name: must not be empty");
    BAD(name, "\xff", "name: must not be empty");
    BAD(email, "", "email: must not be empty");
    good.n_groups = 1;
    BAD(groups, big_id, ID("groups[0].id"));
    BAD(groups, no_name, GROUP(0));
    good.n_groups = 2;
    BAD(groups, no_id, ID("groups[1].id"));
}

/* Neither can another token be made of one, nor is one in what others are shown. */
static void changing(void **state)
{
    static const char json[] = "{\"token\":\"gt-aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbb\",\"username\":\"joe\","
                               "\"token_type\":\"user\",\"scopes\":[],\"created\":5,\"uid\":7}";
    struct error error;
    struct token_data *data = read_json(json, TOKEN_DATA_WITH_TOKEN, &error);
    json_t *tree = token_data_tree(json, sizeof json - 1), *fields = json_pack("{s:n,s:s}", "uid", "username", "bob");
    (void)state;
    assert_int_equal(json_object_size(tree), 5);
    assert_null(json_object_get(tree, "token"));
    struct token_data *changed = token_data_change(data, fields, 0, &error);
    assert_memory_equal(&changed->token, &data->token, sizeof data->token);
    assert_string_equal(changed->username, "bob");
    assert_int_equal(changed->uid, 0);
    token_data_free(&changed);
    json_object_set_new(fields, "token", json_null());
    assert_null(token_data_change(data, fields, 0, &error));
    assert_string_equal(error.text, "token: cannot be changed");
    token_data_free(&data);
    json_decref(tree);
    json_decref(fields);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(required_fields),
        cmocka_unit_test(required_fields_left_out),
        cmocka_unit_test(refuses),
        cmocka_unit_test(what_is_no_json),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(new_tokens),
        cmocka_unit_test(scopes_are_sorted),
        cmocka_unit_test(as_many_as_allowed),
        cmocka_unit_test(as_large_as_allowed),
        cmocka_unit_test(strings_come_out_safe),
        cmocka_unit_test(escapes_as_written),
        cmocka_unit_test(cut_everywhere),
        cmocka_unit_test(altered_everywhere),
        cmocka_unit_test(types_have_names),
        cmocka_unit_test(checks),
        cmocka_unit_test(changing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
