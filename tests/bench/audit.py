#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the audit log costs: the same load on a server with it and on one without, in turns, so that the ratio holds
however noisy the machine is. Says requests a second, CPU time of worker and reporter a request, and what was lost.

    TOKENKEEPD=.../tokenkeepd tests/bench/audit.py [REQUESTS] [ROUNDS]

redis-benchmark makes the load: 50 connections, pipelined by 16, through RESP."""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

from daemon import Daemon  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from sealed import new_key  # noqa: E402

SECRET = "S" * 22
JSON = ('{"token":{"key":"benchmark-__rand_int__","secret":"%s"},"username":"alice","token_type":"user",'
        '"scopes":["exec:admin","read:all","user:token"],"expires":4000000000}' % SECRET)
LOADS = {
    "STORE": ["STORE", JSON],
    "DELETE": ["DELETE", "benchmark-__rand_int__"],
    "GET, cached": ["GET", "gt-benchmark-000000000001." + SECRET],
}
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """Seconds of CPU time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def load(daemon, command, requests):
    """Runs it; returns requests a second, and microseconds of CPU a request of worker and reporter."""
    worker, reporter = daemon.workers()[0], daemon.reporter()
    before = cpu(worker), cpu(reporter) if reporter else 0
    result = subprocess.run(["redis-benchmark", "-h", daemon.manage_tcp[0], "-p", str(daemon.manage_tcp[1]), "-c", "50", "-P", "16",
                             "-r", "100000", "-n", str(requests), "--csv", *command],
                            check=True, capture_output=True, text=True)
    rate = float(result.stdout.strip().splitlines()[-1].rsplit('","', 7)[1])
    after = cpu(worker), cpu(reporter) if reporter else 0
    return rate, *((b - a) / requests * 1e6 for a, b in zip(before, after))


def store_one(daemon):
    """Stores the token that LOADS looks up."""
    answer = daemon.ask("STORE " + JSON.replace("__rand_int__", "000000000001"))
    assert answer.last == "OK", answer


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 200000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    folder = tempfile.mkdtemp(prefix="tk-")
    redis, daemons, keys = None, [], [new_key()]
    try:
        os.mkdir(folder + "/redis")
        redis = RedisServer(folder + "/redis")
        for name in ("off", "on"):
            os.mkdir(f"{folder}/{name}")
            hooks = {} if name == "off" else {"audit": {"file": folder + "/audit.log"}, "hooks": {"audit.lua": {}}}
            daemons.append(Daemon(f"{folder}/{name}", redis, workers=1, keys=keys, cache={"ttl": 3600}, **hooks))
            daemons[-1].start()
        for name, command in LOADS.items():
            store_one(daemons[0])
            results = [[], []]
            for round in range(rounds):
                for which in (0, 1) if round % 2 == 0 else (1, 0):
                    results[which].append(load(daemons[which], command, requests))
            off, on = ([statistics.median(column) for column in zip(*result)] for result in results)
            print(f"{name}: off {off[0]:.0f}/s, worker {off[1]:.2f} us; on {on[0]:.0f}/s, worker {on[1]:.2f} us, "
                  f"reporter {on[2]:.2f} us; ratio of worker time {on[1] / off[1]:.3f}, of rate {on[0] / off[0]:.3f}")
        stats = daemons[1].stats()
        print(", ".join(f"{name} {stats[name]}" for name in ("events-sent", "events-dropped", "events-lost")))
        for daemon in daemons:
            daemon.stop()
    finally:
        for daemon in daemons:
            daemon.kill()
        if redis:
            redis.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
