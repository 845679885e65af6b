# SPDX-License-Identifier: MIT
"""Redis goes away and comes back: every worker answers again within a second, however long it was away. TOKENKEEP_RECOVERIES
asks for more rounds than the suite does, TOKENKEEP_AWAY for longer ones (seconds); -s shows the figures."""
import os
import random
import threading
import time

import pytest
import redis

from test_coherence import NO
from tokens import TOKEN
from waiting import SLOWNESS, until

ROUNDS = int(os.environ.get("TOKENKEEP_RECOVERIES", "2"))
AWAY = float(os.environ.get("TOKENKEEP_AWAY", "1.5"))  # seconds, after which the time between attempts grows no more
LATEST = 1.0


class Asker(threading.Thread):
    """Asks one worker without a pause until it is answered; `answered` is when."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.answered, self.stopped = client, None, False

    def run(self):
        while not self.stopped and self.answered is None:
            if self.client.ask("GET " + TOKEN, 30).last == NO:
                self.answered = time.monotonic()
            else:
                time.sleep(0.002)


def clients_of_all_workers(daemon):
    """Enough that each has one: who serves a connection is not said, and the workers share them evenly."""
    clients = [daemon.connect(timeout=60) for _ in range(8 * daemon.workers_wanted)]
    for client in clients:
        assert client.ask("PING").last == "OK"
    return clients


def is_stopped(server):
    """In its tracks."""
    server.stop()
    yield
    back = time.monotonic()
    server.cont()
    yield back


def is_killed(server):
    """With its connections; new ones are refused meanwhile. It is back when it answers others."""
    server.kill()
    yield
    thread = threading.Thread(target=server.start)
    thread.start()
    while True:
        back = time.monotonic()
        try:
            server.client().ping()
            break
        except redis.exceptions.ConnectionError:
            time.sleep(0.001)
    thread.join()
    yield back


def is_cut_off(proxy):
    """Nothing passes and nothing closes."""
    proxy.freeze()
    yield
    back = time.monotonic()
    proxy.thaw()
    yield back


def refuses(proxy):
    proxy.refuse()
    proxy.cut()
    yield
    back = time.monotonic()
    proxy.listen()
    yield back


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("away", [is_stopped, is_killed])
def test_redis_comes_back(start_daemon, start_redis, away, tcp):
    server = start_redis(appendonly=True)
    measure(start_daemon(server.tcp_url if tcp else server), away, server)


@pytest.mark.parametrize("away", [is_cut_off, refuses])
def test_the_way_to_redis_comes_back(start_daemon, start_proxy, away):
    proxy = start_proxy()
    measure(start_daemon(proxy), away, proxy)


def measure(daemon, away, what):
    times, clients = [], clients_of_all_workers(daemon)
    for _ in range(ROUNDS):
        until(lambda: all(client.ask("GET " + TOKEN).last == NO for client in clients), 20, "Redis")
        outage = away(what)
        next(outage)
        until(lambda: all(client.ask("GET " + TOKEN).code == "ERR unavail" for client in clients), 20, "the outage to be noticed")
        time.sleep(AWAY * random.uniform(0.5, 1.5))
        askers = [Asker(client) for client in clients]
        for asker in askers:
            asker.start()
        time.sleep(random.uniform(0, 1))
        assert not any(asker.answered for asker in askers)
        back = next(outage)
        for asker in askers:
            asker.join(30)
        times += [asker.answered - back for asker in askers]
    times.sort()
    print(f"{away.__name__}: {ROUNDS} times, answered again after {times[len(times) // 2]:.3f} s in the median, {times[-1]:.3f} s at the latest")
    assert times[-1] < LATEST * SLOWNESS
