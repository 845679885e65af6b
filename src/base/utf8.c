/* SPDX-License-Identifier: MIT */
/* UTF-8. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

static bool is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* The bytes that the character at `c` takes, 0 when it is none. The second byte's range depends on the first: that is
 * what keeps out long forms, surrogates and what lies beyond U+10FFFF (RFC 3629, section 4). */
static size_t character_size(const unsigned char *c, size_t left)
{
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xc2 || left < 2)
        return 0;
    if (c[0] < 0xe0)
        return is_tail(c[1]) ? 2 : 0;
    if (left < 3 || !is_tail(c[2]))
        return 0;
    if (c[0] < 0xf0) {
        unsigned char least = c[0] == 0xe0 ? 0xa0 : 0x80, most = c[0] == 0xed ? 0x9f : 0xbf;
        return c[1] >= least && c[1] <= most ? 3 : 0;
    }
    if (c[0] > 0xf4 || left < 4 || !is_tail(c[3]))
        return 0;
    unsigned char least = c[0] == 0xf0 ? 0x90 : 0x80, most = c[0] == 0xf4 ? 0x8f : 0xbf;
    return c[1] >= least && c[1] <= most ? 4 : 0;
}

bool utf8_valid(const char *bytes, size_t size, size_t *characters)
{
    const unsigned char *text = (const unsigned char *)bytes;
    size_t count = 0;
    for (size_t at = 0; at < size; count++) {
        uint64_t eight;
        while (size - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) != 0)
                break;
            at += sizeof eight;
            count += sizeof eight;
        }
        if (at == size)
            break;
        size_t step = text[at] < 0x80 ? 1 : character_size(text + at, size - at);
        if (step == 0)
            return false;
        at += step;
    }
    if (characters != NULL)
        *characters = count;
    return true;
}

/* Whether eight bytes are all ASCII and none is NUL: only a borrow from a NUL, or from below one, sets a high bit. */
static bool eight_are_ascii(const unsigned char *bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t eight;
    memcpy(&eight, bytes, sizeof eight);
    return ((eight | (eight - ones)) & high) == 0;
}

bool utf8_is_string(const char *bytes, size_t size)
{
    const unsigned char *text = (const unsigned char *)bytes;
    size_t at = 0;
    while (size - at >= 8 && eight_are_ascii(text + at))
        at += 8;
    while (at < size && text[at] > 0 && text[at] < 0x80)
        at++;
    return at == size || (memchr(bytes + at, '\0', size - at) == NULL && utf8_valid(bytes + at, size - at, NULL));
}

/* The same as character_size, and 0 for a control character too. */
static size_t text_character_size(const unsigned char *c, size_t left)
{
    if (c[0] < 0x80)
        return c[0] >= 0x20 && c[0] != 0x7f;
    size_t size = character_size(c, left);
    return size == 2 && c[0] == 0xc2 && c[1] < 0xa0 ? 0 : size;
}

/* Whether eight bytes are all ASCII and none a control character: a borrow sets the high bit of a byte below 0x20, a
 * carry that of 0x7f. Borrows spread only where the answer is no already. */
static bool eight_are_text(const unsigned char *bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t eight;
    memcpy(&eight, bytes, sizeof eight);
    return ((eight | (eight - ones * 0x20) | (eight + ones)) & high) == 0;
}

/* How many bytes at the front of `text` are text. */
static size_t text_span(const unsigned char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        size_t step = size - at >= 8 && eight_are_text(text + at) ? 8 : text_character_size(text + at, size - at);
        if (step == 0)
            break;
        at += step;
    }
    return at;
}

bool utf8_is_text(const char *bytes, size_t size)
{
    return text_span((const unsigned char *)bytes, size) == size;
}

void utf8_make_text(char *bytes, size_t size)
{
    size_t at = 0;
    while ((at += text_span((unsigned char *)bytes + at, size - at)) < size)
        bytes[at++] = '?';
}

size_t utf8_cut(const char *bytes, size_t size, size_t most)
{
    if (size <= most)
        return size;
    size_t cut = most;
    while (cut > 0 && most - cut < 3 && is_tail((unsigned char)bytes[cut]))
        cut--;
    return cut;
}
