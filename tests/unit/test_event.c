/* SPDX-License-Identifier: MIT */
/* Records: every field there and back, and texts that are cut or mended. */
#include "event_samples.h"

static void assert_text_equal(struct event_text got, struct event_text expected)
{
    assert_int_equal(got.text == NULL, expected.text == NULL);
    assert_int_equal(got.size, expected.size);
    if (got.text != NULL)
        assert_memory_equal(got.text, expected.text, got.size);
}

static void assert_event_equal(const struct audit_event *got, const struct audit_event *expected)
{
    assert_int_equal(got->kind, expected->kind);
    assert_int_equal(got->result, expected->result);
    assert_int_equal(got->time, expected->time);
    assert_text_equal(got->key, expected->key);
    assert_text_equal(got->username, expected->username);
    assert_text_equal(got->token_type, expected->token_type);
    assert_text_equal(got->scopes, expected->scopes);
    assert_int_equal(got->expires, expected->expires);
    assert_int_equal(got->peer.kind, expected->peer.kind);
    assert_int_equal(got->peer.port, expected->peer.port);
    assert_int_equal(got->peer.uid, expected->peer.uid);
    assert_memory_equal(got->peer.address, expected->peer.address, sizeof got->peer.address);
    assert_text_equal(got->listener, expected->listener);
    assert_text_equal(got->tag, expected->tag);
    assert_int_equal(got->worker, expected->worker);
    assert_int_equal(got->latency, expected->latency);
    assert_text_equal(got->command, expected->command);
    assert_text_equal(got->reason, expected->reason);
    assert_int_equal(got->count, expected->count);
    assert_int_equal(got->stale, expected->stale);
}

static void assert_problem_equal(const struct problem *got, const struct problem *expected)
{
    assert_text_equal(got->kind, expected->kind);
    assert_int_equal(got->phase, expected->phase);
    assert_int_equal(got->time, expected->time);
    assert_text_equal(got->message, expected->message);
    assert_text_equal(got->key, expected->key);
    assert_text_equal(got->error, expected->error);
    assert_text_equal(got->process, expected->process);
    assert_true(got->seconds == expected->seconds);
}

static void decode_event(struct decoded *decoded, const struct audit_event *event)
{
    unsigned char record[RECORD_MAX];
    size_t size = event_encode(event, record);
    assert_true(size <= RECORD_MAX);
    decode(decoded, record, size);
    assert_int_equal(decoded->kind, RECORD_EVENT);
    assert_int_equal(decoded->used, size);
}

static void decode_problem(struct decoded *decoded, const struct problem *problem)
{
    unsigned char record[RECORD_MAX];
    size_t size = problem_encode(problem, record);
    assert_true(size <= RECORD_MAX);
    decode(decoded, record, size);
    assert_int_equal(decoded->kind, RECORD_PROBLEM);
    assert_int_equal(decoded->used, size);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(event_kind_name(EVENT_TOKEN_STORE), "token.store");
    assert_string_equal(event_kind_name(EVENT_TOKEN_DELETE_ALL), "token.delete_all");
    assert_string_equal(event_kind_name(EVENT_WORKER_CRASH), "worker.crash");
    assert_string_equal(event_result_name(EVENT_OK), "ok");
    assert_string_equal(event_result_name(EVENT_UNCERTAIN), "uncertain");
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++)
        assert_non_null(event_kind_name(kind));
    for (enum event_result result = 0; result < EVENT_RESULTS; result++)
        assert_non_null(event_result_name(result));
    assert_null(event_text(NULL).text);
    assert_int_equal(event_text(NULL).size, 0);
    assert_int_equal(event_text("abc").size, 3);
}

static void there_and_back(void **state)
{
    (void)state;
    const struct audit_event *events[] = {&full, &least, &most};
    struct decoded decoded;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        decode_event(&decoded, events[i]);
        assert_event_equal(&decoded.event, events[i]);
        free(decoded.record);
    }
    decode_problem(&decoded, &full_problem);
    assert_problem_equal(&decoded.problem, &full_problem);
    free(decoded.record);
    const struct problem bare = {.kind = TEXT("x"), .message = TEXT("")};
    decode_problem(&decoded, &bare);
    assert_problem_equal(&decoded.problem, &bare);
    free(decoded.record);
}

/* Each field alone, so that none stands in another's place. */
static void each_field_alone(void **state)
{
    (void)state;
    struct audit_event events[16];
    struct decoded decoded;
    size_t n = 0;
    const struct event_text text = TEXT("text");
    for (; n < sizeof events / sizeof *events; n++)
        events[n] = least;
    n = 0;
    events[n++].key = text, events[n++].username = text, events[n++].token_type = text, events[n++].scopes = text;
    events[n++].listener = text, events[n++].tag = text, events[n++].command = text, events[n++].reason = text;
    events[n++].time = 128, events[n++].expires = 256, events[n++].worker = 65536, events[n++].latency = 0;
    events[n++].count = UINT64_C(1) << 32, events[n++].stale = true;
    events[n++].peer = (struct event_peer){.kind = PEER_INET6, .port = 1, .address = {[0] = 0xfe, [15] = 1}};
    events[n++].peer = (struct event_peer){.kind = PEER_UNIX};
    assert_int_equal(n, sizeof events / sizeof *events);
    for (size_t i = 0; i < n; i++) {
        decode_event(&decoded, &events[i]);
        assert_event_equal(&decoded.event, &events[i]);
        free(decoded.record);
    }
}

static void numbers_out_of_range_are_mended(void **state)
{
    (void)state;
    struct decoded decoded;
    const struct audit_event odd = {.time = -1, .expires = INT64_MIN, .latency = -1000000};
    decode_event(&decoded, &odd);
    assert_event_equal(&decoded.event, &least);
    free(decoded.record);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    static char text[3000];
    struct decoded decoded;
    for (size_t before = 0; before < 4; before++) { /* U+1F600 over and over, at every place relative to the cut */
        memset(text, 'x', before);
        for (size_t at = before; at + 4 <= sizeof text; at += 4)
            memcpy(text + at, "\xf0\x9f\x98\x80", 4);
        struct audit_event event = least;
        event.reason = (struct event_text){text, sizeof text - 4};
        decode_event(&decoded, &event);
        assert_int_equal(decoded.event.reason.size, before == 0 ? EVENT_TEXT_MAX : EVENT_TEXT_MAX - 4 + before);
        assert_memory_equal(decoded.event.reason.text, text, decoded.event.reason.size);
        free(decoded.record);
    }
    struct audit_event event = least;
    event.key = (struct event_text){"x", 1};
    event.reason = (struct event_text){memset(text, 'r', sizeof text), EVENT_TEXT_MAX};
    decode_event(&decoded, &event);
    assert_event_equal(&decoded.event, &event);
    free(decoded.record);
}

static void long_scopes_are_cut_behind_a_scope(void **state)
{
    (void)state;
    static char text[5000], cut[EVENT_SCOPES_MAX];
    static const struct {
        size_t size, scope, kept; /* bytes of all, of a scope with its space; bytes kept, without the mark */
    } cases[] = {
        {1025, 10, 1025}, {4096, 10, 4096}, {4097, 10, 4089}, {5000, 4093, 4092}, {5000, 4094, 0}, {5000, 5001, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct decoded decoded;
        for (size_t at = 0; at < cases[i].size; at++)
            text[at] = at % cases[i].scope == cases[i].scope - 1 ? ' ' : 's';
        memcpy(cut, text, cases[i].kept);
        if (cases[i].kept < cases[i].size)
            memcpy(cut + cases[i].kept, " ...", 4);
        struct audit_event event = least;
        event.scopes = (struct event_text){text, cases[i].size};
        decode_event(&decoded, &event);
        event.scopes = (struct event_text){cut, cases[i].kept < cases[i].size ? cases[i].kept + 4 : cases[i].kept};
        assert_event_equal(&decoded.event, &event);
        free(decoded.record);
    }
}

static void the_longest_fit(void **state)
{
    (void)state;
    static char text[10000];
    struct decoded decoded;
    const struct event_text longest = {memset(text, ' ', sizeof text), sizeof text};
    struct audit_event event = most;
    event.key = event.username = event.token_type = event.scopes = event.listener = event.tag = event.command =
        event.reason = longest;
    event.peer = (struct event_peer){.kind = PEER_INET6, .port = 65535, .address = {0xff}};
    decode_event(&decoded, &event);
    assert_int_equal(decoded.event.scopes.size, EVENT_SCOPES_MAX);
    assert_int_equal(decoded.event.key.size, EVENT_TEXT_MAX);
    free(decoded.record);
    decode_problem(&decoded,
                   &(struct problem){longest, PROBLEM_ENDS, TIME_MAX, longest, longest, longest, longest, 1e300});
    assert_int_equal(decoded.problem.process.size, EVENT_TEXT_MAX);
    free(decoded.record);
}

static void what_is_no_text_is_mended(void **state)
{
    (void)state;
    static const struct {
        struct event_text given;
        const char *record;
    } cases[] = {
        {TEXT("a\nb\tc\x7f"), "a?b?c?"},
        {TEXT("\0\0"), "??"},
        {TEXT("12345678\x1f"), "12345678?"},
        {TEXT("\xff\xfe"
              "abc"),
         "??abc"},
        {TEXT("\xc2\x9b"
              "31m\xc3\xa9"),
         "??31m\xc3\xa9"},
        {TEXT("caf\xc3"), "caf?"},
        {TEXT("\xed\xa0\x80 \xe2\x82\xac"), "??? \xe2\x82\xac"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct decoded decoded;
        struct audit_event event = least;
        event.tag = event.scopes = cases[i].given;
        decode_event(&decoded, &event);
        event.tag = event.scopes = event_text(cases[i].record);
        assert_event_equal(&decoded.event, &event);
        free(decoded.record);
    }
}

static void several_in_a_row(void **state)
{
    (void)state;
    static unsigned char bytes[3 * RECORD_MAX];
    size_t size = event_encode(&full, bytes), used;
    struct audit_event event;
    struct problem problem;
    const size_t second = size;
    size += problem_encode(&full_problem, bytes + size);
    const size_t third = size;
    size += event_encode(&most, bytes + size);
    assert_int_equal(record_decode(bytes, size, &used, &event, &problem), RECORD_EVENT);
    assert_int_equal(used, second);
    assert_event_equal(&event, &full);
    assert_int_equal(record_decode(bytes + second, size - second, &used, &event, &problem), RECORD_PROBLEM);
    assert_int_equal(used, third - second);
    assert_problem_equal(&problem, &full_problem);
    assert_int_equal(record_decode(bytes + third, size - third, &used, &event, &problem), RECORD_EVENT);
    assert_event_equal(&event, &most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(each_field_alone),
        cmocka_unit_test(numbers_out_of_range_are_mended),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(long_scopes_are_cut_behind_a_scope),
        cmocka_unit_test(the_longest_fit),
        cmocka_unit_test(what_is_no_text_is_mended),
        cmocka_unit_test(several_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
