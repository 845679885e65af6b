/* SPDX-License-Identifier: MIT */
/* The vault: keyring files good and bad, the written-out vectors, and values that were cut, altered and moved. */
#include "keep/codec.h"
#include "keep/vault.h"
#include "vectors.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LINE_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define LINE_C "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

static char folder[] = "test_vault_XXXXXX";
static char file[sizeof folder + 16];

static int folder_make(void **state)
{
    (void)state;
    if (sodium_init() < 0 || mkdtemp(folder) == NULL)
        return -1;
    snprintf(file, sizeof file, "%s/keyring", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(folder);
}

static void file_write(const char *text, size_t size, mode_t mode)
{
    unlink(file);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static struct vault *vault_of(const char *text)
{
    struct error error = {""};
    file_write(text, strlen(text), 0600);
    struct vault *vault = vault_open_keyring(file, &error);
    assert_string_equal(error.text, "");
    assert_non_null(vault);
    return vault;
}

static unsigned char *from_hex(const char *hex, size_t *size)
{
    size_t room = strlen(hex) / 2 + 1;
    unsigned char *bytes = malloc(room);
    assert_int_equal(sodium_hex2bin(bytes, room, hex, strlen(hex), NULL, size, NULL), 0);
    return bytes;
}

/* Base64 lines of a key that is all `byte`, or of the vectors' keys. */
static void key_line(char out[64], const char *hex)
{
    unsigned char key[VAULT_KEY_SIZE];
    assert_int_equal(sodium_hex2bin(key, sizeof key, hex, strlen(hex), NULL, NULL, NULL), 0);
    sodium_bin2base64(out, 64, key, sizeof key, sodium_base64_VARIANT_ORIGINAL);
}

static void good_keyrings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t keys;
    } cases[] = {
        {LINE_A "\n", 1},
        {LINE_A, 1},
        {LINE_A "\r\n", 1},
        {LINE_A " \t \r\n", 1},
        {"# a comment\n\n" LINE_A "\n#" LINE_A "\n   \n\r\n" LINE_C "\n\n", 2},
        {"\n\n\n" LINE_C "\n" LINE_A, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vault *vault = vault_of(cases[i].text);
        assert_int_equal(vault_keys(vault), cases[i].keys);
        vault_free(&vault);
        assert_null(vault);
        vault_free(&vault);
    }
}

static void refused(const char *text, size_t size, mode_t mode, const char *expected)
{
    struct error error = {""};
    char whole[ERROR_TEXT_SIZE];
    file_write(text, size, mode);
    assert_null(vault_open_keyring(file, &error));
    snprintf(whole, sizeof whole, "%s%s", file, expected);
    assert_string_equal(error.text, whole);
}

static void bad_keyrings(void **state)
{
    (void)state;
#define NO_KEY "not a key: 32 bytes in padded base64, 44 characters, alone on the line"
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", ": no key in the keyring; `tokenkeep keygen` makes one"},
        {"# only this\n", ": no key in the keyring; `tokenkeep keygen` makes one"},
        {"#x\n" LINE_A "\nrubbish\n", ":3: " NO_KEY},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", ":1: " NO_KEY},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==", ":1: " NO_KEY},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", ":1: " NO_KEY}, /* bits behind the key */
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", ":1: " NO_KEY}, /* 31 bytes, 44 characters */
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g", ":1: " NO_KEY}, /* 33 bytes, 44 characters */
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH-8=", ":1: " NO_KEY}, /* the URL-safe alphabet */
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH_8=", ":1: " NO_KEY},
        {" " LINE_A, ":1: " NO_KEY},
        {LINE_A " # mine\n", ":1: " NO_KEY},
        {LINE_A LINE_C "\n", ":1: " NO_KEY},
        {"AAEC AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ":1: " NO_KEY},
        {LINE_A "\n" LINE_C "\n\n" LINE_A "\n", ":4: its key id is that of a line above"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].text, strlen(cases[i].text), 0600, cases[i].error);
    refused(LINE_A "\0\n", sizeof LINE_A + 1, 0600, ":1: " NO_KEY);
    refused("\0\n" LINE_A, sizeof LINE_A + 1, 0600, ":1: " NO_KEY);
}

static void modes(void **state)
{
    (void)state;
    for (mode_t mode = 0; mode < 01000; mode++) {
        bool allowed = (mode & S_IRWXO) == 0 && (mode & S_IWGRP) == 0;
        char expected[256];
        snprintf(expected, sizeof expected,
                 ": others can use the keyring or its group can write it (mode %04o): chmod 0640 %s", (unsigned)mode,
                 file);
        if (!allowed && (mode & S_IRUSR) != 0)
            refused(LINE_A, strlen(LINE_A), mode, expected);
        else if (allowed && (mode & S_IRUSR) != 0) {
            file_write(LINE_A, strlen(LINE_A), mode);
            struct vault *vault = vault_open_keyring(file, NULL);
            assert_non_null(vault);
            vault_free(&vault);
        }
    }
}

static void what_is_no_file(void **state)
{
    (void)state;
    struct error error;
    char expected[256];
    unlink(file);
    assert_null(vault_open_keyring(file, &error));
    snprintf(expected, sizeof expected, "%s: cannot open the keyring: No such file or directory", file);
    assert_string_equal(error.text, expected);

    assert_null(vault_open_keyring(folder, &error));
    snprintf(expected, sizeof expected, "%s: the keyring must be a regular file", folder);
    assert_string_equal(error.text, expected);

    assert_int_equal(mkfifo(file, 0600), 0);
    alarm(10); /* a FIFO without a writer would be waited for */
    assert_null(vault_open_keyring(file, &error));
    alarm(0);
    snprintf(expected, sizeof expected, "%s: the keyring must be a regular file", file);
    assert_string_equal(error.text, expected);
}

static void sizes(void **state)
{
    (void)state;
    size_t most = 64 * 1024;
    char *text = malloc(most + 1);
    memset(text, '\n', most + 1);
    memcpy(text, LINE_A, strlen(LINE_A));
    file_write(text, most, 0600);
    struct vault *vault = vault_open_keyring(file, NULL);
    assert_non_null(vault);
    vault_free(&vault);
    refused(text, most + 1, 0600, ": a keyring is at most 65536 bytes");
    free(text);
    /* A file that says nothing of its size, and has no end. */
    struct error error;
    assert_null(vault_open_keyring("/dev/zero", &error));
    assert_string_equal(error.text, "/dev/zero: the keyring must be a regular file");
}

static void number_of_keys(void **state)
{
    (void)state;
    char text[65 * 45 + 1] = "";
    for (unsigned i = 0; i < 65; i++) {
        unsigned char key[VAULT_KEY_SIZE] = {(unsigned char)i, 1};
        if (i == 64) {
            struct vault *vault = vault_of(text);
            assert_int_equal(vault_keys(vault), 64);
            vault_free(&vault);
        }
        sodium_bin2base64(text + strlen(text), 45, key, sizeof key, sodium_base64_VARIANT_ORIGINAL);
        strcat(text, "\n");
    }
    refused(text, strlen(text), 0600, ":65: more than 64 keys");
}

static struct vault *vault_of_vectors(void)
{
    char a[64], b[64], text[160];
    key_line(a, VECTOR_KEY_A);
    key_line(b, VECTOR_KEY_B);
    assert_string_equal(a, LINE_A);
    snprintf(text, sizeof text, "%s\n%s\n", a, b);
    return vault_of(text);
}

static void opens_the_vectors(void **state)
{
    (void)state;
    struct vault *vault = vault_of_vectors();
    for (size_t i = 0; i < VECTORS; i++) {
        const struct vector *vector = &vectors[i];
        size_t sealed_size, plain_size, opened_size = 0, json_size;
        unsigned char *sealed = from_hex(vector->sealed, &sealed_size), *plain = from_hex(vector->plain, &plain_size);
        unsigned char *opened = malloc(sealed_size - VAULT_OVERHEAD);
        unsigned char *within = sealed + VAULT_HEADER_SIZE + VAULT_NONCE_SIZE;
        assert_int_equal(
            vault_open(vault, vector->redis_key, strlen(vector->redis_key), sealed, sealed_size, opened, &opened_size),
            VAULT_OK);
        assert_int_equal(opened_size, plain_size);
        assert_memory_equal(opened, plain, plain_size);
        /* Once more, in place. */
        opened_size = 0;
        assert_int_equal(
            vault_open(vault, vector->redis_key, strlen(vector->redis_key), sealed, sealed_size, within, &opened_size),
            VAULT_OK);
        assert_int_equal(opened_size, plain_size);
        assert_memory_equal(within, plain, plain_size);

        struct error error = {""};
        struct token_data *data = codec_decode(opened, opened_size, &error);
        assert_string_equal(error.text, "");
        char *json = token_data_to_json(data, &json_size);
        assert_string_equal(json, vector->json);
        assert_int_equal(json_size, strlen(json));
        free(json);
        token_data_free(&data);
        free(opened);
        free(plain);
        free(sealed);
    }
    vault_free(&vault);
}

/* What is sealed has the first key's id, a nonce of its own, and opens with any keyring that has the key. */
static void seals(void **state)
{
    (void)state;
    struct vault *vault = vault_of(LINE_A "\n" LINE_C "\n"), *other = vault_of(LINE_C "\n" LINE_A "\n");
    static const unsigned char header[] = {0x01, 0xc7, 0xf4, 0x81, 0xf2, 0xc1, 0x66, 0x0d, 0x1b};
    static const char name[] = "token:abcdefghijklmnopqrstuv";
    unsigned char plain[500], sealed[2][sizeof plain + VAULT_OVERHEAD], opened[sizeof plain];
    randombytes_buf(plain, sizeof plain);
    for (size_t size = 0; size <= sizeof plain; size += size < 70 ? 1 : 43) {
        for (size_t i = 0; i < 2; i++) {
            size_t opened_size = SIZE_MAX;
            if (i == 1) /* in place */
                memcpy(sealed[i] + VAULT_PLAIN_AT, plain, size);
            vault_seal(vault, name, strlen(name), i == 0 ? plain : sealed[i] + VAULT_PLAIN_AT, size, sealed[i]);
            assert_memory_equal(sealed[i], header, sizeof header);
            assert_int_equal(VAULT_OK, vault_open(other, name, strlen(name), sealed[i], size + VAULT_OVERHEAD, opened,
                                                  &opened_size));
            assert_int_equal(opened_size, size);
            assert_memory_equal(opened, plain, size);
        }
        assert_memory_not_equal(sealed[0] + VAULT_HEADER_SIZE, sealed[1] + VAULT_HEADER_SIZE, VAULT_NONCE_SIZE);
    }
    vault_seal(other, name, strlen(name), plain, 1, sealed[0]);
    assert_memory_not_equal(sealed[0], header, sizeof header);
    vault_free(&vault);
    vault_free(&other);
}

/* What opening gives, from blocks of their own and of just the size, so that a step beyond them would be seen. */
static enum vault_result result(const struct vault *vault, const char *name, const unsigned char *sealed, size_t size)
{
    size_t room = size < VAULT_OVERHEAD ? 0 : size - VAULT_OVERHEAD, opened_size = SIZE_MAX;
    unsigned char *copy = malloc(size + (size == 0)), *opened = malloc(room + (room == 0));
    memcpy(copy, sealed, size);
    enum vault_result result = vault_open(vault, name, strlen(name), copy, size, opened, &opened_size);
    assert_int_equal(opened_size, result == VAULT_OK ? room : SIZE_MAX);
    free(opened);
    free(copy);
    return result;
}

static void names(void **state)
{
    (void)state;
    struct vault *vault = vault_of(LINE_A);
    static const char *const others[] = {
        "token:bbcdefghijklmnopqrstuv",
        "token:abcdefghijklmnopqrstuw",
        "token:abcdefghijklmnopqrstu",
        "token:abcdefghijklmnopqrstuvw",
        "other:abcdefghijklmnopqrstuv",
        "abcdefghijklmnopqrstuv",
        "",
    };
    size_t size;
    unsigned char *sealed = from_hex(vectors[0].sealed, &size);
    assert_int_equal(result(vault, "token:abcdefghijklmnopqrstuv", sealed, size), VAULT_OK);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(result(vault, others[i], sealed, size), VAULT_FORGED);
    free(sealed);

    char longest[VAULT_NAME_MAX + 2] = "";
    unsigned char value[VAULT_OVERHEAD + 1];
    memset(longest, 'n', VAULT_NAME_MAX);
    vault_seal(vault, longest, VAULT_NAME_MAX, (const unsigned char *)"x", 1, value);
    assert_int_equal(result(vault, longest, value, sizeof value), VAULT_OK);
    longest[VAULT_NAME_MAX] = 'n';
    assert_int_equal(result(vault, longest, value, sizeof value), VAULT_FORGED);
    vault_free(&vault);
}

static enum vault_result expected_when_altered(size_t at)
{
    if (at == 0)
        return VAULT_BAD_FORMAT;
    return at < VAULT_HEADER_SIZE ? VAULT_UNKNOWN_KEY : VAULT_FORGED;
}

/* Every bit of a value turned, and every length it could be cut to. */
static void altered_values(void **state)
{
    (void)state;
    struct vault *vault = vault_of_vectors();
    const char *name = vectors[1].redis_key;
    size_t size, other_size;
    unsigned char *sealed = from_hex(vectors[1].sealed, &size), *other = from_hex(vectors[0].sealed, &other_size);
    for (size_t at = 0; at < size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            sealed[at] ^= (unsigned char)(1u << bit);
            assert_int_equal(result(vault, name, sealed, size), expected_when_altered(at));
            sealed[at] ^= (unsigned char)(1u << bit);
        }
    }
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(result(vault, name, sealed, cut), cut < VAULT_OVERHEAD ? VAULT_TRUNCATED : VAULT_FORGED);
    assert_int_equal(result(vault, name, sealed, size), VAULT_OK);
    memcpy(sealed, other, VAULT_HEADER_SIZE); /* the id of another key that there is */
    assert_int_equal(result(vault, name, sealed, size), VAULT_FORGED);
    free(other);
    free(sealed);
    vault_free(&vault);
}

static void a_key_taken_away(void **state)
{
    (void)state;
    struct vault *vault = vault_of(LINE_C);
    size_t size;
    unsigned char *sealed = from_hex(vectors[0].sealed, &size);
    assert_int_equal(result(vault, vectors[0].redis_key, sealed, size), VAULT_UNKNOWN_KEY);
    free(sealed);
    vault_free(&vault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_keyrings),
        cmocka_unit_test(bad_keyrings),
        cmocka_unit_test(modes),
        cmocka_unit_test(what_is_no_file),
        cmocka_unit_test(sizes),
        cmocka_unit_test(number_of_keys),
        cmocka_unit_test(opens_the_vectors),
        cmocka_unit_test(seals),
        cmocka_unit_test(names),
        cmocka_unit_test(altered_values),
        cmocka_unit_test(a_key_taken_away),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
