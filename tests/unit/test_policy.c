/* SPDX-License-Identifier: MIT */
/* Policies: what they see, what their answers come to, what they may change, and that whatever goes wrong in one is
 * never permission. */
#include "keep/policy.h"

#include "policy_files.h"

#include <string.h>

static const struct event_peer inet6 = {.kind = PEER_INET6, .port = 5001, .address = {0x20, 1, [15] = 9}};
static const struct event_peer local = {.kind = PEER_UNIX, .uid = 0};

/* Verdicts. */

#define TEN(text) text text text text text text text text text text

static void what_is_returned(void **state)
{
    static const struct {
        const char *script;
        enum policy_verdict verdict;
        const char *text; /* the reason, or what is in the failure */
    } cases[] = {
        {GET("return true"), POLICY_PERMITS, ""},
        {GET("return true, nil, 'and more'"), POLICY_PERMITS, ""},
        {"return { check = function() return false end }", POLICY_PERMITS, ""},
        {"return {}", POLICY_PERMITS, ""},
        {GET("return false"), POLICY_REFUSES, "refused"},
        {GET(""), POLICY_REFUSES, "refused"},
        {GET("return nil, 'not now'"), POLICY_REFUSES, "not now"},
        {GET("return false, 'not now'"), POLICY_REFUSES, "not now"},
        {GET("return false, ''"), POLICY_REFUSES, "refused"},
        {GET("return false, 'a\\nb\\27[m\\0c\\x7f'"), POLICY_REFUSES, "a?b?[m?c?"},
        {GET("return false, '\\xff\\u{85}\\u{e4}\\xc3'"), POLICY_REFUSES, "???\xc3\xa4?"},
        {GET("return false, ('0123456789'):rep(20)"), POLICY_REFUSES, TEN("01234567890123456789")},
        {GET("return false, ('0123456789'):rep(20) .. 'x'"), POLICY_REFUSES, TEN("01234567890123456789")},
        {GET("return false, '0' .. ('\\u{e4}'):rep(100)"), POLICY_REFUSES,
         "0" TEN(
             "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4") "\xc3\xa4\xc3\xa4\xc3\xa4"
                                                                                         "\xc3\xa4\xc3\xa4\xc3\xa4\xc3"
                                                                                         "\xa4\xc3\xa4\xc3\xa4"},
        {GET("return 1"), POLICY_FAILS, "get returned neither true, false nor nil but a number"},
        {GET("return 'true'"), POLICY_FAILS, "get returned neither true, false nor nil but a string"},
        {GET("return {}"), POLICY_FAILS, "get returned neither true, false nor nil but a table"},
        {GET("return false, 7"), POLICY_FAILS, "get returned for a reason a number"},
        {GET("return nil, {}"), POLICY_FAILS, "get returned for a reason a table"},
        {GET("return true, 'yes'"), POLICY_FAILS, "get returned true and, where nothing can be changed, a string"},
        {GET("return true, {}"), POLICY_FAILS, "get returned true and, where nothing can be changed, a table"},
        {GET("error('oh')"), POLICY_FAILS, "p.lua:1: oh | stack traceback: | "},
        {GET("error('oh\\n\\27', 0)"), POLICY_FAILS, "oh | ? | stack traceback"},
        {GET("error('\\u{85}\\xff', 0)"), POLICY_FAILS, "??? | stack traceback"},
        {GET("error()"), POLICY_FAILS, "threw a nil"},
        {GET("error({})"), POLICY_FAILS, "threw a table"},
        {GET("return nothing.here"), POLICY_FAILS, "p.lua:1: attempt to index a nil value (global 'nothing')"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_answer answer;
        struct policies *policies = load_one(cases[i].script);
        for (int again = 0; again < 2; again++) {
            ask_of(policies, POLICY_GET, WHOLE, &answer);
            assert_verdict(&answer, cases[i].verdict, cases[i].text, cases[i].script);
            if (cases[i].verdict != POLICY_PERMITS)
                assert_string_equal(answer.policy, "p.lua");
        }
        policies_free(&policies);
    }
}

static void points(void **state)
{
    static const char *const expected[] = {"get",    "check",     "getkey", "store",    "issue",
                                           "delete", "deleteall", "list",   "verifyall"};
    char script[256];
    (void)state;
    for (unsigned i = 0; i < POLICY_POINTS; i++) {
        const enum policy_point point = (enum policy_point)i;
        struct policy_answer answer;
        assert_string_equal(policy_point_name(point), expected[i]);
        assert_int_equal(policy_point_parse(expected[i]), point);
        snprintf(script, sizeof script, "return { %s = function(request) return false, request.command end }",
                 expected[i]);
        struct policies *policies = load_one(script);
        for (unsigned other = 0; other < POLICY_POINTS; other++) {
            assert_int_equal(policies_concern(policies, (enum policy_point)other), other == i);
            ask_of(policies, (enum policy_point)other, NULL, &answer);
            assert_verdict(&answer, other == i ? POLICY_REFUSES : POLICY_PERMITS, expected[i], script);
        }
        policies_free(&policies);
        assert_null(policies);
        policies_free(&policies);
    }
    assert_int_equal(policy_point_parse("load"), POLICY_POINTS);
    assert_int_equal(policy_point_parse("GET"), POLICY_POINTS);
}

static void none_configured(void **state)
{
    uint64_t instructions = 1;
    int64_t cpu = 1;
    struct policy_answer answer;
    (void)state;
    configure(NULL, 0);
    struct policies *policies = load_configured();
    assert_false(policies_concern(policies, POLICY_GET));
    ask_of(policies, POLICY_GET, WHOLE, &answer);
    assert_int_equal(answer.verdict, POLICY_PERMITS);
    policies_cost(policies, &instructions, &cpu);
    assert_int_equal(instructions, 0);
    assert_int_equal(cpu, 0);
    policies_free(&policies);
}

/* The first refusal ends it; policies have no globals in common. */
static void in_order(void **state)
{
    static const char *const scripts[] = {
        "asked = 0 " GET("asked = asked + 1 if request.time == 1 then return false, 'p' .. asked end return true"),
        "assert(asked == nil) asked = 10 " GET(
            "asked = asked + 1 if request.time == 2 then return false, 'q' .. asked end return true"),
        "assert(asked == nil) asked = 20 return { list = function() return false end, get = function(request) "
        "asked = asked + 1 if request.time == 3 then error('r' .. asked, 0) end return true end }",
    };
    static const struct {
        int64_t time;
        const char *policy, *reason;
        enum policy_verdict verdict;
        uint64_t instructions;
    } cases[] = {
        {3, "r.lua", "r21", POLICY_FAILS, 3000},  {2, "q.lua", "q12", POLICY_REFUSES, 2000},
        {1, "p.lua", "p3", POLICY_REFUSES, 1000}, {3, "r.lua", "r22", POLICY_FAILS, 3000},
        {0, NULL, "", POLICY_PERMITS, 3000},
    };
    struct policy_request request = request_of(POLICY_GET);
    struct policy_answer answer;
    uint64_t instructions;
    int64_t cpu;
    (void)state;
    configure(scripts, 3);
    struct policies *policies = load_configured();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.time = cases[i].time;
        policies_ask(policies, &request, NULL, NULL, &answer);
        assert_verdict(&answer, cases[i].verdict, cases[i].reason, "in order");
        assert_true(cases[i].policy == NULL ? answer.policy == NULL : strcmp(answer.policy, cases[i].policy) == 0);
        policies_cost(policies, &instructions, &cpu);
        assert_int_equal(instructions, cases[i].instructions);
    }
    policies_free(&policies);
}

/* What policies see. */

#define CHECK(body) "return { check = function(request, token) " body " return true end }"

static void request_fields(void **state)
{
    static const struct event_text scopes[] = {{"exec:admin...", 10}, {"read:all", 8}};
    static const struct {
        struct policy_request request;
        const char *script;
    } cases[] = {
        {{.point = POLICY_CHECK, .peer = inet, .listener = "public", .role = ROLE_VERIFY, .time = NOW},
         CHECK("assert(request.command == 'check' and request.address == '10.1.2.3' and request.port == 5001) "
               "assert(request.user == nil and request.uid == nil and request.tag == nil) "
               "assert(request.listener == 'public' and request.role == 'verify') "
               "assert(request.time == 1700000000 and math.type(request.time) == 'integer') "
               "assert(#request.scopes == 0 and keep.json.encode(request.scopes) == '[]') "
               "assert(request.anything == nil and request[1] == nil and request[true] == nil and token == nil) ")},
        {{.point = POLICY_CHECK,
          .peer = inet6,
          .listener = "b",
          .role = ROLE_MANAGE,
          .tag = "t1",
          .scopes = scopes,
          .n_scopes = 2},
         CHECK("assert(request.address == '2001::9' and request.role == 'manage' and request.tag == 't1') "
               "assert(#request.scopes == 2 and request.scopes[1] == 'exec:admin' and request.scopes[2] == 'read:all')"
               "assert(request.scopes == request.scopes)")},
        {{.point = POLICY_CHECK, .peer = local, .listener = "c"},
         CHECK("assert(request.address == nil and request.port == nil and request.uid == 0 and request.user == 'root')"
               "assert(request.time == 0)")},
        {{.point = POLICY_CHECK, .peer = {.kind = PEER_NONE}, .listener = "c"},
         CHECK(
             "assert(request.address == nil and request.port == nil and request.uid == nil and request.user == nil)")},
        {{.point = POLICY_GET, .peer = inet, .listener = "c", .scopes = scopes, .n_scopes = 2},
         GET("assert(request.scopes == nil and request.command == 'get') return true")},
        {{.point = POLICY_CHECK, .peer = inet, .listener = "public", .tag = "t", .scopes = scopes, .n_scopes = 1},
         CHECK("local seen = {} for name, value in pairs(request) do seen[#seen + 1] = name .. '=' .. type(value) end "
               "table.sort(seen) local all = table.concat(seen, ' ') assert(all == 'address=string command=string "
               "listener=string port=number role=string scopes=table tag=string time=number', all)")},
        {{.point = POLICY_CHECK, .peer = inet, .listener = "public"},
         CHECK("request.address = '10.9.9.9' assert(request.address == '10.9.9.9' and request.port == 5001) "
               "rawset(request, 'port', 1) assert(request.port == 1)")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_answer answer;
        struct policies *policies = load_one(cases[i].script);
        for (int again = 0; again < 2; again++) {
            policies_ask(policies, &cases[i].request, NULL, NULL, &answer);
            assert_verdict(&answer, POLICY_PERMITS, "", cases[i].script);
        }
        policies_free(&policies);
    }
}

/* One address after the other: the text that is kept is the right one's. */
static void addresses_change(void **state)
{
    static const struct {
        struct event_peer peer;
        const char *address;
    } cases[] = {
        {{.kind = PEER_INET, .address = {10, 1, 2, 3}}, "10.1.2.3"},
        {{.kind = PEER_INET, .port = 9, .address = {10, 1, 2, 3}}, "10.1.2.3"},
        {{.kind = PEER_INET, .address = {10, 1, 2, 4}}, "10.1.2.4"},
        {{.kind = PEER_INET6, .address = {10, 1, 2, 4}}, "a01:204::"},
        {{.kind = PEER_UNIX}, "nil"},
        {{.kind = PEER_INET6, .address = {10, 1, 2, 4}}, "a01:204::"},
        {{.kind = PEER_INET, .address = {0}}, "0.0.0.0"},
    };
    struct policies *policies = load_one(GET("return false, tostring(request.address)"));
    struct policy_request request = request_of(POLICY_GET);
    struct policy_answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        request.peer = cases[i].peer;
        policies_ask(policies, &request, NULL, NULL, &answer);
        assert_verdict(&answer, POLICY_REFUSES, cases[i].address, "address");
    }
    policies_free(&policies);
}

static void token_fields(void **state)
{
    (void)state;
    permits(GET("assert(token.key == '" KEY "' and token.username == 'joe' and token.token_type == 'user') "
                "assert(#token.scopes == 2 and token.scopes[1] == 'exec:admin' and token.scopes[2] == 'read:all') "
                "assert(token.scopes == token.scopes and token.expires == 1800000000) "
                "assert(token.created == 1600000000 and token.service == 'svc' and token.name == 'J\\u{f6}e') "
                "assert(token.email == 'j@e' and token.uid == 1000 and token.gid == math.maxinteger) "
                "assert(#token.groups == 2 and token.groups[1].name == 'g1' and token.groups[2].id == 8) "
                "assert(token.token == nil and token.secret == nil and token.json == nil and token[1] == nil) "
                "return true"),
            POLICY_GET, WHOLE);
    permits(GET("assert(#token.scopes == 2 and token.expires == nil and token.created == 1600000000) "
                "assert(token.service == nil and token.name == nil and token.email == nil and token.uid == nil) "
                "assert(token.gid == nil and token.groups == nil) return true"),
            POLICY_GET, BARE);
    permits(
        GET("assert(token.has_scope('exec:admin') and token.has_scope('read:all')) "
            "assert(not token.has_scope('exec') and not token.has_scope('') and not token.has_scope('exec:admin2')) "
            "assert(not token.has_scope('exec:admin\\0read:all') and token.has_scope == token.has_scope) "
            "assert(not pcall(token.has_scope) and not pcall(token.has_scope, {})) return true"),
        POLICY_GET, WHOLE);
    permits(GET("local seen = {} for name in pairs(token) do seen[#seen + 1] = name end table.sort(seen) "
                "local all = table.concat(seen, ' ') assert(all == 'created email expires gid groups has_scope key "
                "name scopes service token_type uid username', all) return true"),
            POLICY_GET, WHOLE);
    permits(GET("for name, value in pairs(token) do assert(name ~= 'token' and "
                "(type(value) ~= 'string' or not value:find('sss'))) end return token.key ~= nil"),
            POLICY_GET, WHOLE);
}

/* What was looked at stays, nothing else comes. */
static void kept_tables(void **state)
{
    struct policy_answer answer;
    struct policies *policies = load_one("local old, older, has " GET(
        "if old == nil then "
        "  old, older, has = request, token, token.has_scope "
        "  assert(old.address == '10.1.2.3' and older.username == 'joe') "
        "  return true "
        "end "
        "assert(old ~= request and older ~= token) "
        "assert(old.address == '10.1.2.3' and older.username == 'joe') "
        "assert(old.port == nil and old.command == nil and older.key == nil and older.email == nil) "
        "local n = 0 for _ in pairs(old) do n = n + 1 end for _ in pairs(older) do n = n + 1 end assert(n == 3, n) "
        "local ok, why = pcall(has, 'exec:admin') "
        "assert(not ok and why:find('whose call is over') and why:find('p.lua') == nil) "
        "return token == nil or token.key ~= nil and request.port == 5001"));
    (void)state;
    ask_of(policies, POLICY_GET, WHOLE, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "kept tables");
    ask_of(policies, POLICY_GET, WHOLE, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "kept tables");
    ask_of(policies, POLICY_GET, NULL, &answer);
    assert_verdict(&answer, POLICY_PERMITS, "", "kept tables");
    policies_free(&policies);
}

/* Changes. */

#define STORE(body) "return { store = function(request, token) " body " end }"

static void ask_to_store(const char *script, const char *json, struct policy_answer *answer)
{
    const struct policy_request request = request_of(POLICY_STORE);
    struct policies *policies = load_one(script);
    struct token_data *data = data_of(json);
    policies_ask(policies, &request, NULL, data, answer);
    token_data_free(&data);
    policies_free(&policies);
}

/* What is stored instead, from `"username"` on. */
#define REST(start, end) \
    ",\"username\":\"joe\",\"token_type\":\"user\",\"scopes\":" start ",\"created\":1600000000" end "}"

static void changes(void **state)
{
    static const struct {
        const char *script, *before, *after;
    } cases[] = {
        {STORE("return true, { expires = request.time + 60 }"), BARE, REST("[]", ",\"expires\":1700000060")},
        {STORE("return true, { scopes = { 'z', 'a', 'z' } }"), BARE, REST("[\"a\",\"z\"]", "")},
        {STORE("return true, { scopes = {}, groups = {} }"), BARE, REST("[]", ",\"groups\":[]")},
        {STORE("return true, { scopes = keep.json.array({}), service = 's' }"), BARE, REST("[]", ",\"service\":\"s\"")},
        {STORE("return true, {}"), BARE, REST("[]", "")},
        {STORE("local g = token.groups table.remove(g, 1) return true, { groups = g, expires = keep.json.null, "
               "service = keep.json.null, name = keep.json.null, email = keep.json.null, uid = keep.json.null, "
               "gid = 5, scopes = { token.scopes[2] } }"),
         WHOLE, REST("[\"read:all\"]", ",\"gid\":5,\"groups\":[{\"name\":\"g2\",\"id\":8}]")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_answer answer;
        size_t size;
        ask_to_store(cases[i].script, cases[i].before, &answer);
        assert_verdict(&answer, POLICY_CHANGES, "", cases[i].script);
        assert_string_equal(answer.policy, "p.lua");
        char *json = token_data_to_json(answer.changed, &size);
        assert_memory_equal(json, "{" TOKEN, strlen("{" TOKEN));
        assert_string_equal(json + strlen("{" TOKEN), cases[i].after);
        free(json);
        token_data_free(&answer.changed);
        assert_null(answer.changed);
    }
}

static void bad_changes(void **state)
{
    static const struct {
        const char *fields, *text;
    } cases[] = {
        {"{ expires = request.time }", "expires: "},
        {"{ expires = 1.5 + request.time }", "expires: "},
        {"{ expires = 'tomorrow' }", "expires: "},
        {"{ expire = 1 }", "expire: "},
        {"{ username = 'JOE' }", "username: "},
        {"{ username = keep.json.null }", "username: "},
        {"{ token_type = 'root' }", "token_type: "},
        {"{ scopes = { 'a b' } }", "scopes[0]: "},
        {"{ scopes = { a = 1 } }", "scopes: "},
        {"{ scopes = { [2] = 'a' } }", "value.scopes: "},
        {"{ service = 'a\\0b' }", "service: "},
        {"{ service = '\\xff' }", "value.service: not UTF-8"},
        {"{ groups = { { name = '-', id = 1 } } }", "groups[0].name: "},
        {"{ token = 'gt-" KEY "." KEY "' }", "token: cannot be changed"},
        {"{ token = keep.json.null }", "token: cannot be changed"},
        {"{ key = token.key }", "key: cannot be changed"},
        {"{ scopes = print }", "value.scopes: a function"},
        {"{ 'expires', 7 }", "it has elements, not fields"},
        {"{ [1.5] = 2 }", "a key that is neither"},
        {"(function() local t = {} t.scopes = t return t end)()", "nested too deeply"},
        {"token", "key: cannot be changed"},
        {"7", "true and a number"},
    };
    char script[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_answer answer;
        snprintf(script, sizeof script, STORE("local key = token.key return true, %s"), cases[i].fields);
        ask_to_store(script, BARE, &answer);
        assert_verdict(&answer, POLICY_FAILS, cases[i].text, script);
        assert_null(strstr(answer.failure.text, "sss"));
        assert_memory_equal(answer.failure.text, "store returned true and a", 25);
    }
}

/* Each policy sees what those before it made of the data, the secret stays, and a refusal drops everything. */
static void changes_go_on(void **state)
{
    static const char *const scripts[] = {
        "return { issue = function(request, token) assert(token.expires == nil and token.email == nil) "
        "return true, { expires = 1700000100, email = 'a@b', scopes = { 'one' } } end }",
        "return { issue = function(request, token) assert(token.expires == 1700000100 and token.email == 'a@b') "
        "assert(token.has_scope('one') and #token.scopes == 1 and token.username == 'joe' and token.key == '" KEY "') "
        "return true, { username = 'bob', uid = 7 } end }",
        "return { issue = function(request, token) assert(token.username == 'bob' and token.uid == 7) "
        "if request.tag == 'refuse' then return false, 'no' end if request.tag == 'fail' then error('oh') end "
        "return true end }",
    };
    struct policy_request request = request_of(POLICY_ISSUE);
    struct policy_answer answer;
    struct token_data *data = data_of(BARE);
    (void)state;
    configure(scripts, 3);
    struct policies *policies = load_configured();
    policies_ask(policies, &request, NULL, data, &answer);
    assert_verdict(&answer, POLICY_CHANGES, "", "three");
    assert_string_equal(answer.policy, "q.lua");
    assert_string_equal(answer.changed->username, "bob");
    assert_int_equal(answer.changed->expires, 1700000100);
    assert_string_equal(answer.changed->scopes[0], "one");
    assert_memory_equal(&answer.changed->token, &data->token, sizeof data->token);
    token_data_free(&answer.changed);
    request.tag = "refuse";
    policies_ask(policies, &request, NULL, data, &answer);
    assert_verdict(&answer, POLICY_REFUSES, "no", "three");
    assert_string_equal(answer.policy, "r.lua");
    request.tag = "fail";
    policies_ask(policies, &request, NULL, data, &answer);
    assert_verdict(&answer, POLICY_FAILS, "r.lua:1: oh", "three");
    token_data_free(&data);
    policies_free(&policies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_returned), cmocka_unit_test(points),         cmocka_unit_test(none_configured),
        cmocka_unit_test(in_order),         cmocka_unit_test(request_fields), cmocka_unit_test(addresses_change),
        cmocka_unit_test(token_fields),     cmocka_unit_test(kept_tables),    cmocka_unit_test(changes),
        cmocka_unit_test(bad_changes),      cmocka_unit_test(changes_go_on),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
