# SPDX-License-Identifier: MIT
"""audit { mode = required }: a change is answered once its record is on the disk, and refused while that cannot be."""
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from client import Closed
from hooks import hook_file, json_lines, recorder
from tokens import data, key_of, part, to_json, token
from waiting import until

REQUIRED = {"mode": "required"}
REFUSED = "ERR audit the audit log cannot be written, so nothing was changed; the log says why"
DOUBTFUL = "ERR audit the change was made, but its record may not be in the audit log"


def store(text):
    return "STORE " + to_json(data(text))


def recorded(daemon, event="token.store"):
    return {record["key"] for record in json_lines(daemon.audit_options["file"])
            if record["event"] == event and record["result"] == "ok"}


def is_stored(daemon, text):
    """By another worker's cache or Redis: a look-up never waits for the audit log."""
    return daemon.ask("GET " + text, "verify").cls == "OK"


def test_answered_once_recorded(start_daemon, start_redis):
    """Nothing has to be waited for: the record is there when the answer is."""
    daemon = start_daemon(start_redis(), audit=REQUIRED)
    with daemon.connect() as client:
        for _ in range(50):
            text = token()
            assert client.ask(store(text)).last == "OK"
            assert key_of(text) in recorded(daemon)
        issued = client.ask('ISSUE {"username":"alice","token_type":"user","scopes":[]}').text
        assert key_of(issued) in recorded(daemon, "token.issue")
        assert client.ask("DELETE " + key_of(issued)).last == "OK"
        assert key_of(issued) in recorded(daemon, "token.delete")
        assert client.ask("DELETE " + key_of(issued)).last == "NO invalid"
        assert client.ask("DELETEALL").last == "OK 50"
        assert json_lines(daemon.audit_options["file"])[-1]["event"] == "token.delete_all"


def test_answers_keep_their_order(start_daemon, start_redis):
    """What is pipelined behind a change waits for it, and sees it; what is tagged overtakes."""
    daemon = start_daemon(start_redis(), audit=REQUIRED, workers=1)
    text = token()
    with daemon.connect() as client:
        client.send(f"{store(text)}\nGET {text}\n#p PING\nDELETE {key_of(text)}\nGET {text}\n")
        answers = [client.answer() for _ in range(5)]
    assert [answer.tag for answer in answers].count("#p") == 1
    assert [answer.cls for answer in answers if answer.tag is None] == ["OK", "OK", "OK", "NO"]


def test_many_at_once_share_the_disk(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit=REQUIRED)
    texts = [token() for _ in range(2000)]
    with daemon.connect() as client:
        client.send("".join(f"#{i} {store(text)}\n" for i, text in enumerate(texts[:200])))
        assert {client.answer().last for _ in range(200)} == {"OK"}
        client.send("".join(store(text) + "\n" for text in texts[200:]))
        assert {client.answer().last for _ in range(1800)} == {"OK"}
    assert recorded(daemon) >= {key_of(text) for text in texts}


def test_a_stopped_reporter(start_daemon, start_redis):
    """The changes under way are left in doubt after five seconds, look-ups do not notice, and all goes on after that."""
    daemon = start_daemon(start_redis(), audit=REQUIRED)
    known, text = token(), token()
    assert daemon.ask(store(known)).last == "OK"
    os.kill(daemon.reporter(), signal.SIGSTOP)
    try:
        with daemon.connect() as client:
            began = time.monotonic()
            client.send(store(text) + "\n")
            client.expect_silence(1)
            assert is_stored(daemon, known)
            assert time.monotonic() - began < 4
            assert client.answer().last == DOUBTFUL
            assert 4.5 < time.monotonic() - began
    finally:
        os.kill(daemon.reporter(), signal.SIGCONT)
    assert is_stored(daemon, text)
    until(lambda: key_of(text) in recorded(daemon), 10, "the record that came late")
    assert daemon.ask(store(token())).last == "OK"
    assert daemon.stats()["err-audit"] == 1


def test_killed_reporters_lose_no_record(start_daemon, start_redis):
    """Whatever was answered OK is in the audit log, however often the reporter is killed."""
    daemon = start_daemon(start_redis(), audit=REQUIRED)
    answered, other, failures, ending = set(), set(), [], threading.Event()

    def run():
        try:
            with daemon.connect() as client:
                while not ending.is_set():
                    texts = [token() for _ in range(10)]
                    client.send("".join(store(text) + "\n" for text in texts))
                    for text in texts:
                        answer = client.answer()
                        if answer.last == "OK":
                            answered.add(key_of(text))
                        else:
                            other.add(answer.last)
        except (Closed, OSError, AssertionError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        time.sleep(1.2)  # each lives for a second, so that the next starts at once
        pid = daemon.reporter()
        os.kill(pid, signal.SIGKILL)
        until(lambda: daemon.reporter() not in (None, pid), 20, "another reporter")
    time.sleep(1)
    ending.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert other <= {REFUSED, DOUBTFUL}
    assert len(answered) > 100
    assert answered <= recorded(daemon)


def test_a_reload_refuses_nothing(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit=REQUIRED)
    ending, seen = threading.Event(), []

    def run():
        while not ending.is_set():
            text = token()
            seen.append((key_of(text), daemon.ask(store(text)).last))

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(3):
        time.sleep(0.3)
        daemon.reload()
    ending.set()
    thread.join()
    assert {last for _, last in seen} == {"OK"} and len(seen) > 20
    assert {key for key, _ in seen} <= recorded(daemon)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare") or
                    subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
                    reason="needs root, to mount a disk")
def test_a_full_disk(start_daemon, start_redis, folder):
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    mount = 'mount -t tmpfs -o size=64k tokenkeep "$0" && exec "$@"'
    daemon = start_daemon(start_redis(), audit={**REQUIRED, "file": os.path.join(disk, "audit.log")},
                          wrapper=("unshare", "-m", "sh", "-c", mount, disk))
    daemon.audit_options["file"] = path = f"/proc/{daemon.pid}/root{disk}/audit.log"
    ballast = os.path.join(os.path.dirname(path), "ballast")
    assert daemon.ask(store(token())).last == "OK"
    with open(ballast, "wb") as file:
        file.write(bytes(60 * 1024))
    for _ in range(100):
        doubtful = token()
        last = daemon.ask(store(doubtful)).last
        if last != "OK":
            break
        assert key_of(doubtful) in recorded(daemon)
    assert last == DOUBTFUL
    assert is_stored(daemon, doubtful)
    refused = token()
    for request in (store(refused), "DELETE " + key_of(doubtful), "DELETEALL", "VERIFYALL FIX", "REKEY"):
        assert daemon.ask(request).last == REFUSED
    assert not is_stored(daemon, refused) and is_stored(daemon, doubtful)
    assert daemon.ask("VERIFYALL").cls == "OK" and daemon.ask("LIST").cls == "OK"
    os.unlink(ballast)
    until(lambda: daemon.ask(store(refused)).last == "OK", 10, "changes to be permitted again")
    assert {key_of(refused), key_of(doubtful)} <= recorded(daemon)


def test_a_reporter_that_knows_of_no_audit_log(start_daemon, start_redis, folder):
    """The reporter of the configuration before may still take what the workers of this one tell."""
    path, settings, into = recorder(folder)
    daemon = start_daemon(start_redis(), hooks={path: settings}, workers=1)
    former, waited = daemon.reporter(), 0
    for _ in range(10):
        os.kill(former, signal.SIGSTOP)
        text = token()
        try:
            daemon.audit_options = {**REQUIRED, "file": os.path.join(folder, "audit.log")}
            daemon.hooks = {path: settings, "audit.lua": {}}
            daemon.write_config()
            daemon.reload()
            client = daemon.connect()
            client.send(store(text) + "\n")
            try:
                client.expect_silence(0.3)
                waited += 1
            except AssertionError:
                client.close()  # a worker of the configuration before was still there to take it
                client = None
        finally:
            os.kill(former, signal.SIGCONT)
        if client:
            with client:
                last = client.answer().last
            assert last == DOUBTFUL or last == "OK" and key_of(text) in recorded(daemon)
        until(lambda: former not in daemon.reporters(), 20, "the end of the former reporter")
        daemon.audit_options, daemon.hooks = {}, {path: settings}
        daemon.write_config()
        former = daemon.reporter()
        daemon.reload()
        until(lambda: daemon.reporters() != [former] and len(daemon.reporters()) == 1, 20, "the reporter without")
        former = daemon.reporter()
    assert waited >= 3


# Writes deletions down, but for the first of them: the file is closed meanwhile.
GAP = """
local file, path, heard = nil, nil, 0
return {
    start = function(settings)
        path = settings.audit.file
        file = assert(keep.file.open(path))
    end,
    event = function(event)
        heard = heard + (event.event == "token.delete" and 1 or 0)
        if heard == 1 then
            file:close()
        elseif heard == 1500 then
            file = assert(keep.file.open(path))
        end
        if heard >= 1500 then
            assert(file:append(keep.json.encode(event)))
        end
    end,
}
"""


def test_a_repair_waits_for_every_record(start_daemon, start_redis, folder):
    """VERIFYALL FIX has as many records as it deletes values; that the last is on the disk is not enough."""
    redis = start_redis()
    daemon = start_daemon(redis, audit=REQUIRED, workers=1, hooks={hook_file(folder, "gap.lua", GAP): {}})
    redis.client().mset({"token:" + part(): "unreadable" for _ in range(3000)})
    assert daemon.ask("VERIFYALL FIX").last == DOUBTFUL
    assert recorded(daemon, "token.delete")
    redis.client().mset({"token:" + part(): "unreadable" for _ in range(3000)})
    assert daemon.ask("VERIFYALL FIX").last == "OK 3000 3000"


def test_a_worker_ends_while_a_repair_waits(start_daemon, start_redis):
    """Its client has gone, and what it found is let go of."""
    redis = start_redis()
    daemon = start_daemon(redis, audit=REQUIRED, workers=1)
    redis.client().set("token:" + part(), "unreadable")
    reporter, worker = daemon.reporter(), daemon.workers()[0]
    daemon.steady = None
    os.kill(reporter, signal.SIGSTOP)
    try:
        client = daemon.connect()
        client.send("VERIFYALL FIX\n")
        client.expect_silence(0.5)
        client.reset()
        os.kill(worker, signal.SIGTERM)
        until(lambda: worker not in daemon.workers(), 20, "the end of the worker")
    finally:
        os.kill(reporter, signal.SIGCONT)
    daemon.wait_log(f"worker 1 (pid {worker}) ended with status 0")


def test_in_resp(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit=REQUIRED)
    hook = os.path.join(daemon.folder, "audit.log")
    os.unlink(hook)
    os.mkdir(hook)  # the file cannot be made anew there
    until(lambda: daemon.ask(store(token())).cls == "ERR", 10, "a change to be refused")
    with daemon.connect() as client:
        client.send(b"*2\r\n$6\r\nDELETE\r\n$22\r\n" + key_of(token()).encode() + b"\r\n")
        assert client.read_line().rstrip(b"\r").decode() == "-" + REFUSED
