/* SPDX-License-Identifier: MIT */
/* One question to one policy. */
#include "cli/policy_question.h"

#include "base/accounts.h"
#include "base/clock.h"
#include "base/config_options.h"
#include "base/config_value.h"
#include "base/script.h"
#include "cli/output.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PORT = 50000,     /* of a client where nothing is said */
    STRANGER = 65533, /* the id of a user that this machine does not have */
    TAG_MAX = 32,
    LISTENER_MAX = 64,
};

/* The policy. */

/* A setting as text, as it would stand in the configuration. NULL: none that could stand there. */
static const char *setting_text(const json_t *value, char *room, size_t size)
{
    switch (json_typeof(value)) {
    case JSON_STRING: return json_string_value(value);
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_INTEGER: snprintf(room, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); return room;
    case JSON_REAL: snprintf(room, size, "%.14g", json_real_value(value)); return room;
    default: return NULL;
    }
}

static int add_setting(struct config_script *policy, const char *name, const json_t *value, struct error *error)
{
    char room[64];
    const char *text = setting_text(value, room, sizeof room);
    if (strcmp(name, "mode") == 0)
        return error_set(error, "the setting mode is the server's, and not handed to policies; take it away");
    if (*name == '\0' || value_has_control(name))
        return error_set(error, "a setting has no name, or a control character in it");
    if (text == NULL || value_has_control(text))
        return error_set(error, "the setting %s: give a text without control characters, or a number", name);
    return config_setting_add(policy, name, text, error);
}

/* Sets *found to the file's absolute path, which the caller frees. */
static int policy_path(const char *path, char **found, struct error *error)
{
    char *here = path[0] != '/' ? getcwd(NULL, 0) : strdup(""), *title = NULL;
    int result = -1;
    /* With a slash in it, a title is looked up nowhere else. */
    if (here == NULL || asprintf(&title, "%s%s%s", here, path[0] != '/' ? "/" : "", path) < 0)
        error_set(error, "out of memory, or without a folder to look in");
    else
        result = script_find(title, "/", found, error);
    free(here);
    free(title);
    return result;
}

static int add_policy(struct subject *subject, const char *path, json_t *settings, struct error *error)
{
    const char *name;
    json_t *value;
    char *absolute = NULL;
    if (policy_path(path, &absolute, error) != 0)
        return -1;
    struct config_script *policy = config_policy_add(subject->config, basename(absolute), absolute, 0, error);
    free(absolute);
    if (policy == NULL)
        return -1;
    json_object_foreach(settings, name, value)
    {
        if (add_setting(policy, name, value, error) != 0)
            return -1;
    }
    return 0;
}

int subject_load(struct subject *subject, const char *path, json_t *settings, struct error *error)
{
    *subject = (struct subject){config_new(error), NULL};
    if (subject->config == NULL || add_policy(subject, path, settings, error) != 0)
        return -1;
    subject->policies = policies_new(subject->config, NULL, error);
    if (subject->policies == NULL)
        return -1;
    policies_measure(subject->policies);
    return 0;
}

void subject_clear(struct subject *subject)
{
    policies_free(&subject->policies);
    config_free(&subject->config);
}

/* The request. */

/* What its fields say, before it is known what they say together. */
struct reading {
    struct question *question;
    bool by_options; /* and so errors name those */
    bool has_address, has_port, has_uid, has_role, has_time;
    const char *user;
    struct error *error;
};

static int take_command(struct reading *reading, const json_t *value)
{
    const char *name = json_string_value(value);
    reading->question->request.point = name != NULL ? policy_point_parse(name) : POLICY_POINTS;
    if (reading->question->request.point != POLICY_POINTS)
        return 0;
    return error_set(reading->error, "it is none of get, check, getkey, store, issue, delete, deleteall, list and "
                                     "verifyall; give one of them");
}

static int take_address(struct reading *reading, const json_t *value)
{
    const char *text = json_string_value(value);
    struct event_peer *peer = &reading->question->request.peer;
    reading->has_address = true;
    if (text != NULL && inet_pton(AF_INET, text, peer->address) == 1)
        peer->kind = PEER_INET;
    else if (text != NULL && inet_pton(AF_INET6, text, peer->address) == 1)
        peer->kind = PEER_INET6;
    else
        return error_set(reading->error, "it is no IPv4 or IPv6 address; give one such as 10.1.2.3 or 2001:db8::1");
    return 0;
}

/* A whole number from 0 to `most`. */
static int take_number(const struct reading *reading, const json_t *value, json_int_t most, json_int_t *number)
{
    *number = json_integer_value(value);
    if (!json_is_integer(value) || *number < 0 || *number > most)
        return error_set(reading->error, "it is no whole number from 0 to %" JSON_INTEGER_FORMAT, most);
    return 0;
}

static int take_port(struct reading *reading, const json_t *value)
{
    json_int_t port;
    reading->has_port = true;
    if (take_number(reading, value, UINT16_MAX, &port) != 0)
        return -1;
    reading->question->request.peer.port = (uint16_t)port;
    return 0;
}

static int take_user(struct reading *reading, const json_t *value)
{
    reading->user = json_string_value(value);
    return reading->user != NULL ? 0 : error_set(reading->error, "it is no text; give the name of a user");
}

static int take_uid(struct reading *reading, const json_t *value)
{
    json_int_t uid;
    reading->has_uid = true;
    /* The last one means none. */
    if (take_number(reading, value, UINT32_MAX - 1, &uid) != 0)
        return -1;
    reading->question->request.peer.uid = (uid_t)uid;
    return 0;
}

static int take_role(struct reading *reading, const json_t *value)
{
    static const char *const names[] = {[ROLE_VERIFY] = "verify", [ROLE_MANAGE] = "manage"};
    const char *text = json_string_value(value);
    reading->has_role = true;
    for (enum role role = ROLE_VERIFY; text != NULL && role <= ROLE_MANAGE; role++)
        if (strcmp(text, names[role]) == 0) {
            reading->question->request.role = role;
            return 0;
        }
    return error_set(reading->error, "it is none of verify and manage; give one of them");
}

static int take_listener(struct reading *reading, const json_t *value)
{
    const char *text = json_string_value(value);
    reading->question->request.listener = text;
    return text != NULL ? value_check_printable(text, 1, LISTENER_MAX, reading->error)
                        : error_set(reading->error, "it is no text; give the name of a listener");
}

static int take_tag(struct reading *reading, const json_t *value)
{
    const char *text = json_string_value(value);
    const size_t size =
        text != NULL ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") : 0;
    if (size == 0 || size > TAG_MAX || text[size] != '\0')
        return error_set(reading->error, "a tag is 1 to %d of A-Z a-z 0-9 - _", TAG_MAX);
    reading->question->request.tag = text;
    return 0;
}

static int take_username(struct reading *reading, const json_t *value)
{
    const char *text = json_string_value(value);
    reading->question->request.username = text;
    return text != NULL && token_data_username_valid(text)
               ? 0
               : error_set(reading->error,
                           "a user name is 1 to 64 lower-case letters, digits and single inner hyphens");
}

static int take_scopes(struct reading *reading, const json_t *value)
{
    struct question *question = reading->question;
    if (!json_is_array(value) || json_array_size(value) > QUESTION_SCOPES_MAX)
        return error_set(reading->error, "it is no list of at most %d scopes", QUESTION_SCOPES_MAX);
    question->request.scopes = question->asked;
    question->request.n_scopes = json_array_size(value);
    for (size_t i = 0; i < question->request.n_scopes; i++) {
        const json_t *scope = json_array_get(value, i);
        question->asked[i] = (struct event_text){json_string_value(scope), json_string_length(scope)};
        if (!json_is_string(scope) || !token_data_scope_valid(question->asked[i].text, question->asked[i].size))
            return error_set(reading->error, "a scope is one or more of A-Z a-z 0-9 : . _ -");
    }
    return 0;
}

static int take_time(struct reading *reading, const json_t *value)
{
    json_int_t seconds;
    reading->has_time = true;
    if (take_number(reading, value, TOKEN_DATA_TIME_MAX, &seconds) != 0)
        return -1;
    reading->question->request.time = seconds;
    return 0;
}

static const struct field {
    const char *name;
    const char *option; /* that gives it */
    int (*take)(struct reading *reading, const json_t *value);
} fields[] = {
    {"command", "command", take_command},
    {"address", "peer", take_address},
    {"port", "peer", take_port},
    {"user", "user", take_user},
    {"uid", "user", take_uid},
    {"role", "role", take_role},
    {"listener", "listener", take_listener},
    {"tag", "tag", take_tag},
    {"username", "username", take_username},
    {"scopes", "scope", take_scopes},
    {"time", "time", take_time},
    {"token", "token-json", NULL},
    {NULL, NULL, NULL},
};

static const struct field *field_find(const char *name)
{
    const struct field *field = fields;
    while (field->name != NULL && strcmp(field->name, name) != 0)
        field++;
    return field;
}

/* Says in the error which field is wrong; why stands in it already. */
static int field_failed(const struct reading *reading, const char *name)
{
    const struct error why = *reading->error;
    if (reading->by_options)
        return error_set(reading->error, "--%s: %s", field_find(name)->option, why.text);
    return error_set(reading->error, "%s%s: %s", field_find(name)->take != NULL ? "request." : "", name, why.text);
}

static int take_field(struct reading *reading, const char *name, const json_t *value)
{
    const struct field *field = field_find(name);
    if (field->take == NULL)
        return error_set(reading->error, "request: it has a field that there is not; known are command, address, port, "
                                         "user, uid, role, listener, tag, username, scopes and time");
    return field->take(reading, value) == 0 ? 0 : field_failed(reading, name);
}

/* A user who is not in /etc/passwd here may well be where the policy is to serve. */
static int settle_user(const struct reading *reading)
{
    struct event_peer *peer = &reading->question->request.peer;
    peer->kind = PEER_UNIX;
    if (reading->user == NULL) {
        account_assume(peer->uid, NULL);
        return 0;
    }
    if (!reading->has_uid && !account_find(reading->user, &peer->uid))
        peer->uid = STRANGER;
    if (account_assume(peer->uid, reading->user))
        return 0;
    error_set(reading->error, "it is no name that a user can have");
    return field_failed(reading, "user");
}

static int settle_peer(const struct reading *reading)
{
    struct event_peer *peer = &reading->question->request.peer;
    const bool is_unix = reading->user != NULL || reading->has_uid;
    if (is_unix && (reading->has_address || reading->has_port)) {
        error_set(reading->error, "who asks over TCP has an address, who asks over a unix socket is a user; give one");
        return field_failed(reading, "user");
    }
    if (is_unix)
        return settle_user(reading);
    if (!reading->has_port)
        peer->port = PORT;
    if (!reading->has_address) {
        peer->kind = PEER_INET;
        memcpy(peer->address, (const unsigned char[]){127, 0, 0, 1}, 4);
    }
    return 0;
}

static bool is_for_all(enum policy_point point)
{
    return point == POLICY_GET || point == POLICY_CHECK;
}

static int settle_request(const struct reading *reading)
{
    struct policy_request *request = &reading->question->request;
    if (request->point == POLICY_POINTS) {
        error_set(reading->error, "it is missing; give get, check, getkey, store ...");
        return field_failed(reading, "command");
    }
    if (!reading->has_role)
        request->role = is_for_all(request->point) ? ROLE_VERIFY : ROLE_MANAGE;
    if (request->role == ROLE_VERIFY && !is_for_all(request->point)) {
        error_set(reading->error, "this command needs the role manage, so no policy would be asked");
        return field_failed(reading, "role");
    }
    if (request->n_scopes > 0 && request->point != POLICY_CHECK) {
        error_set(reading->error, "only check asks for scopes");
        return field_failed(reading, "scopes");
    }
    if (request->username != NULL && request->point != POLICY_LIST && request->point != POLICY_DELETEALL) {
        error_set(reading->error, "only list and deleteall can be about the tokens of a user");
        return field_failed(reading, "username");
    }
    if (request->point != POLICY_CHECK)
        request->scopes = NULL;
    if (request->listener == NULL)
        request->listener = request->role == ROLE_MANAGE ? "admin" : "public";
    if (!reading->has_time)
        request->time = clock_wall();
    return settle_peer(reading);
}

/* The token. */

bool question_needs_token(enum policy_point point)
{
    return point != POLICY_DELETEALL && point != POLICY_LIST && point != POLICY_VERIFYALL;
}

static bool token_has_scope(const struct token_data *data, const struct event_text *scope)
{
    for (size_t i = 0; i < data->n_scopes; i++)
        if (strlen(data->scopes[i]) == scope->size && memcmp(data->scopes[i], scope->text, scope->size) == 0)
            return true;
    return false;
}

static int check_scopes(const struct reading *reading)
{
    const struct question *question = reading->question;
    for (size_t i = 0; i < question->request.n_scopes; i++)
        if (!token_has_scope(question->data, &question->asked[i])) {
            error_set(reading->error, "the token lacks %.*s, so no policy would be asked", (int)question->asked[i].size,
                      question->asked[i].text);
            return field_failed(reading, "scopes");
        }
    return 0;
}

/* The data of a JSON object; the caller frees them. */
static struct token_data *read_data(json_t *token, int64_t now, struct error *error)
{
    char *text = json_dumps(token, JSON_COMPACT);
    if (text == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    const json_t *given = json_object_get(token, "token");
    const bool is_given = given != NULL && !json_is_null(given);
    struct token_data *data =
        token_data_from_json(text, strlen(text), is_given ? TOKEN_DATA_WITH_TOKEN : TOKEN_DATA_NEW_TOKEN, now, error);
    sodium_memzero(text, strlen(text));
    free(text);
    return data;
}

static int join_scopes(struct question *question)
{
    size_t size = 1;
    for (size_t i = 0; i < question->data->n_scopes; i++)
        size += strlen(question->data->scopes[i]) + 1;
    char *at = question->scopes = calloc(1, size);
    for (size_t i = 0; at != NULL && i < question->data->n_scopes; i++)
        at = stpcpy(at, question->data->scopes[i]) + 1;
    return at != NULL ? 0 : -1;
}

static int read_token(const struct reading *reading, json_t *token)
{
    struct question *question = reading->question;
    struct token_data *data = question->data = read_data(token, question->request.time, reading->error);
    if (data == NULL)
        return field_failed(reading, "token");
    if (check_scopes(reading) != 0)
        return -1;
    question->json = token_data_to_json(data, &question->json_size);
    if (question->json == NULL || join_scopes(question) != 0)
        return error_set(reading->error, "out of memory");
    question->token = (struct policy_token){
        .key = {data->token.key, TOKEN_PART_SIZE},
        .username = event_text(data->username),
        .token_type = token_type_name(data->type),
        .scopes = question->scopes,
        .n_scopes = data->n_scopes,
        .expires = data->expires,
        .json = {question->json, question->json_size},
    };
    return 0;
}

int question_read(struct question *question, json_t *request, json_t *token, bool by_options, struct error *error)
{
    const char *name;
    json_t *value;
    memset(question, 0, sizeof *question);
    question->request.point = POLICY_POINTS;
    const struct policy_request *read = &question->request;
    struct reading reading = {.question = question, .by_options = by_options, .error = error};
    if (sodium_init() < 0)
        return error_set(error, "libsodium cannot start");
    json_object_foreach(request, name, value)
    {
        if (take_field(&reading, name, value) != 0)
            return -1;
    }
    if (settle_request(&reading) != 0)
        return -1;
    if (question_needs_token(read->point) != (token != NULL)) {
        error_set(error, "%s is about %s", policy_point_name(read->point),
                  token != NULL ? "no token; take it away" : "one; give its data");
        return field_failed(&reading, "token");
    }
    return token != NULL ? read_token(&reading, token) : 0;
}

void question_clear(struct question *question)
{
    token_data_free(&question->data);
    if (question->json != NULL)
        sodium_memzero(question->json, question->json_size);
    free(question->json);
    free(question->scopes);
    memset(question, 0, sizeof *question);
}

void question_ask(const struct question *question, struct subject *subject, struct policy_answer *answer)
{
    const enum policy_point point = question->request.point;
    const bool stores = point == POLICY_STORE || point == POLICY_ISSUE;
    *answer = (struct policy_answer){POLICY_FAILS, .changed = NULL};
    policies_ask(subject->policies, &question->request, question->data != NULL && !stores ? &question->token : NULL,
                 stores ? question->data : NULL, answer);
}

/* The answer. */

/* Token data as an object, without the token. */
static json_t *data_json(const struct token_data *data)
{
    size_t size;
    char *text = token_data_to_json(data, &size);
    json_t *object = text != NULL ? json_loadb(text, size, 0, NULL) : NULL;
    if (text != NULL)
        sodium_memzero(text, size);
    free(text);
    json_object_del(object, "token");
    return object;
}

/* What `after` has that `before` has not, and null for what it lacks. */
static json_t *differences(json_t *before, json_t *after)
{
    const char *name;
    json_t *value, *result = json_object();
    json_object_foreach(after, name, value)
    {
        if (!json_equal(value, json_object_get(before, name)))
            json_object_set(result, name, value);
    }
    json_object_foreach(before, name, value)
    {
        if (json_object_get(after, name) == NULL)
            json_object_set_new(result, name, json_null());
    }
    return result;
}

static json_t *changes(const struct question *question, const struct token_data *changed)
{
    json_t *before = data_json(question->data), *after = data_json(changed);
    json_t *result = before != NULL && after != NULL ? differences(before, after) : NULL;
    json_decref(before);
    json_decref(after);
    return result;
}

json_t *question_answer_json(const struct question *question, const struct policy_answer *answer)
{
    switch (answer->verdict) {
    case POLICY_PERMITS: return json_pack("{s:s}", "verdict", "permits");
    case POLICY_CHANGES:
        return json_pack("{s:s,s:o}", "verdict", "changes", "changed", changes(question, answer->changed));
    case POLICY_REFUSES: return json_pack("{s:s,s:s}", "verdict", "refuses", "reason", answer->reason);
    case POLICY_FAILS:
        return json_pack("{s:s,s:o}", "verdict", "fails", "reason", output_json_text(answer->failure.text));
    }
    return NULL;
}

char *question_changed(const struct question *question, json_t *changed, struct error *error)
{
    size_t size;
    char *text = NULL;
    json_t *object = json_loadb(question->json, question->json_size, 0, NULL);
    if (object == NULL || json_object_update(object, changed) != 0) {
        error_set(error, "out of memory");
    } else {
        struct token_data *data = read_data(object, question->request.time, error);
        text = data != NULL ? token_data_to_json(data, &size) : NULL;
        token_data_free(&data);
    }
    json_decref(object);
    return text;
}
