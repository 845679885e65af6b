# SPDX-License-Identifier: MIT
"""Stored values made and read without the daemon: libsodium through ctypes, and a small msgpack of our own."""
import base64
import ctypes
import os
import struct

_sodium = ctypes.CDLL("libsodium.so.23")
assert _sodium.sodium_init() >= 0

FORMAT = 1
KEY_SIZE, ID_SIZE, NONCE_SIZE, TAG_SIZE = 32, 8, 24, 16
HEADER_SIZE = 1 + ID_SIZE
OVERHEAD = HEADER_SIZE + NONCE_SIZE + TAG_SIZE


def new_key():
    return os.urandom(KEY_SIZE)


def keyring_line(key):
    return base64.standard_b64encode(key).decode() + "\n"


def write_keyring(path, keys):
    """Writes a keyring that only its owner can read; the first key seals."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("# made by a test\n" + "".join(keyring_line(key) for key in keys))


def key_id(key):
    out = ctypes.create_string_buffer(32)
    text = b"tokenkeep-key-id-1" + key
    assert _sodium.crypto_generichash(out, ctypes.c_size_t(32), text, ctypes.c_ulonglong(len(text)), None,
                                      ctypes.c_size_t(0)) == 0
    return out.raw[:ID_SIZE]


def seal(key, name, plain, nonce=None, identity=None):
    """The value for the Redis key `name` (bytes). `identity` writes another key id than the key's own."""
    nonce = nonce or os.urandom(NONCE_SIZE)
    header = bytes([FORMAT]) + (identity or key_id(key))
    additional = header + name
    out = ctypes.create_string_buffer(len(plain) + TAG_SIZE)
    size = ctypes.c_ulonglong()
    assert _sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        out, ctypes.byref(size), plain, ctypes.c_ulonglong(len(plain)), additional,
        ctypes.c_ulonglong(len(additional)), None, nonce, key) == 0
    return header + nonce + out.raw[:size.value]


def unseal(key, name, value):
    """The plaintext, or None when the value does not open as one of this key and this Redis key."""
    if len(value) < OVERHEAD or value[0] != FORMAT or value[1:HEADER_SIZE] != key_id(key):
        return None
    nonce, sealed = value[HEADER_SIZE:HEADER_SIZE + NONCE_SIZE], value[HEADER_SIZE + NONCE_SIZE:]
    additional = value[:HEADER_SIZE] + name
    out = ctypes.create_string_buffer(max(1, len(sealed) - TAG_SIZE))
    size = ctypes.c_ulonglong()
    if _sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            out, ctypes.byref(size), None, sealed, ctypes.c_ulonglong(len(sealed)), additional,
            ctypes.c_ulonglong(len(additional)), nonce, key) != 0:
        return None
    return out.raw[:size.value]


def pack(value):
    """msgpack of None, bool, int, str, bytes, list and dict, each in its shortest form."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _pack_integer(value)
    if isinstance(value, str):
        data = value.encode()
        return _pack_size(len(data), (0xA0, 31), (0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, bytes):
        return _pack_size(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, (list, tuple)):
        return _pack_size(len(value), (0x90, 15), (None, 0xDC, 0xDD)) + b"".join(pack(item) for item in value)
    if isinstance(value, dict):
        return _pack_size(len(value), (0x80, 15), (None, 0xDE, 0xDF)) + b"".join(
            pack(name) + pack(item) for name, item in value.items())
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    raise TypeError(type(value))


def _pack_integer(value):
    if 0 <= value < 128:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack("b", value)
    if value >= 0:
        for mark, form, limit in ((0xCC, ">B", 1 << 8), (0xCD, ">H", 1 << 16), (0xCE, ">I", 1 << 32)):
            if value < limit:
                return bytes([mark]) + struct.pack(form, value)
        return b"\xcf" + struct.pack(">Q", value)
    for mark, form, limit in ((0xD0, ">b", 1 << 7), (0xD1, ">h", 1 << 15), (0xD2, ">i", 1 << 31)):
        if -value <= limit:
            return bytes([mark]) + struct.pack(form, value)
    return b"\xd3" + struct.pack(">q", value)


def _pack_size(size, short, marks):
    if short and size <= short[1]:
        return bytes([short[0] | size])
    for mark, form, limit in zip(marks, (">B", ">H", ">I"), (1 << 8, 1 << 16, 1 << 32)):
        if mark is not None and size < limit:
            return bytes([mark]) + struct.pack(form, size)
    raise ValueError(size)


def unpack(data):
    """One msgpack value that takes up all of `data`; maps become dicts with their order, repeated names are refused."""
    value, end = _unpack(data, 0)
    assert end == len(data), f"{len(data) - end} bytes behind the value"
    return value


_FIXED = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q", 0xCB: ">d"}
_SIZED = {0xD9: (">B", str), 0xDA: (">H", str), 0xDB: (">I", str), 0xC4: (">B", bytes), 0xC5: (">H", bytes),
          0xC6: (">I", bytes), 0xDC: (">H", list), 0xDD: (">I", list), 0xDE: (">H", dict), 0xDF: (">I", dict)}


def _unpack(data, at):
    mark = data[at]
    at += 1
    if mark < 0x80:
        return mark, at
    if mark >= 0xE0:
        return mark - 256, at
    if mark < 0x90:
        return _unpack_body(data, at, dict, mark & 15)
    if mark < 0xA0:
        return _unpack_body(data, at, list, mark & 15)
    if mark < 0xC0:
        return _unpack_body(data, at, str, mark & 31)
    if mark in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[mark], at
    if mark in _FIXED:
        form = _FIXED[mark]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    form, kind = _SIZED[mark]
    size = struct.unpack_from(form, data, at)[0]
    return _unpack_body(data, at + struct.calcsize(form), kind, size)


def _unpack_body(data, at, kind, size):
    if kind in (str, bytes):
        raw = data[at:at + size]
        assert len(raw) == size
        return (raw.decode() if kind is str else raw), at + size
    if kind is list:
        items = []
        for _ in range(size):
            item, at = _unpack(data, at)
            items.append(item)
        return items, at
    result = {}
    for _ in range(size):
        name, at = _unpack(data, at)
        assert name not in result, f"repeated {name}"
        result[name], at = _unpack(data, at)
    return result, at
