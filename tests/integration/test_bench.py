# SPDX-License-Identifier: MIT
"""tokenkeep bench: against tokenkeepd in both protocols, a Redis and a memcached, and against servers made here that lie,
stall and leave."""
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from daemon import environment, program, run, run_on_terminal
from waiting import SLOWNESS, free_port, until

RIGHT, FOUND, FAILED, USAGE = 0, 1, 2, 64
TOKEN = re.compile(rb"gt-[\w-]{22}\.[\w-]{22}")


def target(address):
    return ["--socket", address] if isinstance(address, str) else ["--server", "%s:%d" % address]


def bench(address, *arguments, timeout=60):
    """Runs it to its end; `.json` is what it printed, None when that is no result."""
    done = run(*target(address), "--json", "bench", *map(str, arguments), name="tokenkeep", timeout=timeout)
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    assert not TOKEN.search((done.stdout + done.stderr).encode()), "a secret is shown"
    done.json = json.loads(done.stdout)
    return done


def measured(done, status=RIGHT):
    assert done.returncode == status, done.stderr + done.stdout
    return done.json


# Against tokenkeepd

@pytest.mark.parametrize("role", ["manage", "manage_unix", "verify", "verify_unix"])
@pytest.mark.parametrize("protocol", ["line", "resp"])
def test_cached_gets(daemon, role, protocol):
    before, stored = daemon.stats(), set(daemon.ask("LIST").lines)
    result = measured(bench(daemon.address(role), "--store-to", daemon.manage, "--protocol", protocol, "--requests", 3000,
                            "--tokens", 100, "--pipeline", 7, "--connections", 5, "--threads", 2, "--seed", 11))
    after = daemon.stats()
    assert result["requests"] == 3000 and result["errors"] == result["wrong"] == 0 and not result["interrupted"]
    assert set(result["errors_by_kind"].values()) == {0} and result["errors_by_kind"]["ERR busy"] == 0
    assert {key: result[key] for key in ("protocol", "connections", "pipeline", "threads", "tokens", "users", "keys", "mix",
                                         "value_size", "rate", "seed")} == {
        "protocol": protocol, "connections": 5, "pipeline": 7, "threads": 2, "tokens": 100, "users": 1000, "keys": "uniform",
        "mix": {"hit": 100}, "value_size": 400, "rate": None, "seed": 11}
    latency = [result["latency_us"][name] for name in ("p50", "p90", "p99", "p99.9", "max")]
    assert latency == sorted(latency) and latency[0] > 0
    assert result["requests_per_second"] == pytest.approx(3000 / result["seconds"], rel=0.01)
    # Two workers, two caches: nearly all of 100 and 3000 requests were hits.
    assert after["cache-hits"] + after["cache-joined"] - before["cache-hits"] - before["cache-joined"] >= 2850
    assert after["tokens-stored"] - before["tokens-stored"] == after["tokens-deleted"] - before["tokens-deleted"] == 100
    assert set(daemon.ask("LIST").lines) == stored


@pytest.mark.parametrize("protocol", ["line", "resp"])
def test_all_kinds(daemon, protocol):
    before, stored = daemon.stats(), set(daemon.ask("LIST").lines)
    result = measured(bench(daemon.manage, "--protocol", protocol, "--requests", 4000, "--tokens", 50, "--pipeline", 5,
                            "--mix", "hit=50,miss=30,unknown=15,store=5", "--keys", "zipf:1.2", "--value-size", 1000))
    after = daemon.stats()
    assert result["mix"] == {"hit": 50, "miss": 30, "unknown": 15, "store": 5} and result["keys"] == "zipf:1.2"
    assert result["errors"] == 0 and result["requests"] == 4000
    delta = {name: after[name] - before[name] for name in ("cache-misses", "answers-no", "tokens-stored")}
    # Each of the misses is one, and so is the first question for each of the unknown.
    assert delta["cache-misses"] >= 4000 * (30 + 15) / 100
    assert delta["answers-no"] >= 600  # and some of the deletions, of what was not stored yet
    assert delta["tokens-stored"] == 50 + 1200 + 200
    assert set(daemon.ask("LIST").lines) == stored


def test_keeps_tokens_of_the_size_wanted(start_redis, start_daemon):
    daemon = start_daemon(start_redis())
    measured(bench(daemon.manage, "--requests", 100, "--tokens", 20, "--value-size", 3000, "--keep"))
    client = daemon.redis.client()
    keys = [key for key in client.keys("token:*") if not key.startswith((b"token:.", b"token:u."))]
    assert len(keys) == 20
    for key in keys:
        assert 2980 <= client.strlen(key) <= 3000
        assert 3000 < client.ttl(key) <= 3700


@pytest.mark.parametrize("protocol", ["line", "resp"])
def test_tokens_belong_to_as_many_users_as_wanted(start_redis, start_daemon, protocol):
    daemon = start_daemon(start_redis())
    result = measured(bench(daemon.manage, "--protocol", protocol, "--requests", 100, "--tokens", 300, "--users", 3, "--keep"))
    assert result["users"] == 3
    counts = [int(daemon.ask(f"LIST USER bench-{number:06}").last.split()[1]) for number in range(4)]
    assert sum(counts) == 300 and min(counts[:3]) > 50 and counts[3] == 0


def test_seconds_rate_and_warm_up(daemon):
    before = daemon.stats()["requests"]
    result = measured(bench(daemon.manage, "--seconds", 1.5, "--rate", 2000, "--tokens", 10, "--warm-up", 77))
    assert result["rate"] == 2000 and 2990 <= result["requests"] <= 3010
    assert 1.4 <= result["seconds"] <= 1.6 * SLOWNESS + 1
    asked = daemon.stats()["requests"] - before
    assert asked >= result["requests"] + 77 + 20 and asked <= result["requests"] + 77 + 30
    assert measured(bench(daemon.manage, "--seconds", 0.3, "--warm-up", "0.2s"))["seconds"] < 3 * SLOWNESS


def test_cpu_of_all_processes(daemon):
    result = measured(bench(daemon.manage, "--requests", 20000, "--pipeline", 4, "--pid", daemon.pid))
    processes = {process["pid"]: process for process in result["cpu"]}
    assert set(daemon.workers()) | {daemon.pid} <= set(processes)
    assert all(processes[pid]["command"].startswith("tk-worker") for pid in daemon.workers())
    workers = sum(processes[pid]["us_per_request"] for pid in daemon.workers())
    assert 0.1 < workers <= result["cpu_us_per_request"] + 0.01  # each is rounded
    assert result["cpu_us_per_request"] == pytest.approx(sum(p["us_per_request"] for p in result["cpu"]), abs=0.01)
    assert result["generator_us_per_request"] > 0.1


def test_no_such_process(daemon):
    done = bench(daemon.manage, "--pid", 2**22 + 1)
    assert done.returncode == USAGE and done.json["error"]["code"] == "usage"


def test_idle_connections_are_held(daemon):
    connections = []
    process = subprocess.Popen([program("tokenkeep"), "--socket", daemon.manage, "bench", "--seconds", "2", "--idle", "300",
                                "--connections", "3"], stdout=subprocess.PIPE, env=environment())
    until(lambda: process.poll() is not None or connections.append(daemon.stats()["connections"]), what="the bench")
    assert process.wait() == RIGHT, process.stdout.read()
    process.stdout.close()
    assert max(connections) >= 300
    until(lambda: daemon.stats()["connections"] < 300, what="them to be closed")


def test_listener_that_verifies_alone(daemon):
    before = daemon.stats()
    done = bench(daemon.verify)
    assert done.returncode == FAILED and done.json["error"]["code"] == "denied"
    assert "--store-to" in done.json["error"]["message"]
    assert daemon.stats()["err-denied"] - before["err-denied"] <= 10000  # and nothing to delete was looked for


def test_full_listener(start_redis, start_daemon):
    daemon = start_daemon(start_redis(), workers=1, listener={"max_connections": 10})
    done = bench(daemon.verify_unix, "--store-to", daemon.manage, "--connections", 20, "--requests", 2000, "--tokens", 10)
    result = measured(done, FOUND)
    assert result["errors_by_kind"]["ERR busy"] + result["errors_by_kind"]["closed"] >= 10
    assert result["wrong"] == 0 and result["requests"] >= 1900


# Interruptions

def start(address, *arguments):
    return subprocess.Popen([program("tokenkeep"), *target(address), "--json", "bench", *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(daemon, number):
    before, stored = daemon.stats()["requests"], set(daemon.ask("LIST").lines)
    process = start(daemon.manage, "--seconds", 600, "--tokens", 100, "--mix", "hit=9,store=1")
    until(lambda: daemon.stats()["requests"] > before + 2000, what="the bench to measure")
    process.send_signal(number)
    out, err = process.communicate(timeout=20 * SLOWNESS)
    result = json.loads(out)
    assert process.returncode == RIGHT and err == ""
    assert result["interrupted"] and result["requests"] > 1000 and result["errors"] == 0
    assert set(daemon.ask("LIST").lines) == stored


# Against others

@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_redis(start_redis, over):
    server = start_redis()
    address = server.socket if over == "unix" else ("127.0.0.1", server.port)
    plain = ["--protocol", "redis", "--requests", 2000, "--tokens", 30, "--pipeline", 3, "--value-size", 500]
    result = measured(bench(address, *plain, "--mix", "hit=70,miss=10,unknown=10,store=10"))
    assert result["protocol"] == "redis" and result["errors"] == 0
    client = server.client()
    assert client.dbsize() == 0 and client.info("stats")["keyspace_misses"] >= 200
    measured(bench(address, *plain, "--keep", "--pid", server.process.pid))
    keys = client.keys("bench:*")
    assert len(keys) == client.dbsize() == 30
    for key in keys:
        assert client.strlen(key) == 500 and client.get(key).startswith(key[6:]) and 3000 < client.ttl(key) <= 3700


@pytest.fixture
def memcached():
    if not shutil.which("memcached"):
        pytest.skip("memcached is not installed")
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user])

    def answers():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    until(answers, what="memcached")
    yield "127.0.0.1", port
    process.kill()
    process.wait()


def items(address):
    with socket.create_connection(address, 5) as sock:
        sock.sendall(b"stats\r\n")
        text = b""
        while not text.endswith(b"END\r\n"):
            text += sock.recv(65536)
    return int(re.search(rb"STAT curr_items (\d+)", text)[1])


def test_memcached(memcached):
    plain = ["--protocol", "memcached", "--requests", 2000, "--tokens", 30, "--pipeline", 3]
    result = measured(bench(memcached, *plain, "--mix", "hit=70,miss=10,unknown=10,store=10"))
    assert result["protocol"] == "memcached" and result["errors"] == 0 and items(memcached) == 0
    measured(bench(memcached, *plain, "--keep"))
    assert items(memcached) == 30


def test_the_wrong_kind_of_server(start_redis, daemon):
    done = bench(start_redis().socket, "--protocol", "line", "--timeout", 5)
    assert done.returncode == FAILED and done.json["error"]["code"] in ("protocol", "closed")
    done = bench(daemon.manage, "--protocol", "redis", "--timeout", 5)
    assert done.returncode == FAILED and "ERR other" in done.json["error"]["message"]


# Against servers made here

class Fake:
    """A server of the line protocol on a unix socket that remembers what it is given. `answer(self, line)` may return
    something else for a GET; None closes the connection."""

    def __init__(self, folder, answer=None):
        self.path = os.path.join(folder, "fake")
        self.stored, self.deleted, self.gets, self.answer = {}, set(), [], answer
        self.turned_away = ()  # the numbers of connections, the first is 1
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(200)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        for number in itertools.count(1):
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if number in self.turned_away:
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as reader:
            try:
                for line in reader:
                    answer = self._answer(line.rstrip(b"\n"))
                    if answer is None:
                        return
                    connection.sendall(answer)
            except OSError:
                pass

    def truth(self, line):
        data = self.stored.get(line[4:])
        return b"OK " + data + b"\n" if data else b"NO invalid\n"

    def _answer(self, line):
        word = line.split(b" ", 1)[0]
        if word == b"STORE":
            self.stored[TOKEN.search(line)[0]] = line[6:]
            return b"OK\n"
        if word == b"DELETE":
            self.deleted.add(line[7:])
            return b"OK\n"
        with self.lock:
            self.gets.append(line[4:])
        return self.answer(self, line) if self.answer else self.truth(line)

    def close(self):
        self.listener.close()


@pytest.fixture
def serve(folder):
    servers = []

    def start_fake(answer=None):
        os.mkdir(f"{folder}/{len(servers)}")
        servers.append(Fake(f"{folder}/{len(servers)}", answer))
        return servers[-1]

    yield start_fake
    for server in servers:
        server.close()


def nth(number, other):
    """The truth, but for the request of this number."""
    return lambda server, line: server.truth(line) if len(server.gets) != number else other(server, line)


def somebody_elses(server, line):
    return b"OK " + next(data for token, data in server.stored.items() if token != line[4:]) + b"\n"


LIES = {
    "another token's": (somebody_elses, "wrong"),
    "not there": (lambda server, line: b"NO invalid\n", "wrong"),
    "malformed": (lambda server, line: b"NO malformed\n", "wrong"),
    "done": (lambda server, line: b"OK\n", "wrong"),
    "no data": (lambda server, line: b"OK {}\n", "wrong"),
    "another secret": (lambda server, line: server.truth(line).replace(line[30:40], b"x" * 10), "wrong"),
    "cut": (lambda server, line: server.truth(line)[:100] + b"\n", "wrong"),
    "busy": (lambda server, line: b"ERR busy later\n", "ERR busy"),
    "unavailable": (lambda server, line: b"ERR unavail\n", "ERR unavail"),
    "unheard of": (lambda server, line: b"ERR tired \033[31m" + line[4:] + b"\n", "ERR other"),
    "policy": (lambda server, line: b"NO policy not now\n", "NO policy"),
    "rubbish": (lambda server, line: b"\0\377\r\n" + line + b"\n", "wrong"),
    "nothing": (lambda server, line: b"\n", "wrong"),
    "two": (lambda server, line: server.truth(line) * 2, "wrong"),
    "endless": (lambda server, line: b"OK " + b"x" * 600000, "wrong"),
    "closed": (lambda server, line: None, "closed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_answer_that_is_not_right(serve, lie):
    other, kind = LIES[lie]
    server = serve(nth(50, other))
    result = measured(bench(server.path, "--requests", 200, "--tokens", 10, "--connections", 2, "--warm-up", 0), FOUND)
    assert result["errors_by_kind"][kind] >= 1 and result["errors"] >= 1
    assert {name for name, count in result["errors_by_kind"].items() if count} <= {kind, "closed"}
    assert result["wrong"] == result["errors_by_kind"]["wrong"]
    examples = " ".join(result["wrong_examples"])
    assert bool(examples) == (kind == "wrong" and lie != "two")
    if examples:
        assert any(token[3:25].decode() in examples for token in server.stored)
    assert result["requests"] >= 199  # the other connection went on
    assert len(server.deleted) == len(server.stored) == 10


def test_an_unknown_token_that_is_let_in(serve):
    server = serve(lambda fake, line: somebody_elses(fake, line))
    result = measured(bench(server.path, "--requests", 20, "--tokens", 10, "--mix", "unknown,miss"), FOUND)
    assert result["wrong"] == 20 and len(result["wrong_examples"]) == 5


def test_lies_while_warming_up_count(serve):
    server = serve(nth(3, lambda fake, line: b"NO invalid\n"))
    result = measured(bench(server.path, "--requests", 20, "--tokens", 10), FOUND)
    assert result["wrong"] == 1 and result["requests"] == 20


@pytest.mark.parametrize("lie", ["closed", "rubbish", "nothing", "two", "endless"])
def test_every_connection_lost(serve, lie):
    """What is not of the protocol ends the connection: nobody knows where the next answer would begin."""
    server = serve(nth(50, LIES[lie][0]))
    done = bench(server.path, "--requests", 200, "--tokens", 10, "--connections", 1, "--warm-up", 0)
    assert 49 <= measured(done, FOUND)["requests"] <= 51 and "all connections were lost" in done.stderr
    assert len(server.deleted) == 10


class Answerer:
    """A server that answers so many requests at a time, again and again, and reads none."""

    def __init__(self, folder, answers):
        self.path = os.path.join(folder, "answerer")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(10)
        threading.Thread(target=self._serve, args=(answers,), daemon=True).start()

    def _serve(self, answers):
        try:
            connection, _ = self.listener.accept()
            with connection:
                while True:
                    time.sleep(0.001)  # for the next to be asked: an answer to nothing ends it as well
                    connection.sendall(answers)
        except OSError:
            pass


@pytest.mark.parametrize("pipeline", [1, 100])
def test_answers_to_what_was_not_sent(serve, folder, pipeline):
    """There is room for as many requests as may be in flight: an answer to one that is still there makes no more of it."""
    honest, liar = serve(), Answerer(folder, b"NO invalid\n" * pipeline)
    done = bench(liar.path, "--store-to", honest.path, "--requests", 5_000_000, "--mix", "unknown", "--connections", 1,
                 "--pipeline", pipeline)
    liar.listener.close()
    assert measured(done, FOUND)["wrong"] >= 1 and "all connections were lost" in done.stderr


def test_silence(serve):
    silent = threading.Event()
    server = serve(lambda fake, line: silent.wait(60) and None)
    done = bench(server.path, "--tokens", 10, "--timeout", 0.5, "--connections", 3, "--warm-up", 0)
    assert measured(done, FOUND)["errors_by_kind"]["timeout"] == 3 and "no answer within 0.5 seconds" in done.stderr
    silent.set()
    assert len(server.deleted) == 10


def test_silence_in_the_warm_up(serve):
    """What is late then would be taken for answers to what is measured."""
    silent = threading.Event()
    server = serve(lambda fake, line: silent.wait(60) and None)
    done = bench(server.path, "--tokens", 10, "--timeout", 0.5, "--connections", 3, timeout=20)
    silent.set()
    assert done.returncode == FAILED and done.json["error"]["code"] == "timeout"
    assert "no answer within 0.5 seconds" in done.json["error"]["message"]
    assert len(server.deleted) == 10


def test_a_second_signal_leaves(serve):
    silent = threading.Event()
    server = serve(lambda fake, line: silent.wait(60) and None)
    process = start(server.path, "--tokens", 10, "--connections", 2, "--warm-up", 0)
    until(lambda: len(server.gets) == 2, what="the bench to wait")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20 * SLOWNESS)
    silent.set()
    assert process.returncode == FOUND and json.loads(out)["requests"] == 0
    assert "left behind" in err and not server.deleted


def test_a_seed_repeats_the_choices(serve):
    sequences = []
    for seed in (5, 5, 6):
        server = serve()
        measured(bench(server.path, "--requests", 100, "--tokens", 10, "--connections", 1, "--mix", "hit=9,unknown=1",
                       "--seed", seed, "--warm-up", 0))
        numbers = {}  # the tokens themselves differ
        sequences.append([numbers.setdefault(token, len(numbers)) if token in server.stored else None for token in server.gets])
    assert sequences[0].count(None) == 10 and len(set(sequences[0])) == 11
    assert sequences[0] == sequences[1] != sequences[2]


STALL = 0.3


@pytest.fixture
def stalling(serve):
    """Answers at once, but for one stall of all connections."""
    lock, stalled = threading.Lock(), []

    def answer(server, line):
        with lock:
            if len(server.gets) > 300 and not stalled:
                stalled.append(time.sleep(STALL))
        return server.truth(line)

    return serve(answer)


def test_a_stall_shows_in_an_open_loop(stalling):
    result = measured(bench(stalling.path, "--requests", 2000, "--rate", 1000, "--tokens", 10, "--connections", 4,
                            "--pipeline", 10, "--warm-up", 0))
    latency = result["latency_us"]
    # Requests were due all the while: 300 of 2000, the first ones waited all of it.
    assert latency["max"] >= STALL * 1e6 and latency["p99"] >= 0.85 * STALL * 1e6 and latency["p90"] >= 0.2 * STALL * 1e6
    assert result["requests"] == 2000


def test_a_closed_loop_hides_it(stalling):
    result = measured(bench(stalling.path, "--requests", 2000, "--tokens", 10, "--connections", 4, "--warm-up", 0))
    latency = result["latency_us"]
    assert latency["max"] >= STALL * 1e6 and latency["p99"] < 0.5 * STALL * 1e6


def test_idle_connections_that_are_closed(serve):
    server = serve()
    server.turned_away = range(3, 8)  # behind the two that ask
    result = measured(bench(server.path, "--requests", 100, "--tokens", 5, "--connections", 2, "--idle", 8), FOUND)
    assert result["errors_by_kind"]["idle closed"] == 5 == result["errors"]


# The command line

@pytest.mark.parametrize("arguments,said", [
    (["--requests", "5", "--seconds", "5"], "exclude"),
    (["--tokens", "0"], "--tokens"),
    (["--mix", "hits=1"], "--mix"),
    (["--mix", "miss", "--seconds", "1"], "--requests"),
    (["--mix", "miss", "--requests", "30000000"], "20000000"),
    (["--threads", "9", "--connections", "8"], "--threads"),
    (["--protocol", "http"], "--protocol"),
    (["--pid", "me"], "--pid"),
    (["--keep=1"], "--keep"),
    (["extra"], "argument"),
])
def test_usage(arguments, said):
    done = run("--socket", "/nonexistent", "bench", *arguments, name="tokenkeep")
    assert done.returncode == USAGE and said in done.stderr, done.stderr


def test_options_of_the_bench_are_its_own():
    for option in (["--tokens", "5"], ["--keep"]):
        done = run("ping", *option, name="tokenkeep")
        assert done.returncode == USAGE and f"ping takes no {option[0]}" in done.stderr


def test_nobody_there(folder):
    done = bench(folder + "/nobody")
    assert done.returncode == FAILED and done.json["error"]["code"] == "connect"
    done = bench(("127.0.0.1", free_port()))
    assert done.returncode == FAILED and done.json["error"]["code"] == "connect"


def test_text(daemon):
    done = run("--socket", daemon.manage, "bench", "--requests", "1000", "--tokens", "10", "--pid", str(daemon.pid),
               name="tokenkeep")
    assert done.returncode == RIGHT and done.stderr == ""
    for line in (rf"line to {daemon.manage}: 50 connections, 1 in flight on each, 1 thread",
                 r"10 tokens \(uniform\) of 1000 users, values of 400 bytes, mix hit=100, seed \d+", r"requests  1000 in [\d.]+ s",
                 r"rate      [\d.]+ requests a second", r"errors    0",
                 r"latency   p50 [\d.]+ us, p90 [\d.]+ us, p99 [\d.]+ us, p99.9 [\d.]+ us, max [\d.]+ us",
                 r"cpu       [\d.]+ us a request: tk-worker-\d+, process \d+",
                 r"cpu       [\d.]+ us a request: this bench itself"):
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), f"{line} is missing in\n{done.stdout}"


def test_progress_on_a_terminal(daemon):
    status, out, shown = run_on_terminal("--socket", daemon.manage, "--json", "bench", "--seconds", "1.5")
    assert status == RIGHT and json.loads(out)["errors"] == 0
    steps = [int(number) for number in re.findall(r"\rmeasuring: (\d+) %, \d+/s, \d s left \033\[K", shown)]
    assert len(steps) >= 3 and steps == sorted(steps) and steps[-1] > 50, shown
    assert shown.endswith("\r\033[K") or shown.endswith("\r\033[K\r\n"), shown
