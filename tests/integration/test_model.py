# SPDX-License-Identifier: MIT
"""Stores, deletions and reads of a few tokens at random, while workers are killed and stopped, Redis is stopped and started again,
and what passes between them is held, cut or frozen. Every answer is held against what could be true (history.py): on one
machine strictly, on several and for whoever writes to Redis directly with a bound of two seconds.

TOKENKEEP_SEED repeats a run, as far as scheduling allows; TOKENKEEP_MODEL (seconds) runs that long with seeds of its own."""
import itertools
import json
import os
import random
import shutil
import signal
import threading
import time

import pytest
import redis

from client import Closed
from conftest import make_folder
from history import FOREVER, NONE, Op, Version, check
from redis_proxy import RedisProxy
from sealed import new_key
from test_resp import read_reply, resp
from tokens import data, key_of, to_json, token
from waiting import SLOWNESS, until

SEEDS = [int(os.environ["TOKENKEEP_SEED"])] if "TOKENKEEP_SEED" in os.environ else [1, 2, 3, random.randrange(1 << 32)]
MODEL = float(os.environ.get("TOKENKEEP_MODEL", "0"))
WINDOW = 2.0  # seconds that an answer from memory may be behind Redis
TURBULENCE = 2.0  # seconds of a seed
LONG = {"ttl": 120, "negative-ttl": 120}
QUICK = {"connect-timeout": 0.25, "command-timeout": 0.25}
USERS = ("alice", "bob")
KEYS = 5
PLAYERS = 4  # on each machine


class Words:
    """An answer of either protocol: `cls` and `text` as in a line, `lines` of a list."""

    def __init__(self, cls, text="", lines=()):
        self.cls, self.text, self.lines = cls, text, list(lines)

    def __str__(self):
        return f"{self.cls} {self.text}"[:70].strip() + (f" {self.lines}" if self.lines else "")


def read_words(client, in_resp):
    if not in_resp:
        answer = client.answer()
        return Words(answer.cls, answer.text, answer.lines)
    kind, value = read_reply(client)
    if kind == b"-":
        cls, _, text = value.decode().partition(" ")
        return Words(cls, text)
    if kind == b"*":
        return Words("OK", "", [item.decode() for _, item in value])
    if value is None:
        return Words("NO", "invalid")
    return Words("OK", value.decode() if isinstance(value, bytes) and kind == b"$" else str(value))


def wall_offset():
    """What the wall clock is ahead of the monotonic one, by the two readings that were closest together."""
    def read():
        before = time.monotonic()
        wall = time.time()
        return time.monotonic() - before, wall - before
    return min(read() for _ in range(100))[1]


class Game:
    """One seed: its tokens, who plays, and what was said."""

    def __init__(self, seed, machines):
        self.seed, self.machines = seed, machines
        self.tokens = [token() for _ in range(KEYS)]
        self.keys = [key_of(text) for text in self.tokens]
        self.versions, self.numbers = {}, itertools.count(1)
        self.began, self.wall = time.monotonic(), wall_offset()
        self.calm, self.over = threading.Event(), threading.Event()
        self.errors = []

    def store(self, chance, text):
        """A version of the token that was never stored before: its words, and its number."""
        number, user, fields = next(self.numbers), chance.choice(USERS), {}
        expires = FOREVER
        if chance.random() < 0.25:
            fields["expires"] = int(time.time()) + chance.randrange(1, 4)
            expires = fields["expires"] - self.wall
        self.versions[number] = Version(user, expires)
        return ["STORE", to_json(data(text, username=user, name=f"v{number}", **fields))], number


class Player(threading.Thread):
    """A client of one machine: its requests, one after the other or several at once, in lines or in RESP."""

    def __init__(self, game, machine, number):
        super().__init__(daemon=True)
        self.game, self.machine = game, machine
        self.label = f"{chr(ord('A') + machine)}{number}"
        self.chance = random.Random(f"{game.seed} {self.label}")
        self.in_resp = number % 2 == 1
        self.ops, self.asked = [], 0

    def run(self):
        try:
            while not self.game.over.is_set():
                try:
                    with self.game.machines.daemons[self.machine].connect(timeout=30) as client:
                        self.play(client)
                except (Closed, OSError):
                    time.sleep(0.02)
        except BaseException as error:
            self.game.errors.append(f"{self.label}: {error!r}")

    def play(self, client):
        for _ in range(self.chance.randrange(10, 100)):
            if self.game.over.is_set():
                return
            requests = [self.request() for _ in range(self.chance.choice([1, 1, 1, 2, 5]))]
            refused = self.exchange(client, requests)
            time.sleep(self.chance.uniform(0, 0.05 if refused else 0.02 if self.game.calm.is_set() else 0.006))

    def exchange(self, client, requests):
        """Sends them all and reads their answers; returns whether one of them was refused."""
        call, changes, refused = time.monotonic(), [], False
        client.send(b"".join(resp(*words) if self.in_resp else (" ".join(words) + "\n").encode() for words, *_ in requests))
        for i, (words, ops, judge) in enumerate(requests):
            for op in ops:
                op.call, op.after, op.who = call, list(changes), f"{self.label}{' in RESP' if self.in_resp else ''}"
            try:
                answer = read_words(client, self.in_resp)
            except Closed:
                self.closed(requests[i:], call)
                raise
            self.asked += 1
            refused |= answer.cls == "ERR"
            for op in judge(answer, ops):
                op.ret = time.monotonic()
                op.said = f"{self.shown(words)} -> {answer}" + ("" if op.key is None else f"  [{op.key[:4]}]")
                self.ops.append(op)
                if not op.is_read:
                    changes.append(op)
        return refused

    def closed(self, requests, call):
        """The changes that were not answered any more may have been made."""
        for words, ops, _ in requests:
            for op in ops:
                if not op.is_read:
                    op.call, op.ret, op.certain, op.found = call, time.monotonic(), False, None
                    op.who, op.said = self.label, self.shown(words) + " -> (closed)"
                    self.ops.append(op)

    def answered_since(self, when):
        return any(op.is_read and op.call > when for op in self.ops[-20:])

    def shown(self, words):
        if words[0] != "STORE":
            return " ".join(words)
        fields = json.loads(words[1])
        until_when = f" until {fields['expires'] - self.game.wall - self.game.began:.3f}" if "expires" in fields else ""
        return f"STORE {fields['username']} {fields['name']}{until_when}"

    # Requests: (words, operations, judge). The judge returns those of the operations that were made, or may have been.

    def op(self, kind, key, **fields):
        return Op(kind, key, self.machine, 0, **fields)

    def request(self):
        i = min(self.chance.randrange(KEYS) for _ in range(2))
        text, key = self.game.tokens[i], self.game.keys[i]
        # The last ones are changed less, so that what is remembered of them has time to be wrong.
        changes = not self.game.calm.is_set() and self.chance.random() < (0.45, 0.45, 0.2, 0.1, 0.05)[i]
        if changes:
            make = self.chance.choices([self.store, self.delete, self.delete_user, self.delete_all], [60, 40, 5, 3])[0]
        else:
            make = self.chance.choices([self.get, self.check, self.getkey, self.wrong, self.list, self.list_user],
                                       [60, 12, 6, 4, 3, 3])[0]
        return make(text, key)

    def store(self, text, key):
        words, number = self.game.store(self.chance, text)
        return words, [self.op("store", key, version=number)], self.judge_change

    def delete(self, _text, key):
        def judge(answer, ops):
            ops[0].found = answer.cls == "OK" if answer.cls != "ERR" else None
            return self.judge_change(answer, ops)
        return ["DELETE", key], [self.op("delete", key)], judge

    def delete_user(self, _text, _key):
        user = self.chance.choice(USERS)
        return ["DELETE", "USER", user], [self.op("delete-user", None, user=user)], self.judge_deletion

    def delete_all(self, _text, _key):
        return ["DELETEALL"], [self.op("delete-all", None)], self.judge_deletion

    @staticmethod
    def judge_change(answer, ops):
        if answer.cls != "ERR":
            assert answer.cls == "OK" or answer.text == "invalid", str(answer)
            return ops
        assert answer.text.startswith(("unavail", "busy")) or "expires" in answer.text, str(answer)
        ops[0].certain = False
        return ops if answer.text.startswith("unavail uncertain") else []

    @staticmethod
    def judge_deletion(answer, ops):
        """Of many tokens some may be gone when it fails."""
        assert answer.cls == "OK" or answer.text.startswith(("unavail", "busy")), str(answer)
        ops[0].certain = answer.cls == "OK"
        return [] if answer.text.startswith("busy") else ops

    def read(self, words, key, understand):
        def judge(answer, ops):
            if answer.cls == "ERR":
                assert answer.text.startswith(("unavail", "busy")), str(answer)
                return []
            if answer.cls == "NO":
                assert answer.text == "invalid", str(answer)
            else:
                understand(answer, ops[0])
            return ops
        return words, [self.op("read", key, version=NONE)], judge

    def get(self, text, key):
        def understand(answer, op):
            op.version = int(json.loads(answer.text)["name"][1:])
        return self.read(["GET", text], key, understand)

    def getkey(self, _text, key):
        words, ops, judge = self.get(None, key)
        return ["GETKEY", key], ops, judge

    def check(self, text, key):
        def understand(answer, op):
            op.sees = (answer.text, True)
        return self.read(["CHECK", text], key, understand)

    def wrong(self, text, key):
        def judge(answer, _ops):
            assert answer.cls == "ERR" or str(answer) == "NO invalid", f"a wrong secret was answered with {answer}"
            return []
        return ["GET", token(key_of(text))], [self.op("read", key)], judge

    def list_of(self, words, user):
        def judge(answer, ops):
            if answer.cls == "ERR":
                assert answer.text.startswith(("unavail", "busy")), str(answer)
                return []
            for op in ops:
                op.sees, op.cached = (user, op.key in answer.lines), False
            return ops
        return words, [self.op("read", key) for key in self.game.keys], judge

    def list(self, _text, _key):
        return self.list_of(["LIST"], None)

    def list_user(self, _text, _key):
        user = self.chance.choice(USERS)
        return self.list_of(["LIST", "USER", user], user)


class Stranger(threading.Thread):
    """Somebody who deletes tokens in Redis directly."""

    def __init__(self, game):
        super().__init__(daemon=True)
        self.game, self.ops = game, []
        self.chance = random.Random(f"{game.seed} stranger")

    def run(self):
        while not self.game.calm.wait(self.chance.uniform(0.02, 0.3)):
            op = Op("delete", self.chance.choice(self.game.keys), None, time.monotonic(), who="stranger")
            try:
                with self.game.machines.redis.client() as client:
                    op.found = client.unlink("token:" + op.key) == 1
            except (redis.exceptions.RedisError, OSError):
                op.certain = False
            op.ret = time.monotonic()
            op.said = f"UNLINK -> {op.found}  [{op.key[:4]}]"
            self.ops.append(op)


class Breaker(threading.Thread):
    """Breaks one thing after the other; two of them break two things at once."""

    def __init__(self, game, number, gentle):
        super().__init__(daemon=True)
        self.game, self.machines = game, game.machines
        self.chance = random.Random(f"{game.seed} breaker {number}")
        self.done = []
        self.acts = [self.rest, self.hold_request, self.hold_request, self.hold_request, self.hold_reply, self.hold_unheard,
                     self.hold_unheard, self.hold_announcements, self.freeze, self.cut, self.cut, self.end_connections, self.refuse,
                     self.stop_worker, self.stop_redis]
        if not gentle:
            self.acts += [self.kill_worker, self.kill_worker, self.reload, self.restart_redis, self.hold_and_lose,
                          self.hold_and_lose, self.hold_and_lose, self.stop_redis_and_kill]

    def run(self):
        try:
            while not self.game.calm.is_set():
                act = self.chance.choice(self.acts)
                self.done.append(f"  {time.monotonic() - self.game.began:9.4f}  {act.__name__}")
                act()
        except BaseException as error:
            self.game.errors.append(f"breaker: {error!r}")

    def pause(self, most, least=0.0):
        self.game.calm.wait(self.chance.uniform(least, most))

    def rest(self):
        self.pause(0.3)

    def proxy(self):
        return self.chance.choice(self.machines.proxies)

    def worker(self):
        workers = self.chance.choice(self.machines.daemons).workers()
        return self.chance.choice(workers) if workers else None

    def hold(self, requests, pid=None, most=0.6):
        proxy = self.proxy()
        name = self.chance.choice(["SET", "SET", "UNLINK", "UNLINK", "ZADD", "GET", "GET", "EVAL", "SCAN"])
        held = (proxy.hold_request if requests else proxy.hold_reply)(name, "", pid)
        self.pause(most, 0.05)
        return held

    def hold_request(self):
        self.hold(True, self.chance.choice([None, self.worker()])).release()
        self.pause(0.1)

    def hold_reply(self):
        self.hold(False, self.chance.choice([None, self.worker()])).release()
        self.pause(0.1)

    def hold_and_lose(self):
        """What is held stays so while its worker is killed or gives up, nobody can make a new connection of use, and others go
        on."""
        proxy, pid = self.proxy(), self.worker()
        held = proxy.hold_request(self.chance.choice(["SET", "UNLINK", "ZADD"]), "", pid)
        self.pause(0.15, 0.02)
        names = proxy.hold_request("CLIENT", self.chance.choice(["", "KILL"]))
        masters = [daemon.pid for daemon in self.machines.daemons] if self.chance.random() < 0.3 else []
        for master in masters:  # it does not hear of the death
            self.kill(master, signal.SIGSTOP)
        if self.chance.random() < 0.7:
            self.kill(pid, signal.SIGKILL)
            self.pause(0.2, 0.05)
        else:
            self.pause(0.5, 0.3)
        for hold in self.chance.sample([held, names], 2):
            hold.release()
            self.pause(0.1, 0.02)
        for master in masters:
            self.kill(master, signal.SIGCONT)

    def hold_unheard(self):
        """Answers are held, and that they are not the newest is not heard."""
        proxy = self.proxy()
        announced = proxy.hold_announcements()
        for _ in range(self.chance.randrange(1, 5)):
            held = proxy.hold_reply("GET", "", self.chance.choice([None, self.worker()]))
            self.pause(0.15, 0.01)
            held.release()
            self.pause(0.05)
        announced.release()

    def hold_announcements(self):
        held = self.proxy().hold_announcements()
        self.pause(1)
        held.release()

    def freeze(self):
        proxy = self.proxy()
        proxy.freeze()
        self.pause(0.7)
        proxy.thaw()

    def cut(self):
        self.proxy().cut(0.3, self.chance)
        self.pause(0.2)

    def end_connections(self):
        try:
            with self.machines.redis.client() as client:
                for other in client.client_list():
                    if other["name"].startswith("tokenkeep-") and self.chance.random() < 0.4:
                        client.client_kill_filter(_id=other["id"])
        except (redis.exceptions.RedisError, OSError):
            pass
        self.pause(0.3)

    def refuse(self):
        with self.machines.refusing:
            proxy = self.proxy()
            proxy.refuse()
            self.pause(0.4)
            proxy.listen()

    def kill(self, pid, number):
        try:
            if pid is not None:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def kill_worker(self):
        self.kill(self.worker(), signal.SIGKILL)
        self.pause(0.5)

    def stop_worker(self):
        pid = self.worker()
        self.kill(pid, signal.SIGSTOP)
        self.pause(0.8)
        self.kill(pid, signal.SIGCONT)

    def stop_redis(self):
        with self.machines.redis_in_hand:
            self.machines.redis.stop()
            self.pause(0.6)
            self.machines.redis.cont()
        self.pause(0.2)

    def stop_redis_and_kill(self):
        with self.machines.redis_in_hand:
            self.machines.redis.stop()
            self.pause(0.3)
            self.kill(self.worker(), signal.SIGKILL)
            self.pause(0.5)
            self.machines.redis.cont()
        self.pause(0.2)

    def restart_redis(self):
        with self.machines.redis_in_hand:
            self.machines.redis.kill()
            self.pause(0.3)
            self.machines.redis.start()
        self.pause(0.3)

    def reload(self):
        daemon = self.chance.choice(self.machines.daemons)
        if len(daemon.workers()) <= daemon.workers_wanted:
            daemon.signal(signal.SIGHUP)
        self.pause(0.6)


class Machines:
    """Servers on one Redis, each behind a relay of its own."""

    def __init__(self, redis_server, proxies, daemons):
        self.redis, self.proxies, self.daemons = redis_server, proxies, daemons
        self.redis_in_hand, self.refusing = threading.Lock(), threading.Lock()

    def heal(self):
        for proxy in self.proxies:
            proxy.release()
            proxy.forget()
        for daemon in self.daemons:
            until(daemon.ready, 60, "all workers")

    def play(self, seed):
        """Plays one seed; returns how many requests there were, and the operations."""
        game = Game(seed, self)
        strangers = [Stranger(game)]
        players = [Player(game, i, number) for i in range(len(self.daemons)) for number in range(PLAYERS)]
        breakers = [Breaker(game, number, len(self.daemons) > 1 and number > 0) for number in range(2)]
        for thread in (everybody := strangers + players + breakers):
            thread.start()
        time.sleep(TURBULENCE)
        game.calm.set()
        for thread in breakers + strangers:
            thread.join(60)
        self.heal()
        healed = time.monotonic()
        until(lambda: game.errors or all(player.answered_since(healed) for player in players), 30, f"answers at last, seed {seed}")
        # A while of reads alone: nothing may come up any more, and what is wrong then stays wrong.
        time.sleep(WINDOW + 0.3 if len(self.daemons) > 1 else 0.3)
        game.over.set()
        for thread in everybody:
            thread.join(90)
            assert not thread.is_alive(), f"seed {seed}: {thread} waits for an answer"
        ops = [op for player in players + strangers for op in player.ops]
        broken = "\n".join(sorted(line for breaker in breakers for line in breaker.done))
        assert not game.errors, f"seed {seed}: {game.errors}"
        try:
            check(ops, game.keys, game.versions, WINDOW, game.began)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\nwhat was broken:\n{broken}") from None
        return sum(player.asked for player in players), ops


@pytest.fixture
def start_machines(start_daemon, start_redis):
    """start_machines(count, workers) -> Machines."""
    proxies, folders = [], []

    def start(count, workers):
        server, keys, daemons = start_redis(appendonly=True), [new_key()], []
        for _ in range(count):
            folders.append(make_folder())
            proxies.append(RedisProxy(folders[-1], server))
            daemons.append(start_daemon(proxies[-1], keys=keys, workers=workers, cache=LONG, redis_options=QUICK,
                                        drain_timeout=1))
            daemons[-1].steady = None
        return Machines(server, proxies, daemons)

    yield start
    for proxy in proxies:
        proxy.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def seeds(few):
    """The seeds of this run, and then as many more as there is time for."""
    yield from SEEDS[-few:]
    end = time.monotonic() + MODEL
    while time.monotonic() < end:
        yield random.randrange(1 << 32)


@pytest.mark.parametrize("count, workers, few", [(1, 3, 4), (2, 2, 2)], ids=["one machine", "two machines"])
def test_every_answer_can_be_true(start_machines, count, workers, few):
    machines, done, asked, certain, uncertain = start_machines(count, workers), 0, 0, 0, 0
    for seed in seeds(few):
        print(f"seed {seed}", flush=True)
        requests, ops = machines.play(seed)
        done, asked = done + 1, asked + requests
        certain += sum(op.certain and not op.is_read for op in ops)
        uncertain += sum(not op.certain for op in ops)
    print(f"{done} seeds, {asked} requests, {certain} changes acknowledged and {uncertain} uncertain, on {count} machines")
    assert certain > 20 * done / SLOWNESS and uncertain > 0
