# SPDX-License-Identifier: MIT
"""A change whose answer never came stays on its way, held back before Redis, while its worker has no way to Redis or is dead.
Whatever worker changes something next ends it first: what was held cannot undo it."""
import os
import signal
import time

import pytest

from client import Closed
from test_coherence import NO, lines, start_case  # noqa: F401 (a fixture)

QUICK = {"command-timeout": 0.5, "connect-timeout": 0.5}
SLOW = {"command-timeout": 20, "connect-timeout": 20}


@pytest.fixture
def cut(start_case):  # noqa: F811
    """cut(command, line) -> (case, hold): such a command, for that line, is held on client a's worker's connection, and nobody
    can make another connection."""
    def make(name, line, stored=False, redis_options=QUICK, **settings):
        case = start_case(redis_options=redis_options, **settings)
        if stored:
            case.store(case.b)
        held = case.proxy.hold_request(name, case.key, case.a.worker)
        case.proxy.refuse()
        case.a.send(lines(line(case)))
        held.wait()
        return case, held

    return make


def store(case):
    return case.store_line()


def delete(case):
    return "DELETE " + case.key


def told_uncertain(case):
    answer = case.a.answer()
    assert answer.code == "ERR unavail" and "uncertain" in answer.text


def release(held):
    held.release()
    time.sleep(0.2)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("line", [delete, lambda case: "DELETEALL"], ids=["DELETE", "DELETEALL"])
def test_a_lost_store_never_undoes_another_workers_delete(cut, line, stored):
    case, held = cut("SET", store, stored)
    told_uncertain(case)
    assert case.b.ask(line(case)).cls in ("OK", "NO")
    release(held)
    assert case.get(case.b) == NO


def test_a_lost_delete_never_undoes_another_workers_store(cut):
    case, held = cut("UNLINK", delete, stored=True)
    told_uncertain(case)
    case.store(case.b)
    release(held)
    assert case.get(case.b) == "OK"


@pytest.mark.parametrize("attempt", range(5))
def test_what_a_killed_worker_had_sent_never_undoes_another_workers_delete(cut, attempt):
    """A client that sees its connection close asks another worker at once, before the master can know of the death."""
    case, held = cut("SET", store, redis_options=SLOW)
    case.daemon.steady = None
    os.kill(case.a.worker, signal.SIGKILL)
    with pytest.raises(Closed):
        case.a.answer()
    assert case.b.ask("DELETE " + case.key).last == NO
    release(held)
    assert case.get(case.b) == NO


def test_one_worker_ends_it_once_and_reads_do_not(cut):
    case, held = cut("SET", store, stored=True, workers=3)
    told_uncertain(case)

    def ended():
        return case.proxy.seen("CLIENT", "KILL")

    before = ended()
    assert case.get(case.b) == "OK"
    assert case.get(case.c) == "OK"
    assert ended() == before
    for client in (case.b, case.c, case.b):
        client.ask("DELETE " + case.key)
        assert ended() == before + 1
    release(held)
    assert case.get(case.b) == NO and case.get(case.c) == NO
