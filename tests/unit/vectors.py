#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes vectors.h: stored values, made without any code of tokenkeep's or of its libraries.

XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha), the key id and msgpack are written out here, in plain Python,
from their specifications. The result is kept in the repository: a difference after running this again is a change of
format.
"""
import hashlib
import struct


def rotate(n, bits):
    return (n << bits | n >> (32 - bits)) & 0xFFFFFFFF


def rounds(state):
    x = list(state)

    def quarter(a, b, c, d):
        for p, q, r, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] = (x[p] + x[q]) & 0xFFFFFFFF
            x[r] = rotate(x[r] ^ x[p], bits)

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return x


CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


def chacha20_block(key, counter, nonce):
    state = CONSTANTS + struct.unpack("<8I", key) + (counter,) + struct.unpack("<3I", nonce)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, rounds(state))))


def hchacha20(key, nonce):
    x = rounds(CONSTANTS + struct.unpack("<8I", key) + struct.unpack("<4I", nonce))
    return struct.pack("<8I", *x[:4], *x[12:])


def chacha20(key, nonce, text):
    out = bytearray()
    for i in range(0, len(text), 64):
        block = chacha20_block(key, 1 + i // 64, nonce)
        out += bytes(a ^ b for a, b in zip(text[i:i + 64], block))
    return bytes(out)


def poly1305(key, text):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for i in range(0, len(text), 16):
        total = (total + int.from_bytes(text[i:i + 16] + b"\x01", "little")) * r % ((1 << 130) - 5)
    return ((total + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def padded(text):
    return text + bytes(-len(text) % 16)


def xchacha20poly1305(key, nonce, text, authenticated):
    subkey, nonce = hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]
    ciphertext = chacha20(subkey, nonce, text)
    lengths = struct.pack("<QQ", len(authenticated), len(ciphertext))
    tag = poly1305(chacha20_block(subkey, 0, nonce)[:32], padded(authenticated) + padded(ciphertext) + lengths)
    return ciphertext + tag


def seal(key, nonce, redis_key, plain):
    header = b"\x01" + hashlib.blake2b(b"tokenkeep-key-id-1" + key, digest_size=32).digest()[:8]
    return header + nonce + xchacha20poly1305(key, nonce, plain, header + redis_key)


def pack(value):
    """The shortest msgpack of a value; bytes are msgpack already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        if value < 0x80:
            return bytes([value])
        for code, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
            if value < 1 << 8 * size:
                return bytes([code]) + value.to_bytes(size, "big")
    if isinstance(value, str):
        text = value.encode()
        if len(text) < 32:
            return bytes([0xA0 | len(text)]) + text
        return (b"\xd9" + bytes([len(text)]) if len(text) < 256 else b"\xda" + struct.pack(">H", len(text))) + text
    if isinstance(value, list):
        code, small, parts = 0xDC, 0x90, value
    else:
        code, small, parts = 0xDE, 0x80, [part for member in value.items() for part in member]
    head = bytes([small | len(value)]) if len(value) < 16 else bytes([code]) + struct.pack(">H", len(value))
    return head + b"".join(map(pack, parts))


KEY_A = bytes(range(32))
KEY_B = bytes(255 - 7 * i & 0xFF for i in range(32))
PART_1, PART_2, PART_3 = "abcdefghijklmnopqrstuv", "ABCDEFGHIJKLMNOP0189-_", "0123456789_-zyxwvutsrq"

VECTORS = [
    ("the least there can be", KEY_A, bytes(range(0x40, 0x58)), f"token:{PART_1}", pack({
        "token": [PART_1, PART_2], "username": "a", "token_type": "session", "scopes": [], "created": 0}),
     f'{{"token":"gt-{PART_1}.{PART_2}","username":"a","token_type":"session","scopes":[],"created":0}}'),
    ("every field", KEY_B, bytes(range(0x80, 0x98)), f"prod/tokens:{PART_3}", pack({
        "token": [PART_3, PART_1], "username": "some-user-1", "token_type": "oidc",
        "scopes": ["admin:token", "exec:notebook", "read:all", "user:token"], "created": 1700000000,
        "expires": 253402300799, "service": "portal", "name": "Some User", "email": "some@example.org",
        "uid": 9223372036854775807, "gid": 4294967296,
        "groups": [{"name": "some-user-1", "id": 1000}, {"name": "7_up.x", "id": 1}]}),
     f'{{"token":"gt-{PART_3}.{PART_1}","username":"some-user-1","token_type":"oidc",'
     '"scopes":["admin:token","exec:notebook","read:all","user:token"],"created":1700000000,'
     '"expires":253402300799,"service":"portal","name":"Some User","email":"some@example.org",'
     '"uid":9223372036854775807,"gid":4294967296,'
     '"groups":[{"name":"some-user-1","id":1000},{"name":"7_up.x","id":1}]}'),
    ("text beyond ASCII, and an empty list of groups", KEY_A, bytes(24), f"token:{PART_3}", pack({
        "token": [PART_3, PART_2], "username": "x1", "token_type": "user", "scopes": ["z"], "created": 1,
        "name": "Zo\u00eb \u2603 \U0001F600 \"q\\\" \n \x7f \u0085 \u00a0", "email": "e" * 40, "groups": []}),
     f'{{"token":"gt-{PART_3}.{PART_2}","username":"x1","token_type":"user","scopes":["z"],"created":1,'
     '"name":"Zo\u00eb \u2603 \U0001F600 \\"q\\\\\\" \\u000a \\u007f \\u0085 \u00a0",'
     '"email":"' + "e" * 40 + '","groups":[]}'),
    ("another encoder's choices: wide integers, long headers, nulls, another order", KEY_A, b"\xff" * 24,
     f"token:{PART_1}",
     b"\xdf\0\0\0\x08"
     + pack("scopes") + b"\xdd\0\0\0\x03" + pack("b") + b"\xd9\x01a" + b"\xdb\0\0\0\x01b"
     + pack("token") + b"\xdc\0\x02" + b"\xda\0\x16" + PART_1.encode() + pack(PART_2)
     + b"\xd9\x08username" + pack("u") + pack("name") + b"\xc0"
     + pack("created") + b"\xd3" + struct.pack(">q", 5) + pack("expires") + b"\xcf" + struct.pack(">Q", 6)
     + pack("uid") + b"\xd0\x07" + pack("token_type") + pack("service"),
     f'{{"token":"gt-{PART_1}.{PART_2}","username":"u","token_type":"service",'
     '"scopes":["a","b"],"created":5,"expires":6,"uid":7}'),
]


def literal(text):
    plain = {ord('"'): '\\"', ord("\\"): "\\\\"}
    return '"' + "".join(plain.get(c, chr(c) if 0x20 <= c < 0x7F else "\\%03o" % c) for c in text) + '"'


def lines(text):
    parts, text = [], text.encode()
    while text:
        size = next(size for size in range(96, 0, -1) if len(literal(text[:size])) <= 112)
        parts.append("     " + literal(text[:size]))
        text = text[size:]
    return "\n".join(parts)


HEAD = f"""\
/* SPDX-License-Identifier: MIT */
/* Stored values, written by vectors.py, which shares no code with what is tested. */
#ifndef TK_TESTS_VECTORS_H
#define TK_TESTS_VECTORS_H

#include <stdbool.h>

#define VECTOR_KEY_A "{KEY_A.hex()}"
#define VECTOR_KEY_B "{KEY_B.hex()}"

struct vector {{
    const char *what;
    const char *redis_key;
    const char *sealed; /* hex */
    const char *plain;  /* hex */
    const char *json;
    bool shortest; /* just as the encoder would have it */
}};

static const struct vector vectors[] = {{"""

TAIL = """\
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

#endif"""


def main():
    print(HEAD)
    for what, key, nonce, redis_key, plain, json in VECTORS:
        sealed = seal(key, nonce, redis_key.encode(), plain)
        parts = map(lines, (what, redis_key, sealed.hex(), plain.hex(), json))
        print("    {" + ",\n".join(parts).lstrip() + ",\n     " + ("true" if plain[0] < 0x90 else "false") + "},")
    print(TAIL)


if __name__ == "__main__":
    main()
