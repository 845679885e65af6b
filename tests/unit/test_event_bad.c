/* SPDX-License-Identifier: MIT */
/* Records that somebody made up or damaged: refused, or taken for what is within the rules. */
#include "event_samples.h"

#include "base/utf8.h"

#include <math.h>

static void assert_text_sound(const struct decoded *decoded, struct event_text text, size_t longest)
{
    if (text.text == NULL)
        return;
    const unsigned char *start = (const unsigned char *)text.text;
    assert_true(text.size <= longest && start >= decoded->record);
    assert_true(start + text.size <= decoded->record + decoded->size);
    assert_true(utf8_is_text(text.text, text.size));
}

static void assert_event_sound(const struct decoded *decoded)
{
    const struct audit_event *event = &decoded->event;
    const struct event_text texts[] = {event->key, event->username, event->token_type, event->listener,
                                       event->tag, event->command,  event->reason};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_text_sound(decoded, texts[i], EVENT_TEXT_MAX);
    assert_text_sound(decoded, event->scopes, EVENT_SCOPES_MAX);
    assert_true(event->kind < EVENT_KINDS && event->result < EVENT_RESULTS && event->peer.kind < PEER_KINDS);
    assert_true(event->time >= 0 && event->time <= TIME_MAX && event->latency >= -1 && event->latency < TIME_MAX);
    assert_true(event->expires >= 0 && event->expires <= INT64_C(253402300799));
}

static void assert_problem_sound(const struct decoded *decoded)
{
    const struct problem *problem = &decoded->problem;
    const struct event_text texts[] = {problem->kind, problem->message, problem->key, problem->error, problem->process};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_text_sound(decoded, texts[i], EVENT_TEXT_MAX);
    assert_non_null(problem->kind.text);
    assert_non_null(problem->message.text);
    assert_true(problem->phase < PROBLEM_PHASES && problem->time >= 0 && problem->time <= TIME_MAX);
    assert_true(isfinite(problem->seconds) && problem->seconds >= 0);
}

/* Whatever the bytes are, what is taken is within the rules. Returns whether they were taken. */
static bool taken_soundly(const void *record, size_t size)
{
    struct decoded decoded;
    decode(&decoded, record, size);
    if (decoded.kind == RECORD_BAD) {
        assert_int_equal(decoded.used, 0);
    } else {
        assert_true(decoded.used > 0 && decoded.used <= size);
        if (decoded.kind == RECORD_EVENT)
            assert_event_sound(&decoded);
        else
            assert_problem_sound(&decoded);
    }
    free(decoded.record);
    return decoded.kind != RECORD_BAD;
}

/* The records that the following tests damage. */
static size_t sample(size_t index, unsigned char *record)
{
    switch (index) {
    case 0: return event_encode(&full, record);
    case 1: return event_encode(&least, record);
    case 2: return event_encode(&most, record);
    case 3: return problem_encode(&full_problem, record);
    default: return 0;
    }
}

static void cut_anywhere(void **state)
{
    (void)state;
    unsigned char record[RECORD_MAX];
    size_t size;
    for (size_t i = 0; (size = sample(i, record)) > 0; i++) {
        assert_true(taken_soundly(record, size));
        for (size_t left = 0; left < size; left++)
            assert_false(taken_soundly(record, left));
    }
}

static void every_byte_changed(void **state)
{
    (void)state;
    unsigned char record[RECORD_MAX];
    size_t size;
    for (size_t i = 0; (size = sample(i, record)) > 0; i++) {
        for (size_t at = 0; at < size; at++) {
            const unsigned char was = record[at];
            for (unsigned byte = 0; byte < 256; byte++) {
                record[at] = (unsigned char)byte;
                (void)taken_soundly(record, size);
            }
            record[at] = was;
        }
    }
}

/* xorshift: the same bytes in every run. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void damaged_at_random(void **state)
{
    (void)state;
    unsigned char record[RECORD_MAX];
    uint64_t seed = 0x9e3779b97f4a7c15;
    for (unsigned round = 0; round < 50000; round++) {
        size_t size = sample(round % 4, record);
        for (unsigned changes = 1 + (unsigned)(next_random(&seed) % 6); changes > 0; changes--)
            record[next_random(&seed) % size] = (unsigned char)(next_random(&seed) >> 24);
        (void)taken_soundly(record, size);
        for (size_t at = 2; at < 64; at++)
            record[at] = (unsigned char)(next_random(&seed) >> 24);
        (void)taken_soundly(record, 64);
    }
}

/* The places of a record as bytes, one by one to be replaced. */
#define BYTES(bytes)             \
    {                            \
        bytes, sizeof(bytes) - 1 \
    }
struct place {
    const char *bytes;
    size_t size;
};

static const struct place event_places[] = {
    BYTES("\x00"),
    BYTES("\x01"),
    BYTES("\x00"),
    BYTES("\x05"),
    BYTES("\xa1k"),
    BYTES("\xa1u"),
    BYTES("\xa1t"),
    BYTES("\xa1s"),
    BYTES("\x06"),
    BYTES("\x01"),
    BYTES("\xc4\x04\x7f\x00\x00\x01"),
    BYTES("\x07"),
    BYTES("\xa1l"),
    BYTES("\xa1#"),
    BYTES("\x03"),
    BYTES("\x08"),
    BYTES("\xa1x"),
    BYTES("\xa1r"),
    BYTES("\x09"),
    BYTES("\x01"),
};
static const struct place problem_places[] = {
    BYTES("\x01"),
    BYTES("\xa1k"),
    BYTES("\x02"),
    BYTES("\x05"),
    BYTES("\xa1m"),
    BYTES("\xa1r"),
    BYTES("\xa1"
          "e"),
    BYTES("\xa1p"),
    BYTES("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
};
enum { EVENT_PLACES = sizeof event_places / sizeof *event_places };
enum { PROBLEM_PLACES = sizeof problem_places / sizeof *problem_places };

/* Whether a record is taken that says it has `said` places and is made of `places`, `n` of them, place `at` replaced by
 * `bytes`. */
static bool lie_is_taken(size_t said, const struct place *places, size_t n, size_t at, const void *bytes, size_t size)
{
    static unsigned char record[65536 + 1024];
    size_t used = 0;
    record[used++] = 0xdc;
    record[used++] = 0;
    record[used++] = (unsigned char)said;
    for (size_t i = 0; i < n; i++) {
        memcpy(record + used, i == at ? bytes : places[i].bytes, i == at ? size : places[i].size);
        used += i == at ? size : places[i].size;
    }
    return taken_soundly(record, used);
}

static bool made_is_taken(const struct place *places, size_t n, size_t at, const void *bytes, size_t size)
{
    return lie_is_taken(n, places, n, at, bytes, size);
}

static bool is_text(const struct place *place)
{
    return (unsigned char)place->bytes[0] == 0xa1;
}

static const struct place no_numbers[] = {
    BYTES("\xc0"),
    BYTES("\xc2"),
    BYTES("\xc3"),
    BYTES("\xff"),
    BYTES("\xd0\x01"),
    BYTES("\xd3\0\0\0\0\0\0\0\1"),
    BYTES("\xa1"
          "1"),
    BYTES("\x90"),
    BYTES("\x80"),
    BYTES("\xca\0\0\0\0"),
    BYTES("\xd4\0\0"),
    BYTES("\xc1"),
    BYTES("\xc4\0"),
};
static const struct place no_texts[] = {
    BYTES("\x01"),
    BYTES("\xc2"),
    BYTES("\xc4\x01k"),
    BYTES("\x91\xa1k"),
    BYTES("\x80"),
    BYTES("\xdb\0\0\0\x01k"),
    BYTES("\xa1\n"),
    BYTES("\xa1\x7f"),
    BYTES("\xa1\0"),
    BYTES("\xa2\xc2\x80"),
    BYTES("\xa1\xff"),
    BYTES("\xa2\xc0\x80"),
    BYTES("\xd9\xff"
          "k"),
    BYTES("\xda\xff\xff"
          "k"),
    BYTES("\xdb\xff\xff\xff\xffk"),
    BYTES("\xc1"),
    BYTES("\xd4\0\0"),
};
static const struct place no_addresses[] = {
    BYTES("\xc0"),
    BYTES("\xc4\x03"
          "abc"),
    BYTES("\xc4\x10"
          "0123456789abcdef"),
    BYTES("\xa4\x7f\0\0\x01"),
    BYTES("\x05"),
    BYTES("\xc5\0\x04\x7f\0\0\x01"),
    BYTES("\xc4\xff"
          "abcd"),
    BYTES("\xc6\xff\xff\xff\xff"),
};
static const struct place no_fractions[] = {
    BYTES("\x01"),
    BYTES("\xc0"),
    BYTES("\xca\x3f\x80\0\0"),
    BYTES("\xcb\x7f\xf0\0\0\0\0\0\0"),
    BYTES("\xcb\x7f\xf8\0\0\0\0\0\0"),
    BYTES("\xcb\xff\xf0\0\0\0\0\0\0"),
    BYTES("\xcb\xbf\xf0\0\0\0\0\0\0"),
    BYTES("\xa1"
          "1"),
};

#define EACH_REFUSED(places, n, at, bad)                                    \
    for (size_t bad_one = 0; bad_one < sizeof bad / sizeof *bad; bad_one++) \
    assert_false(made_is_taken(places, n, at, bad[bad_one].bytes, bad[bad_one].size))

static void wrong_types(void **state)
{
    (void)state;
    assert_true(made_is_taken(event_places, EVENT_PLACES, 0, "\x00", 1));
    assert_true(made_is_taken(problem_places, PROBLEM_PLACES, 0, "\x01", 1));
    for (size_t i = 0; i < EVENT_PLACES; i++) {
        if (i == 10)
            EACH_REFUSED(event_places, EVENT_PLACES, i, no_addresses);
        else if (is_text(&event_places[i]))
            EACH_REFUSED(event_places, EVENT_PLACES, i, no_texts);
        else
            EACH_REFUSED(event_places, EVENT_PLACES, i, no_numbers);
    }
    for (size_t i = 0; i < PROBLEM_PLACES; i++) {
        if (i == PROBLEM_PLACES - 1)
            EACH_REFUSED(problem_places, PROBLEM_PLACES, i, no_fractions);
        else if (is_text(&problem_places[i]))
            EACH_REFUSED(problem_places, PROBLEM_PLACES, i, no_texts);
        else
            EACH_REFUSED(problem_places, PROBLEM_PLACES, i, no_numbers);
    }
}

static void out_of_range(void **state)
{
    (void)state;
    static const struct {
        bool problem, taken;
        size_t place;
        struct place with;
    } cases[] = {
        {false, false, 0, BYTES("\x02")},
        {false, false, 0, BYTES("\xcc\xff")},
        {false, true, 1, BYTES("\x0e")}, /* the last kind */
        {false, false, 1, BYTES("\x0f")},
        {false, false, 1, BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff")},
        {false, true, 2, BYTES("\x04")}, /* the last result */
        {false, false, 2, BYTES("\x05")},
        {false, true, 3, BYTES("\xcf\x03\x84\x44\x0c\xcc\x73\x5f\xff")}, /* the last microsecond of the year 9999 */
        {false, false, 3, BYTES("\xcf\x03\x84\x44\x0c\xcc\x73\x60\x00")},
        {false, true, 8, BYTES("\xcf\x00\x00\x00\x3a\xff\xf4\x41\x7f")}, /* the last second */
        {false, false, 8, BYTES("\xcf\x00\x00\x00\x3a\xff\xf4\x41\x80")},
        {false, false, 9, BYTES("\x00")}, /* an address, but nobody who has it */
        {false, false, 9, BYTES("\x02")}, /* of the other kind */
        {false, false, 9, BYTES("\x03")},
        {false, false, 9, BYTES("\x04")},
        {false, true, 11, BYTES("\xcd\xff\xff")},
        {false, false, 11, BYTES("\xce\x00\x01\x00\x00")},
        {false, true, 14, BYTES("\xce\xff\xff\xff\xff")},
        {false, false, 14, BYTES("\xcf\x00\x00\x00\x01\x00\x00\x00\x00")},
        {false, false, 15, BYTES("\xcf\x03\x84\x44\x0c\xcc\x73\x60\x00")},
        {false, true, 18, BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff")},
        {true, false, 0, BYTES("\x00")},
        {true, false, 1, BYTES("\xc0")}, /* a kind must be there, */
        {true, false, 2, BYTES("\x03")},
        {true, false, 3, BYTES("\xcf\x03\x84\x44\x0c\xcc\x73\x60\x00")},
        {true, false, 4, BYTES("\xc0")}, /* and so must a message */
        {true, true, 5, BYTES("\xc0")},
        {true, true, 4, BYTES("\xa0")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct place *places = cases[i].problem ? problem_places : event_places;
        size_t n = cases[i].problem ? PROBLEM_PLACES : EVENT_PLACES;
        bool taken = made_is_taken(places, n, cases[i].place, cases[i].with.bytes, cases[i].with.size);
        if (taken != cases[i].taken)
            fail_msg("case %zu: taken is %d", i, taken);
    }
}

static void texts_too_long(void **state)
{
    (void)state;
    static unsigned char text[3 + 65536];
    memset(text, 't', sizeof text);
    for (size_t i = 0; i < EVENT_PLACES; i++) {
        if (!is_text(&event_places[i]))
            continue;
        const size_t longest = i == 7 ? EVENT_SCOPES_MAX : EVENT_TEXT_MAX, sizes[] = {longest, longest + 1, 65535};
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
            text[0] = 0xda;
            text[1] = (unsigned char)(sizes[n] >> 8);
            text[2] = (unsigned char)sizes[n];
            assert_int_equal(made_is_taken(event_places, EVENT_PLACES, i, text, 3 + sizes[n]), sizes[n] == longest);
        }
    }
}

static void other_shapes(void **state)
{
    (void)state;
    static const struct place shapes[] = {
        BYTES(""),
        BYTES("\x90"),
        BYTES("\x91\x00"),
        BYTES("\x80"),
        BYTES("\xc0"),
        BYTES("\x00"),
        BYTES("\xa0"),
        BYTES("\x91\x02"),
        BYTES("\xdd\xff\xff\xff\xff"),
        BYTES("\xdd\xff\xff\xff\xff\x00"),
        BYTES("\xdc\xff\xff\x00"),
        BYTES("\xdd\0\0\0\x13\0\0\0\0"),
        BYTES("\xdf\xff\xff\xff\xff"),
        BYTES("\xdc\x00"),
        BYTES("\xdc"),
        BYTES("\xc9\xff\xff\xff\xff\x00"),
        BYTES("\xc6\xff\xff\xff\xff"),
        BYTES("\xdb\xff\xff\xff\xff"),
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        assert_false(taken_soundly(shapes[i].bytes, shapes[i].size));
    for (size_t n = 1; n < EVENT_PLACES; n++)
        assert_false(made_is_taken(event_places, n, n, "", 0));
    for (size_t n = 1; n < PROBLEM_PLACES; n++)
        assert_false(made_is_taken(problem_places, n, n, "", 0));
    for (size_t n = 0; n < 64; n++) {
        assert_int_equal(lie_is_taken(n, event_places, EVENT_PLACES, 0, "\x00", 1), n == EVENT_PLACES);
        assert_int_equal(lie_is_taken(n, problem_places, PROBLEM_PLACES, 0, "\x01", 1), n == PROBLEM_PLACES);
    }
    static unsigned char nested[100000];
    const unsigned char openers[] = {0x91, 0x81, 0x9f, 0xdd};
    for (size_t i = 0; i < sizeof openers; i++)
        assert_false(taken_soundly(memset(nested, openers[i], sizeof nested), sizeof nested));
}

static void heads(void **state)
{
    (void)state;
    static const struct datagram_head good[] = {{0, 0, 1}, {512, UINT64_MAX, 3000}, {65535, 1, 65535}};
    unsigned char bytes[DATAGRAM_HEAD_SIZE + 1] = {0};
    struct datagram_head head;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        datagram_head_encode(&good[i], bytes);
        assert_int_equal(datagram_head_decode(bytes, sizeof bytes, &head), DATAGRAM_HEAD_SIZE);
        assert_int_equal(head.sender, good[i].sender);
        assert_int_equal(head.first, good[i].first);
        assert_int_equal(head.count, good[i].count);
        for (size_t left = 0; left < DATAGRAM_HEAD_SIZE; left++)
            assert_int_equal(datagram_head_decode(bytes, left, &head), 0);
    }
    static const struct place bad[] = {
        BYTES("\x93\x00\x00\x00"), BYTES("\x94\x00\x00\x01\x01"), BYTES("\x92\x00\x01\x01"),
        BYTES("\x93\xc0\x00\x01"), BYTES("\x93\x00\xff\x01"),     BYTES("\x93\x00\x00\xa0"),
        BYTES("\x83\x00\x00\x01"), BYTES("\xff\x00\x00\x01"),     BYTES("\x93\xce\x00\x01\x00\x00\x00\x01"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(datagram_head_decode((const unsigned char *)bad[i].bytes, bad[i].size, &head), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere),      cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(damaged_at_random), cmocka_unit_test(wrong_types),
        cmocka_unit_test(out_of_range),      cmocka_unit_test(texts_too_long),
        cmocka_unit_test(other_shapes),      cmocka_unit_test(heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
