/* SPDX-License-Identifier: MIT */
/* `tokenkeep policy try`: puts one question to one policy, and shows the answer. */
#include "cli/policy.h"

#include "cli/argument.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/policy_question.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The options. */

const char *policy_option_name(enum policy_option option)
{
    static const char *const names[] = {
#define X(constant, name) name,
        POLICY_OPTIONS_LIST(X)
#undef X
    };
    return names[option];
}

void policy_options_show(void)
{
    fputs(
        "\nThe question:\n"
        "  --command NAME       get, check, getkey, store, issue, delete, deleteall, list or verifyall\n"
        "  --token-json FILE    the token's data, as store takes them; - is standard input\n"
        "  --peer ADDRESS       who asks over TCP (127.0.0.1:50000): 10.1.2.3 or [2001:db8::1]:40000\n"
        "  --user NAME|UID      who asks over a unix socket\n"
        "  --role ROLE          verify or manage (what the command needs)\n"
        "  --listener NAME      the listener's name (public; admin where the role is manage)\n"
        "  --tag TAG            the request's tag (none)\n"
        "  --username NAME      whose tokens, for list user and delete user, which are list and deleteall to policies\n"
        "  --scope SCOPE        what check asks for; may be repeated\n"
        "  --set NAME=VALUE     a setting of the policy; may be repeated\n"
        "  --time SECONDS       the time, since the epoch (now)\n",
        stdout);
}

static int list_add(const char **list, size_t *n, const char *value, const char *name, struct error *error)
{
    if (*n == POLICY_OPTION_REPEATS)
        return error_set(error, "there are more than %d --%s", POLICY_OPTION_REPEATS, name);
    list[(*n)++] = value;
    return 0;
}

int policy_option_take(struct policy_options *options, enum policy_option option, const char *value,
                       struct error *error)
{
    const char *name = policy_option_name(option);
    const bool is_second = options->value[option] != NULL;
    options->value[option] = value;
    if (option == POLICY_OPTION_SCOPE)
        return list_add(options->scopes, &options->n_scopes, value, name, error);
    if (option == POLICY_OPTION_SET)
        return list_add(options->settings, &options->n_settings, value, name, error);
    return is_second ? error_set(error, "--%s is there twice", name) : 0;
}

/* A number where it is one, so that what is none is refused as the field's value. */
static json_t *number(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 18
               ? json_integer(strtoll(text, NULL, 10))
               : json_string(text);
}

/* ADDRESS, IPV4:PORT or [IPV6]:PORT. */
static int put_peer(json_t *request, const char *text, struct error *error)
{
    unsigned char address[16];
    const char *colon = strrchr(text, ':'), *from = text;
    const bool has_port = colon != NULL && inet_pton(AF_INET6, text, address) != 1;
    size_t size = has_port ? (size_t)(colon - text) : strlen(text);
    if (has_port && size >= 2 && text[0] == '[' && colon[-1] == ']') {
        from++;
        size -= 2;
    }
    if (json_object_set_new(request, "address", json_stringn(from, size)) != 0 ||
        (has_port && json_object_set_new(request, "port", number(colon + 1)) != 0))
        return error_set(error, "--peer is no address; give one such as 10.1.2.3 or [2001:db8::1]:40000");
    return 0;
}

static json_t *texts(const char *const *list, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(array, json_string(list[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* The request as a test would write it. */
static json_t *make_request(const struct policy_options *options, struct error *error)
{
    static const struct {
        enum policy_option option;
        const char *field;
    } fields[] = {
        {POLICY_OPTION_COMMAND, "command"}, {POLICY_OPTION_ROLE, "role"},         {POLICY_OPTION_LISTENER, "listener"},
        {POLICY_OPTION_TAG, "tag"},         {POLICY_OPTION_USERNAME, "username"},
    };
    const char *user = options->value[POLICY_OPTION_USER], *peer = options->value[POLICY_OPTION_PEER];
    json_t *request = json_object();
    int bad = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (options->value[fields[i].option] != NULL)
            bad |= json_object_set_new(request, fields[i].field, json_string(options->value[fields[i].option]));
    if (user != NULL) {
        json_t *value = number(user);
        bad |= json_object_set_new(request, json_is_integer(value) ? "uid" : "user", value);
    }
    if (options->value[POLICY_OPTION_TIME] != NULL)
        bad |= json_object_set_new(request, "time", number(options->value[POLICY_OPTION_TIME]));
    if (options->n_scopes > 0)
        bad |= json_object_set_new(request, "scopes", texts(options->scopes, options->n_scopes));
    if (bad != 0)
        error_set(error, "an option's value is no valid UTF-8");
    if (bad == 0 && (peer == NULL || put_peer(request, peer, error) == 0))
        return request;
    json_decref(request);
    return NULL;
}

static json_t *make_settings(const struct policy_options *options, struct error *error)
{
    json_t *settings = json_object();
    for (size_t i = 0; i < options->n_settings; i++) {
        const char *given = options->settings[i], *equals = strchrnul(given, '=');
        char *name = strndup(given, (size_t)(equals - given));
        const bool repeats = json_object_get(settings, name) != NULL;
        const bool is_set = *equals == '=' && !repeats && name != NULL &&
                            json_object_set_new(settings, name, json_string(equals + 1)) == 0;
        free(name);
        if (!is_set) {
            error_set(error, repeats ? "--set: a setting is there twice"
                                     : "--set takes NAME=VALUE, in valid UTF-8; it is none of these");
            json_decref(settings);
            return NULL;
        }
    }
    return settings;
}

static json_t *read_token(const char *path, struct error *error)
{
    char *text = argument_json_file(path, error);
    json_t *token = text != NULL ? json_loads(text, 0, NULL) : NULL;
    if (text != NULL && token == NULL)
        error_set(error, "out of memory");
    if (text != NULL)
        sodium_memzero(text, strlen(text));
    free(text);
    return token;
}

/* The answer. */

static void show_text(json_t *answer)
{
    const char *name;
    json_t *value;
    json_object_foreach(answer, name, value)
    {
        printf("%-13s ", name);
        if (json_is_string(value))
            fputs(json_string_value(value), stdout);
        else
            json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
        putchar('\n');
    }
}

static int status_of(enum policy_verdict verdict)
{
    switch (verdict) {
    case POLICY_PERMITS:
    case POLICY_CHANGES: return STATUS_YES;
    case POLICY_REFUSES: return STATUS_NO;
    case POLICY_FAILS: return STATUS_NO_VERDICT;
    }
    return STATUS_NO_VERDICT;
}

static int show(const struct question *question, const struct subject *subject, const struct policy_answer *answer,
                bool json)
{
    uint64_t instructions;
    int64_t cpu;
    policies_cost(subject->policies, &instructions, &cpu);
    json_t *shown = question_answer_json(question, answer);
    if (json_object_set_new(shown, "instructions", json_integer((json_int_t)instructions)) != 0 ||
        json_object_set_new(shown, "nanoseconds", json_integer(cpu)) != 0) {
        json_decref(shown);
        output_failure(json, "internal", "out of memory", NULL);
        return STATUS_NO_VERDICT;
    }
    if (!json)
        show_text(shown);
    if (json && output_json(json_incref(shown)) != 0)
        return STATUS_NO_VERDICT;
    json_decref(shown);
    return status_of(answer->verdict);
}

static int fail(bool json, const char *code, const struct error *error)
{
    output_failure(json, code, error->text, NULL);
    return strcmp(code, "usage") == 0 ? STATUS_USAGE : STATUS_NO_VERDICT;
}

static int try(const char *file, const struct question *question, json_t *settings, bool json)
{
    struct error error;
    struct subject subject;
    struct policy_answer answer;
    int status;
    if (subject_load(&subject, file, settings, &error) == 0) {
        question_ask(question, &subject, &answer);
        status = show(question, &subject, &answer, json);
        token_data_free(&answer.changed);
    } else {
        status = fail(json, "policy", &error);
    }
    subject_clear(&subject);
    return status;
}

int policy_try(const char *file, const struct policy_options *options, bool json)
{
    struct error error = {""};
    struct question question = {.json = NULL};
    const char *token_file = options->value[POLICY_OPTION_TOKEN_JSON];
    json_t *token = NULL, *settings = NULL, *request = make_request(options, &error);
    int status;
    if (request != NULL && (settings = make_settings(options, &error)) != NULL &&
        (token_file == NULL || (token = read_token(token_file, &error)) != NULL) &&
        question_read(&question, request, token, true, &error) == 0)
        status = try(file, &question, settings, json);
    else
        status = fail(json, "usage", &error);
    question_clear(&question);
    json_decref(request);
    json_decref(settings);
    json_decref(token);
    return status;
}
