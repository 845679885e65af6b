# SPDX-License-Identifier: MIT
"""LIST USER and DELETE USER, and the index that they read: its format, that it never names too little whatever happens at
once or dies in between, and that it cleans itself. Ages of entries are set in Redis, so nobody has to wait for a minute."""
import base64
import hashlib
import os
import random
import signal
import threading
import time

import pytest

from client import Closed
from fake_redis import Raw, array
from planter import Planter
from sealed import new_key, write_keyring
from test_resp import ask as ask_resp
from tokens import data, key_of, part, to_json, token
from waiting import SLOWNESS, until

SEED = int(os.environ.get("TOKENKEEP_SEED", random.randrange(1 << 32)))
SHIFTS = (10, 14, 18, 22, 26)


def index_name(daemon, username, span=None, key=None):
    """The name of a set, as tokenkeepd(8) describes it; `span` is (shift, number), None: of what does not expire."""
    plain = f"{daemon.prefix}u.{username}" + (f".{span[0]}.{span[1]}" if span else "")
    derived = hashlib.blake2b(b"tokenkeep-user-index-1", key=key or daemon.keys[0], digest_size=32).digest()
    hashed = hashlib.blake2b(plain.encode(), key=derived, digest_size=24).digest()
    return f"{daemon.prefix}u.{base64.urlsafe_b64encode(hashed).decode()}".encode()


def index(daemon, prefix=b"token:u."):
    """All entries: a dictionary by set, of dictionaries of score by member."""
    client = daemon.redis.client()
    return {name: dict(client.zrange(name, 0, -1, withscores=True)) for name in client.keys(prefix + b"*")}


def members(daemon):
    return {member.decode() for entries in index(daemon).values() for member in entries}


def make_old(daemon, seconds=62):
    """Makes all entries older."""
    client = daemon.redis.client()
    for name, entries in index(daemon).items():
        for member, made in entries.items():
            client.zadd(name, {member: made - seconds})


def store(client, username="alice", **fields):
    fields = data(username=username, **fields)
    assert client.ask("STORE " + to_json(fields)).last == "OK"
    return fields["token"]


def listed(client, username="alice"):
    answer = client.ask("LIST USER " + username, 60)
    assert answer.last == f"OK {len(answer.lines)}" and len(set(answer.lines)) == len(answer.lines)
    return set(answer.lines)


@pytest.fixture
def own(start_daemon, start_redis):
    def start(**settings):
        return start_daemon(settings.pop("redis", None) or start_redis(), **settings)
    return start


def test_list_and_delete(own):
    daemon = own(audit={})
    now = int(time.time())
    lives = [None, 30, 3600, 86400, 40 * 86400, 3 * 365 * 86400, 50 * 365 * 86400]
    with daemon.connect() as client:
        alices = {store(client, expires=life and now + life, created=now) for life in lives}
        bobs = {store(client, "bob") for _ in range(3)}
        issued = client.ask("ISSUE " + to_json(data(token=...))).text
        alices.add(issued)
        assert listed(client) == {key_of(text) for text in alices}
        assert listed(client, "bob") == {key_of(text) for text in bobs}
        assert listed(client, "eve") == set()
        assert client.ask("DELETE USER alice").last == f"OK {len(alices)}"
        for text in alices:
            assert client.ask("GET " + text).last == "NO invalid"
        for text in bobs:
            assert client.ask("GET " + text).cls == "OK"
        assert listed(client) == set() and client.ask("DELETE USER alice").last == "OK 0"
        assert listed(client, "bob") == {key_of(text) for text in bobs}
    daemon.wait_record(event="token.delete_user", username="alice", count=len(alices), result="ok", command="DELETE USER")
    daemon.wait_record(event="token.list", username="bob", count=3, command="LIST USER")


def test_words(daemon):
    with daemon.connect() as client, daemon.connect("verify") as verify:
        for word in ("LIST", "DELETE", "list", "delete"):
            assert client.ask(f"{word} user no-such-user").last == "OK 0"
            assert verify.ask(f"{word} USER alice").code == "ERR denied"
            for wrong in ("", " Alice", " a_b", " 1", " a--b", " -a", " " + "a" * 65, " a b", " ", " é"):
                assert client.ask(f"{word} USER{wrong}").code in ("ERR badreq", "NO malformed")
        assert ask_resp(client, "LIST", "USER", "no-such-user") == (b"*", [])
        assert ask_resp(client, "delete", "user", "no-such-user") == (b":", 0)
        assert client.ask("#t LIST USER no-such-user").tag == "#t"


def test_names_and_expiry_are_those_of_the_manual(own):
    daemon = own()
    client, now = daemon.redis.client(), int(time.time())
    with daemon.connect() as asker:
        for life in (5, 3600, 20 * 3600, 30 * 86400, 700 * 86400, 30 * 365 * 86400):
            expires = now + life
            text = store(asker, expires=expires, created=now)
            shift = next((shift for shift in SHIFTS if max(life, 1) >> shift < 16), 26)
            name = index_name(daemon, "alice", (shift, expires >> shift))
            assert now - 1 <= client.zscore(name, key_of(text)) <= time.time()
            end = ((expires >> shift) + 1) << shift
            assert expires <= end and abs(client.ttl(name) - (end - time.time())) <= 2
            assert end - expires <= max(1024, life)
        for fields in ({}, {"expires": now + (1 << 30) + 1000}):
            text = store(asker, **fields)
            name = index_name(daemon, "alice")
            assert client.zscore(name, key_of(text)) and client.ttl(name) == -1
    assert set(index(daemon)) <= {name for name in client.keys() if b"alice" not in name}
    assert len(index(daemon)) == len({len(name) for name in index(daemon)}) * 7


@pytest.mark.parametrize("created", [0, 1, 253402300799])
def test_any_time_of_creation(own, created):
    """It is the client's, and must not put a token where nobody looks."""
    daemon = own()
    with daemon.connect() as client:
        texts = [store(client, created=created, expires=int(time.time()) + life) for life in (10, 10**5, 10**8)]
        assert listed(client) == {key_of(text) for text in texts}
        assert client.ask("DELETE USER alice").last == "OK 3"


def test_index_keys_are_no_tokens(own):
    daemon = own()
    with daemon.connect() as client:
        text = store(client)
        assert client.ask("LIST").lines == [key_of(text)]
        assert client.ask("VERIFYALL").last == "OK 1 0"
        make_old(daemon)
        assert client.ask("DELETEALL").last == "OK 1"
    assert index(daemon) == {}


def test_large_sets_are_swept_whole(own):
    """And none of them in one go: Redis does nothing else meanwhile."""
    daemon = own()
    client, name = daemon.redis.client(), index_name(daemon, "alice")
    client.zadd(name, {part(): 1000 + i % 10 for i in range(3000)})
    with daemon.connect() as asker:
        young = key_of(store(asker))
        assert asker.ask("DELETEALL").last == "OK 1"
    assert members(daemon) == {young}
    counts = client.info("commandstats")
    assert counts["cmdstat_zrangebyscore"]["calls"] == 6 and counts["cmdstat_zrem"]["calls"] == 6


def test_deleteall_leaves_young_entries(own):
    """Their tokens may be on their way."""
    daemon = own()
    with daemon.connect() as client:
        text = store(client)
        assert client.ask("DELETEALL").last == "OK 1"
        assert members(daemon) == {key_of(text)}


def test_entries_without_tokens_go_when_they_are_old(own):
    daemon = own()
    client = daemon.redis.client()
    with daemon.connect() as asker:
        texts = [store(asker), store(asker, expires=int(time.time()) + 5000)]
        for text in texts:
            client.delete("token:" + key_of(text))
        assert listed(asker) == set() and len(members(daemon)) == 2
        assert asker.ask("DELETE USER alice").last == "OK 0" and len(members(daemon)) == 2
        make_old(daemon, 57)
        assert listed(asker) == set() and len(members(daemon)) == 2
        make_old(daemon, 5)
        assert listed(asker) == set() and members(daemon) == set()


@pytest.mark.parametrize("life", [None, 5000, 10**7])
def test_delete_takes_the_entry_out(own, life):
    daemon = own()
    with daemon.connect() as client:
        now = int(time.time())
        old, young = [store(client, created=now, expires=life and now + life) for _ in range(2)]
        made = {member: made for entries in index(daemon).values() for member, made in entries.items()}
        assert len(made) == 2
        for name, entries in index(daemon).items():
            if key_of(old).encode() in entries:
                daemon.redis.client().zadd(name, {key_of(old): now - 62})
        for text in (old, young):
            assert client.ask("DELETE " + key_of(text)).last == "OK"
        until(lambda: members(daemon) == {key_of(young)}, 5, "the old entry to go, and it alone")


def test_what_another_user_has_by_now(own):
    daemon = own()
    with daemon.connect() as client:
        text = store(client)
        store(client, "bob", token=text)
        kept = store(client)
        assert listed(client) == {key_of(kept)} and listed(client, "bob") == {key_of(text)}
        assert client.ask("DELETE USER alice").last == "OK 1"
        assert client.ask("CHECK " + text).last == "OK bob"
        make_old(daemon)
        assert listed(client) == set() and members(daemon) == {key_of(text)}


def test_deletion_is_seen_on_every_worker_and_machine(own, start_redis):
    redis, keys = start_redis(), [new_key()]
    daemons = [own(redis=redis, keys=keys, workers=3, cache={"ttl": 60}) for _ in range(2)]
    for daemon in daemons:
        until(lambda daemon=daemon: daemon.stats()["invalidation-links"] == 3, 10, "links")
    with daemons[0].connect() as client:
        texts = [store(client) for _ in range(20)]
    here, there = ([daemon.connect("verify") for _ in range(9)] for daemon in daemons)
    for client in here + there:
        assert all(client.ask("GET " + text).cls == "OK" for text in texts)
    assert daemons[0].ask("DELETE USER alice").last == "OK 20"
    for client in here:
        assert all(client.ask("GET " + text).last == "NO invalid" for text in texts)
    for client in there:
        until(lambda client=client: all(client.ask("GET " + text).last == "NO invalid" for text in texts), 2, "revoked")
    for client in here + there:
        client.close()


def test_ten_thousand_tokens(own):
    daemon = own(workers=2)
    with daemon.connect() as client:
        fields = [data(expires=int(time.time()) + random.randrange(100, 10**8)) for _ in range(10_000)]
        for start in range(0, len(fields), 100):
            client.send("".join(f"STORE {to_json(each)}\n" for each in fields[start:start + 100]))
            assert all(answer.last == "OK" for answer in client.answers(100, 60))
        other = store(client, "bob")
        before = daemon.memory()
        assert listed(client) == {key_of(each["token"]) for each in fields}
        started = time.monotonic()
        assert client.ask("DELETE USER alice", 60).last == "OK 10000"
        print(f"10,000 tokens revoked in {time.monotonic() - started:.2f} s")
        assert valid(client, [each["token"] for each in fields]) == []
        assert client.ask("CHECK " + other).last == "OK bob"
        assert daemon.sanitized or daemon.memory() - before < 8 << 20


def test_rotation(own):
    daemon = own()
    old, new = daemon.keys[0], new_key()
    with daemon.connect() as client:
        before = store(client)

    def rotate(*keys):
        daemon.keys = list(keys)
        write_keyring(daemon.keyring, daemon.keys)
        daemon.reload()

    rotate(old, new)
    rotate(new, old)
    with daemon.connect() as client:
        after = store(client)
        assert listed(client) == {key_of(before), key_of(after)}
        assert key_of(after).encode() in index(daemon)[index_name(daemon, "alice", key=new)]
        assert key_of(before).encode() in index(daemon)[index_name(daemon, "alice", key=old)]
        assert client.ask("VERIFYALL FIX").last == "OK 2 0"
        assert key_of(before).encode() in index(daemon)[index_name(daemon, "alice", key=new)]
        assert client.ask("DELETE USER alice").last == "OK 2"
        make_old(daemon)
        assert listed(client) == set() and members(daemon) == set()


def test_values_under_a_key_that_is_not_there(own):
    """They might be the user's, and good elsewhere."""
    daemon = own(audit={})
    with daemon.connect() as client:
        gone, text = store(client), store(client)
        Planter(daemon).plant(data(gone), sealing=new_key())
        assert listed(client) == {key_of(text)}
        assert client.ask("DELETE USER alice").last.startswith("ERR corrupt 1 tokens were deleted; 1 ")
        assert client.ask("GET " + text).last == "NO invalid"
    daemon.wait_record(event="token.delete_user", username="alice", count=1, result="error", reason="unreadable")


def test_verify_all_fix_makes_entries(own):
    daemon = own()
    planter = Planter(daemon)
    planted = [data(), data(expires=int(time.time()) + 5000)]
    for fields in planted:
        planter.plant(fields)
    with daemon.connect() as client:
        assert listed(client) == set()
        assert client.ask("VERIFYALL").last == "OK 2 0" and listed(client) == set()
        assert client.ask("VERIFYALL FIX").last == "OK 2 0"
        assert listed(client) == {key_of(fields["token"]) for fields in planted}
        assert client.ask("DELETE USER alice").last == "OK 2"


def test_what_strangers_put_into_the_index(own):
    daemon = own()
    client = daemon.redis.client()
    with daemon.connect() as asker:
        text = store(asker)
        client.zadd(index_name(daemon, "alice"), {b"": 1, b"x" * 100: 2, b"a" * 21 + b"\n": 3, part(): 4})
        assert listed(asker) == {key_of(text)}
        client.set(index_name(daemon, "bob"), "not a set")
        assert asker.ask("LIST USER bob").code == asker.ask("DELETE USER bob").code == "ERR unavail"
        bobs = data(username="bob")
        assert asker.ask("STORE " + to_json(bobs)).last.startswith("ERR unavail uncertain")
        assert asker.ask("DELETE USER alice").last == "OK 1"


@pytest.mark.parametrize("policy, limit, told", [
    ("volatile-lru", "64mb", True), ("allkeys-lfu", "64mb", True), ("noeviction", "64mb", False), ("allkeys-lru", "0", False)])
def test_redis_that_may_evict(own, policy, limit, told):
    """It may have taken a set away whose tokens are alive."""
    daemon = own(workers=1)
    client = daemon.redis.client()
    client.config_set("maxmemory", limit)
    client.config_set("maxmemory-policy", policy)
    with daemon.connect() as asker:
        store(asker)
        for _ in range(3):
            assert len(listed(asker)) == 1
        assert asker.ask("DELETE USER alice").last == "OK 1"
    assert daemon.stderr().count("Redis may evict") == told


def test_a_list_that_is_not_read_holds_up_no_deletion(own):
    daemon = own(workers=1)
    Planter(daemon).client.eval("for i = 1, 200000 do redis.call('SET', string.format('token:%022d', i), 'x') end", 0)
    with daemon.connect(receive_buffer=4096) as reader, daemon.connect() as client:
        text = store(client)
        reader.send("LIST\n")
        until(lambda: client.ask("LIST").code == "ERR busy", 30, "the list to be under way")
        assert client.ask("LIST USER alice").code == "ERR busy"
        assert client.ask("DELETE USER alice", 60).last == "OK 1"
        assert client.ask("GET " + text).last == "NO invalid"


def test_policies_are_asked(own, tmp_path):
    path = tmp_path / "users.lua"
    path.write_text('return { deleteall = function(request)'
                    '   if request.username == "bob" then return true end return false, "not " .. tostring(request.username) end,'
                    ' list = function(request) if request.username then return true end return false, "all" end }')
    daemon = own(extra=f'policy "{path}" {{ }}\n')
    with daemon.connect() as client:
        store(client), store(client, "bob")
        assert client.ask("DELETE USER alice").last == "NO policy not alice"
        assert client.ask("DELETEALL").last == "NO policy not nil"
        assert client.ask("LIST").last == "NO policy all"
        assert client.ask("DELETE USER bob").last == "OK 1" and len(listed(client)) == 1


# Failures

@pytest.fixture
def fake(start_daemon, start_fake):
    fake = start_fake()
    return start_daemon(fake, workers=1, audit={}, redis_options={"command-timeout": 2}), fake


def test_no_store_is_acknowledged_without_its_entry(fake):
    daemon, fake = fake
    for command, reply in (("ZADD", b"-OOM no\r\n"), ("ZADD", b"+OK\r\n"), ("EXPIREAT", b":0\r\n"), ("EXPIREAT", b"-ERR\r\n")):
        fake.answer(command, reply)
        fields = data(expires=int(time.time()) + 1000)
        assert daemon.ask("STORE " + to_json(fields)).last.startswith("ERR unavail uncertain")
        fake.forget()
        assert daemon.ask("STORE " + to_json(fields)).last == "OK"


def test_the_entry_goes_first_and_with_it(fake):
    daemon, fake = fake
    assert daemon.ask("STORE " + to_json(data(expires=int(time.time()) + 1000))).last == "OK"
    assert [words[0] for _, words in fake.commands if words[0] in (b"ZADD", b"EXPIREAT", b"SET") and b".hb." not in words[1]] \
        == [b"ZADD", b"EXPIREAT", b"SET"]
    before = len(fake.seen("SET"))
    fake.answer("ZADD", None, close=True)
    assert daemon.ask("STORE " + to_json(data())).last.startswith("ERR unavail uncertain")
    assert all(b".hb." in words[1] for words in fake.seen("SET")[before:])


@pytest.mark.parametrize("answer, expected", [
    (dict(reply=None, close=True), "ERR unavail uncertain"), (dict(reply=b"-NOPERM\r\n"), "ERR unavail"),
    (dict(reply=b"+what\r\n"), "ERR unavail uncertain")])
def test_a_deletion_that_fails(fake, answer, expected):
    daemon, fake = fake
    text = data()
    assert daemon.ask("STORE " + to_json(text)).last == "OK"
    fake.answer("EVAL", **answer)
    with daemon.connect() as client:
        assert client.ask("GET " + text["token"]).cls == "OK"
        assert client.ask("DELETE USER alice").last.startswith(expected)
        fake.data.clear()
        assert client.ask("GET " + text["token"]).last == "NO invalid"
    daemon.wait_record(event="token.delete_user", username="alice",
                       result="uncertain" if "uncertain" in expected else "error")


@pytest.mark.parametrize("command", ["ZCARD", "ZSCAN", "GET"])
@pytest.mark.parametrize("reply", [b"-ERR\r\n", b"+OK\r\n", b":7\r\n", b"*0\r\n", b"*2\r\n$1\r\n0\r\n:1\r\n", b"$-1\r\n",
                                   array(["1" * 30, Raw(array([]))]), array(["0", Raw(array(["a"]))])])
def test_lies(fake, command, reply):
    daemon, fake = fake
    assert daemon.ask("STORE " + to_json(data())).last == "OK"
    fake.answer(command, reply)
    for request in ("LIST USER alice", "DELETE USER alice"):
        assert daemon.ask(request).code in ("ERR unavail", "OK")
    fake.forget()
    assert len(daemon.ask("LIST USER alice").lines) == 1


# At once

class Storers:
    """Clients that store and delete tokens of a user until they are told to stop, and note what was acknowledged."""

    def __init__(self, daemons, username, count):
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.kept = {}   # when the last store of a token began and ended
        self.began = {}  # the same of one that may not have ended
        self.failures = []
        self.threads = [threading.Thread(target=self._run, args=(daemons[i % len(daemons)], username, SEED + i), daemon=True)
                        for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, daemon, username, seed):
        choose = random.Random(seed)
        try:
            with daemon.connect() as client:
                mine = []
                while not self.stop.wait(0.001):
                    if mine and choose.random() < 0.3:
                        text = mine.pop(choose.randrange(len(mine)))
                        with self.lock:
                            self.kept.pop(text, None)
                        assert client.ask("DELETE " + key_of(text)).code in ("OK", "NO invalid")
                        continue
                    text = choose.choice(mine) if mine and choose.random() < 0.2 else token()
                    began = self.began[text] = time.monotonic()
                    store(client, username, token=text,
                          expires=choose.choice([None, int(time.time()) + choose.randrange(1000, 10**7)]))
                    with self.lock:
                        self.kept[text] = (began, time.monotonic())
                    if text not in mine:
                        mine.append(text)
        except Closed as failure:
            self.failures.append(failure)
        except AssertionError as failure:
            self.failures.append(failure)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(60 * SLOWNESS)
        assert not self.failures, f"seed {SEED}: {self.failures[0]}"


def valid(client, texts):
    """Those of the tokens that are."""
    result = []
    for start in range(0, len(texts), 200):
        some = texts[start:start + 200]
        client.send("".join(f"GET {text}\n" for text in some))
        result += [text for text, answer in zip(some, client.answers(len(some), 60)) if answer.cls == "OK"]
    return result


def test_stores_and_deletions_at_once(own, start_redis):
    """Whatever was stored before a DELETE USER was sent is gone when it is answered, what was stored after is there, and LIST
    USER says exactly that."""
    redis, keys = start_redis(), [new_key()]
    daemons = [own(redis=redis, keys=keys, workers=2) for _ in range(2)]
    storers = Storers(daemons, "alice", 6)
    others = Storers(daemons, "bob", 2)
    deletions = []
    with daemons[0].connect() as first, daemons[1].connect() as second:
        for number in range(12):
            time.sleep(0.1)
            client = (first, second)[number % 2]
            with storers.lock:
                stored = dict(storers.kept)
            sent = time.monotonic()
            assert client.ask("DELETE USER alice", 60).cls == "OK"
            deletions.append((sent, time.monotonic()))
            alive = valid(client, list(stored))
            assert all(storers.began[text] > stored[text][0] for text in alive), f"seed {SEED}: a token outlived DELETE USER"
        storers.end()
        others.end()
        expected = {key_of(text) for text, (began, _) in storers.kept.items() if began > deletions[-1][1]}
        certain_no = {key_of(text) for text, (_, done) in storers.kept.items() if done < deletions[-1][0]}
        found = listed(first)
        assert expected <= found and not certain_no & found, f"seed {SEED}"
        assert listed(second, "bob") == {key_of(text) for text in others.kept}, f"seed {SEED}"
        alive = set(first.ask("LIST", 60).lines)
        assert found == alive - {key_of(text) for text in others.kept}, f"seed {SEED}: LIST USER and LIST differ"


def test_deletion_spares_what_became_anothers(own):
    """A token that goes to and fro between two users is deleted only while it is the one's."""
    daemon = own(workers=2)
    texts, stop, failures = [token() for _ in range(30)], threading.Event(), []

    def delete():
        with daemon.connect() as client:
            while not stop.is_set():
                answer = client.ask("DELETE USER alice", 60)
                if answer.cls != "OK":
                    failures.append(answer)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        with daemon.connect() as client:
            for _ in range(40):
                for text in texts:
                    client.send(f"STORE {to_json(data(text))}\nSTORE {to_json(data(text, username='bob'))}\nCHECK {text}\n")
                    assert [answer.last for answer in client.answers(3)] == ["OK", "OK", "OK bob"]
    finally:
        stop.set()
        thread.join(60)
    assert not failures
    assert len(listed(daemon.connect(), "bob")) == len(texts)


@pytest.mark.parametrize("round_", range(3))
def test_a_worker_that_is_killed(own, round_):
    """The index names every token that is stored, whenever a worker ends; and DELETE USER, asked again, does the rest."""
    daemon = own(workers=2)
    daemon.steady = None
    acknowledged, stop = [], threading.Event()

    def store_many(seed):
        choose = random.Random(seed)
        while not stop.is_set():
            try:
                with daemon.connect() as client:
                    while not stop.is_set():
                        acknowledged.append(store(client, expires=choose.choice([None, int(time.time()) + 5000])))
            except (Closed, OSError, AssertionError):
                time.sleep(0.05)

    threads = [threading.Thread(target=store_many, args=(SEED + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.3)
        os.kill(random.choice(daemon.workers()), signal.SIGKILL)
    stop.set()
    for thread in threads:
        thread.join(60)
    until(lambda: len(daemon.workers()) == 2, 20, "workers")
    with daemon.connect() as client:
        alive = set(client.ask("LIST", 60).lines)
        assert {key_of(text) for text in acknowledged} <= alive == listed(client)

    def delete():
        try:
            with daemon.connect() as client:
                client.ask("DELETE USER alice", 60)
        except (Closed, OSError):
            pass

    thread = threading.Thread(target=delete)
    thread.start()
    time.sleep(0.02)
    for worker in daemon.workers():
        os.kill(worker, signal.SIGKILL)
    thread.join(60)
    until(lambda: len(daemon.workers()) == 2, 20, "workers")
    with daemon.connect() as client:
        assert client.ask("DELETE USER alice", 60).cls == "OK"
        assert client.ask("LIST").last == "OK 0"
