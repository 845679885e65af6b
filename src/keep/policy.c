/* SPDX-License-Identifier: MIT */
/* Policies: who is asked in which order, and what their answers come to. */
#include "keep/policy.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "keep/policy_script.h"
#include "keep/policy_tables.h"

#include <jansson.h>
#include <lauxlib.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { SHADOW_LINES_MAX = 10 }; /* that the verdicts of one policy in shadow mode take in the log in a second */

struct policy {
    const struct config_script *config;
    struct policy_script *script;
    int64_t second; /* since the machine started, of the last line about a shadow's verdict */
    unsigned lines; /* in that second */
    unsigned long left_out;
};

struct policies {
    unsigned points; /* that any has a function for, a bit each */
    bool measured;
    uint64_t instructions; /* of the last policies_ask, as the next */
    int64_t cpu;
    size_t n;
    struct policy policies[];
};

/* Token data as policies are told of them. */
struct told {
    struct policy_token token;
    char *json;
    char *scopes;
};

static const struct {
    const char *name;
    const char *command;
} points[] = {
#define X(constant, name) [POLICY_##constant] = {name, #constant},
    POLICY_POINTS_LIST(X)
#undef X
};

const char *policy_point_name(enum policy_point point)
{
    return points[point].name;
}

enum policy_point policy_point_parse(const char *name)
{
    unsigned point = 0;
    while (point < POLICY_POINTS && strcmp(points[point].name, name) != 0)
        point++;
    return (enum policy_point)point;
}

/* Telling of data. */

static char *join_scopes(const struct token_data *data)
{
    size_t size = 1;
    for (size_t i = 0; i < data->n_scopes; i++)
        size += strlen(data->scopes[i]) + 1;
    char *scopes = memory_zeroed(size), *at = scopes;
    for (size_t i = 0; i < data->n_scopes; i++)
        at = stpcpy(at, data->scopes[i]) + 1;
    return scopes;
}

static void told_free(struct told *told)
{
    if (told->json != NULL)
        sodium_memzero(told->json, told->token.json.size);
    free(told->json);
    free(told->scopes);
    *told = (struct told){.json = NULL};
}

/* Must be freed before the data. */
static void told_set(struct told *told, const struct token_data *data)
{
    told_free(told);
    told->scopes = join_scopes(data);
    size_t size = 0;
    told->json = token_data_to_json(data, &size);
    if (told->json == NULL)
        memory_exhausted();
    told->token = (struct policy_token){
        .key = {data->token.key, TOKEN_PART_SIZE},
        .username = event_text(data->username),
        .token_type = token_type_name(data->type),
        .scopes = told->scopes,
        .n_scopes = data->n_scopes,
        .expires = data->expires,
        .json = {told->json, size},
    };
}

/* Verdicts. */

/* What goes from one policy to the next. */
struct asking {
    struct policy_call call;
    const struct token_data *data; /* as changed so far; NULL: nothing is to be stored */
    struct told told;              /* of them, when call.token is its token */
};

static void answer_set(struct policy_answer *answer, enum policy_verdict verdict)
{
    answer->verdict = verdict;
    answer->reason[0] = '\0';
    answer->failure.text[0] = '\0';
    answer->policy = NULL;
    answer->changed = NULL;
    answer->shadow_refusals = 0;
    answer->shadow_failures = 0;
}

/* Takes the reason from the top of the stack. */
static void take_reason(lua_State *lua, struct policy_answer *answer)
{
    size_t size = 0;
    const char *text = lua_isnil(lua, -1) ? "" : lua_tolstring(lua, -1, &size);
    if (size == 0) {
        text = "refused";
        size = strlen(text);
    }
    size = utf8_cut(text, size, POLICY_REASON_MAX);
    memcpy(answer->reason, text, size);
    answer->reason[size] = '\0';
    utf8_make_text(answer->reason, size);
}

/* In Lua, no scopes and no groups are a table that could be an object as well. */
static void make_array(json_t *fields, const char *name)
{
    const json_t *list = json_object_get(fields, name);
    if (json_is_object(list) && json_object_size(list) == 0)
        json_object_set_new(fields, name, json_array());
}

static void fail(struct policy_answer *answer, enum policy_point point, const char *what, const char *why)
{
    answer->verdict = POLICY_FAILS;
    error_set(&answer->failure, "%s returned %s%s", policy_point_name(point), what, why);
}

/* Takes the changed fields from the table that is the second result. */
static void take_changes(struct policy_script *script, const struct policy_request *request,
                         const struct token_data *data, struct policy_answer *answer)
{
    struct error reason = {"it has elements, not fields"};
    json_t *fields = policy_script_changes(script, &reason);
    if (json_is_object(fields)) {
        make_array(fields, "scopes");
        make_array(fields, "groups");
        answer->changed = token_data_change(data, fields, request->time, &reason);
    }
    json_decref(fields);
    if (answer->changed == NULL)
        fail(answer, request->point, "true and a table that cannot be taken: ", reason.text);
    else
        answer->verdict = POLICY_CHANGES;
}

/* Takes the verdict from the two results on top of the stack. */
static void take_verdict(struct policy_script *script, lua_State *lua, const struct asking *asking,
                         struct policy_answer *answer)
{
    const struct policy_request *request = asking->call.request;
    const struct token_data *data = asking->data;
    const int verdict = lua_type(lua, -2), detail = lua_type(lua, -1);
    if (verdict != LUA_TBOOLEAN && verdict != LUA_TNIL) {
        fail(answer, request->point, "neither true, false nor nil but a ", lua_typename(lua, verdict));
    } else if (!lua_toboolean(lua, -2)) {
        if (detail != LUA_TNIL && detail != LUA_TSTRING) {
            fail(answer, request->point, "for a reason a ", lua_typename(lua, detail));
            return;
        }
        answer->verdict = POLICY_REFUSES;
        take_reason(lua, answer);
    } else if (detail == LUA_TTABLE && data != NULL) {
        take_changes(script, request, data, answer);
    } else if (detail != LUA_TNIL) {
        fail(answer, request->point, data == NULL ? "true and, where nothing can be changed, a " : "true and a ",
             lua_typename(lua, detail));
    }
}

/* Asking. */

static void ask(struct policy *policy, struct asking *asking, struct policy_answer *answer)
{
    answer_set(answer, POLICY_PERMITS);
    lua_State *lua = policy_script_call(policy->script, &asking->call, &answer->failure);
    if (lua == NULL) {
        answer->verdict = POLICY_FAILS;
        return;
    }
    take_verdict(policy->script, lua, asking, answer);
    policy_script_done(policy->script);
}

/* From here on the token that policies hear of is that of `data`. */
static void tell(struct asking *asking, const struct token_data *data)
{
    told_set(&asking->told, data);
    json_decref(asking->call.fields);
    asking->call.fields = NULL;
    asking->call.token = &asking->told.token;
    asking->data = data;
}

static void obey(struct policy *policy, struct asking *asking, struct policy_answer *answer)
{
    struct policy_answer own;
    ask(policy, asking, &own);
    if (own.verdict == POLICY_PERMITS)
        return;
    if (own.verdict == POLICY_CHANGES)
        tell(asking, own.changed);
    token_data_free(&answer->changed);
    answer->changed = own.changed;
    answer->verdict = own.verdict;
    answer->policy = policy_script_name(policy->script);
    memcpy(answer->reason, own.reason, sizeof own.reason);
    answer->failure = own.failure;
}

/* Whether the shadow's next verdict gets a line in the log. */
static bool may_log(struct policy *policy)
{
    const int64_t second = clock_boot() / CLOCK_SECOND;
    if (second != policy->second) {
        policy->second = second;
        policy->lines = 0;
    }
    if (policy->lines < SHADOW_LINES_MAX) {
        policy->lines++;
        return true;
    }
    policy->left_out++;
    return false;
}

static void log_shadow(struct policy *policy, enum policy_point point, const struct policy_answer *own)
{
    struct error left_out = {""};
    const char *name = policy_script_name(policy->script), *command = points[point].command;
    if (!may_log(policy))
        return;
    if (policy->left_out > 0)
        error_set(&left_out, " (%lu lines before this one were left out)", policy->left_out);
    policy->left_out = 0;
    if (own->verdict == POLICY_REFUSES)
        log_info("policy %s (shadow) would refuse %s: %s%s", name, command, own->reason, left_out.text);
    else
        log_warning("policy %s (shadow) fails at %s: %s%s", name, command, own->failure.text, left_out.text);
}

static void overhear(struct policy *policy, struct asking *asking, struct policy_answer *answer)
{
    struct policy_answer own;
    ask(policy, asking, &own);
    token_data_free(&own.changed);
    answer->shadow_refusals += own.verdict == POLICY_REFUSES;
    answer->shadow_failures += own.verdict == POLICY_FAILS;
    if (own.verdict == POLICY_REFUSES || own.verdict == POLICY_FAILS)
        log_shadow(policy, asking->call.request->point, &own);
}

static void ask_all(struct policies *policies, struct asking *asking, struct policy_answer *answer)
{
    for (size_t i = 0; i < policies->n; i++) {
        struct policy *policy = &policies->policies[i];
        if (!policy_script_has(policy->script, asking->call.request->point))
            continue;
        if (policy->config->shadow)
            overhear(policy, asking, answer);
        else
            obey(policy, asking, answer);
        policies->instructions += policy_script_instructions(policy->script);
        if (answer->verdict == POLICY_REFUSES || answer->verdict == POLICY_FAILS)
            return;
    }
}

void policies_ask(struct policies *policies, const struct policy_request *request, const struct policy_token *token,
                  const struct token_data *data, struct policy_answer *answer)
{
    struct asking asking = {.call = {.request = request, .token = token}, .data = data};
    answer_set(answer, POLICY_PERMITS);
    policies->instructions = 0;
    policies->cpu = 0;
    if (!policies_concern(policies, request->point))
        return;
    const int64_t began = policies->measured ? clock_cpu() : 0;
    if (data != NULL && token == NULL)
        tell(&asking, data);
    ask_all(policies, &asking, answer);
    json_decref(asking.call.fields);
    told_free(&asking.told);
    if (policies->measured)
        policies->cpu = clock_cpu() - began;
}

bool policies_concern(const struct policies *policies, enum policy_point point)
{
    return (policies->points >> point & 1) != 0;
}

void policies_measure(struct policies *policies)
{
    policies->measured = true;
}

void policies_cost(const struct policies *policies, uint64_t *instructions, int64_t *cpu)
{
    *instructions = policies->instructions;
    *cpu = policies->cpu;
}

/* Making and freeing. */

struct policies *policies_new(const struct config *config, _Atomic uint64_t *lua_call, struct error *error)
{
    struct policies *policies = memory_zeroed(sizeof *policies + config->n_policies * sizeof *policies->policies);
    for (; policies->n < config->n_policies; policies->n++) {
        struct policy *policy = &policies->policies[policies->n];
        policy->config = &config->policies[policies->n];
        policy->script = policy_script_new(policy->config, lua_call, error);
        if (policy->script == NULL) {
            policies_free(&policies);
            return NULL;
        }
        for (unsigned point = 0; point < POLICY_POINTS; point++)
            policies->points |= (unsigned)policy_script_has(policy->script, (enum policy_point)point) << point;
    }
    return policies;
}

void policies_free(struct policies **policies)
{
    if (*policies == NULL)
        return;
    for (size_t i = 0; i < (*policies)->n; i++)
        policy_script_free(&(*policies)->policies[i].script);
    free(*policies);
    *policies = NULL;
}
