/* SPDX-License-Identifier: MIT */
/* The client's commands: each makes a request, and shows its answer to people or to programs. */
#include "cli/commands.h"

#include "base/clock.h"
#include "cli/argument.h"
#include "cli/bench.h"
#include "cli/key_usage.h"
#include "cli/keygen.h"
#include "cli/output.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT      30.0  /* seconds */
#define TIMEOUT_LONG 600.0 /* of silence */

enum { ITEMS_MAX = 10000000 }; /* lines of an answer that are held in memory: a hostile one may never end */

struct client {
    const struct command *command;
    const struct options *options;
    char *const *arguments;
    size_t n_arguments;
    struct session *session;
    json_int_t deleted; /* bad values that verify-all --fix has seen deleted */
};

/* Tells of a failure that is the client's own finding. */
static int client_fail(const struct client *client, const char *code, const char *message)
{
    output_failure(client->options->json, code, message, NULL);
    return strcmp(code, "usage") == 0 ? STATUS_USAGE : STATUS_NO_VERDICT;
}

static int client_fail_exchange(const struct client *client, const struct failure *failure)
{
    bool uncertain = client->session != NULL && (client->command->flags & COMMAND_CHANGES) != 0;
    output_failure(client->options->json, failure->code, failure->error.text,
                   uncertain ? "whether the change was made is not known" : NULL);
    return strcmp(failure->code, "usage") == 0 ? STATUS_USAGE : STATUS_NO_VERDICT;
}

static int client_fail_answer(const struct client *client)
{
    return client_fail(client, "protocol", "the server's answer is not one to this command; is it tokenkeepd?");
}

static int client_print(const struct client *client, json_t *value)
{
    return output_json(value) == 0 ? STATUS_YES : client_fail(client, "internal", "out of memory");
}

static const struct {
    const char *code;
    const char *hint;
} error_hints[] = {
    {"busy", "try again in a moment"},
    {"denied", "name a listener of role manage with --socket"},
    {"corrupt", "verify-all lists such values, the server's log says more"},
    {"unavail", "the server cannot use its Redis, its log says why"},
};

static int client_show_error(const struct client *client, const struct answer *answer)
{
    char code[32], *message = NULL;
    const char *hint = NULL, *text = strchrnul(answer->text, ' ');
    snprintf(code, sizeof code, "%.*s", (int)(text - answer->text), answer->text);
    text += *text == ' ' ? 1 : 0;
    for (size_t i = 0; i < sizeof error_hints / sizeof error_hints[0]; i++)
        if (strcmp(code, error_hints[i].code) == 0)
            hint = error_hints[i].hint;
    if (asprintf(&message, "%s: the server answered ERR %s: %s", client->command->name, code, text) < 0)
        return client_fail(client, "internal", "out of memory");
    output_failure(client->options->json, code, message, hint);
    free(message);
    return STATUS_NO_VERDICT;
}

static const char *no_meaning(const struct command *command, const char *reason)
{
    if (strcmp(reason, "invalid") == 0 && command->first != NULL && strcmp(command->first, "KEY") == 0)
        return "there is no token with this key";
    if (strcmp(reason, "invalid") == 0)
        return "it is unknown, expired, revoked, unreadable, or its secret is wrong";
    if (strcmp(reason, "malformed") == 0)
        return "it does not have the form of one";
    if (strcmp(reason, "scope") == 0)
        return "the token does not have the scope";
    return "refused by policy";
}

static int client_show_no(const struct client *client, const struct answer *answer)
{
    char reason[32];
    const char *detail = strchrnul(answer->text, ' ');
    snprintf(reason, sizeof reason, "%.*s", (int)(detail - answer->text), answer->text);
    detail = *detail == ' ' ? detail + 1 : NULL;
    output_progress_clear();
    fflush(stdout);
    fprintf(stderr, "tokenkeep: %s: NO %s: %s%s%s\n", client->command->name, reason,
            no_meaning(client->command, reason), detail == NULL ? "" : ": ", detail == NULL ? "" : detail);
    if (client->options->json) {
        json_t *no = json_pack("{s:b,s:o}", client->command->no, 0, "reason", output_json_text(reason));
        if (detail != NULL)
            json_object_set_new(no, "detail", json_string(detail));
        if (client_print(client, no) != STATUS_YES)
            return STATUS_NO_VERDICT;
    }
    return STATUS_NO;
}

/* Receives a line of the answer. STATUS_YES: `answer` is an OK or an item; all else has been told. */
static int client_receive(struct client *client, struct answer *answer)
{
    struct failure failure;
    if (session_receive(client->session, answer, &failure) != 0)
        return client_fail_exchange(client, &failure);
    switch (answer->class) {
    case ANSWER_OK:
    case ANSWER_ITEM: return STATUS_YES;
    case ANSWER_NO: return client_show_no(client, answer);
    case ANSWER_ERR: return client_show_error(client, answer);
    }
    return STATUS_NO_VERDICT;
}

static int client_send(struct client *client, const char *line)
{
    struct failure failure;
    if (session_send(client->session, line, &failure) != 0)
        return client_fail_exchange(client, &failure);
    return STATUS_YES;
}

static int client_connect(struct client *client)
{
    bool is_long = (client->command->flags & COMMAND_LONG) != 0 || client->options->keys;
    double seconds = client->options->timeout > 0 ? client->options->timeout : is_long ? TIMEOUT_LONG : TIMEOUT;
    const struct session_limits limits = {.timeout = clock_from_seconds(seconds), .patient = is_long};
    struct failure failure;
    client->session = session_open(&client->options->target, &limits, &failure);
    if (client->session == NULL)
        return client_fail_exchange(client, &failure);
    if (is_long)
        session_on_wait(client->session, output_progress);
    return STATUS_YES;
}

/* Writes an argument of the request, a space before it. */
static int request_add(FILE *request, const struct client *client, size_t i, struct error *error)
{
    const struct command *command = client->command;
    const char *argument = client->arguments[i];
    if (i > 0) {
        fprintf(request, " %s", argument);
        return argument_check(command->rest, argument, strlen(argument), error);
    }
    char *first = (command->flags & COMMAND_JSON) != 0 ? argument_json(argument, error)
                                                       : argument_word(command->first, argument, error);
    if (first == NULL)
        return -1;
    fprintf(request, " %s", first);
    free(first);
    return 0;
}

/* The request's line; NULL when an argument will not do. The caller frees it. */
static char *request_make(const struct client *client, struct error *error)
{
    char *line = NULL;
    size_t size = 0;
    FILE *request = open_memstream(&line, &size);
    if (request == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    int bad = 0;
    fputs(client->command->verb, request);
    for (size_t i = 0; bad == 0 && i < client->n_arguments; i++)
        bad = request_add(request, client, i, error);
    if (client->options->fix)
        fputs(" FIX", request);
    if (client->options->keys)
        fputs(" KEYS", request);
    if (fclose(request) != 0 && bad == 0)
        bad = error_set(error, "out of memory");
    if (bad == 0)
        return line;
    free(line);
    return NULL;
}

/* Makes and sends the command's request. */
static int client_ask(struct client *client)
{
    struct error error;
    char *request = request_make(client, &error);
    if (request == NULL)
        return client_fail(client, "usage", error.text);
    int status = client_connect(client);
    if (status == STATUS_YES)
        status = client_send(client, request);
    free(request);
    return status;
}

/* Asks, and receives an answer of one line. STATUS_YES: it is an OK. */
static int client_ask_one(struct client *client, struct answer *answer)
{
    int status = client_ask(client);
    if (status == STATUS_YES)
        status = client_receive(client, answer);
    if (status == STATUS_YES && answer->class != ANSWER_OK)
        return client_fail_answer(client);
    return status;
}

/* Takes an item of an answer; false when it is not of the kind that the command has. */
typedef bool item_function(struct client *client, const char *item, json_t *collected);

/* Receives an answer of items, each of which goes to `take` with `collected`, up to its OK. */
static int client_collect(struct client *client, item_function *take, json_t *collected, struct answer *answer)
{
    for (size_t n = 0; n <= ITEMS_MAX || collected == NULL; n++) {
        int status = client_receive(client, answer);
        if (status != STATUS_YES || answer->class == ANSWER_OK)
            return status;
        output_progress_clear();
        if (!take(client, answer->text, collected))
            return client_fail_answer(client);
    }
    return client_fail(client, "protocol", "the answer is too long to be held in memory");
}

/* Reads `n` whole numbers, one space between each two and nothing else. */
static bool counts_parse(const char *text, json_int_t *counts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 18)
            return false;
        counts[i] = strtoll(text, NULL, 10);
        text += digits;
        if (*text != (i + 1 < n ? ' ' : '\0'))
            return false;
        text++;
    }
    return true;
}

/* get and getkey: the data as it is, once it is known to be JSON. */
static int run_get(struct client *client)
{
    struct answer answer;
    int status = client_ask_one(client, &answer);
    if (status != STATUS_YES)
        return status;
    json_t *data = json_loadb(answer.text, answer.size, JSON_REJECT_DUPLICATES, NULL);
    bool is_data = json_is_object(data);
    json_decref(data);
    if (!is_data)
        return client_fail_answer(client);
    puts(answer.text);
    return STATUS_YES;
}

static int run_check(struct client *client)
{
    struct answer answer;
    int status = client_ask_one(client, &answer);
    if (status != STATUS_YES)
        return status;
    if (answer.size == 0)
        return client_fail_answer(client);
    if (client->options->json)
        return client_print(client, json_pack("{s:b,s:s}", "valid", 1, "username", answer.text));
    puts(answer.text);
    return STATUS_YES;
}

/* store and delete: an OK with nothing behind it. */
static int run_change(struct client *client)
{
    struct answer answer;
    int status = client_ask_one(client, &answer);
    if (status != STATUS_YES)
        return status;
    if (answer.size != 0)
        return client_fail_answer(client);
    if (client->options->json)
        return client_print(client, json_pack("{s:b}", client->command->no, 1));
    puts(client->command->no);
    return STATUS_YES;
}

static int run_issue(struct client *client)
{
    struct answer answer;
    int status = client_ask_one(client, &answer);
    if (status != STATUS_YES)
        return status;
    if (!argument_is_token(answer.text))
        return client_fail_answer(client);
    if (client->options->json)
        return client_print(client, json_pack("{s:s}", "token", answer.text));
    puts(answer.text);
    return STATUS_YES;
}

static bool confirmed(const struct client *client)
{
    const struct session_target *target = &client->options->target;
    fprintf(stderr, "This deletes every token that %s holds. Type yes to go on: ",
            target->server != NULL ? target->server : target->socket);
    char reply[8];
    return fgets(reply, sizeof reply, stdin) != NULL && strcmp(reply, "yes\n") == 0;
}

/* delete-all and delete-user: an OK with a count. */
static int run_delete_many(struct client *client)
{
    struct answer answer;
    json_int_t deleted;
    int status = client_ask_one(client, &answer);
    if (status != STATUS_YES)
        return status;
    if (!counts_parse(answer.text, &deleted, 1))
        return client_fail_answer(client);
    output_progress_clear();
    if (client->options->json)
        return client_print(client, json_pack("{s:I}", "deleted", deleted));
    printf("deleted %" JSON_INTEGER_FORMAT "\n", deleted);
    return STATUS_YES;
}

static int run_delete_all(struct client *client)
{
    if (!client->options->yes && !isatty(STDIN_FILENO))
        return client_fail(client, "usage", "delete-all asks first, and standard input is not a terminal: give --yes");
    if (!client->options->yes && !confirmed(client)) {
        fputs("tokenkeep: nothing was deleted\n", stderr);
        if (client->options->json)
            output_json(json_pack("{s:b,s:s}", client->command->no, 0, "reason", "unconfirmed"));
        return STATUS_NO;
    }
    return run_delete_many(client);
}

static bool take_key(struct client *client, const char *item, json_t *collected)
{
    (void)client;
    if (!argument_is_key(item))
        return false;
    if (collected != NULL)
        return json_array_append_new(collected, json_string(item)) == 0;
    puts(item);
    return true;
}

static int run_list(struct client *client)
{
    struct answer answer;
    json_t *keys = client->options->json ? json_array() : NULL;
    int status = client_ask(client);
    if (status == STATUS_YES)
        status = client_collect(client, take_key, keys, &answer);
    json_int_t count = 0;
    if (status == STATUS_YES && !counts_parse(answer.text, &count, 1))
        status = client_fail_answer(client);
    output_progress_clear();
    if (status == STATUS_YES && keys != NULL)
        return client_print(client, json_pack("{s:o,s:I}", "keys", keys, "count", count));
    json_decref(keys);
    return status;
}

/* A bad value: `<key> <what is wrong>`, and "; deleted" behind it when it is no more. */
static bool take_bad_value(struct client *client, const char *item, json_t *collected)
{
    static const char mark[] = "; deleted";
    const char *space = strchr(item, ' ');
    if (space == NULL)
        return false;
    size_t size = strlen(space + 1);
    bool deleted = size >= sizeof mark - 1 && strcmp(space + 1 + size - (sizeof mark - 1), mark) == 0;
    client->deleted += deleted;
    if (!client->options->json)
        return puts(item) >= 0;
    json_t *value = json_pack("{s:s%,s:s%,s:b}", "key", item, (size_t)(space - item), "problem", space + 1,
                              deleted ? size - (sizeof mark - 1) : size, "deleted", deleted);
    return json_array_append_new(collected, value) == 0;
}

static int verify_show(const struct client *client, json_t *values, const json_int_t counts[2], json_int_t remaining)
{
    output_progress_clear();
    int status = STATUS_YES;
    if (client->options->json)
        status = client_print(client, json_pack("{s:I,s:I,s:I,s:O}", "checked", counts[0], "bad", counts[1],
                                                "remaining", remaining, "values", values));
    else
        printf("checked %" JSON_INTEGER_FORMAT ", bad %" JSON_INTEGER_FORMAT ", remaining %" JSON_INTEGER_FORMAT "\n",
               counts[0], counts[1], remaining);
    return status == STATUS_YES && remaining > 0 ? STATUS_NO : status;
}

static int run_verify_all(struct client *client)
{
    struct answer answer;
    json_int_t counts[2];
    json_t *values = client->options->json ? json_array() : NULL;
    int status = client_ask(client);
    if (status == STATUS_YES)
        status = client_collect(client, take_bad_value, values, &answer);
    if (status == STATUS_YES && (!counts_parse(answer.text, counts, 2) || counts[1] < client->deleted))
        status = client_fail_answer(client);
    if (status == STATUS_YES)
        status = verify_show(client, values, counts, counts[1] - client->deleted);
    json_decref(values);
    return status;
}

/* How far the server is, a few times a second; or a bad value. */
static bool take_rekeyed(struct client *client, const char *item, json_t *collected)
{
    static const char word[] = "progress ";
    char text[64];
    json_int_t counts[2];
    if (strncmp(item, word, sizeof word - 1) != 0)
        return take_bad_value(client, item, collected);
    if (!counts_parse(item + sizeof word - 1, counts, 2))
        return false;
    session_on_wait(client->session, NULL);
    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " values", counts[0], counts[1]);
    output_progress_text(counts[1] > 0 ? text : "looking for values");
    return true;
}

static int run_rekey(struct client *client)
{
    struct answer answer;
    json_int_t counts[3];
    json_t *values = client->options->json ? json_array() : NULL;
    int status = client_ask(client);
    if (status == STATUS_YES)
        status = client_collect(client, take_rekeyed, values, &answer);
    if (status == STATUS_YES && !counts_parse(answer.text, counts, 3))
        status = client_fail_answer(client);
    output_progress_clear();
    if (status == STATUS_YES && values != NULL)
        status = client_print(client, json_pack("{s:I,s:I,s:I,s:O}", "checked", counts[0], "bad", counts[1], "resealed",
                                                counts[2], "values", values));
    else if (status == STATUS_YES)
        printf("checked %" JSON_INTEGER_FORMAT ", bad %" JSON_INTEGER_FORMAT ", resealed %" JSON_INTEGER_FORMAT "\n",
               counts[0], counts[1], counts[2]);
    json_decref(values);
    return status == STATUS_YES && counts[1] > 0 ? STATUS_NO : status;
}

/* A key: `<id> <place> <values>`. */
static bool take_key_usage(struct client *client, const char *item, json_t *collected)
{
    json_int_t counts[2];
    (void)client;
    return strspn(item, "0123456789abcdef") == KEY_USAGE_ID_SIZE && item[KEY_USAGE_ID_SIZE] == ' ' &&
           counts_parse(item + KEY_USAGE_ID_SIZE + 1, counts, 2) &&
           key_usage_add(collected, item, counts[0], counts[1]);
}

static int run_stats_keys(struct client *client)
{
    struct answer answer;
    json_int_t counts[2];
    json_t *keys = json_array();
    int status = client_ask(client);
    if (status == STATUS_YES)
        status = client_collect(client, take_key_usage, keys, &answer);
    if (status == STATUS_YES && !counts_parse(answer.text, counts, 2))
        status = client_fail_answer(client);
    output_progress_clear();
    if (status == STATUS_YES)
        key_usage_judge(keys, counts[1]);
    if (status == STATUS_YES && client->options->json)
        status = client_print(
            client, json_pack("{s:O,s:I,s:I}", "keys", keys, "unreadable", counts[0], "unindexed", counts[1]));
    else if (status == STATUS_YES) {
        key_usage_print(keys);
        printf("unreadable %" JSON_INTEGER_FORMAT "\nunindexed %" JSON_INTEGER_FORMAT "\n", counts[0], counts[1]);
    }
    json_decref(keys);
    return status;
}

/* A figure: `<name> <value>`. */
static bool take_figure(struct client *client, const char *item, json_t *collected)
{
    (void)client;
    const char *space = strchr(item, ' ');
    if (space == NULL)
        return false;
    json_t *value = json_loads(space + 1, JSON_DECODE_ANY, NULL);
    if (!json_is_number(value)) {
        json_decref(value);
        return false;
    }
    char *name = strndup(item, (size_t)(space - item));
    int result = name == NULL ? -1 : json_object_set_new(collected, name, value);
    free(name);
    return result == 0;
}

static void figures_show(json_t *figures)
{
    const char *name;
    json_t *value;
    size_t width = 0;
    json_object_foreach(figures, name, value) if (strlen(name) > width) width = strlen(name);
    json_object_foreach(figures, name, value)
    {
        printf("%-*s ", (int)width, name);
        json_dumpf(value, stdout, JSON_ENCODE_ANY);
        putchar('\n');
    }
}

static int run_stats(struct client *client)
{
    if (client->options->keys)
        return run_stats_keys(client);
    struct answer answer;
    json_t *figures = json_object();
    int status = client_ask(client);
    if (status == STATUS_YES)
        status = client_collect(client, take_figure, figures, &answer);
    if (status == STATUS_YES && client->options->json)
        return client_print(client, figures);
    if (status == STATUS_YES)
        figures_show(figures);
    json_decref(figures);
    return status;
}

/* The round trip alone: connecting is over when the clock starts. */
static int run_ping(struct client *client)
{
    int status = client_connect(client);
    if (status != STATUS_YES)
        return status;
    int64_t sent = clock_boot();
    struct answer answer;
    status = client_send(client, client->command->verb);
    if (status == STATUS_YES)
        status = client_receive(client, &answer);
    int64_t taken = clock_boot() - sent;
    if (status != STATUS_YES)
        return status;
    if (answer.class != ANSWER_OK)
        return client_fail_answer(client);
    if (client->options->json)
        return client_print(client, json_pack("{s:b,s:I}", "ok", 1, "microseconds", (json_int_t)(taken / 1000)));
    puts("OK");
    fflush(stdout);
    fprintf(stderr, "round trip %.3f ms\n", (double)taken / 1e6);
    return STATUS_YES;
}

/* `bench` asks on connections of its own. */
static int run_bench(struct client *client)
{
    const struct options *options = client->options;
    struct bench_options plan = options->bench;
    struct failure failure;
    if (bench_options_finish(&plan, &failure.error) != 0)
        return client_fail(client, "usage", failure.error.text);
    double seconds = options->timeout > 0 ? options->timeout : TIMEOUT;
    switch (bench_run(&plan, &options->target, clock_from_seconds(seconds), options->json, &failure)) {
    case BENCH_RIGHT: return STATUS_YES;
    case BENCH_ERRORS_FOUND: return STATUS_NO;
    case BENCH_FAILED: break;
    }
    return client_fail_exchange(client, &failure);
}

static int run_keygen(struct client *client)
{
    char line[KEYGEN_LINE_SIZE + 1];
    if (keygen_line(line) != 0)
        return client_fail(client, "internal", "libsodium cannot start");
    if (client->options->json)
        return client_print(client, json_pack("{s:s}", "key", line));
    puts(line);
    return STATUS_YES;
}

static int run_policy_try(struct client *client)
{
    return policy_try(client->arguments[0], &client->options->policy, client->options->json);
}

static int run_policy_test(struct client *client)
{
    return policy_test(client->arguments[0], client->options->json);
}

const struct command commands[] = {
    {"get", "TOKEN", NULL, 1, 1, 0, "GET", "valid", "print the data of a valid token as JSON", run_get},
    {"check", "TOKEN", "SCOPE", 1, SIZE_MAX, 0, "CHECK", "valid",
     "print the username of a valid token that has every scope", run_check},
    {"getkey", "KEY", NULL, 1, 1, 0, "GETKEY", "valid", "print the data of the token with this key as JSON", run_get},
    {"store", "JSON", NULL, 1, 1, COMMAND_JSON | COMMAND_CHANGES, "STORE", "stored",
     "store token data, the token in it", run_change},
    {"issue", "JSON", NULL, 1, 1, COMMAND_JSON | COMMAND_CHANGES, "ISSUE", "issued",
     "store token data under a new token, and print that token", run_issue},
    {"delete", "KEY", NULL, 1, 1, COMMAND_CHANGES, "DELETE", "deleted", "revoke the token with this key", run_change},
    {"delete-all", NULL, NULL, 0, 0, COMMAND_CHANGES | COMMAND_LONG | COMMAND_YES, "DELETEALL", "done",
     "revoke every token; asks first, unless --yes is given", run_delete_all},
    {"delete-user", "USERNAME", NULL, 1, 1, COMMAND_CHANGES | COMMAND_LONG, "DELETE USER", "done",
     "revoke every token of a user", run_delete_many},
    {"list", NULL, NULL, 0, 0, COMMAND_LONG, "LIST", "done", "print the key of every stored token", run_list},
    {"list-user", "USERNAME", NULL, 1, 1, COMMAND_LONG, "LIST USER", "done", "print the keys of a user's tokens",
     run_list},
    {"verify-all", NULL, NULL, 0, 0, COMMAND_LONG | COMMAND_FIX, "VERIFYALL", "done",
     "open every stored value and print the bad ones; --fix deletes those", run_verify_all},
    {"rekey", NULL, NULL, 0, 0, COMMAND_LONG, "REKEY", "done",
     "seal every stored value again that is not sealed with the first key of the keyring", run_rekey},
    {"stats", NULL, NULL, 0, 0, COMMAND_KEYS, "STATS", "done",
     "print the server's figures; --keys: how many values each key of the keyring has sealed", run_stats},
    {"ping", NULL, NULL, 0, 0, 0, "PING", "ok", "see whether the server answers, and how fast", run_ping},
    {"bench", NULL, NULL, 0, 0, COMMAND_BENCH, NULL, NULL, "measure a server with tokens of its own", run_bench},
    {"keygen", NULL, NULL, 0, 0, 0, NULL, NULL, "print a new line for the server's keyring", run_keygen},
    {"policy try", "FILE", NULL, 1, 1, COMMAND_POLICY, NULL, NULL,
     "ask a policy about one request, without a server, and print what it says", run_policy_try},
    {"policy test", "DIR", NULL, 1, 1, 0, NULL, NULL, "run the tests of policies in a folder, its *_test.lua",
     run_policy_test},
    {.name = NULL},
};

const struct command *command_find(char *const *words, size_t n_words, size_t *n_used)
{
    for (const struct command *command = commands; command->name != NULL; command++) {
        const char *space = strchrnul(command->name, ' ');
        const size_t size = (size_t)(space - command->name);
        *n_used = *space == '\0' ? 1 : 2;
        if (n_words >= *n_used && strlen(words[0]) == size && memcmp(words[0], command->name, size) == 0 &&
            (*space == '\0' || strcmp(words[1], space + 1) == 0))
            return command;
    }
    return NULL;
}

int command_run(const struct command *command, const struct options *options, char *const *arguments,
                size_t n_arguments)
{
    struct client client = {
        .command = command,
        .options = options,
        .arguments = arguments,
        .n_arguments = n_arguments,
    };
    int status = command->run(&client);
    output_progress_clear();
    session_free(&client.session);
    return status;
}
