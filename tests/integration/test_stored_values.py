# SPDX-License-Identifier: MIT
"""Values in Redis that others put there: what opens, what does not, and what is said and done about those."""
import json
import time

import pytest

from planter import Planter
from sealed import HEADER_SIZE, NONCE_SIZE, OVERHEAD, new_key, pack, seal
from tokens import data, key_of, part, to_stored, token
from waiting import until


def flip(value, at):
    """The value with one bit turned over."""
    at %= len(value)
    return value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1:]


def assert_unreadable(daemon, fields):
    """GET and CHECK say invalid, GETKEY says corrupt, and the log has no token."""
    held = fields["token"]
    for _ in range(2):
        assert daemon.ask("GET " + held, "verify").last == "NO invalid"
        assert daemon.ask("CHECK " + held).last == "NO invalid"
        assert daemon.ask("GETKEY " + key_of(held)).code == "ERR corrupt"
    assert held not in daemon.stderr()


def test_unreadable_values_are_logged(start_daemon, redis_server):
    """With the Redis key, and without what is sealed in it."""
    daemon = start_daemon(redis_server, prefix="place:")
    planter = Planter(daemon)
    fields, odd = data(username="somebody"), data()
    planter.plant_bytes(key_of(fields["token"]), flip(planter.plant(fields), -1))
    planter.plant_plain(key_of(odd["token"]), pack({**to_stored(odd), "username": "UNFIT"}))
    assert_unreadable(daemon, fields)
    assert_unreadable(daemon, odd)
    for held in (fields["token"], odd["token"]):
        daemon.wait_log("place:" + key_of(held))
        assert held[26:] not in daemon.stderr()
    assert "somebody" not in daemon.stderr() and "UNFIT" not in daemon.stderr()


def test_planted_value_is_read(daemon, planter):
    fields = data(expires=int(time.time()) + 1000, service="s", name="ñ", email="e@x", uid=5, gid=6,
                  groups=[{"name": "g", "id": 1}])
    planter.plant(fields)
    assert json.loads(daemon.ask("GET " + fields["token"]).text) == fields
    assert daemon.ask("CHECK " + fields["token"] + " read:all").last == "OK alice"


def test_planted_fields_in_any_order(daemon, planter):
    fields = data(uid=5, name="n")
    stored = to_stored(fields)
    planter.plant_plain(key_of(fields["token"]), pack(dict(reversed(stored.items()))))
    assert json.loads(daemon.ask("GET " + fields["token"]).text) == fields


@pytest.mark.parametrize("at", [0, 1, 8, 9, 32, 33, OVERHEAD - 16, -17, -16, -1, "each"])
def test_flipped_bits(daemon, planter, at):
    fields = data()
    value = planter.plant(fields)
    places = range(0, len(value), 7) if at == "each" else [at]
    for place in places:
        planter.plant_bytes(key_of(fields["token"]), flip(value, place))
        assert daemon.ask("GETKEY " + key_of(fields["token"])).code == "ERR corrupt"
    assert_unreadable(daemon, fields)


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + NONCE_SIZE, OVERHEAD - 1, OVERHEAD,
                                  OVERHEAD + 1, -1])
def test_truncated(daemon, planter, size):
    fields = data()
    value = planter.plant(fields)
    planter.plant_bytes(key_of(fields["token"]), value[:size])
    assert_unreadable(daemon, fields)


@pytest.mark.parametrize("junk", [b"x", b"\x01" * 200, b"\x00" * 57, b"{}", bytes(range(256)), b"\xff" * 100000,
                                  b"z" * 3_000_000],
                         ids=lambda junk: f"{junk[:4]!r}-{len(junk)}")
def test_junk(daemon, planter, junk):
    fields = data()
    planter.plant_bytes(key_of(fields["token"]), junk)
    assert_unreadable(daemon, fields)


def test_appended_bytes(daemon, planter):
    fields = data()
    value = planter.plant(fields)
    planter.plant_bytes(key_of(fields["token"]), value + b"\0")
    assert_unreadable(daemon, fields)


def test_moved_to_another_key(daemon, planter):
    fields = data()
    value = planter.plant(fields)
    other = token(secret=fields["token"][26:])
    planter.plant_bytes(key_of(other), value)
    assert daemon.ask("GET " + other).last == "NO invalid"
    assert daemon.ask("GETKEY " + key_of(other)).code == "ERR corrupt"
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


def test_sealed_for_another_prefix(daemon, planter):
    fields = data()
    planter.plant(fields, name=b"other:" + key_of(fields["token"]).encode())
    assert_unreadable(daemon, fields)
    planter.plant(fields, name=key_of(fields["token"]).encode())
    assert_unreadable(daemon, fields)


def test_unknown_key_id(daemon, planter):
    fields = data()
    planter.plant(fields, sealing=new_key())
    assert_unreadable(daemon, fields)


def test_key_is_chosen_by_id_alone(daemon, planter):
    """The right key under a foreign id is not tried, and neither is another key under the right id."""
    fields = data()
    planter.plant(fields, identity=b"\1" * 8)
    assert_unreadable(daemon, fields)


def test_every_key_of_the_ring_opens_and_the_first_seals(start_daemon, redis_server):
    keys = [new_key(), new_key(), new_key()]
    daemon = start_daemon(redis_server, keys=keys)
    planter = Planter(daemon)
    for key in keys:
        fields = data()
        planter.plant(fields, sealing=key)
        assert daemon.ask("GET " + fields["token"]).cls == "OK"
    fields = data()
    assert daemon.ask("STORE " + json.dumps(fields)).last == "OK"
    assert planter.stored(key_of(fields["token"])) == to_stored(fields)


def plain_cases():
    """Plaintexts that were sealed rightly and are not token data."""
    good = to_stored(data("gt-" + "k" * 22 + "." + "s" * 22))

    def changed(**changes):
        return pack({name: value for name, value in {**good, **changes}.items() if value is not ...})

    deep = b"\x91" * 20 + b"\xc0"
    yield "empty", b""
    yield "nil", b"\xc0"
    yield "array", pack([1])
    yield "empty map", pack({})
    yield "behind the map", pack(good) + b"\xc0"
    yield "cut", pack(good)[:-1]
    yield "cut in the middle", pack(good)[:40]
    yield "huge map", b"\xdf\xff\xff\xff\xff"
    yield "huge array", b"\xdd\xff\xff\xff\xff"
    yield "huge string", b"\xdb\xff\xff\xff\xff"
    yield "huge array inside", changed(scopes=0).replace(b"\xa6scopes\x00", b"\xa6scopes\xdd\x7f\xff\xff\xff")
    yield "too deep", b"\x81\xa4name" + deep
    yield "very deep", b"\x81\xa4name" + b"\x91" * 60000 + b"\xc0"
    yield "too many nodes", changed(scopes=[f"s{number:05}" for number in range(5000)])
    yield "reserved byte", b"\x81\xa4name\xc1"
    yield "extension", b"\x81\xa4name\xd4\x01\x00"
    yield "number as a name", b"\x81\x01\x01"
    yield "repeated name", b"\x82\xa8username\xa1a\xa8username\xa1a"
    yield "no username", changed(username=...)
    yield "no token", changed(token=...)
    yield "no type", changed(token_type=...)
    yield "no scopes", changed(scopes=...)
    yield "bad username", changed(username="A")
    yield "username of bytes", changed(username=b"alice")
    yield "bad type", changed(token_type="admin")
    yield "bad scope", changed(scopes=["a b"])
    yield "token as text", changed(token="gt-" + "k" * 22 + "." + "s" * 22)
    yield "token of one part", changed(token=["k" * 22])
    yield "token of three parts", changed(token=["k" * 22, "s" * 22, "x"])
    yield "short secret", changed(token=["k" * 22, "s" * 21])
    yield "time as text", changed(created="1700000000")
    yield "negative expiry", changed(expires=-1)
    yield "late expiry", changed(expires=253402300800)
    yield "real number", changed(uid=1.5)
    yield "uid zero", changed(uid=0)
    yield "uid over the top", changed(uid=2**63)
    yield "bad group", changed(groups=[{"name": "1", "id": 1}])
    yield "group without id", changed(groups=[{"name": "a"}])
    yield "NUL in a name", changed(name="a\0b")
    yield "bad UTF-8", changed(name="").replace(b"\xa4name\xa0", b"\xa4name\xa2\xc3\x28")


@pytest.mark.parametrize("plain", [pytest.param(plain, id=name) for name, plain in plain_cases()])
def test_sealed_but_not_token_data(daemon, planter, plain):
    key = "k" * 22
    fields = data("gt-" + key + "." + "s" * 22)
    try:
        planter.plant_plain(key, plain)
        with daemon.connect() as client:
            assert client.ask("GETKEY " + key).code == "ERR corrupt"
            assert client.ask("GET " + fields["token"]).last == "NO invalid"
    finally:
        planter.client.delete(planter.name(key))
        daemon.ask("DELETE " + key)


def test_not_a_string_in_redis(daemon, planter):
    key = part()
    planter.client.rpush(planter.name(key), "x")
    answer = daemon.ask("GETKEY " + key)
    assert answer.cls != "OK"
    assert daemon.ask(f"GET gt-{key}.{part()}").cls != "OK"
    assert daemon.ask("PING").last == "OK"
    planter.client.delete(planter.name(key))


def test_expired_inside(daemon, planter):
    """An old value put back under its own key has its expiry inside."""
    fields = data(expires=int(time.time()) - 1)
    planter.plant(fields)
    assert daemon.ask("GET " + fields["token"]).last == "NO invalid"
    assert daemon.ask("CHECK " + fields["token"]).last == "NO invalid"


def test_expires_inside_while_cached(daemon, planter):
    expires = int(time.time()) + 3
    fields = data(expires=expires)
    planter.plant(fields)
    with daemon.connect() as client:
        assert client.ask("GET " + fields["token"]).cls == "OK"
        while time.time() < expires + 0.05:
            client.ask("GET " + fields["token"])
            time.sleep(0.05)
        assert client.ask("GET " + fields["token"]).last == "NO invalid"


def test_unreadable_values_are_counted_and_come_back(daemon, planter):
    """An unreadable value is not remembered as unknown: the right one is seen at once when it is stored."""
    fields = data()
    value = planter.plant(fields)
    planter.plant_bytes(key_of(fields["token"]), flip(value, -1))
    before = daemon.stats()["tokens-corrupt"]
    assert daemon.ask("GET " + fields["token"]).last == "NO invalid"
    assert until(lambda: daemon.stats()["tokens-corrupt"] > before)
    planter.plant_bytes(key_of(fields["token"]), value)
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


def test_wrong_secret_is_not_remembered_as_unknown(daemon, planter):
    fields = data()
    planter.plant(fields)
    with daemon.connect() as client:
        assert client.ask("GET " + token(key_of(fields["token"]))).last == "NO invalid"
        assert client.ask("GET " + fields["token"]).cls == "OK"


# VERIFYALL

@pytest.fixture
def own(start_daemon, start_redis):
    """A daemon with a Redis of its own, and a planter."""
    daemon = start_daemon(start_redis(), workers=1)
    return daemon, Planter(daemon)


def plant_mixture(planter):
    """Three good values, one of a foreign key, two that do not open, one that is no token data, and strangers."""
    good = [data() for _ in range(3)]
    for fields in good:
        planter.plant(fields)
    foreign, flipped, cut, nonsense = (data() for _ in range(4))
    planter.plant(foreign, sealing=new_key())
    planter.plant_bytes(key_of(flipped["token"]), flip(planter.plant(flipped), -1))
    planter.plant_bytes(key_of(cut["token"]), b"\1")
    planter.plant_plain(key_of(nonsense["token"]), pack([1]))
    planter.client.set("token:not-a-key", b"x")
    planter.client.set("token:" + "a" * 23, b"x")
    planter.client.set("other:" + "a" * 22, b"x")
    planter.client.set("a" * 22, b"x")
    return good, key_of(foreign["token"]), {key_of(fields["token"]) for fields in (flipped, cut, nonsense)}


def test_verifyall(own):
    daemon, planter = own
    _, foreign, bad = plant_mixture(planter)
    answer = daemon.ask("VERIFYALL")
    assert answer.last == "OK 7 4"
    assert {line.split(" ", 1)[0] for line in answer.lines} == bad | {foreign} and len(answer.lines) == 4
    assert all(len(line.split(" ", 1)) == 2 and line.split(" ", 1)[1] for line in answer.lines)
    assert len(planter.names()) == 11


def test_verifyall_fix(own):
    daemon, planter = own
    good, foreign, bad = plant_mixture(planter)
    answer = daemon.ask("VERIFYALL FIX")
    assert answer.last == "OK 7 4"
    assert {line.split(" ", 1)[0] for line in answer.lines} == bad | {foreign}
    assert all(planter.value(key) is None for key in bad)
    assert planter.value(foreign) is not None
    assert len(planter.names()) == 8
    for fields in good:
        assert daemon.ask("GET " + fields["token"]).cls == "OK"
    assert daemon.ask("verifyall fix").last == "OK 4 1"


def test_verifyall_of_nothing(own):
    daemon, _ = own
    answer = daemon.ask("VERIFYALL")
    assert answer.last == "OK 0 0" and answer.lines == []


def test_verifyall_of_thousands(own):
    daemon, planter = own
    pipeline = planter.client.pipeline(transaction=False)
    for _ in range(3000):
        fields = data()
        name = planter.name(key_of(fields["token"]))
        pipeline.set(name, seal(daemon.keys[0], name, pack(to_stored(fields))))
    for number in range(2000):
        pipeline.set(b"token:%022d" % number, b"junk")
    pipeline.execute()
    answer = daemon.ask("VERIFYALL FIX", timeout=60)
    assert answer.last == "OK 5000 2000" and len(answer.lines) == 2000
    assert len(planter.names()) == 3000
