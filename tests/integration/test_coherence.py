# SPDX-License-Identifier: MIT
"""Whoever was told of a change never sees older data, whatever worker is asked. Each test holds back the one message that
makes a mistake show; the caches live so long that no time limit hides it."""
import os
import random
import selectors
import signal
import time
from collections import deque

import pytest

from client import Closed
from planter import Planter
from tokens import data, key_of, to_json, token
from waiting import until

REVOCATIONS = int(os.environ.get("TOKENKEEP_REVOCATIONS", "2000"))
SEED = int(os.environ.get("TOKENKEEP_SEED", random.randrange(1 << 32)))
LONG = {"ttl": 120, "negative-ttl": 120}
NO = "NO invalid"


class Case:
    """A daemon whose workers reach Redis through a relay, and a client on each worker, a, b and c."""

    def __init__(self, daemon, proxy):
        self.daemon, self.proxy = daemon, proxy
        self.clients = proxy.client_each(daemon)
        self.a, self.c = self.clients[0], self.clients[-1]
        self.b = self.clients[1 % len(self.clients)]
        self.token = token()
        self.key = key_of(self.token)

    def store(self, client, text=None, **fields):
        answer = client.ask(self.store_line(text, **fields))
        assert answer.last == "OK", answer

    def store_line(self, text=None, **fields):
        return "STORE " + to_json(data(text or self.token, **fields))

    def get(self, client, text=None):
        """`OK`, or what else it was."""
        answer = client.ask("GET " + (text or self.token))
        return "OK" if answer.cls == "OK" else answer.last

    def warm(self, *clients):
        """Stores the token with the help of nobody who matters later, and has it in these workers' caches."""
        self.store(self.c)
        for client in clients:
            assert self.get(client) == "OK"
        until(lambda: all(self.cached(client) for client in clients), 10, "it to be in the caches")

    def cached(self, client):
        """Whether it is answered from there twice: what was stored is announced once more, and that ends an entry too."""
        before = self.proxy.seen("GET", self.key)
        assert self.get(client) == "OK"
        time.sleep(0.05)
        assert self.get(client) == "OK"
        return self.proxy.seen("GET", self.key) == before

    def on(self, worker):
        """One more client on that worker."""
        self.clients.append(self.proxy.client_on(self.daemon, worker))
        return self.clients[-1]

    def another(self, client):
        return self.on(client.worker)


@pytest.fixture
def start_case(start_daemon, start_proxy):
    """start_case(**keywords of Daemon) -> Case."""
    cases = []

    def start(**settings):
        settings.setdefault("workers", 2)
        settings.setdefault("cache", LONG)
        settings.setdefault("redis_options", {"command-timeout": 20})
        proxy = start_proxy()
        cases.append(Case(start_daemon(proxy, **settings), proxy))
        return cases[-1]

    yield start
    for case in cases:
        for client in case.clients:
            client.close()


def lines(*requests):
    return "".join(line + "\n" for line in requests)


# What a look-up brings is as old as its asking

def test_an_answer_that_a_delete_overtook_is_not_kept(start_case):
    case = start_case()
    case.store(case.b)
    held = case.proxy.hold_reply("GET", case.key, case.a.worker)
    case.a.send(lines("GET " + case.token))
    held.wait()
    assert case.b.ask("DELETE " + case.key).last == "OK"
    held.release()
    assert case.a.answer().cls in ("OK", "NO")
    assert case.get(case.a) == NO


def test_a_nil_that_a_store_overtook_is_not_kept(start_case):
    case = start_case()
    held = case.proxy.hold_reply("GET", case.key, case.a.worker)
    case.a.send(lines("GET " + case.token))
    held.wait()
    case.store(case.b)
    held.release()
    assert case.a.answer().cls in ("OK", "NO")
    assert case.get(case.a) == "OK"


def test_an_answer_that_a_replacement_overtook_is_not_kept(start_case):
    case = start_case()
    case.store(case.b, username="old")
    held = case.proxy.hold_reply("GET", case.key, case.a.worker)
    case.a.send(lines("GET " + case.token))
    held.wait()
    case.store(case.b, username="new")
    held.release()
    case.a.answer()
    assert '"username":"new"' in case.a.ask("GET " + case.token).last


@pytest.mark.parametrize("line", ["DELETE", "DELETEALL"])
def test_what_is_read_while_a_delete_is_on_its_way_is_not_kept(start_case, line):
    """The counter must move after Redis has answered; had it moved when the request came, this entry would pass."""
    case = start_case()
    case.store(case.b)
    held = case.proxy.hold_request("UNLINK", case.key, case.b.worker)
    case.b.send(lines("DELETE " + case.key if line == "DELETE" else line))
    held.wait()
    assert case.get(case.a) == "OK"
    held.release()
    assert case.b.answer().cls == "OK"
    assert case.get(case.a) == NO


def test_what_is_read_while_a_store_is_on_its_way_is_not_kept(start_case):
    case = start_case()
    held = case.proxy.hold_request("SET", case.key, case.b.worker)
    case.b.send(lines(case.store_line()))
    held.wait()
    assert case.get(case.a) == NO
    held.release()
    assert case.b.answer().last == "OK"
    assert case.get(case.a) == "OK"


# Joining a look-up under way

def test_concurrent_misses_share_one_look_up(start_case):
    case = start_case()
    case.store(case.b)
    others = [case.another(case.a) for _ in range(3)]
    held = case.proxy.hold_reply("GET", case.key)
    for client in (case.a, *others):
        client.send(lines(*["GET " + case.token] * 5))
    held.wait()
    time.sleep(0.2)
    held.release()
    for client in (case.a, *others):
        assert all(answer.cls == "OK" for answer in client.answers(5))
    assert case.proxy.seen("GET", case.key) == 1


def test_a_wrong_secret_that_joins_is_still_wrong(start_case):
    case = start_case()
    case.store(case.b)
    other = case.another(case.a)
    held = case.proxy.hold_reply("GET", case.key)
    case.a.send(lines("GET " + case.token))
    held.wait()
    other.send(lines("GET " + token(key=case.key), "GETKEY " + case.key))
    time.sleep(0.2)
    held.release()
    assert case.a.answer().cls == "OK"
    assert other.answer().last == NO and other.answer().cls == "OK"
    assert case.proxy.seen("GET", case.key) == 1


def test_a_request_after_a_change_does_not_join_an_older_look_up(start_case):
    case = start_case()
    case.store(case.b)
    other = case.another(case.a)
    held = case.proxy.hold_reply("GET", case.key, case.a.worker)
    case.a.send(lines("GET " + case.token))
    held.wait()
    assert case.b.ask("DELETE " + case.key).last == "OK"
    other.send(lines("GET " + case.token))
    until(lambda: case.proxy.seen("GET", case.key, case.a.worker) == 2, 10, "a look-up of its own")
    held.release()
    assert other.answer().last == NO
    case.a.answer()


def test_an_old_look_up_does_not_end_a_newer_one(start_case):
    """The newer one is still joined after the older one's answer has come."""
    case = start_case()
    case.store(case.b)
    second, third = case.another(case.a), case.another(case.a)
    held = case.proxy.hold_reply("GET", case.key, case.a.worker)
    case.a.send(lines("GET " + case.token))
    held.wait()
    case.store(case.b, username="new")
    newer = case.proxy.hold_reply("GET", case.key, case.a.worker)
    second.send(lines("GET " + case.token))
    until(lambda: case.proxy.seen("GET", case.key) == 2, 10, "a look-up of its own")
    # The first answer matches both; only what comes later waits for the second.
    held.release()
    newer_only = case.proxy.hold_reply("GET", case.key, case.a.worker)
    newer.release()
    case.a.answer()
    newer_only.wait()
    third.send(lines("GET " + case.token))
    time.sleep(0.3)
    newer_only.release()
    for client in (second, third):
        assert '"username":"new"' in client.answer().last
    assert case.proxy.seen("GET", case.key) == 2


# Every outcome of a change counts

def test_not_there_may_follow_a_delete_that_is_not_answered(start_case):
    """Whoever is told that a token is not there may rely on it, also while the delete that took it is on its way."""
    case = start_case(workers=3)
    case.warm(case.a)
    held = case.proxy.hold_reply("UNLINK", case.key, case.b.worker)
    case.b.send(lines("DELETE " + case.key))
    held.wait()
    assert case.c.ask("DELETE " + case.key).last == NO
    assert case.get(case.a) == NO
    held.release()
    assert case.b.answer().last == "OK"


def test_issue_and_store_that_fail_count_too(start_case):
    case = start_case(workers=3)
    case.warm(case.a)
    case.proxy.answer_instead("SET", case.key, b"-OOM command not allowed\r\n")
    assert case.b.ask(case.store_line(username="new")).code == "ERR unavail"
    assert '"username":"new"' in case.a.ask("GET " + case.token).last


@pytest.mark.parametrize("reply", [b"-ERR no\r\n", b"-READONLY no\r\n", b"+OK\r\n", b"$-1\r\n", b"*0\r\n", b"$2\r\nhm\r\n"])
def test_a_delete_that_is_answered_oddly_counts(start_case, reply):
    case = start_case()
    case.store(case.b)
    assert case.get(case.a) == "OK"
    case.proxy.answer_instead("UNLINK", case.key, reply)
    case.b.ask("DELETE " + case.key)
    assert case.get(case.a) == NO


def test_a_delete_whose_answer_never_comes_counts(start_case):
    case = start_case(redis_options={"command-timeout": 0.3})
    case.store(case.b)
    assert case.get(case.a) == "OK"
    held = case.proxy.hold_reply("UNLINK", case.key)
    answer = case.b.ask("DELETE " + case.key)
    assert answer.code == "ERR unavail" and "uncertain" in answer.text
    assert case.get(case.a) == NO
    held.release()


@pytest.mark.parametrize("how", ["done", "error", "lost"])
def test_delete_all_counts_for_every_key(start_case, how):
    case = start_case(redis_options={"command-timeout": 0.5})
    tokens = [token() for _ in range(20)]
    for text in tokens:
        case.store(case.b, text)
        assert case.get(case.a, text) == "OK"
    if how == "error":
        case.proxy.answer_instead("UNLINK", "", b"-ERR no\r\n")
    held = case.proxy.hold_reply("UNLINK") if how == "lost" else None
    answer = case.b.ask("DELETEALL")
    assert answer.last == "OK 20" if how == "done" else answer.code == "ERR unavail", answer
    assert {case.get(case.a, text) for text in tokens} == {NO}
    if held:
        assert "uncertain" in answer.text
        held.release()


def test_verify_all_fix_counts(start_case):
    case = start_case()
    planter = Planter(case.daemon)
    case.store(case.b)
    assert case.get(case.a) == "OK"
    planter.plant_bytes(case.key, b"junk")
    assert case.b.ask("VERIFYALL FIX").last == "OK 1 1"
    assert case.get(case.a) == NO


# Unknown keys

def test_a_remembered_unknown_key_ends_with_a_store(start_case):
    case = start_case()
    assert case.get(case.a) == NO and case.get(case.b) == NO
    before = case.proxy.seen("GET", case.key)
    assert case.get(case.a) == NO and case.proxy.seen("GET", case.key) == before
    case.store(case.b)
    assert case.get(case.a) == "OK" and case.get(case.b) == "OK"


def test_issued_tokens_are_known_everywhere(start_case):
    case = start_case()
    for _ in range(20):
        text = case.b.ask("ISSUE " + to_json(data(token=...))).text
        assert case.get(case.a, text) == "OK" and case.get(case.b, text) == "OK"


def test_only_redis_makes_a_key_unknown(start_case):
    """Neither a wrong secret, nor an unreadable value, nor an outage hides a valid token from its owner."""
    case = start_case()
    planter = Planter(case.daemon)
    case.store(case.b)
    for _ in range(3):
        assert case.get(case.a, token(key=case.key)) == NO
        assert case.get(case.a) == "OK"
    value, other = planter.value(case.key), token()
    planter.plant_bytes(key_of(other), b"junk")
    assert case.get(case.a, other) == NO
    planter.plant(data(other))
    assert case.get(case.a, other) == "OK"
    third = token()
    planter.plant(data(third))
    case.proxy.answer_instead("GET", key_of(third), b"-LOADING Redis is loading\r\n")
    assert case.get(case.a, third).startswith("ERR unavail")
    assert case.get(case.a, third) == "OK"
    assert value == planter.value(case.key)


# One connection

@pytest.mark.parametrize("warm", [True, False])
def test_a_pipelined_get_sees_the_change_before_it(start_case, warm):
    case = start_case()
    case.store(case.b, username="old")
    if warm:
        assert case.get(case.a) == "OK"
    case.a.send(lines("GET " + case.token, "DELETE " + case.key, "GET " + case.token, case.store_line(username="new"),
                      "GET " + case.token, "GETKEY " + case.key, "CHECK " + case.token, "DELETEALL", "GET " + case.token))
    answers = case.a.answers(9)
    assert [answer.code for answer in answers] == ["OK", "OK", NO, "OK", "OK", "OK", "OK", "OK", NO]
    assert '"username":"old"' in answers[0].last and '"username":"new"' in answers[4].last
    assert answers[6].last == "OK new"


def test_a_get_waits_for_the_change_before_it(start_case):
    """It is not answered from the cache while the change is on its way, be it one write or two."""
    case = start_case()
    case.warm(case.a)
    for request in ("DELETE " + case.key, case.store_line(username="new")):
        name = "UNLINK" if request.startswith("DELETE") else "SET"
        held = case.proxy.hold_request(name, case.key, case.a.worker)
        case.a.send(lines(request, "GET " + case.token))
        held.wait()
        case.a.send(lines("GET " + case.token))
        case.a.expect_silence(0.3)
        held.release()
        assert case.a.answer().last == "OK"
        codes = {answer.code for answer in case.a.answers(2)}
        assert codes == ({NO} if name == "UNLINK" else {"OK"})
        case.store(case.b)
        assert case.get(case.a) == "OK"


def test_a_tagged_get_may_overtake(start_case):
    case = start_case()
    case.warm(case.a)
    held = case.proxy.hold_request("UNLINK", case.key, case.a.worker)
    case.a.send(lines("DELETE " + case.key, "#t GET " + case.token, "GET " + case.token))
    held.wait()
    assert case.a.answer().tag == "#t"
    held.release()
    assert [answer.last for answer in case.a.answers(2)] == ["OK", NO]


def test_pipelined_changes_in_resp(start_case):
    case = start_case()
    case.warm(case.a)

    def words(*arguments):
        return f"*{len(arguments)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in arguments)

    case.a.send(words("DELETE", case.key) + words("GET", case.token) + words("STORE", to_json(data(case.token))) + words("GET", case.token))
    assert [case.a.read_line() for _ in range(3)] == [b"+OK\r", b"$-1\r", b"+OK\r"]
    assert case.a.read_line().startswith(b"$") and b'"username"' in case.a.read_line()


# What a store brings is not kept

def test_a_store_does_not_fill_the_cache(start_case):
    case = start_case()
    held = case.proxy.hold_reply("SET", case.key, case.a.worker)
    case.a.send(lines(case.store_line()))
    held.wait()
    assert case.b.ask("DELETE " + case.key).last == "OK"
    held.release()
    assert case.a.answer().last == "OK"
    assert case.get(case.a) == NO


# Changes whose answer never came

@pytest.mark.parametrize("through", ["the same worker", "another worker"])
def test_a_held_change_never_undoes_a_later_one(start_case, through):
    case = start_case(redis_options={"command-timeout": 0.3})
    for _ in range(3):
        case.proxy.release()
        held = case.proxy.hold_request("SET", case.key)
        answer = case.a.ask(case.store_line())
        assert answer.code == "ERR unavail" and "uncertain" in answer.text
        later = case.a if through == "the same worker" else case.b
        assert later.ask("DELETE " + case.key).last == NO
        held.release()
        time.sleep(0.2)
        assert case.get(case.a) == NO and case.get(case.b) == NO
        case.token = token()
        case.key = key_of(case.token)
    assert case.proxy.seen("SET") == 3, "a change was repeated"


def test_a_held_delete_never_undoes_a_later_store(start_case):
    case = start_case(redis_options={"command-timeout": 0.3})
    case.store(case.b, username="old")
    held = case.proxy.hold_request("UNLINK", case.key)
    answer = case.a.ask("DELETE " + case.key)
    assert answer.code == "ERR unavail" and "uncertain" in answer.text
    case.store(case.b, username="new")
    held.release()
    time.sleep(0.2)
    assert case.get(case.a) == "OK" and case.get(case.b) == "OK"


def test_a_held_change_is_ended_before_the_first_later_one_of_its_worker(start_case):
    """Redis cannot be reached when the client is told, so the old connection is ended first thing when it is back."""
    case = start_case(redis_options={"command-timeout": 0.3, "connect-timeout": 0.3})
    held = case.proxy.hold_request("SET", case.key)
    case.proxy.refuse()
    answer = case.a.ask(case.store_line())
    assert answer.code == "ERR unavail" and "uncertain" in answer.text
    assert case.a.ask("DELETE " + case.key).code == "ERR unavail"
    case.proxy.listen()
    until(lambda: case.a.ask("DELETE " + case.key).last == NO, 10, "Redis to be back")
    held.release()
    time.sleep(0.2)
    assert case.get(case.a) == NO and case.get(case.b) == NO


def test_changes_in_flight_are_not_repeated(start_case):
    case = start_case(redis_options={"command-timeout": 0.3})
    held = case.proxy.hold_reply("SET", "")
    case.a.send(lines(*[f"#{i} " + case.store_line(token()) for i in range(10)]))
    answers = case.a.tagged(10)
    assert all(answer.code == "ERR unavail" and "uncertain" in answer.text for answer in answers.values())
    held.release()
    time.sleep(0.3)
    assert case.proxy.seen("SET") == 10


# Workers that die

def test_a_dead_workers_change_is_seen(start_case):
    """It had deleted and died before it could tell anybody: its place is swept by the master."""
    case = start_case()
    case.daemon.steady = None
    case.store(case.a)
    assert case.get(case.a) == "OK"
    held = case.proxy.hold_reply("UNLINK", case.key, case.b.worker)
    case.b.send(lines("DELETE " + case.key))
    held.wait()
    os.kill(case.b.worker, signal.SIGKILL)
    with pytest.raises(Closed):
        case.b.answer()
    until(lambda: case.get(case.a) == NO, 3, "the surviving worker to notice")


def test_a_dead_workers_held_change_is_ended_by_its_successor(start_case):
    case = start_case()
    case.daemon.steady = None
    held = case.proxy.hold_request("SET", case.key, case.b.worker)
    case.b.send(lines(case.store_line()))
    held.wait()
    os.kill(case.b.worker, signal.SIGKILL)
    new, = until(lambda: set(case.daemon.workers()) - {case.a.worker, case.b.worker}, 10, "the successor")
    successor = case.on(new)
    assert successor.ask("DELETE " + case.key).last == NO
    held.release()
    time.sleep(0.2)
    assert case.get(case.a) == NO and case.get(successor) == NO


def test_old_and_new_workers_of_a_reload_share_what_they_know(start_case):
    case = start_case(workers=1, drain_timeout=20)
    old = case.a
    case.store(old)
    assert case.get(old) == "OK"
    case.daemon.steady = None
    case.daemon.signal(signal.SIGHUP)
    # The old worker lets go of connections that are quiet for a second.
    until(lambda: old.ask("PING").last == "OK" and "reloaded" in case.daemon.stderr(), 20, "a new worker")
    new_worker, = set(case.daemon.workers()) - {old.worker}
    new = case.on(new_worker)
    assert case.get(old) == "OK" and case.get(new) == "OK"
    assert new.ask("DELETE " + case.key).last == "OK"
    assert case.get(old) == NO
    case.store(new)
    assert case.get(old) == "OK" and case.get(new) == "OK"
    assert old.ask("DELETE " + case.key).last == "OK"
    assert case.get(new) == NO


# Everything at once

class Asker:
    """A connection of the race, with the requests that wait for their answers."""

    def __init__(self, client):
        self.sock = client.sock
        self.sock.setblocking(False)
        self.buffer, self.out, self.waiting = b"", b"", deque()

    def send(self, line, note):
        self.out += line
        self.waiting.append(note)

    def flush(self):
        try:
            self.out = self.out[self.sock.send(self.out):] if self.out else b""
        except BlockingIOError:
            pass

    def receive(self):
        """(first word, note) for each answer that has come."""
        data = self.sock.recv(1 << 18)
        assert data, "the server closed a connection"
        *lines_, self.buffer = (self.buffer + data).split(b"\n")
        return [(line.split(b" ", 1)[0], self.waiting.popleft()) for line in lines_]


class Race:
    """Every GET notes when it is sent whether the token's delete had been acknowledged; then it may not be answered OK."""
    DEPTH = 64

    def __init__(self, clients, chance):
        self.readers = [Asker(client) for client in clients[0]]
        self.changers = [Asker(client) for client in clients[1]]
        self.chance = chance
        self.selector = selectors.DefaultSelector()
        self.stale, self.checked, self.hits = [], 0, 0
        self.askers = self.readers + self.changers
        for asker in self.askers:
            self.selector.register(asker.sock, selectors.EVENT_READ, asker)

    def turn(self, handle):
        for asker in self.askers:
            asker.flush()
        for event, _ in self.selector.select(0.05 if any(asker.out for asker in self.askers) else 5):
            for word, note in event.data.receive():
                handle(event.data, word, note)

    def all_answered(self):
        return not any(asker.waiting for asker in self.askers)

    def fill(self, tokens):
        """Stores them, each through any worker, and has half of them in every cache."""
        def expect_ok(_asker, word, _note):
            assert word == b"OK", word

        for text in tokens:
            self.chance.choice(self.changers).send(f"STORE {to_json(data(text))}\n".encode(), None)
        while not self.all_answered():
            self.turn(expect_ok)
        for text in tokens[::2]:
            for reader in self.readers:
                reader.send(f"GET {text}\n".encode(), None)
        while not self.all_answered():
            self.turn(expect_ok)

    def run(self, tokens):
        self.fill(tokens)
        revoked, pending = set(), set(tokens)

        def read(reader, text):
            reader.send(f"GET {text}\n".encode(), (text, text in revoked))

        def handle(asker, word, note):
            if asker in self.changers:
                assert word == b"OK", word
                revoked.add(note)
                pending.discard(note)
                for reader in self.readers:
                    read(reader, note)
                return
            text, was_revoked = note
            self.hits += word == b"OK"
            self.checked += was_revoked
            if was_revoked and word != b"NO":
                self.stale.append((text, word))

        deletes = list(tokens)
        self.chance.shuffle(deletes)
        while pending or not self.all_answered():
            for _ in range(self.chance.randrange(1, 9)):
                if deletes:
                    text = deletes.pop()
                    self.chance.choice(self.changers).send(f"DELETE {key_of(text)}\n".encode(), text)
            for reader in self.readers:
                while pending and len(reader.waiting) < self.chance.randrange(1, self.DEPTH):
                    read(reader, self.chance.choice(tokens))
            self.turn(handle)


def clients_of_every_worker(daemon, redis, count):
    """`count` lists with a client on each worker. Redis says who asks: each worker has one connection to it."""
    found, spare = {}, []
    with redis.client().monitor() as monitor:
        while len(found) < daemon.workers_wanted or min(len(clients) for clients in found.values()) < count:
            client, unknown = daemon.connect(), token()
            assert client.ask("GET " + unknown).last == NO
            for event in monitor.listen():
                if key_of(unknown) in event["command"]:
                    break
            clients = found.setdefault((event["client_address"], event["client_port"]), [])
            (clients if len(clients) < count else spare).append(client)
            assert len(spare) < 200
    for client in spare:
        client.close()
    return list(zip(*found.values()))


def test_race_of_revocations_and_reads(start_daemon, start_redis):
    """No read that was sent after a delete was acknowledged is answered OK, whatever worker it goes to."""
    redis = start_redis()
    daemon = start_daemon(redis.tcp_url, workers=3, cache=LONG)
    chance = random.Random(SEED)
    race = Race(clients_of_every_worker(daemon, redis, 2), chance)
    done = 0
    while done < REVOCATIONS:
        tokens = [token() for _ in range(min(200, REVOCATIONS - done))]
        race.run(tokens)
        done += len(tokens)
        assert not race.stale, f"seed {SEED}: {race.stale[:5]} after {done} revocations"
    print(f"seed {SEED}: {done} revocations, {race.checked} reads after them, {race.hits} reads before, 0 stale")
    assert race.checked >= done * len(race.readers) and race.hits > done
    assert daemon.stats()["cache-hits"] > done
