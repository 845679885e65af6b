/* SPDX-License-Identifier: MIT */
/* What tests of policies share: scripts in a temporary folder, loading them, and asking them about a token. */
#ifndef TK_TESTS_POLICY_FILES_H
#define TK_TESTS_POLICY_FILES_H

#include "keep/policy.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SCRIPTS = 3, NOW = 1700000000 };

#define KEY    "aaaaaaaaaaaaaaaaaaaaaa"
#define SECRET "ssssssssssssssssssssss"
#define TOKEN  "\"token\":\"gt-" KEY "." SECRET "\""
#define WHOLE                                                                                                     \
    "{" TOKEN ",\"username\":\"joe\",\"token_type\":\"user\",\"scopes\":[\"exec:admin\",\"read:all\"],"           \
    "\"created\":1600000000,\"expires\":1800000000,\"service\":\"svc\",\"name\":\"J\\u00f6e\",\"email\":\"j@e\"," \
    "\"uid\":1000,\"gid\":9223372036854775807,\"groups\":[{\"name\":\"g1\",\"id\":7},{\"name\":\"g2\",\"id\":8}]}"
#define BARE "{" TOKEN ",\"username\":\"joe\",\"token_type\":\"user\",\"scopes\":[],\"created\":1600000000}"

static char folder[PATH_MAX];
static char paths[SCRIPTS][PATH_MAX + 16];
static struct config config;
static const char *const names[SCRIPTS] = {"p.lua", "q.lua", "r.lua"};

static const struct event_peer inet = {.kind = PEER_INET, .port = 5001, .address = {10, 1, 2, 3}};

static inline void script_write(size_t i, const char *text, size_t size)
{
    FILE *file = fopen(paths[i], "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A configuration of these scripts, none of them in shadow mode. */
static inline void configure(const char *const *texts, size_t n)
{
    memset(&config, 0, sizeof config);
    config.n_policies = n;
    for (size_t i = 0; i < n; i++) {
        script_write(i, texts[i], strlen(texts[i]));
        config.policies[i] = (struct config_script){.name = (char *)(uintptr_t)names[i], .path = paths[i]};
    }
}

static inline struct policies *load_configured(void)
{
    struct error error = {""};
    struct policies *policies = policies_new(&config, NULL, &error);
    if (policies == NULL)
        fail_msg("%s", error.text);
    return policies;
}

static inline struct policies *load_one(const char *text)
{
    configure(&text, 1);
    return load_configured();
}

static inline struct token_data *data_of(const char *json)
{
    struct error error;
    struct token_data *data = token_data_from_json(json, strlen(json), TOKEN_DATA_WITH_TOKEN, NOW, &error);
    assert_non_null(data);
    return data;
}

static inline struct policy_request request_of(enum policy_point point)
{
    return (struct policy_request){.point = point, .peer = inet, .listener = "public", .time = NOW};
}

/* A policy with the function get. */
#define GET(body) "return { get = function(request, token) " body " end }"

/* Asks about the token of `json` as GET and DELETE do; NULL: none. */
static inline void ask_of(struct policies *policies, enum policy_point point, const char *json,
                          struct policy_answer *answer)
{
    const struct policy_request request = request_of(point);
    const struct policy_token token = {
        .key = {KEY "...", TOKEN_PART_SIZE},
        .username = {"joe...", 3},
        .token_type = "user",
        .scopes = "exec:admin\0read:all",
        .n_scopes = 2,
        .expires = json != NULL && strcmp(json, BARE) == 0 ? 0 : 1800000000,
        .json = event_text(json),
    };
    policies_ask(policies, &request, json == NULL ? NULL : &token, NULL, answer);
}

static inline void assert_verdict(const struct policy_answer *answer, enum policy_verdict verdict, const char *text,
                                  const char *script)
{
    const char *said = answer->verdict == POLICY_FAILS ? answer->failure.text : answer->reason;
    if (answer->verdict != verdict)
        fail_msg("%s: verdict %d: %s", script, answer->verdict, said);
    if (verdict == POLICY_REFUSES && strcmp(said, text) != 0)
        fail_msg("%s: refuses with \"%s\"", script, said);
    if (verdict == POLICY_FAILS && strstr(said, text) == NULL)
        fail_msg("%s: fails with \"%s\"", script, said);
    if (verdict != POLICY_CHANGES)
        assert_null(answer->changed);
}

static inline void permits(const char *script, enum policy_point point, const char *json)
{
    struct policy_answer answer;
    struct policies *policies = load_one(script);
    ask_of(policies, point, json, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", script);
    assert_null(answer.policy);
    policies_free(&policies);
}

/* For cmocka: the folder. */
static inline int set_up(void **state)
{
    const char *temporary = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/tokenkeep-policy-XXXXXX", temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(folder) == NULL)
        return -1;
    for (size_t i = 0; i < SCRIPTS; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < SCRIPTS; i++)
        unlink(paths[i]);
    return rmdir(folder);
}

#endif
