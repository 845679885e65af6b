# SPDX-License-Identifier: MIT
"""LIST, DELETEALL and VERIFYALL: what they find, what they leave alone, and that nobody waits for them."""
import threading
import time

import pytest

from fake_redis import Raw, array
from planter import Planter
from tokens import data, key_of, part, to_json, token
from waiting import until

MANY = 100_000


@pytest.fixture
def own(start_daemon, start_redis):
    """start(**keywords) -> a daemon with a Redis of its own, and a planter."""
    def start(**settings):
        settings.setdefault("workers", 1)
        daemon = start_daemon(start_redis(), **settings)
        return daemon, Planter(daemon)
    return start


STRANGERS = [b"other", b"token:", b"token:x", b"token:" + b"a" * 21, b"token:" + b"a" * 23,
             b"token:" + b"a" * 21 + b".", b"tokens:" + b"a" * 22,
             b"xtoken:" + b"a" * 22, b"TOKEN:" + b"a" * 22, b"a" * 22, b"token:.hb.abcdefghijk.123456",
             b"token:" + b"a" * 21 + b"\n",
             b"token:" + b"a" * 20 + b"\xc3\xa9", b"token:token:" + b"a" * 22, b"token:" + b"a" * 21 + b"\0"]


def test_list(own):
    daemon, planter = own()
    assert daemon.ask("LIST").last == "OK 0"
    held = [data() for _ in range(25)]
    for fields in held:
        assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    for name in STRANGERS:
        planter.client.set(name, b"x")
    answer = daemon.ask("LIST")
    assert answer.last == "OK 25"
    assert sorted(answer.lines) == sorted(key_of(fields["token"]) for fields in held)


def test_list_does_not_open_values(own):
    daemon, planter = own()
    key = part()
    planter.plant_bytes(key, b"junk")
    assert daemon.ask("LIST").lines == [key]


def test_deleteall(own):
    daemon, planter = own()
    assert daemon.ask("DELETEALL").last == "OK 0"
    held = [data() for _ in range(25)]
    with daemon.connect() as client:
        for fields in held:
            assert client.ask("STORE " + to_json(fields)).last == "OK"
            assert client.ask("GET " + fields["token"]).cls == "OK"
        for name in STRANGERS:
            planter.client.set(name, b"x")
        assert client.ask("DELETEALL").last == "OK 25"
        for fields in held:
            assert client.ask("GET " + fields["token"]).last == "NO invalid"
        assert client.ask("LIST").last == "OK 0"
    assert set(planter.client.keys()) >= set(STRANGERS)


def test_deleteall_is_seen_on_every_worker(own):
    daemon, _ = own(workers=3)
    fields = data()
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    clients = [daemon.connect("verify") for _ in range(12)]
    for client in clients:
        assert client.ask("GET " + fields["token"]).cls == "OK"
    assert daemon.ask("DELETEALL").last == "OK 1"
    for client in clients:
        assert client.ask("GET " + fields["token"]).last == "NO invalid"
        client.close()


@pytest.mark.parametrize("prefix, stranger", [
    ("a*b:", "axxb:"), ("a?b:", "axb:"), ("[ab]:", "a:"), ("a\\b:", "ab:"), ("^[^x]*\\", "yy"), ("*", "zz"),
    ("t'o\"k:", "t:")])
def test_prefix_with_pattern_characters(own, prefix, stranger):
    daemon, planter = own(prefix=prefix)
    fields = data()
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    key, other = key_of(fields["token"]), part()
    assert planter.value(key) is not None
    planter.client.set(stranger + other, b"x")
    assert daemon.ask("LIST").lines == [key]
    assert daemon.ask("VERIFYALL").last == "OK 1 0"
    assert daemon.ask("DELETEALL").last == "OK 1"
    assert planter.client.exists(stranger + other) == 1 and planter.value(key) is None


def plant_many(planter, count=MANY):
    planter.client.eval("for i = 0, ARGV[1] - 1 do redis.call('SET', string.format('token:%022d', i), 'junk') end", 0,
                        count)


class Beside(threading.Thread):
    """Another client on the same worker, which goes on asking until ended; keeps when it was answered."""

    def __init__(self, daemon, requests):
        super().__init__(daemon=True)
        self.client, self.requests, self.going = daemon.connect("verify", 60), requests, True
        self.times, self.failure = [], None

    def run(self):
        try:
            while self.going:
                for request, answer in self.requests:
                    assert self.client.ask(request()).code == answer
                self.times.append(time.monotonic())
        except Exception as failure:  # raised again in end()
            self.failure = failure

    def end(self):
        self.going = False
        self.join(60)
        self.client.close()
        if self.failure:
            raise self.failure


@pytest.mark.parametrize("request_line, last, lines", [
    ("LIST", f"OK {MANY + 1}", MANY + 1), ("VERIFYALL", f"OK {MANY + 1} {MANY}", MANY),
    ("VERIFYALL FIX", f"OK {MANY + 1} {MANY}", MANY),
    ("DELETEALL", f"OK {MANY + 1}", 0)])
def test_many_keys_hold_nobody_up(own, request_line, last, lines):
    daemon, planter = own()
    plant_many(planter)
    fields = data()
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    requests = [(lambda: "PING", "OK"), (lambda: "GET " + token(), "NO invalid")]
    if request_line != "DELETEALL":  # whose token is gone when it is
        requests.append((lambda: "GET " + fields["token"], "OK"))
    beside = Beside(daemon, requests)
    beside.start()
    started = time.monotonic()
    answer = daemon.ask(request_line, timeout=120)
    ended = time.monotonic()
    beside.end()
    assert answer.last == last and len(set(answer.lines)) == len(answer.lines) == lines
    within = [at for at in beside.times if started <= at <= ended]
    assert len(within) >= 5, f"{len(within)} answers beside a scan of {ended - started:.2f} s"
    assert len(planter.names()) == {"LIST": MANY + 1, "VERIFYALL": MANY + 1, "VERIFYALL FIX": 1,
                                    "DELETEALL": 0}[request_line]


def test_a_client_that_leaves_a_scan(own):
    daemon, planter = own()
    plant_many(planter)
    for request_line in ("LIST\n", "VERIFYALL\n") * 3:
        client = daemon.connect()
        client.send(request_line)
        client.read_line()
        client.reset()
    assert daemon.ask("PING").last == "OK"
    until(lambda: daemon.ask("LIST", timeout=60).last == f"OK {MANY}", 60, "a scan after abandoned ones")


def test_a_scan_that_is_not_read_takes_no_memory(own):
    daemon, planter = own()
    plant_many(planter, 1_000_000)
    before = daemon.memory()
    with daemon.connect(receive_buffer=4096) as client:
        client.send("LIST\n")
        highest = 0
        for _ in range(30):
            time.sleep(0.1)
            highest = max(highest, daemon.memory())
        assert daemon.ask("PING").last == "OK"
    # The answer has 24 MB; to name no key twice, keys must be remembered, once.
    if not daemon.sanitized:
        assert highest - before < 100 << 20


def test_second_scan_is_busy(own):
    daemon, planter = own(redis_options={"command-timeout": 20})
    plant_many(planter, 1000)
    with daemon.connect() as first, daemon.connect() as second:
        assert first.ask("LIST").last == "OK 1000"
        daemon.redis.stop()
        try:
            first.send("LIST\n")
            time.sleep(0.3)
            for line in ("LIST", "DELETEALL", "VERIFYALL", "VERIFYALL FIX"):
                assert second.ask(line).code == "ERR busy"
            assert second.ask("PING").last == "OK"
        finally:
            daemon.redis.cont()
        assert first.answer().last == "OK 1000"
        assert second.ask("LIST").last == "OK 1000"


def scan_pages(*pages):
    """A SCAN that gives one page after another."""
    def answer(_connection, words):
        number = int(words[1])
        following = number + 1 if number + 1 < len(pages) else 0
        return array([str(following), Raw(array(["token:" + key for key in pages[number]]))])
    return answer


def test_list_names_no_key_twice(start_daemon, start_fake):
    fake = start_fake()
    keys = [part() for _ in range(6)]
    fake.answer("SCAN", scan_pages(keys[:3], [], keys[2:5], keys[:1] * 4, [*keys, "stranger"]))
    daemon = start_daemon(fake, workers=1)
    answer = daemon.ask("LIST")
    assert answer.last == "OK 6" and sorted(answer.lines) == sorted(keys)


@pytest.mark.parametrize("line, last", [("LIST", "OK 1"), ("VERIFYALL", "OK 1 1"), ("DELETEALL", "OK 1")])
def test_names_that_nobody_asked_for(start_daemon, start_fake, line, last):
    """Whatever SCAN names, only the prefix and 22 characters of the alphabet are a token."""
    fake = start_fake()
    key = part()
    names = [*STRANGERS, b"TOKEN:" + key.encode(), b"tokem:" + part().encode()]
    fake.data.update({name: b"x" for name in [*names, b"token:" + key.encode()]})
    daemon = start_daemon(fake, workers=1)
    answer = daemon.ask(line)
    assert answer.last == last and [text.split(" ")[0] for text in answer.lines] == ([key] if answer.lines else [])
    assert set(fake.data) >= set(names)


def test_scan_that_fails_midway(start_daemon, start_fake):
    fake = start_fake()
    keys = [part() for _ in range(6)]
    pages = scan_pages(keys[:3], keys[3:], [])
    fake.answer("SCAN", lambda connection, words: pages(connection, words)
                if words[1] != b"2" else b"-ERR out of order\r\n")
    daemon = start_daemon(fake, workers=1)
    for line in ("LIST", "VERIFYALL"):
        with daemon.connect() as client:
            answer = client.ask(line)
            assert answer.code == "ERR unavail"
            assert client.ask("PING").last == "OK"
    fake.forget("SCAN")
    assert daemon.ask("LIST").last == "OK 0"


def test_scan_lines_stay_together(own):
    """Untagged answers do not mix, tagged ones may come between the lines, each line with its tag."""
    daemon, planter = own()
    plant_many(planter, 5000)
    with daemon.connect() as client:
        client.send("LIST\nPING\n")
        answer = client.answer()
        assert answer.last == "OK 5000" and len(answer.lines) == 5000
        assert client.answer().last == "OK"
        client.send("#l LIST\n#p PING\n")
        found = client.tagged(2)
        assert found["#l"].last == "OK 5000" and len(set(found["#l"].lines)) == 5000
        assert found["#p"].last == "OK"
