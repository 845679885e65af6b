# SPDX-License-Identifier: MIT
"""Events: each one provoked over real connections, and its record in the audit log held against who asked for what,
field by field; and what leaves no record, or must never be in one."""
import calendar
import functools
import os
import pwd
import re
import shutil
import signal
import socket
import threading
import time

import pytest

from client import Client
from conftest import make_folder
from daemon import Daemon
from hooks import heard, recorder
from planter import Planter
from redis_proxy import RedisProxy
from redis_server import RedisServer
from sealed import keyring_line, new_key
from tokens import data, key_of, part, secret_of, to_json, token
from waiting import SLOWNESS, free_port, until

QUICK = {"connect-timeout": 0.5, "command-timeout": 0.5}
FUTURE = 4000000000


def epoch_us(text):
    """The time of a record in microseconds since the epoch."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})Z", text)
    assert found, text
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) * 1_000_000 + int(found[2])


def unix_user():
    """Who we are, as an event says it of a unix socket."""
    uid = os.geteuid()
    try:
        return {"uid": uid, "user": pwd.getpwuid(uid).pw_name}
    except KeyError:
        return {"uid": uid}


class Asker:
    """A connection to one of the daemon's listeners, in lines or in RESP, that knows how its events name it. `asked` is
    when the last request was sent and when its answer was there, in microseconds since the epoch."""

    def __init__(self, daemon, listener="manage-tcp", resp=False, source=None):
        self.daemon, self.resp = daemon, resp
        self.client = Client(daemon.listener_address(listener), source=source)
        self.who = {"listener": listener}
        self.asked = None
        if self.client.sock.family == socket.AF_UNIX:
            self.who.update(unix_user())
        else:
            host, port = self.client.sock.getsockname()[:2]
            self.who["peer"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def ask(self, *words):
        """Returns the answer's first line, or all of it in RESP, as text."""
        began = time.time()
        if self.resp:
            raw = [word.encode() for word in words]
            self.client.send(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw))
            answer = self._read_resp()
        else:
            answer = self.client.ask(" ".join(words)).last
        self.asked = (began * 1e6, time.time() * 1e6)
        return answer

    def _read_resp(self):
        line = self.client.read_line().decode().rstrip("\r")
        if line[0] == "$" and line != "$-1":
            return self.client.read_exactly(int(line[1:]) + 2)[:-2].decode()
        if line[0] == "*":
            return [self._read_resp() for _ in range(int(line[1:]))]
        return line

    def ok(self, *words):
        answer = self.ask(*words)
        assert self.resp and not str(answer).startswith("-") or answer.startswith("OK"), answer
        return answer

    def flush(self):
        """Waits until all events of this connection so far are in the audit log: one more follows them."""
        key = part()
        asked = self.asked
        self.ask("DELETE", key)
        self.asked = asked
        self.daemon.wait_record(event="token.delete", key=key)
        return key


class Audited(Daemon):
    """A daemon with an audit log, a hook that writes down what it hears, and listeners on IPv6."""

    def __init__(self, folder, redis, **settings):
        self.six = ("::1", free_port(socket.AF_INET6))
        hook, options, self.heard = recorder(folder)
        settings = {"audit": {"reads": True}, "hooks": {"audit.lua": {}, hook: options}, **settings}
        super().__init__(folder, redis, listeners={"manage-6": {"address": "[::1]:%d" % self.six[1], "role": "manage"}}, **settings)

    def start(self, wait=True):
        """`wait`: also for the first record, so that the number of records changes by what a test does alone."""
        super().start(wait)
        if wait:
            self.wait_record(event="server.start")

    def listener_address(self, name):
        return {"manage-tcp": self.manage_tcp, "manage": self.manage, "manage-6": self.six, "verify": self.verify,
                "verify-unix": self.verify_unix}[name]

    def since(self, number, but=()):
        """The records from that number on, without those of the keys `but`."""
        return [record for record in self.audit()[number:] if record.get("key") not in but]


@pytest.fixture
def start_audited(start_daemon):
    """start_audited(redis, **keywords of Audited) -> Audited, stopped afterwards."""
    return functools.partial(start_daemon, kind=Audited)


@pytest.fixture(scope="module")
def _audited():
    folders = [make_folder(), make_folder()]
    server = RedisServer(folders[0])
    daemon = Audited(folders[1], server)
    try:
        daemon.start()
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()
        server.close()
        for path in folders:
            shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def audited(request, _audited):
    """Shared by the tests of this module: they use keys of their own, and addresses where events are counted by these."""
    request.node.__dict__.setdefault("daemons_in_use", []).append(_audited)
    yield _audited
    _audited.check()


@pytest.fixture(params=["manage-tcp", "manage-6", "manage", "manage-tcp resp", "manage-6 resp", "manage resp"])
def asker(request, audited):
    listener, _, resp = request.param.partition(" ")
    with Asker(audited, listener, bool(resp)) as result:
        yield result


@pytest.fixture
def proxy(start_redis, folder):
    result = RedisProxy(folder, start_redis())
    yield result
    result.close()


addresses = iter(f"127.{a}.{b}.{c}" for a in range(1, 250) for b in range(1, 250) for c in range(1, 250))


def check_record(asker, record, event, result="ok", **fields):
    """The record has these fields and no others, and what differs each time is as the asker saw it."""
    began, ended = asker.asked
    own = dict(record)
    at, worker, latency = epoch_us(own.pop("time")), own.pop("worker"), own.pop("latency_us")
    assert began - 10_000 <= at <= ended, (began, record, ended)
    assert type(worker) is int and 1 <= worker <= asker.daemon.workers_wanted, record
    assert type(latency) is int and 0 <= latency <= ended - began + 10_000, record
    assert own == {"event": event, "result": result, **asker.who, **fields}
    for name in ("expires", "count", "uid"):
        assert name not in own or type(own[name]) is int, record


def expect(asker, event, key=None, after=0, **fields):
    """Waits for the record of the last request, and checks it whole."""
    if key is not None:
        fields["key"] = key
    how = {name: fields[name] for name in ("key", "tag", "command", "count") if name in fields}
    record = asker.daemon.wait_record(after=after, event=event, **asker.who, **how)
    check_record(asker, record, event, **fields)
    return record


def about(fields):
    """What an event says of a token. One without scopes has an empty text: that is known, where no field is not."""
    named = {"username": fields["username"], "token_type": fields["token_type"], "scopes": " ".join(sorted(set(fields["scopes"])))}
    return {**named, "expires": fields["expires"]} if "expires" in fields else named


# Changes

@pytest.mark.parametrize("fields", [{"username": "bot-alice", "token_type": "service", "scopes": ["read:all", "exec:admin", "read:all"],
                                     "expires": FUTURE, "name": "no such field", "email": "a@example.org", "uid": 5},
                                    {"scopes": []}], ids=["much", "little"])
def test_store(asker, fields):
    fields = data(**fields)
    asker.ok("STORE", to_json(fields))
    expect(asker, "token.store", key_of(fields["token"]), command="STORE", **about(fields))


def test_issue(asker):
    fields = data(token=..., token_type="user", expires=FUTURE)
    text = asker.ok("ISSUE", to_json(fields)).split(" ")[-1]
    expect(asker, "token.issue", key_of(text), command="ISSUE", **about(fields))


def test_delete(asker):
    """A worker names the user where it has the token in memory, and asks nobody for it."""
    fields = data(expires=FUTURE)
    key = key_of(fields["token"])
    Planter(asker.daemon).plant(fields)
    asker.ok("GET", fields["token"])
    asker.ok("DELETE", key)
    expect(asker, "token.delete", key, command="DELETE", **about(fields))
    before = len(asker.daemon.audit())
    assert "invalid" in asker.ask("DELETE", key) or asker.resp
    expect(asker, "token.delete", key, after=before, result="no", reason="invalid", command="DELETE")


def test_delete_of_what_is_not_in_memory(asker):
    fields = data()
    Planter(asker.daemon).plant(fields)
    asker.ok("DELETE", key_of(fields["token"]))
    expect(asker, "token.delete", key_of(fields["token"]), command="DELETE")


def test_list_and_delete_all(asker):
    planter = Planter(asker.daemon)
    for fields in [data() for _ in range(3)]:
        planter.plant(fields)
    stored = len(planter.names())
    before = len(asker.daemon.audit())
    asker.ok("LIST")
    expect(asker, "token.list", after=before, command="LIST", count=stored)
    asker.ok("DELETEALL")
    expect(asker, "token.delete_all", after=before, command="DELETEALL", count=stored)
    before = len(asker.daemon.audit())
    asker.ok("DELETEALL")
    expect(asker, "token.delete_all", after=before, command="DELETEALL")
    asker.ok("LIST")
    expect(asker, "token.list", after=before, command="LIST")


def test_verifyall_fix(asker):
    """Each value that it deletes, and no other, has a record."""
    planter = Planter(asker.daemon)
    junk, moved, foreign = part(), part(), data()
    planter.plant_bytes(junk, b"junk")
    planter.plant_bytes(moved, planter.plant(data()))
    planter.plant(foreign, sealing=new_key())
    before = len(asker.daemon.audit())
    asker.ok("VERIFYALL")
    last = asker.flush()
    assert asker.daemon.since(before, but={last}) == []
    before = len(asker.daemon.audit())
    asker.ok("VERIFYALL", "FIX")
    expect(asker, "token.delete", junk, after=before, command="VERIFYALL")
    expect(asker, "token.delete", moved, after=before, command="VERIFYALL")
    last = asker.flush()
    assert {record["key"] for record in asker.daemon.since(before)} == {junk, moved, last}
    planter.client.delete(planter.name(key_of(foreign["token"])))


def test_tags(audited):
    with Asker(audited) as asker:
        for tag in ("a", "tag-1_X", "t" * 32):
            key = part()
            asker.ask("#" + tag, "DELETE", key)
            expect(asker, "token.delete", key, result="no", reason="invalid", command="DELETE", tag=tag)


def test_many_scopes_end_behind_a_whole_one(audited):
    scopes = sorted(f"scope:{number:04}:with-a-name" for number in range(1000))
    fields = data(scopes=scopes)
    with Asker(audited) as asker:
        asker.ok("STORE", to_json(fields))
        found = audited.wait_record(event="token.store", key=key_of(fields["token"]))["scopes"]
    words = found.split(" ")
    assert words[-1] == "..." and words[:-1] == scopes[:len(words) - 1] and 4000 < len(found) <= 4096 + 4


def test_every_change_has_one_record_in_order(audited):
    """Many on one connection, in one go: whoever was told so finds it in the audit log, once."""
    keys = [part() for _ in range(2000)]
    with Asker(audited) as asker:
        before = len(audited.audit())
        asker.client.send("".join(f"DELETE {key}\n" for key in keys))
        asker.client.answers(len(keys))
        asker.flush()
        records = audited.records(before, event="token.delete", **asker.who)
    assert [record["key"] for record in records][:-1] == keys
    times = [record["time"] for record in records]
    assert times == sorted(times)
    assert len({time[-4:-1] for time in times}) > 10, "these are no microseconds"


def test_a_client_that_leaves_is_told_of(start_audited, proxy):
    """What was asked is done, and has a record, though nobody waits for the answer any more."""
    daemon = start_audited(proxy)
    fields = data()
    key = key_of(fields["token"])
    hold = proxy.hold_request("SET", key)
    asker = Asker(daemon)
    asker.client.send("STORE " + to_json(fields) + "\n")
    hold.wait()
    asker.client.reset()
    time.sleep(0.3)
    hold.release()
    record = daemon.wait_record(event="token.store", key=key)
    assert record["result"] == "ok" and record["peer"] == asker.who["peer"]
    assert record["latency_us"] >= 290_000


# Look-ups

def test_reads(asker):
    planter = Planter(asker.daemon)
    fields = data(scopes=["b:c", "a:b"], expires=FUTURE)
    text, key = fields["token"], key_of(fields["token"])
    planter.plant(fields)
    for request in (("GET", text), ("CHECK", text), ("CHECK", text, "a:b", "b:c"), ("GETKEY", key)):
        for _ in range(2):  # a miss or a hit, and a hit
            before = len(asker.daemon.audit())
            asker.ok(*request)
            expect(asker, "token.get", key, after=before, command=request[0], **about(fields))
    before = len(asker.daemon.audit())
    asker.ask("CHECK", text, "a:b", "x:y", "y:z")
    expect(asker, "token.get", key, after=before, result="no", reason="scope x:y", command="CHECK", **about(fields))


def test_reads_of_unknown_tokens(asker):
    text = token()
    for request in (("GET", text), ("CHECK", text, "a:b"), ("GETKEY", key_of(text))):
        for _ in range(2):  # Redis is asked, and is not
            before = len(asker.daemon.audit())
            asker.ask(*request)
            expect(asker, "token.get", key_of(text), after=before, result="no", reason="invalid", command=request[0])


def test_reads_of_unreadable_values(asker):
    key = part()
    Planter(asker.daemon).plant_bytes(key, b"junk")
    for request in (("GET", token(key=key)), ("CHECK", token(key=key)), ("GETKEY", key)):
        before = len(asker.daemon.audit())
        asker.ask(*request)
        expect(asker, "token.get", key, after=before, result="no", reason="unreadable", command=request[0])


def test_mismatch(asker):
    """One record a key, whoever asks with whatever secret."""
    fields = data(expires=FUTURE)
    key = key_of(fields["token"])
    Planter(asker.daemon).plant(fields)
    time.sleep(0.11)  # ten a second in all
    before = len(asker.daemon.audit())
    asker.ask("GET", token(key=key))
    expect(asker, "token.mismatch", key, result="no", reason="mismatch", command="GET", count=1, **about(fields))
    expect(asker, "token.get", key, result="no", reason="mismatch", command="GET", **about(fields))
    for request in (("GET", token(key=key)), ("CHECK", token(key=key), "read:all")):
        asker.ask(*request)
    expect(asker, "token.get", key, result="no", reason="mismatch", command="CHECK", **about(fields))
    asker.flush()
    assert len(asker.daemon.records(before, event="token.mismatch")) == 1


def test_expired(asker):
    """Redis has mostly forgotten such a token by itself; one that it still has is told of."""
    fields = data(expires=int(time.time()) - 10)
    key = key_of(fields["token"])
    Planter(asker.daemon).plant(fields)
    before = len(asker.daemon.audit())
    for request in (("CHECK", fields["token"]), ("GET", fields["token"]), ("GETKEY", key)):
        asker.ask(*request)
        if request[0] == "CHECK":
            expect(asker, "token.expired", key, result="no", reason="expired", command="CHECK", count=1, **about(fields))
        expect(asker, "token.get", key, result="no", reason="expired", command=request[0], **about(fields))
    asker.flush()
    assert len(asker.daemon.records(before, event="token.expired")) == 1


def test_expiry_while_it_is_in_memory(audited):
    fields = data(expires=int(time.time()) + 2)
    with Asker(audited) as asker:
        asker.ok("STORE", to_json(fields))
        asker.ok("GET", fields["token"])
        until(lambda: asker.ask("GET", fields["token"]) == "NO invalid", 5, "the token to expire", pause=0.05)
        asker.flush()
    gets = audited.records(event="token.get", key=key_of(fields["token"]))
    assert gets[0]["result"] == "ok" and gets[-1]["result"] == "no" and gets[-1]["reason"] in ("expired", "invalid")


def test_a_flood_of_mismatches(start_audited, redis_server):
    """Ten records a second, and those left out are counted in the next."""
    daemon = start_audited(redis_server, workers=1, prefix="flood:", audit={})
    planter = Planter(daemon)
    tokens = [data() for _ in range(31)]
    for fields in tokens:
        planter.plant(fields)
    keys = [key_of(fields["token"]) for fields in tokens]
    with Asker(daemon) as asker:
        for _ in range(3):
            asker.client.send("".join(f"GET {token(key=key)}\n" for key in keys[:-1]))
            assert {answer.last for answer in asker.client.answers(30)} == {"NO invalid"}
        time.sleep(1.1)
        asker.ask("GET", token(key=keys[-1]))
        record = daemon.wait_record(event="token.mismatch", key=keys[-1])
        asker.flush()
    records = daemon.records(event="token.mismatch")
    assert len({record["key"] for record in records}) == len(records)
    assert 11 <= len(records) <= 11 + 10 * SLOWNESS
    # Each is counted once: now, or in the next record of a key that has one already.
    counted = sum(record["count"] for record in records)
    assert 91 - 2 * (len(records) - 1) <= counted <= 91 and record["count"] > 1
    assert daemon.stats()["tokens-mismatched"] == 91


# Malformed and denied requests

MALFORMED = [("GET", "gt-short"), ("GET", "xx"), ("CHECK", "gt-x.y", "read:all"), ("GETKEY", "x" * 21), ("DELETE", "x" * 23)]


@pytest.mark.parametrize("resp", [False, True], ids=["line", "resp"])
@pytest.mark.parametrize("request_words", MALFORMED, ids=lambda words: words[0] + str(len(words[1])))
def test_malformed(audited, request_words, resp):
    """One record an address and worker, whatever the ports and requests."""
    source = next(addresses)
    others = []

    def records():
        return [record for record in audited.audit() if record.get("peer", "").startswith(source + ":")]

    def both_workers_were_asked():
        """Connections that stay open are spread over the workers, in the end."""
        others.append(Asker(audited, source=source))
        others[-1].ask(*request_words)
        others[-1].flush()
        return len(others) >= 5 and {record["worker"] for record in records()} == {1, 2}

    time.sleep(0.11)  # ten a second in all
    with Asker(audited, resp=resp, source=source) as asker:
        asker.ask(*request_words)
        expect(asker, "token.malformed", result="no", reason="malformed", command=request_words[0], count=1)
        for words in MALFORMED:
            asker.ask(*words)
        asker.flush()
        until(both_workers_were_asked, what="both workers to be asked")
    for other in others:
        other.client.close()
    assert sorted(record["worker"] for record in records() if record["event"] == "token.malformed") == [1, 2]
    assert {record["event"] for record in records()} == {"token.malformed", "token.delete"}


def test_malformed_on_a_unix_socket(start_audited, redis_server):
    daemon = start_audited(redis_server, workers=1)
    for listener in ("manage", "verify-unix", "manage"):
        with Asker(daemon, listener) as asker:
            asker.ask("GET", "gt-")
            if not daemon.audit()[1:]:
                expect(asker, "token.malformed", result="no", reason="malformed", command="GET", count=1)
    with Asker(daemon, "manage-6") as asker:
        asker.ask("GET", "gt-")
        expect(asker, "token.malformed", result="no", reason="malformed", command="GET", count=1)
        asker.flush()
    assert len(daemon.records(event="token.malformed")) == 2


MANAGE = [("STORE", "{}"), ("ISSUE", "{}"), ("DELETE", part()), ("DELETEALL",), ("LIST",), ("VERIFYALL",), ("STATS",), ("GETKEY", part())]


@pytest.mark.parametrize("resp", [False, True], ids=["line", "resp"])
@pytest.mark.parametrize("request_words", MANAGE, ids=lambda words: words[0])
def test_denied(audited, request_words, resp):
    source = next(addresses)
    time.sleep(0.11)
    with Asker(audited, "verify", resp=resp, source=source) as asker:
        assert "ERR denied" in asker.ask(*request_words)
        expect(asker, "request.denied", result="denied", reason="role", command=request_words[0], count=1)
        for words in MANAGE:
            assert "ERR denied" in asker.ask(*words)
        text = token()  # a look-up that follows on the same connection: behind it there is nothing more
        asker.ask("GET", text)
        expect(asker, "token.get", key_of(text), result="no", reason="invalid", command="GET")
        assert len(audited.records(event="request.denied", **asker.who)) == 1


def test_denied_on_a_unix_socket(start_audited, redis_server):
    daemon = start_audited(redis_server, workers=1)
    for _ in range(2):
        with Asker(daemon, "verify-unix") as asker:
            asker.ask("LIST")
            if not daemon.records(event="request.denied"):
                expect(asker, "request.denied", result="denied", reason="role", command="LIST", count=1)
            asker.ask("GET", token())
            until(lambda: daemon.records(event="token.get", **asker.who), 10, "what follows")
    assert len(daemon.records(event="request.denied")) == 1


# Requests that leave nothing

BAD = ["NONSENSE", "GET", "GET a b", "STORE", "STORE {", "STORE {}", "STORE []", "ISSUE {\"token\":1}", "ISSUE {\"username\":\"alice\"}",
       "DELETE", "DELETEALL now", "LIST all", "VERIFYALL FIXED", "GET  x", "CHECK gt-x.y a!b", "CHECK " + token() + " a!b", "#", "#t", "PING x",
       "HELP", "PING", "STATS", "VERIFYALL", " GET x", "GET x ", "\x01", ""]


def test_bad_requests_leave_nothing(audited):
    with Asker(audited, source=next(addresses)) as asker:
        before = len(audited.audit())
        for line in BAD:
            asker.client.send(line + "\n")
        for words in ([b"NONSENSE"], [b"GET"], [b"GET", b"a b"], [b"PING"], [b"HELLO", b"3"], [b"CLIENT", b"ID"], [b"COMMAND"], [b"STORE", b"{"]):
            asker.client.send(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        key = part()
        asker.client.send("DELETE " + key + "\nQUIT\n")
        asker.client.read_to_end()
        with Client(audited.manage_tcp) as other:
            other.send("G" * 70_000)
            other.read_to_end()
        with Client(audited.manage_tcp) as other:
            other.send("GET / HTTP/1.1\n")
            other.read_to_end()
        audited.wait_record(event="token.delete", key=key)
    assert audited.since(before, but={key}) == []


# Redis fails

def changes():
    """A request of each kind that needs Redis, the event that it leaves and what that says, but for who and when."""
    stored, issued, key = data(expires=FUTURE), data(token=..., token_type="oidc"), part()
    yield ("STORE", to_json(stored)), "token.store", {"key": key_of(stored["token"]), **about(stored)}
    yield ("ISSUE", to_json(issued)), "token.issue", {"key": ..., **about(issued)}
    yield ("DELETE", key), "token.delete", {"key": key}
    yield ("DELETEALL",), "token.delete_all", {}
    yield ("REKEY",), "token.rekey", {}
    yield ("LIST",), "token.list", {}
    text = token()
    yield ("GET", text), "token.get", {"key": key_of(text)}
    yield ("CHECK", text), "token.get", {"key": key_of(text)}
    yield ("GETKEY", key_of(text)), "token.get", {"key": key_of(text)}


def expect_failure(asker, words, event, result, reason, fields):
    before = len(asker.daemon.audit())
    answer = asker.ask(*words)
    assert "ERR" in answer, answer
    record = asker.daemon.wait_record(after=before, event=event, **asker.who)
    if fields.get("key") is ...:
        assert re.fullmatch("[A-Za-z0-9_-]{22}", record["key"])
        fields = {**fields, "key": record["key"]}
    check_record(asker, record, event, result=result, reason=reason, command=words[0], **fields)


@pytest.mark.parametrize("resp", [False, True], ids=["line", "resp"])
def test_unavailable(start_audited, start_redis, resp):
    redis = start_redis()
    daemon = start_audited(redis, workers=1, redis_options=QUICK)
    redis.kill()
    with Asker(daemon, resp=resp) as asker:
        until(lambda: "ERR unavail" in asker.ask("GET", token()), 10, "Redis to be away")
        for words, event, fields in changes():
            expect_failure(asker, words, event, "error", "unavailable", fields)


def test_busy(start_audited, start_fake):
    fake = start_fake()
    daemon = start_audited(fake, workers=1, max_inflight=5, redis_options={"command-timeout": 20}, cache={"negative-ttl": 0})
    fake.hold("GET")
    with Asker(daemon) as waiting, Asker(daemon) as asker:
        waiting.client.send("".join(f"GET {token()}\n" for _ in range(5)))
        until(lambda: len(fake.seen("GET")) > 0, 10, "requests to wait")
        until(lambda: "ERR busy" in asker.ask("GETKEY", part()), 10, "the worker to be busy")
        for words, event, fields in changes():
            expect_failure(asker, words, event, "error", "busy", fields)
        fake.release()
        waiting.client.answers(5)


@pytest.mark.parametrize("command,number", [("SET", 0), ("SET", 1), ("UNLINK", 2)], ids=["STORE", "ISSUE", "DELETE"])
def test_uncertain(start_audited, start_fake, command, number):
    """Redis has the change and hangs up before its answer."""
    fake = start_fake()
    daemon = start_audited(fake, workers=1, redis_options=QUICK)
    words, event, fields = list(changes())[number]
    fake.answer(command, None, close=True)
    with Asker(daemon) as asker:
        expect_failure(asker, words, event, "uncertain", "uncertain", fields)
        fake.forget()
        until(lambda: asker.ask("GET", token()) == "NO invalid", 10, "Redis to be back")


def test_uncertain_scans(start_audited, start_fake):
    fake = start_fake()
    daemon = start_audited(fake, workers=1, redis_options=QUICK)
    key = part()
    fake.data[b"token:" + key.encode()] = b"junk"
    with Asker(daemon) as asker:
        fake.answer("EVAL", None, close=True)
        expect_failure(asker, ("VERIFYALL", "FIX"), "token.delete", "uncertain", "uncertain", {"key": key})
        fake.answer("UNLINK", None, close=True)
        until(lambda: asker.ask("GET", token()) == "NO invalid", 10, "Redis to be back")
        expect_failure(asker, ("DELETEALL",), "token.delete_all", "uncertain", "uncertain", {})


def test_an_answer_that_is_swallowed(start_audited, proxy):
    """The same with a real Redis, whose answer comes too late: the change was made, and the record says that nobody knows."""
    daemon = start_audited(proxy, workers=1, redis_options=QUICK)
    fields = data()
    key = key_of(fields["token"])
    hold = proxy.hold_reply("SET", key)
    with Asker(daemon, "manage") as asker:
        expect_failure(asker, ("STORE", to_json(fields)), "token.store", "uncertain", "uncertain", {"key": key, **about(fields)})
    hold.release()
    assert proxy.client().exists("token:" + key)


def test_a_scan_that_fails_midway_tells_how_many(start_audited, proxy):
    daemon = start_audited(proxy, workers=1, redis_options=QUICK)
    with proxy.client().pipeline() as pipe:
        for _ in range(5000):
            pipe.set("token:" + part(), b"junk")
        pipe.execute()
    first = proxy.hold_request("UNLINK")
    with Asker(daemon) as asker:
        asker.client.send("DELETEALL\n")
        first.wait()
        second = proxy.hold_request("UNLINK")
        first.release()
        second.wait()
        proxy.server.kill()
        second.release()
        answer = asker.client.answer()
        assert answer.code == "ERR unavail"
        record = daemon.wait_record(event="token.delete_all", **asker.who)
    assert record["result"] in ("error", "uncertain") and record["reason"] in ("unavailable", "uncertain")
    assert f"{record.get('count', 0)} tokens were deleted" in answer.text


# The processes

def test_start_and_stop(start_audited, redis_server):
    began = time.time() * 1e6
    daemon = start_audited(redis_server)
    started = time.time() * 1e6
    with Asker(daemon) as asker:
        last = asker.flush()
    stopping = time.time() * 1e6
    daemon.stop()
    stopped = time.time() * 1e6
    records = daemon.audit()
    assert [record["event"] for record in records] == ["server.start", "token.delete", "server.stop"]
    assert records[1]["key"] == last
    for record, early, late in ((records[0], began, started), (records[2], stopping, stopped)):
        assert early - 10_000 <= epoch_us(record.pop("time")) <= late
        assert record == {"event": record["event"], "result": "ok", "count": daemon.workers_wanted}


def knock(daemon):
    """A client of a daemon that may not listen yet."""
    try:
        return Client(daemon.manage)
    except OSError:
        return None


def test_the_start_comes_first(start_audited, redis_server):
    """A client that stands at the door is served by the first of many workers while the master still starts the others."""
    daemon = start_audited(redis_server, workers=16, wait=False)
    with until(lambda: knock(daemon), what="a listener", pause=0.001) as client:
        assert client.ask("GET gt-").last == "NO malformed"
    until(lambda: len(daemon.audit()) >= 2, what="both records")
    assert [record["event"] for record in daemon.audit()] == ["server.start", "token.malformed"]


def test_reloads_neither_start_nor_stop(start_audited, redis_server):
    daemon = start_audited(redis_server, workers=1)
    with Asker(daemon) as asker:
        before = asker.flush()
    daemon.reload()
    with Asker(daemon) as asker:
        after = asker.flush()
    daemon.stop()
    records = daemon.audit()
    assert [record["event"] for record in records] == ["server.start", "token.delete", "token.delete", "server.stop"]
    assert [record["key"] for record in records[1:3]] == [before, after]


def test_what_is_in_flight_at_the_stop_has_a_record(start_audited, proxy):
    daemon = start_audited(proxy, workers=2)
    fields = data()
    hold = proxy.hold_reply("SET", key_of(fields["token"]))
    with Asker(daemon) as asker:
        asker.client.send("STORE " + to_json(fields) + "\n")
        hold.wait()
        daemon.ended = True
        daemon.signal(signal.SIGTERM)
        time.sleep(0.2)
        hold.release()
        assert asker.client.answer().last == "OK"
    assert daemon.process.wait(20 * SLOWNESS) == 0
    assert [record["event"] for record in daemon.audit()] == ["server.start", "token.store", "server.stop"]


def test_worker_crash(start_audited, proxy):
    daemon = start_audited(proxy, workers=3)
    daemon.steady = None
    for number, client in enumerate(proxy.client_each(daemon)):
        key = part()
        client.ask("DELETE " + key)
        worker = daemon.wait_record(event="token.delete", key=key)["worker"]
        began = time.time() * 1e6
        os.kill(client.worker, signal.SIGKILL)
        until(lambda: len(daemon.records(event="worker.crash")) > number, 10, "the record of the crash")
        record = daemon.records(event="worker.crash")[number]
        assert began - 10_000 <= epoch_us(record.pop("time")) <= time.time() * 1e6
        reason = record.pop("reason")
        assert record == {"event": "worker.crash", "result": "error", "worker": worker}
        assert "signal 9" in reason
        client.close()
    until(lambda: [problem["kind"] for problem in heard(daemon.heard, "problem")].count("worker.crash") == 3, 10, "three problems")


# Hooks hear what the audit log has

def test_hooks_hear_the_same_as_the_log_has(audited):
    with Asker(audited, "manage") as asker:
        asker.ok("STORE", to_json(data()))
        asker.ok("LIST")
        asker.flush()
    logged = audited.audit()
    until(lambda: len(heard(audited.heard)) >= len(logged), 10, "the other hook")
    assert heard(audited.heard)[:len(logged)] == logged


def test_reads_leave_nothing_unless_asked_for(start_audited, redis_server):
    daemon = start_audited(redis_server, prefix="silent:", audit={})
    planter = Planter(daemon)
    fields, old = data(), data(expires=int(time.time()) - 10)
    planter.plant(fields)
    planter.plant(old)
    with Asker(daemon) as asker:
        for text in (fields["token"], token(), old["token"], token(key=key_of(fields["token"]))):
            asker.ask("GET", text)
            asker.ask("CHECK", text)
            asker.ask("GETKEY", key_of(text))
        last = asker.flush()
    assert [record["event"] for record in daemon.since(1, but={last})] == ["token.expired", "token.mismatch"]


def test_without_hooks_nothing_is_sent(start_daemon, redis_server):
    daemon = start_daemon(redis_server, prefix="alone:")
    with daemon.connect() as client:
        for request in ("STORE " + to_json(data()), "DELETE " + part(), "GET gt-", "LIST", "GET " + token()):
            client.ask(request)
    daemon.ask("LIST", role="verify")
    assert daemon.reporters() == []
    stats = daemon.stats()
    assert stats["events-sent"] == 0 and stats["events-dropped"] == 0 and stats["events-lost"] == 0


def test_sent_events_are_counted(start_audited, redis_server):
    daemon = start_audited(redis_server, prefix="counted:")
    with Asker(daemon) as asker:
        for _ in range(10):
            asker.flush()
        until(lambda: daemon.stats()["events-sent"] >= 11, 10, "the last to count as sent")
        stats = daemon.stats()
    assert stats["events-sent"] == 11 == len(daemon.audit())
    assert stats["events-dropped"] == 0 and stats["events-lost"] == 0


# Secrets

def test_no_secret_reaches_an_event(start_audited, start_redis, folder):
    """Everything that a client can say and everything that goes wrong: neither audit log, nor what hooks heard, nor the log
    has a secret, a key of the vault, a password, the webhook, or what could not be parsed."""
    password, marker, webhook = "pass-" + part(), "mark" + part(), "http://127.0.0.1:9/services/" + part()
    redis = start_redis(users={"keeper": (password, "~* +@all")})
    files = {}
    for name, secret in (("password", password), ("webhook", webhook)):
        files[name] = os.path.join(folder, name)
        with open(os.open(files[name], os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write(secret + "\n")
    hook, options, told = recorder(folder)
    daemon = start_audited(redis, workers=2, keys=[new_key(), new_key()], log={"level": "debug"}, slack={"webhook-file": files["webhook"]},
                           hooks={"audit.lua": {}, "slack.lua": {}, hook: options},
                           redis_options={**QUICK, "username": "keeper", "password-file": files["password"]})
    planter = Planter(daemon, redis.client())
    secrets = []

    def present(key=None):
        text = token(key=key)
        secrets.append(secret_of(text))
        return text

    def work(asker):
        text = present()
        for line in ("STORE " + to_json(data(text, name=marker, email=marker + "@example.org", service=marker)),
                     "GET " + text, "CHECK " + text, "GETKEY " + key_of(text), "GET " + present(key_of(text)), "CHECK " + present(key_of(text)),
                     "GET " + present(), "GET " + present() + "x", "GET " + present()[:-1], "DELETE " + present(), "GETKEY " + present(),
                     "ISSUE " + to_json(data(present())), "ISSUE " + to_json(data(token=..., name=marker)),
                     "STORE " + to_json(data(present(), username=marker + "!")), 'STORE {"token":"' + present() + '","' + marker,
                     marker, marker + " " + present(), "#" + marker[:20] + " PING", "DELETE " + key_of(text)):
            answer = asker.ask(*line.split(" ", 1))
            if answer.startswith("OK gt-"):
                secrets.append(secret_of(answer))
        return text

    with Asker(daemon) as asker, Asker(daemon, "verify") as verifier:
        for _ in range(2):
            work(asker)
            work(verifier)
        corrupt = data(name=marker, username="marked")
        value = planter.plant(corrupt)
        planter.plant_bytes(key_of(corrupt["token"]), value[:-1] + b"\0")
        asker.ask("GET", corrupt["token"])
        expired = data(expires=int(time.time()) - 5)
        planter.plant(expired)
        asker.ask("GET", expired["token"])
        secrets += [secret_of(corrupt["token"]), secret_of(expired["token"])]
        redis.kill()
        work(asker)
        redis.start()
        until(lambda: "NO invalid" in asker.ask("GET", present()), 10, "Redis to be back")
        asker.ask("LIST")
        asker.ask("VERIFYALL", "FIX")
        asker.ask("DELETEALL")
        asker.flush()
    daemon.steady = None
    os.kill(daemon.workers()[0], signal.SIGKILL)
    daemon.wait_record(event="worker.crash")
    daemon.stop()
    texts = {}
    for name, path in (("audit log", daemon.audit_options["file"]), ("hook", told), ("log", os.path.join(daemon.folder, "stderr"))):
        with open(path, errors="replace") as file:
            texts[name] = file.read()
    kinds = {record["event"] for record in daemon.audit()}
    assert kinds >= {"token.store", "token.issue", "token.delete", "token.get", "token.mismatch", "token.expired", "token.malformed",
                     "request.denied", "token.list", "token.delete_all", "worker.crash", "server.start", "server.stop"}
    problems = {problem["kind"] for problem in heard(told, "problem")}
    assert problems >= {"redis.away", "token.corrupt", "worker.crash"}
    hidden = secrets + [password, marker, webhook, webhook.rsplit("/", 1)[1]] + [keyring_line(key).strip() for key in daemon.keys]
    assert len(hidden) > 50
    assert [(name, secret) for name, text in texts.items() for secret in hidden if secret in text] == []


def test_askers_side_by_side(audited):
    """Connections on all workers at once: nothing is lost or mixed up."""
    done = {}

    def work(number):
        with Asker(audited, ("manage-tcp", "manage-6", "manage")[number % 3], resp=number % 2 == 1) as asker:
            keys = [part() for _ in range(100)]
            for key in keys:
                asker.ask("DELETE", key)
            done[number] = (asker.who, keys)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    before = len(audited.audit())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(audited.audit()) >= before + 800, 20, "800 records")
    found = {record["key"]: record for record in audited.since(before)}
    assert len(audited.since(before)) == 800
    for who, keys in done.values():
        assert all({name: found[key].get(name) for name in who} == who for key in keys)
