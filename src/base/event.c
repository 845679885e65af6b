/* SPDX-License-Identifier: MIT */
/* Events and problems to and from records. The reader knows just the types that the writer uses; it stops for good at
 * the first thing that is not what must stand there. */
#include "base/event.h"

#include "base/utf8.h"

#include <math.h>
#include <msgpack.h>
#include <string.h>

enum { EVENT_PLACES = 20, PROBLEM_PLACES = 9, EVENT_TEXTS = 7, NUMBER_SIZE = 9, TEXT_HEAD_SIZE = 3 };
_Static_assert(EVENT_TEXTS *(TEXT_HEAD_SIZE + EVENT_TEXT_MAX) + TEXT_HEAD_SIZE + EVENT_SCOPES_MAX +
                       EVENT_PLACES * NUMBER_SIZE <=
                   RECORD_MAX,
               "the longest event must fit; a problem has fewer texts");

/* The end of the year 9999. */
static const uint64_t seconds_max = UINT64_C(253402300799);
static const uint64_t microseconds_max = UINT64_C(253402300799999999);

const char *event_kind_name(enum event_kind kind)
{
    static const char *const names[] = {
#define X(constant, name) [EVENT_##constant] = name,
        EVENT_KINDS_LIST(X)
#undef X
    };
    return names[kind];
}

const char *event_result_name(enum event_result result)
{
    static const char *const names[] = {
        [EVENT_OK] = "ok",
        [EVENT_NO] = "no",
        [EVENT_DENIED] = "denied",
        [EVENT_ERROR] = "error",
        [EVENT_UNCERTAIN] = "uncertain",
    };
    return names[result];
}

struct event_text event_text(const char *string)
{
    return (struct event_text){string, string == NULL ? 0 : strlen(string)};
}

/* Out. */

/* Where the packer writes; what is written is known to fit. */
struct output {
    unsigned char *bytes;
    size_t size;
};

static int output_write(void *argument, const char *bytes, size_t size)
{
    struct output *out = argument;
    memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
    return 0;
}

static void pack_number(msgpack_packer *packer, int64_t number)
{
    msgpack_pack_uint64(packer, number < 0 ? 0 : (uint64_t)number);
}

/* Makes a text of the last `size` bytes written. */
static void make_text(const msgpack_packer *packer, size_t size)
{
    const struct output *out = packer->data;
    utf8_make_text((char *)out->bytes + out->size - size, size);
}

static void pack_text(msgpack_packer *packer, struct event_text text)
{
    if (text.text == NULL) {
        msgpack_pack_nil(packer);
        return;
    }
    size_t size = utf8_cut(text.text, text.size, EVENT_TEXT_MAX);
    msgpack_pack_str_with_body(packer, text.text, size);
    make_text(packer, size);
}

static void pack_scopes(msgpack_packer *packer, struct event_text scopes)
{
    static const char mark[] = {' ', '.', '.', '.'};
    if (scopes.size <= EVENT_TEXT_MAX) {
        pack_text(packer, scopes);
        return;
    }
    size_t size = scopes.size, mark_size = 0;
    if (size > EVENT_SCOPES_MAX) {
        const char *space = memrchr(scopes.text, ' ', EVENT_SCOPES_MAX - sizeof mark + 1);
        size = space == NULL ? 0 : (size_t)(space - scopes.text);
        mark_size = sizeof mark;
    }
    msgpack_pack_str(packer, size + mark_size);
    msgpack_pack_str_body(packer, scopes.text, size);
    msgpack_pack_str_body(packer, mark, mark_size);
    make_text(packer, size + mark_size);
}

static size_t address_size(enum peer_kind kind)
{
    return kind == PEER_INET ? 4 : kind == PEER_INET6 ? 16 : 0;
}

/* Three places: the kind, the address or nil, the port or the user. */
static void pack_peer(msgpack_packer *packer, const struct event_peer *peer)
{
    size_t size = address_size(peer->kind);
    msgpack_pack_uint8(packer, (uint8_t)peer->kind);
    if (size > 0)
        msgpack_pack_bin_with_body(packer, peer->address, size);
    else
        msgpack_pack_nil(packer);
    msgpack_pack_uint32(packer, size > 0 ? peer->port : peer->kind == PEER_UNIX ? peer->uid : 0);
}

size_t event_encode(const struct audit_event *event, unsigned char *record)
{
    struct output out = {record, 0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &out, output_write);
    msgpack_pack_array(&packer, EVENT_PLACES);
    msgpack_pack_uint8(&packer, RECORD_EVENT);
    msgpack_pack_uint8(&packer, (uint8_t)event->kind);
    msgpack_pack_uint8(&packer, (uint8_t)event->result);
    pack_number(&packer, event->time);
    pack_text(&packer, event->key);
    pack_text(&packer, event->username);
    pack_text(&packer, event->token_type);
    pack_scopes(&packer, event->scopes);
    pack_number(&packer, event->expires);
    pack_peer(&packer, &event->peer);
    pack_text(&packer, event->listener);
    pack_text(&packer, event->tag);
    msgpack_pack_uint32(&packer, event->worker);
    pack_number(&packer, event->latency + 1); /* absent, -1, is 0 */
    pack_text(&packer, event->command);
    pack_text(&packer, event->reason);
    msgpack_pack_uint64(&packer, event->count);
    msgpack_pack_uint8(&packer, event->stale);
    return out.size;
}

size_t problem_encode(const struct problem *problem, unsigned char *record)
{
    struct output out = {record, 0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &out, output_write);
    msgpack_pack_array(&packer, PROBLEM_PLACES);
    msgpack_pack_uint8(&packer, RECORD_PROBLEM);
    pack_text(&packer, problem->kind);
    msgpack_pack_uint8(&packer, (uint8_t)problem->phase);
    pack_number(&packer, problem->time);
    pack_text(&packer, problem->message);
    pack_text(&packer, problem->key);
    pack_text(&packer, problem->error);
    pack_text(&packer, problem->process);
    msgpack_pack_double(&packer, problem->seconds);
    return out.size;
}

/* Its numbers have a fixed size, so that the head can be written when the records are there. */
void datagram_head_encode(const struct datagram_head *head, unsigned char *bytes)
{
    struct output out = {bytes, 0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &out, output_write);
    msgpack_pack_array(&packer, 3);
    msgpack_pack_fix_uint16(&packer, (uint16_t)head->sender);
    msgpack_pack_fix_uint64(&packer, head->first);
    msgpack_pack_fix_uint16(&packer, (uint16_t)head->count);
}

/* In. */

/* What is still to be read. Once `bad` is set, nothing is read any more and all that is asked for is 0 or absent. */
struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

/* The next `size` bytes, NULL when they are not there. */
static const unsigned char *take(struct reader *reader, size_t size)
{
    if (reader->bad || size > reader->left) {
        reader->bad = true;
        return NULL;
    }
    const unsigned char *bytes = reader->at;
    reader->at += size;
    reader->left -= size;
    return bytes;
}

static uint64_t take_big_endian(struct reader *reader, size_t size)
{
    const unsigned char *bytes = take(reader, size);
    uint64_t number = 0;
    if (bytes == NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

static uint64_t refuse(struct reader *reader)
{
    reader->bad = true;
    return 0;
}

static uint64_t read_array(struct reader *reader)
{
    uint64_t type = take_big_endian(reader, 1);
    if (type >= 0x90 && type <= 0x9f)
        return type & 0x0f;
    return type == 0xdc ? take_big_endian(reader, 2) : refuse(reader);
}

static uint64_t read_number(struct reader *reader, uint64_t most)
{
    uint64_t number = take_big_endian(reader, 1);
    if (number >= 0xcc && number <= 0xcf)
        number = take_big_endian(reader, (size_t)1 << (number - 0xcc));
    else if (number > 0x7f)
        return refuse(reader);
    return number <= most ? number : refuse(reader);
}

static double read_fraction(struct reader *reader)
{
    double fraction;
    uint64_t type = take_big_endian(reader, 1), bits = take_big_endian(reader, 8);
    memcpy(&fraction, &bits, sizeof fraction);
    if (type == 0xcb && isfinite(fraction) && fraction >= 0)
        return fraction;
    return (double)refuse(reader);
}

static struct event_text read_text(struct reader *reader, size_t most)
{
    uint64_t size, type = take_big_endian(reader, 1);
    if (type >= 0xa0 && type <= 0xbf)
        size = type & 0x1f;
    else if (type == 0xd9 || type == 0xda)
        size = take_big_endian(reader, type == 0xd9 ? 1 : 2);
    else
        return (struct event_text){NULL, type == 0xc0 ? 0 : refuse(reader)};
    const char *text = (const char *)take(reader, size <= most ? size : refuse(reader));
    if (text != NULL && utf8_is_text(text, size))
        return (struct event_text){text, size};
    return (struct event_text){NULL, refuse(reader)};
}

static struct event_text read_text_required(struct reader *reader)
{
    struct event_text text = read_text(reader, EVENT_TEXT_MAX);
    if (text.text == NULL)
        refuse(reader);
    return text;
}

static void read_address(struct reader *reader, struct event_peer *peer)
{
    size_t size = address_size(peer->kind);
    uint64_t type = take_big_endian(reader, 1);
    if (size == 0 ? type != 0xc0 : type != 0xc4 || take_big_endian(reader, 1) != size)
        refuse(reader);
    const unsigned char *bytes = take(reader, size);
    if (bytes != NULL)
        memcpy(peer->address, bytes, size);
}

static struct event_peer read_peer(struct reader *reader)
{
    struct event_peer peer = {.kind = (enum peer_kind)read_number(reader, PEER_KINDS - 1)};
    read_address(reader, &peer);
    if (peer.kind == PEER_NONE)
        read_number(reader, 0);
    else if (peer.kind == PEER_UNIX)
        peer.uid = (uid_t)read_number(reader, UINT32_MAX);
    else
        peer.port = (uint16_t)read_number(reader, UINT16_MAX);
    return peer;
}

static void read_event(struct reader *reader, struct audit_event *event)
{
    event->kind = (enum event_kind)read_number(reader, EVENT_KINDS - 1);
    event->result = (enum event_result)read_number(reader, EVENT_RESULTS - 1);
    event->time = (int64_t)read_number(reader, microseconds_max);
    event->key = read_text(reader, EVENT_TEXT_MAX);
    event->username = read_text(reader, EVENT_TEXT_MAX);
    event->token_type = read_text(reader, EVENT_TEXT_MAX);
    event->scopes = read_text(reader, EVENT_SCOPES_MAX);
    event->expires = (int64_t)read_number(reader, seconds_max);
    event->peer = read_peer(reader);
    event->listener = read_text(reader, EVENT_TEXT_MAX);
    event->tag = read_text(reader, EVENT_TEXT_MAX);
    event->worker = (unsigned)read_number(reader, UINT32_MAX);
    event->latency = (int64_t)read_number(reader, microseconds_max) - 1;
    event->command = read_text(reader, EVENT_TEXT_MAX);
    event->reason = read_text(reader, EVENT_TEXT_MAX);
    event->count = read_number(reader, UINT64_MAX);
    event->stale = read_number(reader, 1) == 1;
}

static void read_problem(struct reader *reader, struct problem *problem)
{
    problem->kind = read_text_required(reader);
    problem->phase = (enum problem_phase)read_number(reader, PROBLEM_PHASES - 1);
    problem->time = (int64_t)read_number(reader, microseconds_max);
    problem->message = read_text_required(reader);
    problem->key = read_text(reader, EVENT_TEXT_MAX);
    problem->error = read_text(reader, EVENT_TEXT_MAX);
    problem->process = read_text(reader, EVENT_TEXT_MAX);
    problem->seconds = read_fraction(reader);
}

enum record_kind record_decode(const unsigned char *bytes, size_t size, size_t *used, struct audit_event *event,
                               struct problem *problem)
{
    struct reader reader = {bytes, size, false};
    uint64_t places = read_array(&reader);
    enum record_kind kind = (enum record_kind)read_number(&reader, RECORD_PROBLEM);
    if (kind == RECORD_EVENT && places == EVENT_PLACES)
        read_event(&reader, event);
    else if (kind == RECORD_PROBLEM && places == PROBLEM_PLACES)
        read_problem(&reader, problem);
    else
        refuse(&reader);
    *used = reader.bad ? 0 : size - reader.left;
    return reader.bad ? RECORD_BAD : kind;
}

size_t datagram_head_decode(const unsigned char *bytes, size_t size, struct datagram_head *head)
{
    struct reader reader = {bytes, size, false};
    uint64_t places = read_array(&reader);
    head->sender = (unsigned)read_number(&reader, UINT16_MAX);
    head->first = read_number(&reader, UINT64_MAX);
    head->count = (unsigned)read_number(&reader, UINT16_MAX);
    return reader.bad || places != 3 || head->count == 0 ? 0 : size - reader.left;
}
