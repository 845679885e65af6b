# SPDX-License-Identifier: MIT
"""The tests' own tools, where a mistake in them could hide one of the daemon's."""
import sealed
from client import connect
from fake_redis import bulk


def test_values_open_only_as_what_they_are():
    key, other = sealed.new_key(), sealed.new_key()
    value = sealed.seal(key, b"token:a", b"plain")
    assert len(value) == sealed.OVERHEAD + 5 and value[0] == 1 and value[1:9] == sealed.key_id(key)
    assert sealed.unseal(key, b"token:a", value) == b"plain"
    assert sealed.unseal(other, b"token:a", value) is None
    assert sealed.unseal(key, b"token:b", value) is None
    for at in range(len(value)):
        broken = value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]
        assert sealed.unseal(key, b"token:a", broken) is None


def test_key_id_is_the_published_one():
    # BLAKE2b-256 of the label and 32 zero bytes, by another implementation than libsodium's.
    import hashlib
    expected = hashlib.blake2b(b"tokenkeep-key-id-1" + bytes(32), digest_size=32).digest()[:8]
    assert sealed.key_id(bytes(32)) == expected


def test_msgpack_round_trip():
    value = {"a": [1, 127, 128, 255, 65535, 65536, 2**32, 2**63 - 1, -1, -33, -40000], "b": "x" * 31, "c": "y" * 32,
             "d": "z" * 300,
             "e": None, "f": [True, False], "g": {str(i): i for i in range(20)}, "h": list(range(20)), "i": "w" * 70000}
    assert sealed.unpack(sealed.pack(value)) == value
    assert sealed.pack({"a": 1}) == b"\x81\xa1a\x01"


def test_redis_stops_and_comes_back(start_redis):
    server = start_redis(appendonly=True)
    server.client().set("a", "1")
    server.kill()
    server.start()
    assert server.client().get("a") == b"1"


def test_redis_users(start_redis):
    server = start_redis(users={"keeper": ("pw", "~token:* +@all")})
    import redis
    client = redis.Redis(port=server.port, username="keeper", password="pw")
    assert client.set("token:a", "1")
    try:
        client.set("other", "1")
        raise AssertionError("the rules are not in force")
    except redis.exceptions.NoPermissionError:
        pass


def test_fake_is_taken_for_redis(start_fake):
    import redis
    fake = start_fake()
    client = redis.Redis(unix_socket_path=fake.path)
    assert client.ping() and client.set("a", b"1") and client.get("a") == b"1"
    fake.answer("GET", bulk("other"), times=1)
    assert client.get("a") == b"other" and client.get("a") == b"1"
    number = client.client_id()
    assert number in fake.connections
    other = redis.Redis(unix_socket_path=fake.path)
    assert other.execute_command("CLIENT", "KILL", "ID", number) == 1
    assert fake.seen("SET") == [[b"SET", b"a", b"1"]]


def test_fake_refuses_and_listens_again(start_fake):
    fake = start_fake()
    fake.refuse()
    try:
        connect(fake.path)
        raise AssertionError("it still listens")
    except OSError:
        pass
    fake.listen()
    connect(fake.path).close()
