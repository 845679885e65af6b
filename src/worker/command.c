/* SPDX-License-Identifier: MIT */
/* The commands. */
#include "worker/command.h"

#include "worker/audit.h"
#include "worker/handlers.h"

#include <string.h>

#define BARRIER COMMAND_BARRIER
#define CHANGE  (COMMAND_BARRIER | COMMAND_CHANGE)
#define WRITE   (CHANGE | COMMAND_WRITE)
#define JSON    COMMAND_JSON
#define RESP    COMMAND_RESP
#define FORMS   COMMAND_FORMS

#define NO_POLICY POLICY_POINTS

/* What is asked most comes first. */
static const struct command commands[] = {
    {"GET", "<token>", 1, 1, ROLE_VERIFY, 0, handle_get, POLICY_GET, "the data behind a token"},
    {"CHECK", "<token> [<scope>...]", 1, 1 + TOKEN_DATA_SCOPES_MAX, ROLE_VERIFY, 0, handle_check, POLICY_CHECK,
     "the user name, when the token is valid and has every scope"},
    {"PING", "[<text>]", 0, 1, ROLE_VERIFY, RESP, handle_ping, NO_POLICY, "PONG, or the text"},
    {"PING", "", 0, 0, ROLE_VERIFY, 0, handle_ping, NO_POLICY, "OK"},
    {"HELP", "", 0, 0, ROLE_VERIFY, 0, handle_help, NO_POLICY, "this list"},
    {"QUIT", "", 0, 0, ROLE_VERIFY, 0, handle_quit, NO_POLICY, "OK after all answers, then the connection closes"},
    {"GETKEY", "<key>", 1, 1, ROLE_MANAGE, 0, handle_getkey, POLICY_GETKEY, "the data behind a key"},
    {"STORE", "<json>", 1, 1, ROLE_MANAGE, WRITE | JSON, handle_store, POLICY_STORE, "store the data of a token"},
    {"ISSUE", "<json>", 1, 1, ROLE_MANAGE, WRITE | JSON, handle_issue, POLICY_ISSUE,
     "make a token for the data, store it and tell it"},
    {"DELETE", "<key>", 1, 1, ROLE_MANAGE, CHANGE | FORMS, handle_delete, POLICY_DELETE, "revoke a token"},
    {"DELETE USER", "<username>", 1, 1, ROLE_MANAGE, CHANGE, handle_delete_user, POLICY_DELETEALL,
     "revoke every token of a user"},
    {"DELETEALL", "", 0, 0, ROLE_MANAGE, CHANGE, handle_deleteall, POLICY_DELETEALL, "revoke every token"},
    {"LIST", "", 0, 0, ROLE_MANAGE, BARRIER | FORMS, handle_list, POLICY_LIST, "the key of every token"},
    {"LIST USER", "<username>", 1, 1, ROLE_MANAGE, BARRIER, handle_list_user, POLICY_LIST,
     "the key of every token of a user"},
    {"VERIFYALL", "[FIX]", 0, 1, ROLE_MANAGE, BARRIER, handle_verifyall, POLICY_VERIFYALL,
     "open every stored value, tell the bad ones, delete them with FIX"},
    {"REKEY", "", 0, 0, ROLE_MANAGE, CHANGE, handle_rekey, POLICY_VERIFYALL,
     "seal every value again that is not sealed with the first key of the keyring"},
    {"STATS", "", 0, 0, ROLE_MANAGE, FORMS, handle_stats, NO_POLICY, "counters of this server"},
    {"STATS KEYS", "", 0, 0, ROLE_MANAGE, BARRIER, handle_stats_keys, POLICY_VERIFYALL,
     "how many values each key of the keyring has sealed"},
    {"ECHO", "<text>", 1, 1, ROLE_VERIFY, RESP, handle_echo, NO_POLICY, "the text"},
    {"HELLO", "[2]", 0, INPUT_WORDS_MAX - 1, ROLE_VERIFY, RESP, handle_hello, NO_POLICY, "greeting of Redis clients"},
    {"CLIENT", "SETNAME|SETINFO|ID", 1, INPUT_WORDS_MAX - 1, ROLE_VERIFY, RESP, handle_client, NO_POLICY,
     "greeting of Redis clients"},
    {"SELECT", "0", 1, 1, ROLE_VERIFY, RESP, handle_select, NO_POLICY, "greeting of Redis clients"},
    {"COMMAND", "", 0, INPUT_WORDS_MAX - 1, ROLE_VERIFY, RESP, handle_command, NO_POLICY, "greeting of Redis clients"},
};

const struct command *command_table(size_t *n)
{
    *n = sizeof commands / sizeof *commands;
    return commands;
}

/* Without regard to case; `name` is in capitals. */
static bool is_named(const char *name, struct word word)
{
    for (size_t i = 0; i < word.size; i++)
        if (name[i] == '\0' || (word.text[i] & ~0x20) != name[i])
            return false;
    return name[word.size] == '\0';
}

/* The first row of a name holds; in a line, the first that is not for RESP alone. */
static const struct command *find(struct word name, bool resp)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *row = &commands[i];
        if ((row->flags & RESP) != 0 && !resp)
            continue;
        if (is_named(row->name, name))
            return row;
    }
    return NULL;
}

/* The form of the command that its second word asks for, which is taken off the arguments then. */
static const struct command *find_form(const struct command *command, const struct input *input, size_t *n_names)
{
    *n_names = 1;
    if ((command->flags & FORMS) == 0 || input->n_words < 2)
        return command;
    const struct command *form = command + 1;
    const char *second = form->name + strlen(command->name) + 1;
    const struct word word = input->words[1];
    if (strncasecmp(second, word.text, word.size) != 0 || second[word.size] != '\0')
        return command;
    *n_names = 2;
    return form;
}

/* A word of a RESP request may not hold what would split it in a line. The texts of PING and ECHO may. */
static bool words_whole(const struct command *command, const struct input *input)
{
    if (!input->resp || (command->flags & (JSON | RESP)) != 0)
        return true;
    for (size_t i = 0; i < input->n_words && i < INPUT_WORDS_MAX; i++)
        if (input->words[i].size == 0 || memchr(input->words[i].text, ' ', input->words[i].size) != NULL)
            return false;
    return true;
}

bool command_waits(const struct connection *connection, const struct input *input)
{
    if (connection->barriers == 0)
        return false;
    if (connection->writes < connection->barriers || input->flaw != NULL)
        return true;
    const struct command *command = find(input->words[0], input->resp);
    return command == NULL || (command->flags & COMMAND_WRITE) == 0;
}

void command_execute(struct connection *connection, struct input *input)
{
    struct request *request = request_begin(connection, input);
    if (input->flaw != NULL) {
        answer_err(request, ERR_BADREQ, "%s", input->flaw);
        return;
    }
    const struct command *command = find(input->words[0], input->resp);
    if (command == NULL) {
        answer_err(request, ERR_BADREQ, "unknown command; HELP lists them");
        return;
    }
    request->command = command;
    if (command->role == ROLE_MANAGE && connection->listener->config->role != ROLE_MANAGE) {
        audit_denied(request);
        answer_err(request, ERR_DENIED, "%s is not for this listener's role", command->name);
        return;
    }
    if ((!input->resp && !line_split(input, (command->flags & JSON) != 0)) || !words_whole(command, input)) {
        answer_err(request, ERR_BADREQ, "words are separated by one space, and hold none");
        return;
    }
    size_t n_names;
    request->command = command = find_form(command, input, &n_names);
    if (input->n_words - n_names < command->min_words || input->n_words - n_names > command->max_words) {
        answer_err(request, ERR_BADREQ, "wrong number of arguments: %s %s", command->name, command->arguments);
        return;
    }
    if ((command->flags & COMMAND_CHANGE) != 0 && !audit_permits(request))
        return;
    request->barrier = (command->flags & BARRIER) != 0;
    request->write = (command->flags & COMMAND_WRITE) != 0;
    connection->barriers += request->barrier;
    connection->writes += request->write;
    command->handler(request, input->words + n_names, input->n_words - n_names);
}
