/* SPDX-License-Identifier: MIT */
/* `tokenkeep policy test`: runs a folder of tests, and says which of them failed. */
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/policy.h"
#include "cli/policy_file.h"
#include "cli/policy_question.h"

#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX "_test.lua"

enum { TIMES_MAX = 100000, NAME_SIZE = 128 };

/* What has come of all tests so far. */
struct tally {
    bool json;
    size_t passed, failed;
    json_t *failures;
};

/* A file of tests, and the policy that it is about. */
struct suite {
    struct tally *tally;
    const char *folder;
    const char *name; /* of the file */
    char *policy;     /* path */
    json_t *settings; /* borrowed */
    struct subject subject;
};

/* What happened where something else was wanted. */
struct outcome {
    char *came; /* NULL: what was wanted */
};

/* Telling of failures. */

static void __attribute__((format(printf, 2, 3))) came(struct outcome *outcome, const char *format, ...)
{
    va_list arguments;
    free(outcome->came);
    va_start(arguments, format);
    if (vasprintf(&outcome->came, format, arguments) < 0)
        outcome->came = strdup("(out of memory)");
    va_end(arguments);
}

/* Prints what may hold anything. */
static void put_clean(const char *label, const char *text)
{
    char *copy = strdup(text);
    if (copy != NULL)
        utf8_make_text(copy, strlen(copy));
    printf("%s%s\n", label, copy != NULL ? copy : "(out of memory)");
    free(copy);
}

static void file_failed(struct suite *suite, const struct error *error)
{
    suite->tally->failed++;
    if (!suite->tally->json) {
        printf("%s: ", suite->name);
        put_clean("", error->text);
    }
    json_array_append_new(suite->tally->failures, json_pack("{s:o,s:o}", "file", output_json_text(suite->name),
                                                            "reason", output_json_text(error->text)));
}

/* What a case wants, as a person would say it; the caller frees it. */
static char *wanted_text(const json_t *test)
{
    const json_t *want = json_object_get(test, "want"), *fails = json_object_get(test, "fails");
    char *text = NULL;
    char *fields = json_is_object(want) ? json_dumps(want, JSON_COMPACT) : NULL;
    int size;
    if (json_is_string(fails))
        size = asprintf(&text, "fails: ... %s ...", json_string_value(fails));
    else if (json_is_string(want))
        size = asprintf(&text, "refuses: %s", json_string_value(want));
    else if (fields != NULL)
        size = asprintf(&text, "changes: %s", fields);
    else
        size = asprintf(&text, "%s", fails != NULL ? "fails" : json_is_true(want) ? "permits" : "refuses");
    free(fields);
    return size < 0 ? NULL : text;
}

static void case_failed(struct suite *suite, const json_t *test, const char *name, const char *came)
{
    char *wanted = wanted_text(test);
    const char *shown = wanted != NULL ? wanted : "(out of memory)";
    suite->tally->failed++;
    if (!suite->tally->json) {
        printf("%s: ", suite->name);
        put_clean("", name);
        put_clean("    wanted  ", shown);
        put_clean("    came    ", came);
    }
    json_array_append_new(suite->tally->failures, json_pack("{s:o,s:o,s:o,s:o}", "file", output_json_text(suite->name),
                                                            "case", output_json_text(name), "wanted",
                                                            output_json_text(shown), "came", output_json_text(came)));
    free(wanted);
}

/* A case. */

/* "refuses: not from here" */
static void came_answer(struct outcome *outcome, const struct question *question, const struct policy_answer *answer)
{
    json_t *shown = question_answer_json(question, answer);
    const char *verdict = json_string_value(json_object_get(shown, "verdict"));
    const char *reason = json_string_value(json_object_get(shown, "reason"));
    char *changed = json_dumps(json_object_get(shown, "changed"), JSON_COMPACT);
    if (shown == NULL)
        came(outcome, "(out of memory)");
    else if (reason != NULL)
        came(outcome, "%s: %s", verdict, reason);
    else
        came(outcome, "%s%s%s", verdict, changed != NULL ? ": " : "", changed != NULL ? changed : "");
    free(changed);
    json_decref(shown);
}

/* Whether the data that would be stored are those of the question with the wanted fields in them. */
static bool stores_wanted(const struct question *question, json_t *want, const struct policy_answer *answer,
                          struct outcome *outcome)
{
    size_t size;
    struct error error;
    char *wanted = question_changed(question, want, &error);
    char *stored = answer->verdict == POLICY_CHANGES ? token_data_to_json(answer->changed, &size) : NULL;
    const char *result = stored != NULL ? stored : question->json;
    const bool permits = answer->verdict == POLICY_CHANGES || answer->verdict == POLICY_PERMITS;
    const bool is_wanted = wanted != NULL && permits && result != NULL && strcmp(wanted, result) == 0;
    if (wanted == NULL)
        came(outcome, "what is wanted cannot be stored: %s", error.text);
    else
        sodium_memzero(wanted, strlen(wanted));
    if (stored != NULL)
        sodium_memzero(stored, strlen(stored));
    free(wanted);
    free(stored);
    return is_wanted;
}

static bool is_unchanged(const struct question *question, const struct policy_answer *answer)
{
    if (answer->verdict != POLICY_CHANGES)
        return answer->verdict == POLICY_PERMITS;
    json_t *shown = question_answer_json(question, answer), *changed = json_object_get(shown, "changed");
    const bool result = changed != NULL && json_object_size(changed) == 0;
    json_decref(shown);
    return result;
}

static bool is_wanted(const struct question *question, json_t *test, const struct policy_answer *answer,
                      struct outcome *outcome)
{
    json_t *want = json_object_get(test, "want");
    const json_t *fails = json_object_get(test, "fails");
    if (fails != NULL)
        return answer->verdict == POLICY_FAILS &&
               (json_is_true(fails) || strstr(answer->failure.text, json_string_value(fails)) != NULL);
    switch (json_typeof(want)) {
    case JSON_TRUE: return is_unchanged(question, answer);
    case JSON_FALSE: return answer->verdict == POLICY_REFUSES;
    case JSON_STRING: return answer->verdict == POLICY_REFUSES && strcmp(answer->reason, json_string_value(want)) == 0;
    default: return stores_wanted(question, want, answer, outcome);
    }
}

/* Asks once. */
static void case_ask(struct suite *suite, const struct question *question, json_t *test, struct outcome *outcome)
{
    struct policy_answer answer;
    question_ask(question, &suite->subject, &answer);
    if (!is_wanted(question, test, &answer, outcome) && outcome->came == NULL)
        came_answer(outcome, question, &answer);
    token_data_free(&answer.changed);
}

/* In Lua, an empty list and an empty table are one. */
static void mend_lists(json_t *object, const char *const *names)
{
    for (; *names != NULL; names++) {
        json_t *list = json_object_get(object, *names);
        if (json_is_object(list) && json_object_size(list) == 0)
            json_object_set_new(object, *names, json_array());
    }
}

static const char *const lists[] = {"scopes", "groups", NULL};

/* The token of a case: what it leaves out, somebody has. NULL: the command is about none. */
static json_t *case_token(json_t *test, json_t *request)
{
    json_t *token = json_object_get(test, "token");
    const char *command = json_string_value(json_object_get(request, "command"));
    if (token == NULL && (command == NULL || !question_needs_token(policy_point_parse(command))))
        return NULL;
    json_t *whole = json_pack("{s:s,s:s,s:[]}", "username", "somebody", "token_type", "user", "scopes");
    if (json_is_object(token))
        mend_lists(token, lists);
    json_object_update(whole, token);
    return whole;
}

static void case_run(struct suite *suite, json_t *test, struct outcome *outcome)
{
    struct error error;
    struct question question;
    json_t *request = json_object_get(test, "request"), *times = json_object_get(test, "times");
    const json_int_t most = times != NULL ? json_integer_value(times) : 1;
    mend_lists(request, lists);
    json_t *token = case_token(test, request);
    if (question_read(&question, request, token, false, &error) != 0)
        came(outcome, "%s", error.text);
    for (json_int_t i = 1; i <= most && outcome->came == NULL; i++) {
        case_ask(suite, &question, test, outcome);
        if (outcome->came != NULL && most > 1) {
            char *what = outcome->came;
            outcome->came = NULL;
            came(outcome, "%s (time %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT ")", what, i, most);
            free(what);
        }
    }
    question_clear(&question);
    json_decref(token);
}

/* What a file says. */

static int check_names(const json_t *object, const char *const *known, const char *what, struct error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        const char *const *at = known;
        while (*at != NULL && strcmp(*at, name) != 0)
            at++;
        if (*at == NULL)
            return error_set(error, "%s: it has a field that there is not", what);
    }
    return 0;
}

static int check_want(const json_t *test, struct error *error)
{
    const json_t *want = json_object_get(test, "want"), *fails = json_object_get(test, "fails");
    const char *command = json_string_value(json_object_get(json_object_get(test, "request"), "command"));
    if ((want != NULL) == (fails != NULL))
        return error_set(error,
                         "give want = true, false, \"REASON\" or { CHANGED FIELDS }, or fails = true or \"PART OF "
                         "THE MESSAGE\"");
    if (fails != NULL && !json_is_true(fails) && !json_is_string(fails))
        return error_set(error, "fails: give true or a part of the message");
    if (want != NULL && !json_is_boolean(want) && !json_is_string(want) && !json_is_object(want))
        return error_set(error, "want: give true, false, a reason or the changed fields");
    if (!json_is_object(want))
        return 0;
    if (command == NULL || (strcmp(command, "store") != 0 && strcmp(command, "issue") != 0))
        return error_set(error, "want: only store and issue change anything");
    if (json_object_get(want, "token") != NULL || json_object_get(want, "key") != NULL)
        return error_set(error, "want: no policy changes key and token");
    return 0;
}

static int check_case(json_t *test, struct error *error)
{
    static const char *const known[] = {"name", "request", "token", "want", "fails", "times", "fresh", NULL};
    json_t *token = json_object_get(test, "token"), *times = json_object_get(test, "times");
    const json_t *fresh = json_object_get(test, "fresh");
    if (!json_is_object(test))
        return error_set(error, "a case is a table");
    if (check_names(test, known, "known are name, request, token, want, fails, times and fresh", error) != 0)
        return -1;
    if (!json_is_object(json_object_get(test, "request")))
        return error_set(error, "request: give a table, { command = \"get\" }");
    if (token != NULL && !json_is_object(token))
        return error_set(error, "token: give a table");
    if (times != NULL && (json_integer_value(times) < 1 || json_integer_value(times) > TIMES_MAX))
        return error_set(error, "times: give a whole number from 1 to %d", TIMES_MAX);
    if (fresh != NULL && !json_is_boolean(fresh))
        return error_set(error, "fresh: give true or false");
    mend_lists(json_object_get(test, "want"), lists);
    return check_want(test, error);
}

/* Loads the policy, as if for the first time. */
static int suite_load(struct suite *suite, struct error *error)
{
    subject_clear(&suite->subject);
    return subject_load(&suite->subject, suite->policy, suite->settings, error);
}

/* Runs a case, whose number is counted from 1. */
static void case_take(struct suite *suite, json_t *test, size_t number)
{
    struct error error;
    struct outcome outcome = {NULL};
    char counted[NAME_SIZE];
    const char *given = json_string_value(json_object_get(test, "name"));
    snprintf(counted, sizeof counted, "case %zu", number);
    if (check_case(test, &error) != 0)
        came(&outcome, "no case: %s", error.text);
    else if (json_is_true(json_object_get(test, "fresh")) && suite_load(suite, &error) != 0)
        came(&outcome, "the policy does not load: %s", error.text);
    else
        case_run(suite, test, &outcome);
    if (outcome.came == NULL)
        suite->tally->passed++;
    else
        case_failed(suite, test, given != NULL ? given : counted, outcome.came);
    free(outcome.came);
}

/* A file. */

static int suite_open(struct suite *suite, json_t *file, struct error *error)
{
    static const char *const known[] = {"policy", "settings", "cases", NULL};
    const char *policy = json_string_value(json_object_get(file, "policy"));
    const json_t *cases = json_object_get(file, "cases");
    suite->settings = json_object_get(file, "settings");
    if (check_names(file, known, "known are policy, settings and cases", error) != 0)
        return -1;
    if (policy == NULL || *policy == '\0')
        return error_set(error, "policy: give the file of the policy, beside this one");
    if (!json_is_array(cases))
        return error_set(error, "cases: give a list of tables, one or more");
    if (suite->settings != NULL && !json_is_object(suite->settings))
        return error_set(error, "settings: give a table");
    if (asprintf(&suite->policy, "%s/%s", *policy == '/' ? "" : suite->folder, policy) < 0) {
        suite->policy = NULL;
        return error_set(error, "out of memory");
    }
    return suite_load(suite, error);
}

static void run_file(struct tally *tally, const char *folder, const char *name)
{
    struct error error;
    struct suite suite = {.tally = tally, .folder = folder, .name = name};
    char *path = NULL;
    json_t *file = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        path = NULL, error_set(&error, "out of memory");
    else
        file = policy_file_read(path, &error);
    if (file == NULL || suite_open(&suite, file, &error) != 0) {
        file_failed(&suite, &error);
    } else {
        json_t *cases = json_object_get(file, "cases");
        for (size_t i = 0; i < json_array_size(cases); i++)
            case_take(&suite, json_array_get(cases, i), i + 1);
    }
    subject_clear(&suite.subject);
    free(suite.policy);
    free(path);
    json_decref(file);
}

/* A folder. */

static int is_test(const struct dirent *entry)
{
    const size_t size = strlen(entry->d_name), suffix = strlen(SUFFIX);
    return size > suffix && entry->d_name[0] != '.' && strcmp(entry->d_name + size - suffix, SUFFIX) == 0;
}

static int close_tally(struct tally *tally)
{
    const bool is_good = tally->failed == 0 && tally->passed > 0;
    if (!tally->json)
        printf("%zu passed, %zu failed\n", tally->passed, tally->failed);
    else if (output_json(json_pack("{s:I,s:I,s:O}", "passed", (json_int_t)tally->passed, "failed",
                                   (json_int_t)tally->failed, "failures", tally->failures)) != 0)
        return STATUS_NO_VERDICT;
    return is_good ? STATUS_YES : STATUS_NO;
}

int policy_test(const char *folder, bool json)
{
    struct error error;
    struct dirent **entries;
    struct tally tally = {.json = json, .failures = json_array()};
    const int n = scandir(folder, &entries, is_test, alphasort);
    if (n < 0) {
        error_set(&error, "cannot read the folder %s: %s", folder, strerror(errno));
        output_failure(json, "usage", error.text, NULL);
        json_decref(tally.failures);
        return STATUS_USAGE;
    }
    if (n == 0)
        fprintf(stderr, "tokenkeep: no file in %s has a name that ends in " SUFFIX "\n", folder);
    for (int i = 0; i < n; i++) {
        run_file(&tally, folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    const int status = close_tally(&tally);
    json_decref(tally.failures);
    return status;
}
