# SPDX-License-Identifier: MIT
"""When Redis is away, slow, lies or holds rubbish: an outage is never a `NO`, nothing crashes, and nothing secret is logged."""
import base64
import json
import os
import re
import resource
import time

import pytest

from client import Closed
from daemon import run
from fake_redis import Raw, array, bulk
from planter import Planter
from sealed import keyring_line, new_key, pack, seal
from tokens import data, key_of, part, secret_of, to_json, to_stored, token
from waiting import SLOWNESS, until

UNAVAIL = "ERR unavail"
QUICK = {"connect-timeout": 0.5, "command-timeout": 0.5}


def store(daemon, text=None, **fields):
    """Stores a token and returns it."""
    text = text or token()
    answer = daemon.ask("STORE " + to_json(data(text, **fields)))
    assert answer.last == "OK", answer
    return text


def found(daemon, text):
    """Whether a token that is there is answered; it may be refused, and never denied."""
    answer = daemon.ask("GET " + text)
    assert answer.cls == "OK" or answer.code == UNAVAIL, answer
    return answer.cls == "OK"


def log_count(daemon, words):
    return sum(words in line for line in daemon.stderr().splitlines())


def every_request():
    """One of each kind that needs Redis."""
    return {
        "GET": "GET " + token(),
        "CHECK": "CHECK " + token() + " read:all",
        "GETKEY": "GETKEY " + part(),
        "STORE": "STORE " + to_json(data()),
        "ISSUE": "ISSUE " + to_json(data(token=...)),
        "DELETE": "DELETE " + part(),
        "DELETEALL": "DELETEALL",
        "LIST": "LIST",
        "VERIFYALL": "VERIFYALL",
        "VERIFYALL FIX": "VERIFYALL FIX",
    }


# Redis away

def test_redis_down_at_start(start_daemon, start_redis):
    redis = start_redis()
    redis.kill()
    daemon = start_daemon(redis, workers=1)
    assert daemon.ask("PING").last == "OK"
    for request in every_request().values():
        assert daemon.ask(request).code == UNAVAIL
    assert log_count(daemon, "is away") == 1
    redis.start()
    back = time.monotonic()
    until(lambda: daemon.ask("GET " + token()).last == "NO invalid", 10, "Redis to be back")
    assert time.monotonic() - back < 1.5 * SLOWNESS
    assert daemon.ask("GET " + store(daemon)).cls == "OK"
    assert log_count(daemon, "is away") == 1 and log_count(daemon, "is back") == 1


def test_redis_that_hangs(start_daemon, start_redis):
    """Whoever needs Redis hears of it in time; what is cached is answered until it might be outdated."""
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, cache={"ttl": 60}, redis_options={"connect-timeout": 0.5, "command-timeout": 1})
    text = store(daemon)
    with daemon.connect() as client, daemon.connect() as other:
        until(lambda: daemon.stats()["invalidation-links"] == 1, what="announcements")
        assert client.ask("GET " + text).cls == "OK"
        time.sleep(0.1)
        assert client.ask("GET " + text).cls == "OK"
        redis.stop()
        stopped = time.monotonic()
        try:
            other.send("GET " + token() + "\n")
            while time.monotonic() - stopped < 0.9:
                asked = time.monotonic()
                answer = client.ask("GET " + text)
                assert answer.cls == "OK" or asked - stopped > 0.9, answer
            assert other.answer().code == UNAVAIL
            assert 0.9 < time.monotonic() - stopped < 1 + 0.5 + 0.5 * SLOWNESS
            time.sleep(max(0.0, stopped + 1.55 - time.monotonic()))
            assert client.ask("GET " + text).code == UNAVAIL
        finally:
            redis.cont()
        until(lambda: client.ask("GET " + text).cls == "OK", 10, "Redis to be back")
    until(lambda: log_count(daemon, "is back") == 1, 5, "the log to say so")
    assert log_count(daemon, "is away") == 1 and log_count(daemon, "is back") == 1


def test_redis_that_is_killed(start_daemon, start_redis):
    redis = start_redis(appendonly=True)
    daemon = start_daemon(redis, workers=2, redis_options=QUICK, cache={"ttl": 0})
    held = [store(daemon) for _ in range(20)]
    for _ in range(2):
        redis.kill()
        until(lambda: daemon.ask("GET " + held[0]).code == UNAVAIL, 5, "the outage to show")
        for text in held:
            assert daemon.ask("GET " + text).code == UNAVAIL
        redis.start()
        for text in held:
            until(lambda text=text: found(daemon, text), 10, "Redis to be back for every worker")


def test_an_open_circuit_answers_at_once(start_daemon, start_redis):
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, redis_options={"connect-timeout": 3, "command-timeout": 3})
    redis.kill()
    daemon.wait_log("is away")
    with daemon.connect() as client:
        for request in list(every_request().values()) * 5:
            asked = time.monotonic()
            answer = client.ask(request)
            assert answer.code == UNAVAIL and "uncertain" not in answer.text
            assert time.monotonic() - asked < 0.1 * SLOWNESS, request


def test_an_open_circuit_answers_at_once_when_redis_hangs(start_daemon, start_redis):
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, redis_options=QUICK)
    redis.stop()
    try:
        with daemon.connect() as client:
            assert client.ask("GET " + token()).code == UNAVAIL
            until(lambda: "is away" in daemon.stderr(), 5, "the circuit to open")
            for request in list(every_request().values()) * 5:
                asked = time.monotonic()
                assert client.ask(request).code == UNAVAIL
                assert time.monotonic() - asked < 0.1 * SLOWNESS, request
    finally:
        redis.cont()


def test_an_outage_is_two_lines_of_log(start_daemon, start_redis):
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, redis_options=QUICK)
    lines = len(daemon.stderr().splitlines())
    with daemon.connect() as client:
        for number in range(1, 4):
            redis.kill()
            until(lambda: log_count(daemon, "is away") == number, 5, "the line of the outage")
            for _ in range(100):
                client.ask("GET " + token())
                time.sleep(0.005)
            redis.start()
            until(lambda: client.ask("GET " + token()).cls == "NO", 10, "Redis to be back")
            until(lambda: log_count(daemon, "is back") == number, 5, "the line of its end")
    assert len(daemon.stderr().splitlines()) - lines == 6, daemon.stderr()


def test_a_lost_connection_is_no_outage(start_daemon, start_redis):
    """Redis ends idle connections, or somebody does: reads that were on their way are asked again."""
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, cache={"ttl": 0})
    text = store(daemon)
    with daemon.connect() as client:
        for _ in range(5):
            redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert client.ask("GET " + text).cls == "OK"
            assert client.ask("STORE " + to_json(data())).last == "OK"
    assert log_count(daemon, "is away") == 0
    assert daemon.stats()["err-unavail"] == 0


def test_redis_that_refuses_the_password(start_daemon, start_redis, folder):
    redis = start_redis(password="right")
    file = os.path.join(folder, "password")
    with open(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write("wrong-pass-word\n")
    daemon = start_daemon(redis, workers=1, redis_options={"password-file": file})
    assert daemon.ask("GET " + token()).code == UNAVAIL
    assert log_count(daemon, "is away") == 1 and "wrong-pass-word" not in daemon.stderr()


@pytest.mark.parametrize("reply", [b"-LOADING Redis is loading the dataset in memory\r\n", b"-NOAUTH Authentication required.\r\n",
                                   b"$-1\r\n", b":0\r\n", b"*0\r\n"])
@pytest.mark.parametrize("command", ["PING", "CLIENT"])
def test_a_handshake_that_goes_wrong(start_daemon, start_fake, command, reply):
    fake = start_fake()
    fake.answer(command, reply)
    daemon = start_daemon(fake, workers=1, redis_options=QUICK)
    daemon.wait_log("is away")
    assert daemon.ask("GET " + token()).code == UNAVAIL
    fake.forget()
    until(lambda: daemon.ask("GET " + token()).last == "NO invalid", 10, "Redis to be back")


# Too much at once

def test_busy_in_its_place(start_daemon, start_fake):
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, max_inflight=5, redis_options={"command-timeout": 20}, cache={"negative-ttl": 0})
    fake.hold("GET")
    with daemon.connect() as client, daemon.connect() as other:
        client.send("".join(f"GET {token()}\n" for _ in range(8)) + "PING\n")
        until(lambda: daemon.stats()["err-busy"] == 3, 10, "requests to be refused")
        client.expect_silence(0.2)
        for request in every_request().values():
            assert other.ask(request).code == "ERR busy"
        assert other.ask("#t GET " + token()).code == "ERR busy"
        assert other.ask("PING").last == "OK"
        fake.release()
        assert [answer.code for answer in client.answers(9)] == ["NO invalid"] * 5 + ["ERR busy"] * 3 + ["OK"]
        for request in every_request().values():
            assert other.ask(request).cls != "ERR", request


def test_those_who_join_a_look_up_count(start_daemon, start_fake):
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, max_inflight=5, redis_options={"command-timeout": 20})
    fake.hold("GET")
    text = token()
    with daemon.connect() as client:
        client.send(f"GET {text}\n" * 8)
        until(lambda: daemon.stats()["err-busy"] == 3, 10, "requests to be refused")
        fake.release()
        assert [answer.code for answer in client.answers(8)] == ["NO invalid"] * 5 + ["ERR busy"] * 3


# A Redis that lies

MALFORMED = [b"?what\r\n", b"$abc\r\n", b":12x\r\n", b"*-5\r\n", b"$-2\r\n", b"\x00\x01\x02\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n",
             b"$1\r\nab\r\n", b"\r\n", b"$\r\n", b"*\r\n", b"$2147483647\r\n", b"*2147483647\r\n", b"$9223372036854775807\r\n",
             b"$99999999999999999999999\r\n", b"*1048577\r\n", b"*1\r\n" * 40, b"*1048576\r\n" + b"*1048576\r\n" * 7,
             b"+" + b"a" * 300_000 + b"\r\n", b"$-1", b"$10\r\nabc"]
ERRORS = [b"-LOADING Redis is loading the dataset in memory\r\n", b"-READONLY You can't write against a read only replica.\r\n",
          b"-MISCONF Redis is configured to save RDB snapshots\r\n", b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
          b"-NOPERM this user has no permissions\r\n", b"-NOAUTH Authentication required.\r\n", b"-ERR unknown command\r\n", b"-\r\n",
          b"-NOREPLICAS Not enough good replicas to write.\r\n", b"-BUSY Redis is busy running a script.\r\n",
          b"-MOVED 3999 127.0.0.1:6381\r\n", b"-" + b"x" * 5000 + b"\r\n"]
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
# What Redis never says to that command, though every byte is in order.
ODD = {
    "GET": [b"+OK\r\n", b":1\r\n", b":0\r\n", b"*0\r\n", b"*1\r\n$-1\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"],
    "SET": [b"$2\r\nOK\r\n", b":1\r\n", b":0\r\n", b"*0\r\n", b"+QUEUED\r\n", b"+\r\n", b"*1\r\n+OK\r\n", WRONG_TYPE],
    "UNLINK": [b"+OK\r\n", b"+QUEUED\r\n", b"$1\r\n1\r\n", b"$-1\r\n", b"*0\r\n", b":-1\r\n", b"*1\r\n:1\r\n"],
    "SCAN": [b"+OK\r\n", b":0\r\n", b"$-1\r\n", b"*0\r\n", b"*1\r\n$1\r\n0\r\n", b"*2\r\n$1\r\n0\r\n$1\r\nx\r\n", b"*2\r\n:0\r\n*0\r\n",
             b"*2\r\n*0\r\n*0\r\n", b"*3\r\n$1\r\n0\r\n*0\r\n*0\r\n", b"*2\r\n$30\r\n" + b"1" * 30 + b"\r\n*0\r\n", b"*2\r\n$-1\r\n*0\r\n",
             WRONG_TYPE],
    "EVAL": [b"+OK\r\n", b"$-1\r\n", b"*0\r\n", b"$1\r\n1\r\n", WRONG_TYPE],
}


class Liar:
    """A daemon before a fake Redis with one good token and one that cannot be read."""

    def __init__(self, start_daemon, start_fake):
        self.fake = start_fake()
        self.daemon = start_daemon(self.fake, workers=1, redis_options={"connect-timeout": 1, "command-timeout": 0.3},
                                   cache={"ttl": 0, "negative-ttl": 0})
        self.token = store(self.daemon)
        self.fake.data[b"token:" + part().encode()] = b"junk"
        self.client = self.daemon.connect()

    def tell(self, command, reply, request):
        """Has Redis say that to one command on behalf of the request; returns the answer."""
        self.fake.answer(command, reply)
        answer = self.client.ask(request)
        self.fake.forget()
        return answer

    def recover(self):
        """The good token is found again; what that takes is refused, and never denied."""
        def found():
            answer = self.client.ask("GET " + self.token)
            assert answer.cls == "OK" or answer.code == UNAVAIL, answer
            return answer.cls == "OK"
        until(found, 10, "Redis to be trusted again")


@pytest.fixture
def liar(start_daemon, start_fake):
    result = Liar(start_daemon, start_fake)
    yield result
    result.client.close()


def lies_to(command):
    return MALFORMED + ERRORS + ODD[command]


@pytest.mark.parametrize("request_word", ["GET", "CHECK", "GETKEY", "VERIFYALL", "VERIFYALL FIX"])
def test_lies_to_a_look_up(liar, request_word):
    requests = {"GET": "GET " + liar.token, "CHECK": f"CHECK {liar.token} read:all", "GETKEY": "GETKEY " + key_of(liar.token)}
    before = liar.daemon.memory()
    for reply in lies_to("GET"):
        answer = liar.tell("GET", reply, requests.get(request_word, request_word))
        assert answer.code == UNAVAIL, (reply[:60], answer)
        liar.recover()
    assert len(liar.fake.data) == 2
    assert liar.daemon.memory() - before < 100 << 20
    wrong_type = liar.tell("GET", WRONG_TYPE, requests.get(request_word, request_word))
    assert wrong_type.code == {"GETKEY": "ERR corrupt", "GET": "NO invalid", "CHECK": "NO invalid"}.get(request_word, "OK")
    liar.recover()


@pytest.mark.parametrize("request_word", ["STORE", "ISSUE"])
def test_lies_to_a_store(liar, request_word):
    lies = lies_to("SET") + ([b"$-1\r\n"] if request_word == "STORE" else [])
    for reply in lies:
        answer = liar.tell("SET", reply, every_request()[request_word])
        assert answer.code == UNAVAIL, (reply[:60], answer)
        liar.recover()


@pytest.mark.parametrize("request_word", ["DELETE", "DELETEALL"])
def test_lies_to_a_delete(liar, request_word):
    for reply in [*lies_to("UNLINK"), WRONG_TYPE]:
        answer = liar.tell("UNLINK", reply, every_request()[request_word])
        assert answer.code == UNAVAIL, (reply[:60], answer)
        liar.recover()


@pytest.mark.parametrize("request_word", ["LIST", "DELETEALL", "VERIFYALL", "VERIFYALL FIX"])
def test_lies_to_a_scan(liar, request_word):
    for reply in lies_to("SCAN"):
        answer = liar.tell("SCAN", reply, request_word)
        assert answer.code == UNAVAIL and not answer.lines, (reply[:60], answer)
        liar.recover()
    assert len(liar.fake.data) == 2


def test_lies_to_a_script(liar):
    for reply in lies_to("EVAL"):
        answer = liar.tell("EVAL", reply, "VERIFYALL FIX")
        assert answer.code == UNAVAIL, (reply[:60], answer)
        liar.recover()


def test_a_scan_that_names_strangers(liar):
    """Only the prefix and 22 characters of the alphabet are a token, whatever SCAN says."""
    strange = ["", "x", "token:", "token:" + "a" * 21, "token:" + "a" * 23, "token:" + "a" * 21 + "\n", "token:" + "a" * 21 + "\0",
               "other:" + "a" * 22, "token:" + "a" * 21 + "*", "token:" + "é" * 11]
    mixed = array(["0", Raw(array([*strange, Raw(b":7\r\n"), Raw(b"$-1\r\n"), Raw(b"*0\r\n"), "token:" + "b" * 22]))])
    answer = liar.tell("SCAN", mixed, "LIST")
    assert answer.last == "OK 1" and answer.lines == ["b" * 22]
    endless = [0]

    def page(_connection, _words):
        endless[0] += 1
        return array(["7" if endless[0] < 2000 else "0", Raw(array(["token:" + "c" * 22]))])

    assert liar.tell("SCAN", page, "LIST").lines == ["c" * 22]
    liar.recover()


def test_an_answer_too_many(liar):
    """What was not asked for is never taken for the answer to something else."""
    for extra in (b"$-1\r\n", b"$-1\r\n" * 100, b"+OK\r\n", bulk("x"), b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"):
        numbers = set(liar.fake.connections)
        for connection in list(liar.fake.connections.values()):
            connection.send(extra)
        until(lambda numbers=numbers: set(liar.fake.connections) - numbers, 10, "a new connection")
        answer = liar.client.ask("GET " + liar.token)
        assert answer.cls == "OK" or answer.code == UNAVAIL, (extra, answer)
        liar.recover()
        answer = liar.tell("GET", bulk(None) + extra, "GET " + token())
        assert answer.last == "NO invalid" or answer.code == UNAVAIL
        liar.recover()


def test_answers_in_pieces(liar):
    def dribble(connection, words):
        for byte in liar.fake.default(connection, words):
            connection.send(bytes([byte]))
        return None

    liar.fake.answer("GET", dribble)
    for _ in range(3):
        assert liar.client.ask("GET " + liar.token).cls == "OK"


def test_a_redis_that_hangs_up_on_every_read(liar):
    """A read is asked once more and not for ever."""
    liar.fake.answer("GET", None, close=True)
    before = len(liar.fake.seen("GET"))
    assert liar.client.ask("GET " + liar.token).code == UNAVAIL
    assert len(liar.fake.seen("GET")) - before <= 2
    liar.fake.forget()
    liar.recover()


@pytest.mark.parametrize("command,request_word", [("SET", "STORE"), ("SET", "ISSUE"), ("UNLINK", "DELETE"), ("UNLINK", "DELETEALL"),
                                                  ("EVAL", "VERIFYALL FIX")])
def test_a_redis_that_hangs_up_on_a_change(liar, command, request_word):
    """It may have been made: nobody says that it was or was not, and nobody tries again."""
    liar.fake.answer(command, None, close=True)
    before = len(liar.fake.seen(command))
    answer = liar.client.ask(every_request()[request_word])
    assert answer.code == UNAVAIL
    if request_word != "VERIFYALL FIX":
        assert "uncertain" in answer.text
    assert len(liar.fake.seen(command)) - before == 1
    liar.fake.forget()
    liar.recover()


# Scans that Redis leaves

@pytest.mark.parametrize("request_word,command", [("LIST", "SCAN"), ("DELETEALL", "SCAN"), ("DELETEALL", "UNLINK"), ("VERIFYALL", "SCAN"),
                                                  ("VERIFYALL", "GET"), ("VERIFYALL FIX", "EVAL")])
def test_redis_dies_in_a_scan(start_daemon, start_proxy, request_word, command):
    proxy = start_proxy(appendonly=True)
    daemon = start_daemon(proxy, workers=1, redis_options=QUICK)
    with proxy.client().pipeline() as pipe:
        for _ in range(5000):
            pipe.set("token:" + part(), b"junk")
        pipe.execute()
    first = proxy.hold_request(command)
    with daemon.connect() as client:
        client.send(request_word + "\n")
        first.wait()
        second = proxy.hold_request(command)
        first.release()
        second.wait()
        proxy.server.kill()
        second.release()
        answer = client.answer()
        assert answer.code == UNAVAIL and not answer.lines
        proxy.server.start()
        until(lambda: client.ask("GET " + token()).cls == "NO", 10, "Redis to be back")
        left = len(proxy.client().keys("token:" + "?" * 22))
        assert client.ask("LIST").last == f"OK {left}"
        assert left == 5000 or command in ("UNLINK", "EVAL")


# Changes that hang in a stopped Redis

def test_a_held_change_is_uncertain_and_never_comes_late(start_daemon, start_redis):
    redis = start_redis()
    daemon = start_daemon(redis, workers=2, cache={"ttl": 0, "negative-ttl": 0},
                          redis_options={"connect-timeout": 0.3, "command-timeout": 0.3})
    for _ in range(4):
        text = token()
        with daemon.connect() as client:
            until(lambda: client.ask("STORE " + to_json(data(text, username="old"))).last == "OK", 10, "Redis to be back")
            redis.stop()
            answer = client.ask("STORE " + to_json(data(text, username="held")))
            assert answer.code == UNAVAIL and "uncertain" in answer.text
            redis.cont()
            until(lambda: client.ask("DELETE " + key_of(text)).cls in ("OK", "NO"), 10, "the delete")
            for _ in range(20):
                assert client.ask("GET " + text).last == "NO invalid"
                assert daemon.ask("GET " + text).code in ("NO invalid", UNAVAIL)
    assert daemon.stats()["redis-uncertain"] >= 4


# Rubbish in Redis

def test_what_is_said_of_unreadable_values(start_daemon, redis_server):
    """The log has the Redis key and the reason once, and nothing of the value."""
    daemon = start_daemon(redis_server, workers=1, prefix="corrupt:", log={"level": "debug"}, cache={"negative-ttl": 0})
    planter = Planter(daemon)
    fields = data(name="plain-marker-in-name", username="marker-user")
    other = data()
    cases = {key_of(fields["token"]): "altered"}
    value = planter.plant(fields)
    planter.plant_bytes(key_of(fields["token"]), value[:-1] + bytes([value[-1] ^ 1]))
    for plain in (b"\xff\xfeplain-marker", pack("plain-marker"), pack({**to_stored(data()), "unknown-field": "plain-marker"}),
                  pack({**to_stored(data()), "username": "Plain-Marker"})):
        key = part()
        planter.plant_plain(key, plain)
        cases[key] = "does not decode"
    misplaced = part()
    planter.plant_plain(misplaced, pack(to_stored(other)))
    cases[misplaced] = "another token"
    foreign = part()
    planter.plant_bytes(foreign, seal(new_key(), planter.name(foreign), pack(to_stored(data()))))
    cases[foreign] = "keyring"
    junk = part()
    planter.plant_bytes(junk, b"plain-marker")
    cases[junk] = "too short"
    with daemon.connect() as client:
        for key in cases:
            for _ in range(3):
                assert client.ask("GET " + token(key=key)).last == "NO invalid"
                assert client.ask("GETKEY " + key).code == "ERR corrupt"
    lines = daemon.stderr().splitlines()
    for key, reason in cases.items():
        about = [line for line in lines if "corrupt:" + key in line]
        assert len(about) == 1 and reason in about[0], (key, reason, about)
    assert "marker" not in daemon.stderr().lower()
    for secret in (secret_of(fields["token"]), secret_of(other["token"])):
        assert secret not in daemon.stderr()


def test_a_wrong_secret_is_logged_once_a_minute(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1)
    texts = [store(daemon) for _ in range(3)]
    wrong = [token(key=key_of(text)) for text in texts for _ in range(20)]
    with daemon.connect() as client:
        for text in wrong:
            assert client.ask("GET " + text).last == "NO invalid"
            assert client.ask("CHECK " + text).last == "NO invalid"
    log = daemon.stderr()
    for text in texts:
        about = [line for line in log.splitlines() if key_of(text) in line]
        assert len(about) == 1 and " warning " in about[0]
    assert not any(secret_of(text) in log for text in wrong + texts)
    assert daemon.stats()["tokens-mismatched"] == 2 * len(wrong)


# Secrets

@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_ever_logged(start_daemon, start_redis, folder, form):
    """A busy hour at the most talkative level: what was presented, stored, issued, mistyped and refused; the keyring and the
    password, also in configurations that are wrong."""
    password = "pass-" + part()
    redis = start_redis(users={"keeper": (password, "~token:* +@all")})
    file = os.path.join(folder, "password")
    with open(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write(password + "\n")
    daemon = start_daemon(redis, workers=2, keys=[new_key(), new_key()], log={"level": "debug", "format": form}, cache={"ttl": 0.1},
                          redis_options={**QUICK, "username": "keeper", "password-file": file})
    planter = Planter(daemon, redis.client())
    secrets, marker = [], "mark" + part()
    with daemon.connect() as client:
        def ask(request):
            answer = client.ask(request)
            if answer.last.startswith("OK gt-"):
                secrets.append(secret_of(answer.text))
            return answer

        def present(text=None):
            secrets.append(secret_of(text or token()))
            return "gt-" + part() + "." + secrets[-1] if text is None else text

        def work():
            text = present(token())
            ask("STORE " + to_json(data(text)))
            for request in ("GET " + text, "CHECK " + text + " " + marker, "GET " + present(token(key=key_of(text))), "GET " + present(),
                            "GETKEY " + key_of(text), "ISSUE " + to_json(data(token=..., name=marker)), "ISSUE " + to_json(data(present())),
                            "STORE " + to_json(data(present(), **{marker: 1})), "STORE " + to_json(data(present(), username=marker + "!")),
                            "STORE " + to_json(data(present()))[:-1], f'STORE {{"token":"{present()}","{marker}', f"{marker} {present()}",
                            f"GET {present()}{marker}", f"DELETE {present()}", f"LIST {marker}", f"#{marker[:20]} GET {present()}"):
                ask(request)
            return text

        for _ in range(3):
            text = work()
        planter.plant_bytes(key_of(text), b"junk" + marker.encode())
        ask("GET " + text)
        ask("VERIFYALL")
        planter.plant(data(present(token())), sealing=daemon.keys[1])
        assert ask("REKEY").cls == ask("STATS KEYS").cls == "OK"
        redis.stop()
        work()
        redis.cont()
        until(lambda: ask("GET " + token()).cls == "NO", 10, "Redis to be back")
        redis.kill()
        work()
        redis.start()
        until(lambda: ask("GET " + token()).cls == "NO", 10, "Redis to be back")
    with daemon.connect() as client:
        client.send(f"*2\r\n$3\r\nGET\r\n$5\r\n{marker}\r\n")
        client.read_to_end()
    with open(daemon.config_file) as file_:
        good = file_.read()
    outputs = []
    for bad in (re.sub(r'url = "unix:[^"]*"', f'url = "redis://keeper:{password}@127.0.0.1:1/0"', good),
                good.replace('password-file = "', f'password-file = "{password}", "'), good + f'password = "{password}"\n'):
        with open(daemon.config_file, "w") as out:
            out.write(bad)
        done = run("--config", daemon.config_file, "--check")
        assert done.returncode == 78, done
        outputs.append(done.stdout + done.stderr)
        daemon.reload_refused()
    with open(daemon.config_file, "w") as out:
        out.write(good)
    broken = base64.standard_b64encode(os.urandom(31)).decode()
    with open(daemon.keyring, "a") as out:
        out.write(broken + "\n" + marker + "\n")
    done = run("--config", daemon.config_file, "--check")
    assert done.returncode == 78, done
    outputs.append(done.stdout + done.stderr)
    daemon.reload_refused()
    daemon.stop()
    log = daemon.stderr() + "".join(outputs)
    assert len(log) > 1000 and len(secrets) > 50
    hidden = secrets + [password, marker, broken] + [keyring_line(key).strip() for key in daemon.keys]
    assert [secret for secret in hidden if secret in log] == []
    if form == "json":
        for line in daemon.stderr().splitlines()[1:]:
            assert set(json.loads(line)) == {"time", "level", "process", "pid", "message"}


# Descriptors

def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may count the descriptors of a protected process")
def test_descriptors_run_out(start_daemon, redis_server):
    """Those who are connected go on, whoever comes is told or waits, and everything is as before when descriptors return."""
    daemon = start_daemon(redis_server, workers=1)
    worker, = daemon.workers()
    text = store(daemon)
    old = [daemon.connect() for _ in range(5)]
    for client in old:
        assert client.ask("PING").last == "OK"
    limit = descriptors(worker) + 10
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
    more = [daemon.connect() for _ in range(40)]
    served = refused = 0
    for client in more:
        try:
            client.send("PING\n")
            answer = client.answer()
            served += answer.last == "OK"
            refused += answer.code == "ERR busy"
        except (Closed, OSError):
            refused += 1
        for one in old:
            assert one.ask("GET " + text).cls == "OK"
    assert served == 10 and refused == 30
    assert descriptors(worker) <= limit
    assert log_count(daemon, "descriptors") == 1
    for client in more:
        client.close()
    until(lambda: descriptors(worker) <= limit - 10, 10, "descriptors to return")
    fresh = [daemon.connect() for _ in range(10)]
    for client in fresh:
        assert client.ask("GET " + text).cls == "OK"
    for client in fresh + old:
        client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may count the descriptors of a protected process")
def test_redis_is_reached_again_when_descriptors_return(start_daemon, start_redis):
    redis = start_redis(appendonly=True)
    daemon = start_daemon(redis, workers=1, cache={"ttl": 0})
    worker, = daemon.workers()
    text = store(daemon)
    old = daemon.connect()
    assert old.ask("GET " + text).cls == "OK"
    redis.kill()
    daemon.wait_log("is away")
    used = {int(name) for name in os.listdir(f"/proc/{worker}/fd")}
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (min(set(range(1000)) - used), before[1]))
    redis.start()
    time.sleep(1)
    assert old.ask("GET " + text).code == UNAVAIL
    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    until(lambda: old.ask("GET " + text).cls == "OK", 10, "Redis to be back")
    old.close()
