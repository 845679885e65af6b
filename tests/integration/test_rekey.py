# SPDX-License-Identifier: MIT
"""REKEY and STATS KEYS: a key of the keyring is replaced while tokens are stored and deleted, whatever dies in between, and
what the manual has operators do ends with a keyring that lacks nothing."""
import json
import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from client import Closed
from daemon import environment, program
from planter import Planter
from sealed import key_id, new_key, pack, seal, unpack, unseal, write_keyring
from test_resp import ask as ask_resp
from test_users import index, index_name, listed, make_old, members, store
from tokens import data, key_of, part, to_json, to_stored, token
from waiting import SLOWNESS, deadline, until

SEED = int(os.environ.get("TOKENKEEP_SEED", random.randrange(1 << 32)))


@pytest.fixture
def own(start_daemon, start_redis):
    """start(**keywords) -> a daemon whose keyring has a new key and an old one, in this order."""
    def start(**settings):
        settings.setdefault("keys", [new_key(), new_key()])
        return start_daemon(settings.pop("redis", None) or start_redis(), **settings)
    return start


def tokenkeep(daemon, *arguments):
    done = subprocess.run([program("tokenkeep"), "--socket", daemon.manage, *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60 * SLOWNESS, env=environment())
    return done.returncode, done.stdout


def usage(asker):
    """STATS KEYS: values by key id, in order, with the place of each key, then unreadable and unindexed."""
    answer = asker.ask("STATS KEYS", timeout=60)
    assert answer.cls == "OK", answer
    rows = [line.split(" ") for line in answer.lines]
    unreadable, unindexed = map(int, answer.text.split(" "))
    return {bytes.fromhex(id_): (int(place), int(values)) for id_, place, values in rows}, unreadable, unindexed


def values(daemon):
    """What is stored under tokens' keys, with the time when it expires in milliseconds."""
    client = daemon.redis.client()
    names = [name for name in client.keys(b"token:*") if len(name) == len(b"token:") + 22]
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(name)
            pipe.execute_command("PEXPIRETIME", name)
        found = pipe.execute(raise_on_error=False)
    return {name: (found[2 * i], found[2 * i + 1]) for i, name in enumerate(names)}


def plant_many(daemon, count, key):
    """Values under that key of the keyring. Returns their tokens."""
    texts = [token() for _ in range(count)]
    planter = Planter(daemon)
    with planter.client.pipeline(transaction=False) as pipe:
        for text in texts:
            name = planter.name(key_of(text))
            pipe.set(name, seal(key, name, pack(to_stored(data(text)))))
        pipe.execute()
    return texts


# What it does

def test_everything_is_under_the_first_key_and_nothing_else_changes(own):
    daemon = own(audit={})
    new, old = daemon.keys
    planter, redis = Planter(daemon), daemon.redis.client()
    held, now = {}, int(time.time())
    for number in range(200):
        fields = data(username=f"user-{number % 7}", name="\u00e9" * (number * 20 + 1), expires=[None, now + 1000 + number][number % 2])
        if fields["expires"] is None:
            del fields["expires"]
        planter.plant(fields, sealing=(old, old, new)[number % 3])
        # Not the millisecond that the data have, which may have been changed by hand.
        if number % 4:
            redis.pexpireat(planter.name(key_of(fields["token"])), (now + 500 + number) * 1000 + number)
        held[planter.name(key_of(fields["token"]))] = fields
    before = values(daemon)
    resealed = sum(number % 3 != 2 for number in range(200))
    assert usage(daemon) == ({key_id(new): (1, 200 - resealed), key_id(old): (2, resealed)}, 0, 200)
    assert daemon.ask("REKEY").last == f"OK 200 0 {resealed}"
    after = values(daemon)
    assert after.keys() == before.keys() == held.keys()
    for name, (value, expires) in after.items():
        assert expires == before[name][1]
        assert unpack(unseal(new, name, value)) == to_stored(held[name])
        assert (value == before[name][0]) == (before[name][0][1:9] == key_id(new))
    assert usage(daemon) == ({key_id(new): (1, 200), key_id(old): (2, 0)}, 0, 0)
    assert daemon.ask("REKEY").last == "OK 200 0 0" and values(daemon) == after
    assert daemon.stats()["tokens-resealed"] == resealed
    daemon.wait_record(event="token.rekey", count=resealed, result="ok", command="REKEY")
    daemon.wait_record(event="token.rekey", count=None, result="ok")
    assert "refuses" not in daemon.stderr()


def test_values_that_cannot_be_read_are_named_and_left_alone(own):
    daemon = own()
    new, old = daemon.keys
    planter, redis = Planter(daemon), daemon.redis.client()
    good, moved = data(), data()
    stranger = new_key()
    value = planter.plant(good, sealing=old)
    planter.plant_bytes(part(), value)
    planter.plant_bytes(part(), b"")
    planter.plant_bytes(part(), b"\2" + value[1:])
    planter.plant_bytes(part(), b"x" * 300000)
    planter.plant(data(), sealing=stranger), planter.plant(data(), sealing=stranger)
    planter.plant_plain(part(), b"\xc1", sealing=old)
    planter.plant(moved, sealing=old, name=b"token:" + key_of(moved["token"]).encode()[::-1])
    planter.plant_plain(part(), pack(to_stored(data())), sealing=old)
    redis.rpush(planter.name(part()), b"x")
    before, said = values(daemon), daemon.ask("VERIFYALL")
    assert said.last == "OK 11 10"
    assert usage(daemon) == ({key_id(new): (1, 0), key_id(old): (2, 1), key_id(stranger): (0, 2)}, 8, 1)
    for resealed in (1, 0):
        answer = daemon.ask("REKEY")
        assert answer.last == f"OK 11 10 {resealed}" and sorted(answer.lines) == sorted(said.lines)
    del before[planter.name(key_of(good["token"]))]
    after = values(daemon)
    del after[planter.name(key_of(good["token"]))]
    # A list has no value to GET, so both are the same error.
    assert {name: (str(value), expires) for name, (value, expires) in after.items()} == \
        {name: (str(value), expires) for name, (value, expires) in before.items()}
    assert usage(daemon) == ({key_id(new): (1, 1), key_id(old): (2, 0), key_id(stranger): (0, 2)}, 8, 0)
    status, out = tokenkeep(daemon, "rekey")
    assert status == 1 and out.endswith("checked 11, bad 10, resealed 0\n")
    assert "0 may go\n" in tokenkeep(daemon, "stats", "--keys")[1]


def test_many_strange_keys(own):
    daemon = own()
    planter = Planter(daemon)
    for _ in range(20):
        planter.plant(data(), sealing=new_key())
    found, unreadable, unindexed = usage(daemon)
    assert [value for value in found.values()] == [(1, 0), (2, 0)] + [(0, 1)] * 16 and (unreadable, unindexed) == (4, 0)


def test_what_has_expired_hinders_no_key(own):
    """It may be there still, where somebody took its expiry away."""
    daemon = own()
    Planter(daemon).plant(data(expires=int(time.time()) - 100), sealing=daemon.keys[1])
    assert usage(daemon)[1:] == (0, 0)
    assert daemon.ask("REKEY").last == "OK 1 0 1"
    assert usage(daemon) == ({key_id(daemon.keys[0]): (1, 1), key_id(daemon.keys[1]): (2, 0)}, 0, 0)


def test_words_and_framings(own):
    daemon = own(workers=1)
    plant_many(daemon, 3, daemon.keys[1])
    Planter(daemon).plant_bytes(part(), b"junk")
    with daemon.connect() as client, daemon.connect("verify") as verify:
        for line in ("REKEY", "STATS KEYS", "rekey", "stats keys"):
            assert verify.ask(line).code == "ERR denied"
            assert client.ask("#t " + line).tag == "#t"
        for line in ("REKEY x", "STATS x", "STATS KEYS x", "STATS  KEYS"):
            assert client.ask(line).code == "ERR badreq"
        kind, (checked, bad, resealed, lines) = ask_resp(client, "rekey")
        assert (kind, checked, bad, resealed) == (b"*", (b":", 4), (b":", 1), (b":", 0)) and len(lines[1]) == 1
        kind, (unreadable, unindexed, lines) = ask_resp(client, "STATS", "KEYS")
        assert (kind, unreadable, unindexed) == (b"*", (b":", 1), (b":", 0))
        assert [text for _, text in lines[1]] == [f"{key_id(daemon.keys[0]).hex()} 1 3".encode(), f"{key_id(daemon.keys[1]).hex()} 2 0".encode()]
        client.send("REKEY\nSTATS KEYS\nLIST\nSTATS\n")
        assert [client.answer().last for _ in range(4)] == ["OK 4 1 0", "OK 1 0", "OK 4", "OK"]


def test_policies_know_what_changes_something(own, tmp_path):
    path = tmp_path / "p.lua"
    path.write_text('return { verifyall = function(request) return false, tostring(request.fix) end,'
                    ' list = function(request) return false, tostring(request.fix) end }')
    daemon = own(extra=f'policy "{path}" {{ }}\n')
    for line, fix in (("VERIFYALL", "false"), ("VERIFYALL FIX", "true"), ("REKEY", "true"), ("STATS KEYS", "false"), ("LIST", "nil")):
        assert daemon.ask(line).last == "NO policy " + fix


def test_policies_and_the_audit_log(own, tmp_path):
    path = tmp_path / "p.lua"
    path.write_text('return { verifyall = function(request) return false, "not " .. request.command end }')
    daemon = own(audit={}, extra=f'policy "{path}" {{ }}\n')
    (text,) = plant_many(daemon, 1, daemon.keys[1])
    assert daemon.ask("REKEY").last == daemon.ask("STATS KEYS").last == "NO policy not verifyall"
    daemon.wait_record(event="request.denied", reason="policy p.lua: not verifyall", command="REKEY")
    assert unseal(daemon.keys[1], b"token:" + key_of(text).encode(), Planter(daemon).value(key_of(text))) is not None


# What changes in between

def test_a_change_between_the_look_and_the_replacement(own, start_proxy):
    """Through one server a value is about to be replaced; what another one or anybody else does to it meanwhile holds."""
    proxy, keys, now = start_proxy(), [new_key(), new_key()], int(time.time())
    rekeying, other = own(redis=proxy, keys=keys, workers=1), own(redis=proxy.server, keys=keys)
    planter = Planter(other)
    deleted, replaced, forgotten, prolonged, untouched = (data(expires=now + 1000) for _ in range(5))
    for fields in (deleted, replaced, forgotten, prolonged, untouched):
        planter.plant(fields, sealing=keys[1])
        planter.client.pexpireat(planter.name(key_of(fields["token"])), (now + 1000) * 1000)
    with rekeying.connect() as client, other.connect() as changer:
        hold = proxy.hold_request("EVAL")
        client.send("REKEY\n")
        hold.wait()
        assert changer.ask("DELETE " + key_of(deleted["token"])).last == "OK"
        assert changer.ask("STORE " + to_json({**replaced, "name": "new", "expires": now + 2000})).last == "OK"
        assert changer.ask("DELETE USER nobody").last == "OK 0"
        planter.client.delete(planter.name(key_of(forgotten["token"])))
        planter.client.persist(planter.name(key_of(prolonged["token"])))
        hold.release()
        assert client.answer().last == "OK 5 0 2"
        after = values(other)
        name = {which: planter.name(key_of(fields["token"])) for which, fields in
                {"deleted": deleted, "replaced": replaced, "forgotten": forgotten, "prolonged": prolonged, "untouched": untouched}.items()}
        assert name["deleted"] not in after and name["forgotten"] not in after
        assert unpack(unseal(keys[0], name["replaced"], after[name["replaced"]][0]))["name"] == "new"
        assert {which: after[name[which]][1] for which in ("replaced", "prolonged", "untouched")} == \
            {"replaced": (now + 2000) * 1000, "prolonged": -1, "untouched": (now + 1000) * 1000}
        assert client.ask("GET " + deleted["token"]).last == changer.ask("GET " + deleted["token"]).last == "NO invalid"
        assert listed(client) == {key_of(fields["token"]) for fields in (replaced, prolonged, untouched)}
        assert usage(client)[0] == {key_id(keys[0]): (1, 3), key_id(keys[1]): (2, 0)}


def test_tokens_of_a_user_that_are_sealed_again_while_they_are_deleted(own, start_proxy):
    proxy, keys = start_proxy(), [new_key(), new_key()]
    deleting, other = own(redis=proxy, keys=keys, workers=1), own(redis=proxy.server, keys=keys)
    texts = plant_many(other, 100, keys[1])
    assert other.ask("VERIFYALL FIX").last == "OK 100 0"
    with deleting.connect() as client:
        hold = proxy.hold_request("EVAL")
        client.send("DELETE USER alice\n")
        hold.wait()
        assert other.ask("REKEY").last == "OK 100 0 100"
        hold.release()
        assert client.answer().last == "OK 100" and values(other) == {}
        assert client.ask("GET " + texts[0]).last == "NO invalid"


class Changers:
    """Clients that store tokens, replace and delete them until they are told to stop, and know what must be there then."""

    def __init__(self, daemons, count):
        self.stop, self.held, self.gone, self.failures = threading.Event(), {}, set(), []
        self.threads = [threading.Thread(target=self._run, args=(daemons[i % len(daemons)], i), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, daemon, number):
        choose, mine = random.Random(SEED + number), {}
        try:
            with daemon.connect() as client:
                while not self.stop.is_set():
                    if mine and choose.random() < 0.3:
                        text = choose.choice(list(mine))
                        del mine[text]
                        assert client.ask("DELETE " + key_of(text)).last == "OK"
                        self.gone.add(text)
                        continue
                    text = choose.choice(list(mine)) if len(mine) > 40 else token()
                    fields = data(text, username=f"user-{number}", name=part(), expires=int(time.time()) + choose.randrange(1000, 10**7))
                    assert client.ask("STORE " + to_json(fields)).last == "OK"
                    mine[text] = fields
        except (Closed, AssertionError) as failure:
            self.failures.append(failure)
        self.held.update(mine)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(60 * SLOWNESS)
        assert not self.failures, f"seed {SEED}: {self.failures[0]}"


def test_with_stores_and_deletions_at_once(own, start_redis):
    """Tokens are stored with the old key through one server and with the new one through others, which seal again all the
    time. Everything is there at the end as it was stored last, and nothing that was deleted."""
    redis, (new, old) = start_redis(), (new_key(), new_key())
    former = own(redis=redis, keys=[old, new])
    daemons = [own(redis=redis, keys=[new, old]) for _ in range(2)]
    changers = Changers([former, former, *daemons], 8)
    resealed, end = 0, deadline(60)

    def rekey(daemon):
        nonlocal resealed
        with daemon.connect() as client:
            while (resealed < 1000 or len(changers.gone) < 500) and time.monotonic() < end:
                answer = client.ask("REKEY", 60)
                assert answer.cls == "OK" or answer.code == "ERR busy", answer
                resealed += int(answer.text.split(" ")[2]) if answer.cls == "OK" else 0

    askers = [threading.Thread(target=rekey, args=(daemon,)) for daemon in daemons * 2]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(120 * SLOWNESS)
    changers.end()
    print(f"{len(changers.held)} tokens held, {len(changers.gone)} deleted, {resealed} sealed again, seed {SEED}")
    assert resealed >= 1000 and len(changers.gone) >= 500, f"seed {SEED}"
    with daemons[0].connect() as client:
        assert client.ask("REKEY", 60).text.startswith(f"{len(changers.held)} 0 ")
        assert usage(client) == ({key_id(new): (1, len(changers.held)), key_id(old): (2, 0)}, 0, 0)
        after = values(daemons[0])
        assert {name for name in after} == {f"token:{key_of(text)}".encode() for text in changers.held}, f"seed {SEED}"
        for text, fields in changers.held.items():
            name = f"token:{key_of(text)}".encode()
            assert after[name][1] == fields["expires"] * 1000, f"seed {SEED}"
            assert unpack(unseal(new, name, after[name][0])) == to_stored(fields), f"seed {SEED}"
        users = {fields["username"] for fields in changers.held.values()}
        for username in users:
            assert listed(client, username) == {key_of(text) for text, fields in changers.held.items()
                                                if fields["username"] == username}, f"seed {SEED}"


# Ends before its time

@pytest.fixture
def proxied(own, start_proxy):
    """proxied(count) -> a daemon behind a proxy, the proxy, and tokens that are sealed with the old key."""
    def start(count, **settings):
        proxy = start_proxy()
        daemon = own(redis=proxy, redis_options={"command-timeout": 20}, **settings)
        return daemon, proxy, plant_many(daemon, count, daemon.keys[1])
    return start


TELLING = 0.5  # seconds, in which it is time to tell again how far a REKEY is


def test_a_client_that_is_killed(proxied):
    """The work ends when that is noticed, which is when the client is told how far it is, and what is done is done."""
    daemon, proxy, texts = proxied(300, audit={})
    new, old = daemon.keys
    hold = proxy.hold_request("EVAL")
    client = subprocess.Popen([program("tokenkeep"), "--socket", daemon.manage, "rekey"], env=environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    hold.wait()
    client.kill()
    client.wait()
    time.sleep(TELLING)
    second = proxy.hold_request("GET", "token:")
    hold.release()
    second.wait()
    time.sleep(TELLING)
    second.release()
    daemon.wait_log("has ended midway: its client is gone")
    daemon.wait_record(event="token.rekey", result="error", reason="abandoned", count=128, command="REKEY")
    assert daemon.stats()["tokens-resealed"] == 128
    assert usage(daemon)[0] == {key_id(new): (1, 128), key_id(old): (2, 172)}
    assert daemon.ask("REKEY").last == "OK 300 0 172"
    assert usage(daemon) == ({key_id(new): (1, 300), key_id(old): (2, 0)}, 0, 0)
    with daemon.connect() as asker:
        assert listed(asker) == {key_of(text) for text in texts}


def test_progress_lines(proxied):
    daemon, proxy, _ = proxied(200, workers=1)
    hold = proxy.hold_request("EVAL")
    with daemon.connect() as client:
        client.send("#r REKEY\n")
        hold.wait()
        assert client.ask("#p PING").last == "OK"
        time.sleep(TELLING)
        hold.release()
        assert client.read_line() == b"#r + progress 64 200"
        found = client.answer()
        assert (found.tag, found.last) == ("#r", "OK 200 0 200")


@pytest.mark.parametrize("before", ["PING", "LIST"])
def test_progress_keeps_to_its_turn(proxied, before):
    """Behind an answer that is not there yet, or in RESP, there is none."""
    daemon, proxy, _ = proxied(200, workers=1)
    hold = proxy.hold_request("EVAL")
    with daemon.connect() as client:
        client.send(f"#l {before}\n*1\r\n$5\r\nREKEY\r\n")
        hold.wait()
        time.sleep(TELLING)
        hold.release()
        assert client.tagged(1)["#l"].cls == "OK"
        assert [client.read_line() for _ in range(5)] == [b"*4\r", b":200\r", b":0\r", b":200\r", b"*0\r"]


def test_a_worker_that_is_killed(proxied):
    """Twice, wherever it was; then it is run again."""
    daemon, proxy, texts = proxied(1000, workers=2)
    daemon.steady = None
    for _ in range(2):
        hold = proxy.hold_request("EVAL", key_of(random.choice(texts)))
        with daemon.connect() as client:
            client.send("REKEY\n")
            hold.wait()
            workers = daemon.workers()
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            with pytest.raises(Closed):
                while True:
                    client.read_line()
        hold.release()
        until(lambda: len(set(daemon.workers()) - set(workers)) == 2, 20, "new workers")
    assert daemon.ask("REKEY", timeout=60).text.startswith(f"{len(texts)} 0 ")
    assert usage(daemon) == ({key_id(daemon.keys[0]): (1, len(texts)), key_id(daemon.keys[1]): (2, 0)}, 0, 0)
    with daemon.connect() as client:
        assert listed(client) == {key_of(text) for text in texts}
        for text in random.sample(texts, 100):
            assert client.ask("GET " + text).cls == "OK"


def test_answers_that_never_come(own, start_fake):
    fake = start_fake()
    daemon = own(redis=fake, workers=1, audit={}, redis_options={"command-timeout": 2})
    fields = data()
    name = b"token:" + key_of(fields["token"]).encode()
    fake.data[name] = seal(daemon.keys[1], name, pack(to_stored(fields)))
    for reply, close, said, result in ((None, True, "ERR unavail uncertain", "uncertain"), (b"-OOM\r\n", False, "ERR unavail", "error"),
                                       (b"+what\r\n", False, "ERR unavail uncertain", "uncertain"), (b":2\r\n", False, "ERR unavail uncertain", "uncertain")):
        before = len(daemon.audit())
        fake.answer("EVAL", reply, close=close)
        assert daemon.ask("REKEY").last.startswith(said)
        daemon.wait_record(event="token.rekey", result=result, after=before)
        fake.forget()
        until(lambda: daemon.ask("GET " + token()).cls == "NO", 10, "Redis to be back")
    for command, reply in (("SCAN", b"-ERR\r\n"), ("GET", b":1\r\n"), ("ZADD", b"-OOM\r\n")):
        fake.answer(command, reply)
        assert daemon.ask("REKEY").code == "ERR unavail"
        fake.forget()
    for command, reply in (("SCAN", b"-ERR\r\n"), ("GET", b":1\r\n"), ("ZSCORE", b"-OOM\r\n"), ("ZSCORE", b":1\r\n")):
        fake.answer(command, reply)
        assert daemon.ask("STATS KEYS").code == "ERR unavail"
        fake.forget()
    fake.answer("EVAL", b":0\r\n")
    assert daemon.ask("REKEY").last == "OK 1 0 0"  # changed meanwhile
    # The entry comes first, and nothing is replaced without it.
    fake.commands.clear()
    fake.answer("ZADD", None, close=True)
    assert daemon.ask("REKEY").last.startswith("ERR unavail uncertain")
    assert fake.seen("EVAL") == []


# The whole way

def rotate(daemon, *keys):
    daemon.keys = list(keys)
    write_keyring(daemon.keyring, daemon.keys)
    daemon.reload()


def test_a_key_is_replaced_as_the_manual_says(own):
    """With the old key gone, every token answers, and its user's can be listed and deleted."""
    old, new = new_key(), new_key()
    daemon = own(keys=[old], cache={"ttl": 0.05})
    now, redis = int(time.time()), daemon.redis.client()
    lives = [None, 600, 3600, 5 * 86400, 90 * 86400, 3 * 365 * 86400, 50 * 365 * 86400]
    with daemon.connect() as client:
        texts = {store(client, username, expires=life and now + life, created=now): username
                 for username in ("alice", "bob") for life in lives for _ in range(3)}
        gone = store(client, "alice")
        assert client.ask("DELETE " + key_of(gone)).last == "OK"
    rotate(daemon, old, new)
    with daemon.connect() as client:
        texts[store(client, "bob")] = "bob"
    rotate(daemon, new, old)
    with daemon.connect() as client:
        texts[store(client, "bob")] = "bob"
    make_old(daemon)
    expires = {name: at for name, (_, at) in values(daemon).items()}
    status, out = tokenkeep(daemon, "stats", "--keys")
    assert status == 0 and f"1  {key_id(new).hex()}          1 seals\n2  {key_id(old).hex()}         43 in use\n" in out
    assert tokenkeep(daemon, "rekey", "--json")[1] == '{"checked":44,"bad":0,"resealed":43,"values":[]}\n'
    status, out = tokenkeep(daemon, "stats", "--keys", "--json")
    assert status == 0 and json.loads(out) == {"unreadable": 0, "unindexed": 0, "keys": [
        {"id": key_id(new).hex(), "place": 1, "values": 44, "use": "seals"}, {"id": key_id(old).hex(), "place": 2, "values": 0, "use": "may go"}]}
    # Of the old index, only what has no token any more is left.
    until(lambda: sum(len(entries) for entries in index(daemon).values()) == len(texts) + 1, 10, "the entries under the old key to go")
    assert set(index(daemon)[index_name(daemon, "alice", key=old)]) == {key_of(gone).encode()}
    rotate(daemon, new)
    assert {name: at for name, (_, at) in values(daemon).items()} == expires
    make_old(daemon)
    with daemon.connect() as client:
        for text, username in texts.items():
            assert client.ask("CHECK " + text).last == "OK " + username
        for username in ("alice", "bob"):
            assert listed(client, username) == {key_of(text) for text, whose in texts.items() if whose == username}
        assert client.ask("DELETE USER alice").last == "OK 21" and client.ask("DELETE USER bob").last == "OK 23"
        for text in texts:
            assert client.ask("GET " + text).last == "NO invalid"
    # Nobody can tell whose the last entry is.
    assert members(daemon) == {key_of(gone)} and not values(daemon)
    assert redis.exists(index_name(daemon, "alice", key=old))
    assert daemon.ask("DELETEALL").last == "OK 0" and members(daemon) == set()


def test_a_token_that_is_stored_again_with_the_old_key_keeps_its_entry(own):
    """Entries of the last minute stay: they may be those of tokens that are on their way."""
    daemon = own()
    new, old = daemon.keys
    former = own(redis=daemon.redis, keys=[old, new])
    with former.connect() as client:
        text = store(client)
    assert daemon.ask("REKEY").last == "OK 1 0 1"
    assert all(index(daemon)[index_name(daemon, "alice", key=key)] for key in (new, old))
    make_old(daemon)
    with former.connect() as client:
        store(client, token=text)
    assert daemon.ask("REKEY").last == "OK 1 0 1"
    assert all(index(daemon)[index_name(daemon, "alice", key=key)] for key in (new, old))
    make_old(daemon)
    assert daemon.ask("REKEY").last == "OK 1 0 0"
    until(lambda: index_name(daemon, "alice", key=old) not in index(daemon), 10, "the old entry to go")
    assert set(index(daemon)[index_name(daemon, "alice", key=new)]) == {key_of(text).encode()}
