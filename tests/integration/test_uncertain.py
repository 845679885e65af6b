# SPDX-License-Identifier: MIT
"""A change whose answer never came, before Redis or in the socket of a Redis that is stopped, while its worker gives up, is
killed or replaced, or loses its connection. It may still be made, but not any more once a later change is acknowledged, by
whichever worker: then it is let go, and undoes nothing."""
import os
import signal

import pytest

from client import Closed
from test_coherence import LONG, NO
from tokens import data, key_of, to_json, token
from waiting import until

PATIENT = {"command-timeout": 20, "connect-timeout": 20}
QUICK = {"command-timeout": 1, "connect-timeout": 0.5}


class Round:
    """A token and a user of its own, and the changes of both."""

    def __init__(self, case, number):
        self.case, self.token, self.user = case, token(), f"user{number}"
        self.key = key_of(self.token)

    def line(self, change):
        return {"STORE": "STORE " + to_json(data(self.token, username=self.user)), "DELETE": "DELETE " + self.key,
                "DELETEALL": "DELETEALL", "DELETE USER": "DELETE USER " + self.user}[change]

    def is_there(self, client):
        answer = client.ask("GET " + self.token)
        assert answer.cls == "OK" or answer.last == NO, answer
        return answer.cls == "OK"

    def change(self, client, change):
        """Asks until it is acknowledged."""
        until(lambda: client.ask(self.line(change)).cls in ("OK", "NO"), 20, change)


# The last command of each change, which makes it.
COMMANDS = {"STORE": "SET", "DELETE": "UNLINK", "DELETEALL": "UNLINK", "DELETE USER": "EVAL"}
ROUNDS = [("STORE", "DELETE"), ("STORE", "DELETEALL"), ("STORE", "DELETE USER"), ("DELETE", "STORE"), ("DELETEALL", "STORE"),
          ("DELETE USER", "STORE")]


class Case:
    def __init__(self, daemon, proxy):
        self.daemon, self.proxy, self.redis = daemon, proxy, proxy.server
        daemon.steady = None

    def client_on(self, worker):
        """A client there, once Redis has been reached by whoever is asked on the way."""
        def attempt():
            try:
                return self.proxy.client_on(self.daemon, worker)
            except (AssertionError, Closed):
                return None
        return until(attempt, 20, f"a client on {worker}")

    def workers(self, *gone):
        return until(lambda: len(pids := [pid for pid in self.daemon.workers() if pid not in gone]) == 2 and pids, 20, "two workers")


def told_uncertain(client):
    answer = client.answer()
    assert answer.code == "ERR unavail" and "uncertain" in answer.text, answer


def told_nothing(client):
    with pytest.raises(Closed):
        client.answer()


# What happens to the worker whose change is held. Each returns the pids of who comes after it, and of another.

def gives_up(case, client, other, _held):
    told_uncertain(client)
    return client.worker, other.worker


def loses_its_connection(case, client, other, held):
    held.hang_up()
    told_uncertain(client)
    return client.worker, other.worker


def is_killed(case, client, other, _held):
    os.kill(client.worker, signal.SIGKILL)
    told_nothing(client)
    workers = case.workers(client.worker)
    return next(pid for pid in workers if pid != other.worker), other.worker


def is_replaced(case, client, _other, _held):
    old = case.daemon.workers()
    case.daemon.reload()
    told_uncertain(client)
    return case.workers(*old)


def is_replaced_and_killed(case, client, _other, _held):
    old = case.daemon.workers()
    case.daemon.reload()
    os.kill(client.worker, signal.SIGKILL)
    told_nothing(client)
    return case.workers(*old)


FATES = [(gives_up, QUICK), (loses_its_connection, PATIENT), (is_killed, PATIENT), (is_replaced, QUICK),
         (is_replaced_and_killed, PATIENT)]


@pytest.mark.parametrize("by_another", [False, True], ids=["by who comes after", "by another"])
@pytest.mark.parametrize("place", ["before Redis", "before a stopped Redis", "in a stopped Redis"])
@pytest.mark.parametrize("fate, patience", FATES, ids=[fate.__name__ for fate, _ in FATES])
def test_nothing_later_is_undone(start_daemon, start_proxy, fate, patience, place, by_another):
    if place != "before Redis" and patience is PATIENT:
        patience = QUICK
    proxy = start_proxy()
    case = Case(start_daemon(proxy, workers=2, cache=LONG, redis_options=patience, drain_timeout=20), proxy)
    rounds = ROUNDS if place == "before Redis" else ROUNDS[by_another::2]  # the others take their time
    for number, (change, later) in enumerate(rounds):
        play(case, Round(case, number), fate, place, by_another, change, later)


def play(case, round_, fate, place, by_another, change, later):
    first, second = case.workers()
    client, other = case.client_on(first), case.client_on(second)
    if later == "STORE":
        round_.change(other, "STORE")
    assert round_.is_there(client) == round_.is_there(other) == (later == "STORE")
    held = case.proxy.hold_request(COMMANDS[change], round_.key, first)
    client.send(round_.line(change) + "\n")
    held.wait()
    if place != "before Redis":
        case.redis.stop()
    if place == "in a stopped Redis":
        held.release()
    workers = fate(case, client, other, held)
    if place != "before Redis":
        case.redis.cont()
    clients = [case.client_on(worker) for worker in workers]
    round_.change(clients[by_another], later)
    for _ in range(2):
        assert all(round_.is_there(client) == (later == "STORE") for client in clients), f"{change}, {later}: a stale answer"
        held.let_go()
    assert all(round_.is_there(client) == (later == "STORE") for client in clients), f"{later} was undone by {change}"
