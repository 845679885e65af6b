/* SPDX-License-Identifier: MIT */
/* The codec: exact bytes, what another encoder may choose, and msgpack that lies, repeats, nests, or stops too
 * early. */
#include "keep/codec.h"
#include "vectors.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define KEY    "abcdefghijklmnopqrstuv"
#define SECRET "ABCDEFGHIJKLMNOP0189-_"

/* The members of a map, and its parts. */
#define K_TOKEN    "\xa5token"
#define K_USERNAME "\xa8username"
#define K_TYPE     "\xaatoken_type"
#define K_SCOPES   "\xa6scopes"
#define K_CREATED \
    "\xa7"        \
    "created"
#define K_EXPIRES \
    "\xa7"        \
    "expires"
#define K_SERVICE "\xa7service"
#define K_NAME    "\xa4name"
#define K_UID     "\xa3uid"
#define K_GROUPS  "\xa6groups"
#define V_TOKEN   "\x92\xb6" KEY "\xb6" SECRET
#define USERNAME      \
    K_USERNAME "\xa1" \
               "a"
#define TYPE    K_TYPE "\xa4user"
#define SCOPES  K_SCOPES "\x90"
#define CREATED K_CREATED "\x01"
#define FIVE    K_TOKEN V_TOKEN USERNAME TYPE SCOPES CREATED

/* Bytes that may hold a NUL, without the one that ends a literal. */
#define BYTES(literal) literal, sizeof(literal) - 1

static unsigned char *from_hex(const char *hex, size_t *size)
{
    size_t room = strlen(hex) / 2;
    unsigned char *bytes = malloc(room);
    assert_int_equal(sodium_hex2bin(bytes, room, hex, strlen(hex), NULL, size, NULL), 0);
    return bytes;
}

/* Decodes from a block of its own, of exactly that size. */
static struct token_data *decode(const void *bytes, size_t size, struct error *error)
{
    unsigned char *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, bytes, size);
    struct token_data *data = codec_decode(copy, size, error);
    free(copy);
    return data;
}

static void refused(const void *bytes, size_t size, const char *expected)
{
    struct error error = {""};
    assert_null(decode(bytes, size, &error));
    assert_string_equal(error.text, expected);
}

static void accepted(const char *bytes, size_t size, const char *expected)
{
    struct error error = {""};
    struct token_data *data = decode(bytes, size, &error);
    if (data == NULL)
        fail_msg("%s refused: %s", expected, error.text);
    size_t json_size;
    char *json = token_data_to_json(data, &json_size);
    assert_string_equal(json, expected);
    free(json);
    token_data_free(&data);
}

/* Written out once more, so that this stands on its own. */
static void exact_bytes(void **state)
{
    (void)state;
    static const char *const scopes[] = {"exec:notebook", "read:all"};
    static const struct token_group groups[] = {{"g", 1}, {"h2", 70000}};
    static const char expected[] = "\x8c" K_TOKEN V_TOKEN K_USERNAME "\xa3"
                                   "bot" K_TYPE "\xa8notebook" K_SCOPES "\x92\xad"
                                   "exec:notebook"
                                   "\xa8"
                                   "read:all" K_CREATED "\xce\x65\x53\xf1\x00" K_EXPIRES
                                   "\xcf\x00\x00\x00\x3a\xff\xf4\x41\x7f" K_SERVICE "\xa6portal" K_NAME "\xa2\xc3\xa4"
                                   "\xa5"
                                   "email"
                                   "\xa3"
                                   "a@b" K_UID "\xcc\xff"
                                   "\xa3gid"
                                   "\xcd\x01\x00" K_GROUPS "\x92\x82" K_NAME "\xa1g"
                                   "\xa2id"
                                   "\x01"
                                   "\x82" K_NAME "\xa2h2"
                                   "\xa2id"
                                   "\xce\x00\x01\x11\x70";
    struct token_data data = {
        .username = "bot",
        .type = TOKEN_TYPE_NOTEBOOK,
        .scopes = scopes,
        .n_scopes = 2,
        .created = 1700000000,
        .expires = TOKEN_DATA_TIME_MAX,
        .service = "portal",
        .name = "\xc3\xa4",
        .email = "a@b",
        .uid = 255,
        .gid = 256,
        .has_groups = true,
        .groups = groups,
        .n_groups = 2,
    };
    assert_true(token_parse("gt-" KEY "." SECRET, TOKEN_SIZE, &data.token));
    /* With no room, too little, and enough: never a byte more is written. */
    size_t size = sizeof expected - 1;
    for (size_t room = 0; room <= size; room++) {
        unsigned char *bytes = malloc(room + 1);
        assert_int_equal(codec_encode(&data, bytes, room), size);
        if (room == size)
            assert_memory_equal(bytes, expected, size);
        free(bytes);
    }
}

static void the_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        size_t plain_size, size;
        unsigned char *plain = from_hex(vectors[i].plain, &plain_size);
        accepted((const char *)plain, plain_size, vectors[i].json);
        struct token_data *data = decode(plain, plain_size, NULL);
        unsigned char bytes[4096];
        size = codec_encode(data, bytes, sizeof bytes);
        assert_true(size <= sizeof bytes);
        assert_true((size == plain_size && memcmp(bytes, plain, size) == 0) == vectors[i].shortest);
        token_data_free(&data);
        free(plain);
    }
}

#define JSON_HEAD "{\"token\":\"gt-" KEY "." SECRET "\",\"username\":\"a\",\"token_type\":\"user\",\"scopes\":[]"
static void another_encoders_choices(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *json;
    } cases[] = {
        {BYTES("\x85" FIVE), JSON_HEAD ",\"created\":1}"},
        {BYTES("\xde\x00\x05" FIVE), JSON_HEAD ",\"created\":1}"},
        {BYTES("\xdf\x00\x00\x00\x05" FIVE), JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\x00"), JSON_HEAD ",\"created\":0}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xcc\x01"), JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xcd\x00\x01"), JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xce\x00\x00\x00\x01"),
         JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xcf\x00\x00\x00\x00\x00\x00\x00\x01"),
         JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xd0\x01"), JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xd1\x00\x01"), JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xd2\x00\x00\x00\x01"),
         JSON_HEAD ",\"created\":1}"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xd3\x00\x00\x00\x00\x00\x00\x00\x01"),
         JSON_HEAD ",\"created\":1}"},
        {BYTES("\x86" FIVE K_UID "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"),
         JSON_HEAD ",\"created\":1,\"uid\":9223372036854775807}"},
        {BYTES("\x88" K_NAME "\xc0" K_UID "\xc0" FIVE K_GROUPS "\xc0"), JSON_HEAD ",\"created\":1}"},
        {BYTES("\x86" FIVE K_GROUPS "\x90"), JSON_HEAD ",\"created\":1,\"groups\":[]}"},
        {BYTES("\x86" FIVE K_GROUPS "\x91\x82\xa2id\x05" K_NAME "\xd9\x01g"),
         JSON_HEAD ",\"created\":1,\"groups\":[{\"name\":\"g\",\"id\":5}]}"},
        {BYTES("\x85" K_CREATED "\x01" K_SCOPES "\xdc\x00\x00" TYPE USERNAME K_TOKEN
               "\xdd\x00\x00\x00\x02\xda\x00\x16" KEY "\xdb\x00\x00\x00\x16" SECRET),
         JSON_HEAD ",\"created\":1}"},
        /* Expired: the codec does not know the time. */
        {BYTES("\x86" FIVE K_EXPIRES "\x01"), JSON_HEAD ",\"created\":1,\"expires\":1}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        accepted(cases[i].bytes, cases[i].size, cases[i].json);
}

#define BEYOND     "msgpack: a length or count beyond the end"
#define OTHER_TYPE "msgpack: a type that is not used here"
#define DEEP       "msgpack: nested too deeply"
#define BEHIND     "msgpack: more bytes behind the data"
static void bad_msgpack(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *error;
    } cases[] = {
        {BYTES(""), "msgpack: cut off"},
        {BYTES("\xdd\xff\xff\xff\xff"), BEYOND},
        {BYTES("\xdf\xff\xff\xff\xff"), BEYOND},
        {BYTES("\xdf\x80\x00\x00\x00"), BEYOND},
        {BYTES("\xdb\xff\xff\xff\xff"), BEYOND},
        {BYTES("\xdd\xff\xff\xff"), BEYOND},
        {BYTES("\xdc"), BEYOND},
        {BYTES("\xde\xff\xff"
               "abc"),
         BEYOND},
        {BYTES("\x9f"), BEYOND},
        {BYTES("\x81\x01"), BEYOND},
        {BYTES("\xa5"
               "abcd"),
         BEYOND},
        {BYTES("\x85" FIVE "\xc0"), BEHIND},
        {BYTES("\x85" FIVE "\x85" FIVE), BEHIND},
        {BYTES("\x00\x00"), BEHIND},
        {BYTES("\xc1"), OTHER_TYPE},
        {BYTES("\xc4\x01x"), OTHER_TYPE},
        {BYTES("\xc5\x00\x01x"), OTHER_TYPE},
        {BYTES("\xc6\x00\x00\x00\x01x"), OTHER_TYPE},
        {BYTES("\xc7\x01\x01x"), OTHER_TYPE},
        {BYTES("\xca\x00\x00\x00\x00"), OTHER_TYPE},
        {BYTES("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"), OTHER_TYPE},
        {BYTES("\xd4\x01x"), OTHER_TYPE},
        {BYTES("\xd6\xff\x00\x00\x00\x00"), OTHER_TYPE},
        {BYTES("\xd8\x01"
               "0123456789abcdef"),
         OTHER_TYPE},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xca\x3f\x80\x00\x00"), OTHER_TYPE},
        {BYTES("\x91\x91\x91\x91\x91\x91\x91\x90"), "must be an object"},
        {BYTES("\x91\x91\x91\x91\x91\x91\x91\x91\x90"), DEEP},
        {BYTES("\x81\x00\x81\x00\x81\x00\x81\x00\x81\x00\x81\x00\x81\x00\x81\x00\x80"), DEEP},
        {BYTES("\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91"), DEEP},
        {BYTES("\xc0"), "must be an object"},
        {BYTES("\x01"), "must be an object"},
        {BYTES("\xa1x"), "must be an object"},
        {BYTES("\x90"), "must be an object"},
        {BYTES("\x80"), "token: is required"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        refused(cases[i].bytes, cases[i].size, cases[i].error);
}

static void bad_fields(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *error;
    } cases[] = {
        {BYTES("\x84" USERNAME TYPE SCOPES CREATED), "token: is required"},
        {BYTES("\x84" K_TOKEN V_TOKEN TYPE SCOPES CREATED), "username: is required"},
        {BYTES("\x84" K_TOKEN V_TOKEN USERNAME SCOPES CREATED), "token_type: is required"},
        {BYTES("\x84" K_TOKEN V_TOKEN USERNAME TYPE CREATED), "scopes: is required"},
        {BYTES("\x84" K_TOKEN V_TOKEN USERNAME TYPE SCOPES), "created: is required"},
        {BYTES("\x85" K_TOKEN "\xc0" USERNAME TYPE SCOPES CREATED), "token: is required"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xc0"), "created: is required"},
        {BYTES("\x86" FIVE CREATED), "created: repeated field"},
        {BYTES("\x87" FIVE K_UID "\xc0" K_UID "\x01"), "uid: repeated field"},
        {BYTES("\x86" FIVE "\xa6"
               "expire"
               "\x01"),
         "an unknown field"},
        {BYTES("\x86" FIVE "\xa3"
               "x y"
               "\x01"),
         "an unknown field"},
        {BYTES("\x86" FIVE "\xd9\x30"
               "gt-" KEY "." SECRET "\x01"),
         "an unknown field"},
        {BYTES("\x86" FIVE "\x01\x01"), "an unknown field"},
        {BYTES("\x86" FIVE "\xc0\x01"), "an unknown field"},
        {BYTES("\x86" FIVE "\xa4"
               "nam\x00"
               "\xa1x"),
         "an unknown field"},
        {BYTES("\x85" K_TOKEN "\xd9\x30"
               "gt-" KEY "." SECRET USERNAME TYPE SCOPES CREATED),
         "token: must be an array of key and secret"},
        {BYTES("\x85" K_TOKEN "\x82\xa3key\xb6" KEY "\xa6secret\xb6" SECRET USERNAME TYPE SCOPES CREATED),
         "token: must be an array of key and secret"},
        {BYTES("\x85" K_TOKEN "\x91\xb6" KEY USERNAME TYPE SCOPES CREATED),
         "token: must be an array of key and secret"},
        {BYTES("\x85" K_TOKEN "\x93\xb6" KEY "\xb6" SECRET "\x01" USERNAME TYPE SCOPES CREATED),
         "token: must be an array of key and secret"},
        {BYTES("\x85" K_TOKEN "\x92\xb7" KEY "x\xb6" SECRET USERNAME TYPE SCOPES CREATED),
         "token.key: must be 22 characters of A-Z a-z 0-9 - _"},
        {BYTES("\x85" K_TOKEN "\x92\xb6" KEY "\xc0" USERNAME TYPE SCOPES CREATED),
         "token.secret: must be 22 characters of A-Z a-z 0-9 - _"},
        {BYTES("\x85" K_TOKEN V_TOKEN K_USERNAME "\xa1"
               "A" TYPE SCOPES CREATED),
         "username: must be 1 to 64 lower-case letters, digits and single inner hyphens, with a letter"},
        {BYTES("\x85" K_TOKEN V_TOKEN K_USERNAME "\xa2"
               "a\x00" TYPE SCOPES CREATED),
         "username: must be a string"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME K_TYPE "\xa1x" SCOPES CREATED),
         "token_type: must be session, user, notebook, internal, service or oidc"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE K_SCOPES "\x92\xa1"
               "a\xa1/" CREATED),
         "scopes[1]: must be one or more of A-Z a-z 0-9 : . _ -"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE K_SCOPES "\x91\x01" CREATED), "scopes[0]: must be a string"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xff"),
         "created: must be an integer from 0 to 253402300799"},
        {BYTES("\x85" K_TOKEN V_TOKEN USERNAME TYPE SCOPES K_CREATED "\xc3"),
         "created: must be an integer from 0 to 253402300799"},
        /* Zero must not come out as "never". */
        {BYTES("\x86" FIVE K_EXPIRES "\x00"), "expires: must be an integer from 1 to 253402300799"},
        {BYTES("\x86" FIVE K_EXPIRES "\xff"), "expires: must be an integer from 1 to 253402300799"},
        {BYTES("\x86" FIVE K_EXPIRES "\xcf\x00\x00\x00\x3a\xff\xf4\x41\x80"),
         "expires: must be an integer from 1 to 253402300799"},
        {BYTES("\x86" FIVE K_EXPIRES "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
         "expires: must be an integer from 1 to 253402300799"},
        {BYTES("\x86" FIVE K_UID "\x00"), "uid: must be an integer from 1 to 9223372036854775807"},
        {BYTES("\x86" FIVE K_UID "\xcf\x80\x00\x00\x00\x00\x00\x00\x00"),
         "uid: must be an integer from 1 to 9223372036854775807"},
        {BYTES("\x86" FIVE K_UID "\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
         "uid: must be an integer from 1 to 9223372036854775807"},
        {BYTES("\x86" FIVE K_UID "\xa1"
               "1"),
         "uid: must be an integer from 1 to 9223372036854775807"},
        {BYTES("\x86" FIVE K_NAME "\xa0"), "name: must not be empty"},
        {BYTES("\x86" FIVE K_NAME "\xa2"
               "a\x00"),
         "name: must be a string"},
        {BYTES("\x86" FIVE K_NAME "\xa1\xff"), "name: must be a string"},
        {BYTES("\x86" FIVE K_NAME "\xa3\xed\xa0\x80"), "name: must be a string"},
        {BYTES("\x86" FIVE K_SERVICE "\xd9\x41"
               "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0"),
         "service: must be 1 to 64 characters"},
        {BYTES("\x86" FIVE K_GROUPS "\x91\x90"), "groups[0]: must be an object of name and id"},
        {BYTES("\x86" FIVE K_GROUPS "\x91\x81" K_NAME "\xa1g"), "groups[0].id: is required"},
        {BYTES("\x86" FIVE K_GROUPS "\x91\x83" K_NAME "\xa1g\xa2id\x01\xa2id\x01"), "groups[0].id: repeated field"},
        {BYTES("\x86" FIVE K_GROUPS "\x91\x83" K_NAME "\xa1g\xa2id\x01\xa2ID\x01"), "groups[0]: an unknown field"},
        {BYTES("\x86" FIVE K_GROUPS "\x91\x82" K_NAME "\xa1g\xa2id\x00"),
         "groups[0].id: must be an integer from 1 to 9223372036854775807"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        refused(cases[i].bytes, cases[i].size, cases[i].error);
}

/* Arrays of many nils: all that is there is counted, and each counts as one. */
static void many_nodes(void **state)
{
    (void)state;
    unsigned char *bytes = malloc(CODEC_SIZE_MAX + 1);
    memset(bytes, 0xc0, CODEC_SIZE_MAX + 1);
    memcpy(bytes, "\xdc\x0f\xff", 3);
    refused(bytes, 3 + CODEC_NODES_MAX - 1, "must be an object");
    memcpy(bytes, "\xdc\x10\x00", 3);
    refused(bytes, 3 + CODEC_NODES_MAX, "msgpack: too many values");
    memcpy(bytes, "\xde\x08\x00", 3);
    refused(bytes, 3 + CODEC_NODES_MAX, "msgpack: too many values");
    memcpy(bytes, "\xdd\x00\x01\xff\xfb", 5);
    refused(bytes, CODEC_SIZE_MAX, "msgpack: too many values");
    memcpy(bytes, "\xdb\x00\x01\xff\xfb", 5);
    refused(bytes, CODEC_SIZE_MAX, "must be an object");
    memcpy(bytes, "\xdb\x00\x01\xff\xfc", 5);
    refused(bytes, CODEC_SIZE_MAX + 1, "msgpack: too long");
    /* More scopes and groups than there may be, within the bound on nodes. */
    for (size_t extra = 0; extra < 2; extra++) {
        unsigned char *at = bytes + sizeof "\x85" K_TOKEN V_TOKEN USERNAME TYPE CREATED K_SCOPES - 1;
        memcpy(bytes, "\x85" K_TOKEN V_TOKEN USERNAME TYPE CREATED K_SCOPES, (size_t)(at - bytes));
        memcpy(at, extra ? "\xdc\x03\xe9" : "\xdc\x03\xe8", 3);
        at += 3;
        for (size_t i = 0; i < 1000 + extra; i++, at += 2)
            memcpy(at, "\xa1s", 2);
        if (extra)
            refused(bytes, (size_t)(at - bytes), "scopes: must be an array of at most 1000");
        else
            accepted((char *)bytes, (size_t)(at - bytes),
                     "{\"token\":\"gt-" KEY "." SECRET
                     "\",\"username\":\"a\",\"token_type\":\"user\",\"scopes\":[\"s\"],\"created\":1}");
    }
    free(bytes);
}

static void nesting_bombs(void **state)
{
    (void)state;
    static const unsigned char openers[] = {0x91, 0x92, 0x81, 0x8f, 0x9f, 0xdc, 0xdd, 0xde, 0xdf};
    enum { SIZE = 100000 };
    unsigned char *bytes = malloc(SIZE);
    for (size_t i = 0; i < sizeof openers; i++) {
        struct error error;
        memset(bytes, openers[i], SIZE);
        assert_null(decode(bytes, SIZE, &error));
        for (size_t at = 0; at + 5 <= SIZE; at += 5)
            memcpy(bytes + at, (unsigned char[]){openers[i], 0, 0, 0, 1}, 5);
        assert_null(decode(bytes, SIZE, &error));
    }
    free(bytes);
}

static void cut_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        size_t size;
        unsigned char *plain = from_hex(vectors[i].plain, &size);
        for (size_t cut = 0; cut < size; cut++) {
            struct error error;
            assert_null(decode(plain, cut, &error));
            assert_true(strcmp(error.text, BEYOND) == 0 || strcmp(error.text, "msgpack: cut off") == 0);
        }
        free(plain);
    }
}

/* Any byte changed: refused, without a word of what is inside, or something that keeps the rules. */
static void altered_everywhere(void **state)
{
    (void)state;
    size_t good = 0;
    for (size_t i = 0; i < VECTORS; i++) {
        size_t size;
        unsigned char *plain = from_hex(vectors[i].plain, &size);
        for (size_t at = 0; at < size; at++) {
            unsigned char before = plain[at];
            for (unsigned byte = 0; byte < 256; byte++) {
                struct error error = {""};
                plain[at] = (unsigned char)byte;
                struct token_data *data = decode(plain, size, &error);
                assert_true(data != NULL ? token_data_check(data, NULL) : error.text[0] != '\0');
                assert_null(strstr(error.text, "ABCDEFGH"));
                assert_null(strstr(error.text, "abcdefgh"));
                good += data != NULL;
                token_data_free(&data);
            }
            plain[at] = before;
        }
        free(plain);
    }
    assert_true(good > 1000);
}

/* Bytes at random, mostly from those that open something. */
static void random_bytes(void **state)
{
    (void)state;
    static const unsigned char seed[randombytes_SEEDBYTES] = "always the same";
    enum { ROUNDS = 3000, MOST = 64 };
    unsigned char *bytes = malloc(ROUNDS * MOST);
    randombytes_buf_deterministic(bytes, ROUNDS * MOST, seed);
    for (size_t round = 0; round < ROUNDS; round++) {
        unsigned char *at = bytes + round * MOST;
        for (size_t i = 0; i < MOST; i++)
            at[i] = (at[i] & 3) == 0 ? at[i] : (unsigned char)(0x80 + at[i] % 0x60);
        struct token_data *data = decode(at, at[0] % MOST + 1u, NULL);
        assert_null(data);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_bytes),   cmocka_unit_test(the_vectors),    cmocka_unit_test(another_encoders_choices),
        cmocka_unit_test(bad_msgpack),   cmocka_unit_test(bad_fields),     cmocka_unit_test(many_nodes),
        cmocka_unit_test(nesting_bombs), cmocka_unit_test(cut_everywhere), cmocka_unit_test(altered_everywhere),
        cmocka_unit_test(random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
