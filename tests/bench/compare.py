#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures tokenkeepd beside Redis and memcached: every case in turn on each server, in several rounds, by `tokenkeep
bench`, with one processor's worth of server (one worker, one thread) unless the case is about more. Writes what was
measured, medians of the rounds, as JSON, which tests/bench/document.py makes docs/benchmarks.md of; scripts/bench runs
both.

    TOKENKEEPD=... TOKENKEEP=... tests/bench/compare.py RESULTS.json [--rounds N] [--scale S] [--only GROUP[,GROUP ...]]

--scale multiplies the requests of every run: 0.1 is for trying things out."""
import argparse
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from client import connect  # noqa: E402
from daemon import Daemon, memory, program  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from sealed import new_key  # noqa: E402
from waiting import free_port, until  # noqa: E402

PROCESSORS = os.cpu_count()
CACHE = {"bytes": 4 << 30, "entries": 5_000_000, "ttl": 3600}
ANSWER_WITHIN = 900  # seconds, that a run may take


class Memcached:
    """A memcached of one thread on a TCP port, or on a unix socket, of which it takes one or the other."""

    def __init__(self, folder, unix):
        self.port = None if unix else free_port()
        self.socket = os.path.join(folder, "memcached.sock")
        where = ["-s", self.socket] if unix else ["-l", "127.0.0.1", "-p", str(self.port)]
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        if unix and user:
            os.chmod(folder, 0o777)
            os.chmod(os.path.dirname(folder), 0o755)
        self.process = subprocess.Popen(["memcached", "-t", "1", "-m", "4096", "-c", "20000", "-U", "0", *user, *where],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if unix:
            until(lambda: os.path.exists(self.socket), 10, "memcached")
        else:
            until(self._answers, 10, "memcached")

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def close(self):
        self.process.terminate()
        self.process.wait()


class Servers:
    """All that are measured, started when they are asked for first."""

    def __init__(self, folder):
        self.folder = folder
        self.running = {}

    def _folder(self, name):
        return tempfile.mkdtemp(prefix="", dir=self.folder)

    def _get(self, name, make):
        if name not in self.running:
            self.running[name] = make(self._folder(name))
        return self.running[name]

    def redis(self):
        return self._get("redis", lambda folder: RedisServer(folder, settings=("--maxclients", "20000")))

    def memcached(self, unix):
        return self._get("memcached-unix" if unix else "memcached", lambda folder: Memcached(folder, unix))

    def daemon(self, workers=1, cache=()):
        """A tokenkeepd on a Redis of its own, that nobody measures."""
        def make(folder):
            daemon = Daemon(folder, self._get("behind", RedisServer), workers=workers, keys=self.keys, cache={**CACHE, **dict(cache)})
            daemon.start()
            return daemon
        return self._get("-".join(map(str, ("tokenkeepd", workers, *sum(cache, ())))), make)

    keys = [new_key()]

    def drop(self, prefix):
        """Ends those whose names start so."""
        for name in [name for name in self.running if name.startswith(prefix)]:
            self._end(self.running.pop(name))

    @staticmethod
    def _end(server):
        if isinstance(server, Daemon):
            server.kill()
        else:
            server.close()

    def close(self):
        self.drop("tokenkeepd")
        self.drop("")

    def where(self, name, unix, workers, cache):
        """Arguments for `tokenkeep bench` that choose the server, and the pid whose CPU time counts."""
        if name in ("line", "resp"):
            daemon = self.daemon(workers, cache)
            address, pid = (["--socket", daemon.manage] if unix else ["--server", "%s:%d" % daemon.manage_tcp]), daemon.pid
        elif name == "redis":
            server = self.redis()
            address, pid = (["--socket", server.socket] if unix else ["--server", f"127.0.0.1:{server.port}"]), server.process.pid
        else:
            server = self.memcached(unix)
            address, pid = (["--socket", server.socket] if unix else ["--server", f"127.0.0.1:{server.port}"]), server.process.pid
        return address, ["--protocol", name, "--pid", str(pid)]


def case(group, name, servers=("line", "resp", "redis", "memcached"), requests=100_000, tokens=100_000, depth=1, unix=False,
         mix="hit=100", connections=50, workers=1, cache=(), rounds=None, **more):
    options = {"tokens": tokens, "pipeline": depth, "mix": mix, "connections": connections, **more}
    return {"group": group, "name": name, "servers": servers, "requests": requests, "unix": unix, "workers": workers,
            "cache": cache, "rounds": rounds, "options": options}


def cases():
    """Everything that is measured, in the order of the document."""
    for unix in (False, True):
        for tokens in (1, 100_000):
            for depth in (1, 16):
                yield case("cached", f"{tokens} token{'s' * (tokens > 1)}, {'unix' if unix else 'TCP'}, {depth} in flight", unix=unix,
                           tokens=tokens, depth=depth, requests=200_000 if depth == 1 else 1_000_000)
    for depth in (1, 16):
        yield case("uncached", f"{depth} in flight", ("line", "redis"), depth=depth, mix="miss=100", tokens=1)
        yield case("store", f"{depth} in flight", ("line", "redis"), depth=depth, mix="store=100", tokens=50_000)
        yield case("store", f"{depth} in flight, one user's", ("line",), depth=depth, mix="store=100", tokens=50_000, users=1)
        yield case("unknown", f"{depth} in flight", ("line", "redis", "memcached"), depth=depth, mix="unknown=100", tokens=1)
    for workers in sorted({1, 2, PROCESSORS}):
        warm = {"warm-up": 100_000}  # which leaves no worker without one of the tokens
        yield case("workers", f"{workers}", ("line",), workers=workers, requests=200_000, tokens=10_000, **warm)
        yield case("workers", f"{workers}, 16 in flight", ("line",), workers=workers, depth=16, requests=1_000_000, tokens=10_000, **warm)
    for idle in (0, 10_000):
        yield case("idle", f"{idle}", ("line", "redis", "memcached"), idle=idle, requests=200_000, tokens=10_000)
    for rate in (2_000, 20_000):
        yield case("rate", f"{rate}", ("line", "redis", "memcached"), rate=rate, requests=4 * rate, tokens=10_000)
    for tokens in (1_000, 10_000, 100_000, 1_000_000, 4_000_000):
        for depth in (1, 16):
            yield case("tokens", f"{tokens}, {depth} in flight", ("line", "redis", "memcached"), tokens=tokens, depth=depth,
                       requests=100_000 if depth == 1 else 400_000, rounds=1 if tokens > 1_000_000 else None, **{"x": tokens})
    for size in (200, 400, 1000, 2000, 4000, 8192):
        yield case("size", f"{size}", ("line", "redis", "memcached"), tokens=10_000, **{"value-size": size, "x": size})
    for connections in (1, 10, 100, 1_000, 10_000):
        yield case("connections", f"{connections}", ("line", "redis", "memcached"), tokens=10_000, connections=connections,
                   requests=200_000, **{"x": connections})
    for share in (5, 10, 20, 50, 100):
        yield case("working set", f"{share} % of the tokens fit", ("line",), tokens=100_000, depth=1, keys="zipf:0.99",
                   cache=(("entries", 1000 * share),), requests=400_000, **{"x": share})


def measure(servers, what, name, scale, seed):
    """One run of one case on one server; returns what `tokenkeep bench --json` printed."""
    address, target = servers.where(name, what["unix"], what["workers"], what["cache"])
    command = [program("tokenkeep"), *address, "--timeout", "60", "bench", "--json", *target, "--seed", str(seed),
               "--requests", str(measured_requests(what, scale))]
    for option, value in what["options"].items():
        if option != "x":
            command += ["--" + option, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_WITHIN)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nends with {done.returncode}: {done.stderr}{done.stdout}")
    return json.loads(done.stdout)


def measured_requests(what, scale):
    return max(1000, int(what["requests"] * scale))


def cache_hits(servers, what):
    return servers.daemon(what["workers"], what["cache"]).stats()["cache-hits"]


def summary(runs):
    """Medians over the rounds."""
    def median(value):
        return statistics.median(map(value, runs))
    return {
        "rate": median(lambda run: run["requests_per_second"]),
        "cpu": median(lambda run: sum(row["us_per_request"] for row in run["cpu"])),
        "latency": {name: median(lambda run: run["latency_us"][name]) for name in runs[0]["latency_us"]},
        "cpu_of_rounds": [round(sum(row["us_per_request"] for row in run["cpu"]), 3) for run in runs],
        "hit_ratio": statistics.median(run["hit_ratio"] for run in runs) if "hit_ratio" in runs[0] else None,
    }


def run_case(servers, what, rounds, scale):
    runs = {name: [] for name in what["servers"]}
    for turn in range(what["rounds"] or rounds):
        order = list(runs) if turn % 2 == 0 else list(reversed(runs))
        for name in order:
            before = cache_hits(servers, what) if what["cache"] else None
            run = measure(servers, what, name, scale, turn + 1)
            if what["cache"]:  # the warm-up asks for each token once, so all hits are of what was measured
                run["hit_ratio"] = (cache_hits(servers, what) - before) / run["requests"]
            runs[name].append(run)
    return {name: summary(done) for name, done in runs.items()}


def memory_of_tokens(servers, size, tokens=50_000):
    """What a token of so many bytes takes in a worker's full cache, and in Redis with its entry in the index by user."""
    servers.drop("tokenkeepd")
    servers.drop("behind")
    daemon = servers.daemon(cache=(("entries", tokens),))
    redis, (worker,) = servers.running["behind"].client(), daemon.workers()

    def taken():
        return memory(worker), redis.info("memory")["used_memory"]

    before = taken()
    subprocess.run([program("tokenkeep"), "--socket", daemon.manage, "bench", "--keep", "--requests", "1000", "--tokens", str(tokens),
                    "--value-size", str(size), "--users", str(tokens // 10)], check=True, stdout=subprocess.DEVNULL)
    until(lambda: int(daemon.stats()["cache-entries"]) == tokens, 10, "all of them in the cache")
    return [round((now - then) / tokens) for now, then in zip(taken(), before)]


def memory_of_connections(servers, connections=10_000):
    """What a connection takes that has asked, was answered, and waits."""
    daemon = servers.daemon()
    worker, = daemon.workers()
    before = memory(worker)
    clients = [connect(daemon.manage_tcp) for _ in range(connections)]
    for client in clients:
        client.sendall(b"PING\n")
        client.recv(16)
    taken = memory(worker) - before
    for client in clients:
        client.close()
    return round(taken / connections)


def version(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // (1 << 20)
    with open("/etc/os-release") as file:
        system = next((line.split("=", 1)[1].strip().strip('"') for line in file if line.startswith("PRETTY_NAME=")), "?")
    return {"processor": models[0] if models else platform.machine(), "processors": PROCESSORS, "memory": f"{memory} GiB",
            "system": system, "kernel": platform.release(), "compiler": version("gcc", "--version"),
            "versions": [version(program("tokenkeepd"), "--version"), version("redis-server", "--version").split(" sha=")[0],
                         version("memcached", "--version")]}


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--only", default="")
    return parser.parse_args()


def main():
    chosen = options()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = tempfile.mkdtemp(prefix="tk-")
    servers = Servers(folder)
    results = {"machine": machine(), "rounds": chosen.rounds, "scale": chosen.scale, "date": time.strftime("%Y-%m-%d"), "cases": []}
    wanted = [what for what in cases() if not chosen.only or what["group"] in chosen.only.split(",")]
    group = None
    try:
        for what in wanted:
            if group != what["group"] and group in ("workers", "working set", None):
                servers.drop("tokenkeepd")
            group = what["group"]
            what["results"] = run_case(servers, what, chosen.rounds, chosen.scale)
            results["cases"].append(what)
            line = ", ".join(f"{name} {result['cpu']:.2f} us {result['rate']:.0f}/s" for name, result in what["results"].items())
            print(f"{what['group']}: {what['name']}: {line}", flush=True)
        results["memory"] = {"tokens": {size: memory_of_tokens(servers, size) for size in (200, 400, 1000, 4000)},
                             "connection": memory_of_connections(servers)}
        with open(chosen.results, "w") as file:
            json.dump(results, file, indent=1)
    finally:
        servers.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
