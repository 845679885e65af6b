# SPDX-License-Identifier: MIT
"""The audit log and its file: the format of a line, moved, deleted and torn files, a full disk; and the daily summary,
the example of an operator's own hook."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from client import Client
from daemon import run
from hooks import heard, hook_file, json_lines, recorder
from planter import Planter
from receiver import Receiver
from tokens import data, key_of, to_json, token
from waiting import SLOWNESS, until

LUA = os.path.join(os.path.dirname(__file__), "..", "..", "lua")
WAITING_MAX = 4 * 1024 * 1024  # bytes of records that wait for room on the disk
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def issue(daemon, count=1, **fields):
    """Issues tokens, many at a time; returns their keys in order."""
    text = to_json(data(token=..., **fields)).encode()
    keys = []
    with daemon.connect() as client:
        while len(keys) < count:
            batch = min(100, count - len(keys))
            client.send(b"".join(b"ISSUE " + text + b"\n" for _ in range(batch)))
            keys += [key_of(answer.text) for answer in client.answers(batch)]
    return keys


def issued(records):
    return [record["key"] for record in records if record["event"] == "token.issue"]


def wait_issued(daemon, keys, path=None):
    """Waits until the file has a record of each; returns its records. No key is in it twice."""
    path = path or daemon.audit_options["file"]
    until(lambda: set(keys) <= set(issued(json_lines(path))), 20, f"{len(keys)} records in {os.path.basename(path)}")
    records = json_lines(path)
    assert len(issued(records)) == len(set(issued(records)))
    return records


def problems(into, kind):
    return [problem for problem in heard(into, "problem") if problem["kind"] == kind]


# The format


def test_each_line_is_one_object(redis_server, start_daemon):
    daemon = start_daemon(redis_server, audit={"reads": True})
    text = daemon.ask("ISSUE " + to_json(data(token=..., username="ann", expires=4102444800,
                                              scopes=["write:b", "read:all"]))).text
    for request in ("GET " + text, "GET gt-nonsense", f"GET gt-{key_of(text)}.{'x' * 22}", "#tag-1 DELETE " + key_of(text), "LIST"):
        daemon.ask(request)
    daemon.ask("LIST", role="verify")
    daemon.wait_record(event="request.denied")
    daemon.stop()

    with open(daemon.audit_options["file"], "rb") as file:
        raw = file.read()
    assert raw.endswith(b"\n")
    lines = raw.decode("utf-8")[:-1].split("\n")
    records = [json.loads(line) for line in lines]
    for line, record in zip(lines, records):
        assert line == json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert all(type(value) in (str, int) for value in record.values()), line
        assert TIME.fullmatch(record["time"]), line
        assert {"event", "time", "result"} <= record.keys(), line
    assert records[0]["event"] == "server.start"
    assert records[-1]["event"] == "server.stop"
    assert raw.count(text.split(".")[1].encode()) == 0  # the secret

    [record] = [record for record in records if record["event"] == "token.issue"]
    assert record["key"] == key_of(text)
    assert (record["username"], record["expires"], record["scopes"]) == ("ann", 4102444800, "read:all write:b")
    [record] = [record for record in records if record["event"] == "token.delete"]
    assert (record["tag"], record["command"], record["result"]) == ("tag-1", "DELETE", "ok")


def test_mode_does_not_depend_on_the_umask(redis_server, start_daemon):
    for umask, expected in (("000", 0o640), ("077", 0o640)):
        daemon = start_daemon(redis_server, audit={}, wrapper=("sh", "-c", f'umask {umask}; exec "$@"', "sh"))
        wait_issued(daemon, issue(daemon))
        assert os.stat(daemon.audit_options["file"]).st_mode & 0o7777 == expected


def test_mode_of_a_file_that_is_there_stays(redis_server, start_daemon, folder):
    path = os.path.join(folder, "audit.log")
    with open(path, "w"):
        os.chmod(path, 0o600)
    daemon = start_daemon(redis_server, audit={"file": path})
    wait_issued(daemon, issue(daemon))
    assert os.stat(path).st_mode & 0o7777 == 0o600


# The file moves, goes, is torn, cannot be had


def test_moved_file(redis_server, start_daemon):
    daemon = start_daemon(redis_server, audit={})
    path, keys = daemon.audit_options["file"], []
    for number in range(3):
        before = issue(daemon, 20)
        wait_issued(daemon, before)
        os.rename(path, f"{path}.{number}")
        keys += before + issue(daemon, 20)  # these may be in either file
        until(lambda: os.path.exists(path), 20, "a new file")
        assert os.stat(path).st_mode & 0o7777 == 0o640
        after = issue(daemon, 20)
        wait_issued(daemon, after)
        keys += after
    found = [key for name in ("", ".0", ".1", ".2") for key in issued(json_lines(path + name))]
    assert sorted(found) == sorted(keys)


def test_deleted_file(redis_server, start_daemon):
    daemon = start_daemon(redis_server, audit={})
    path = daemon.audit_options["file"]
    wait_issued(daemon, issue(daemon))
    os.unlink(path)
    until(lambda: os.path.exists(path), 20, "a new file")
    keys = issue(daemon, 20)
    assert issued(wait_issued(daemon, keys)) == keys


def test_sigusr1_reopens_at_once(redis_server, start_daemon):
    """The path is looked at once a second, and after a reopening not for the next: without the signal, 6 rotations in a
    row take 5 seconds."""
    daemon = start_daemon(redis_server, audit={})
    path, begin = daemon.audit_options["file"], time.monotonic()
    wait_issued(daemon, issue(daemon))
    for number in range(6):
        os.rename(path, f"{path}.{number}")
        daemon.signal(signal.SIGUSR1)
        until(lambda: os.path.exists(path), 20, "a new file")
    assert time.monotonic() - begin < 4 * SLOWNESS
    keys = issue(daemon, 20)
    assert issued(wait_issued(daemon, keys)) == keys


@pytest.mark.parametrize("torn", ['{"event":"token.iss', "\x00" * 100, '{"event":"token.store"}\n{'], ids=["half", "zeros", "more"])
def test_torn_last_line(redis_server, start_daemon, folder, torn):
    """What a crash left behind stays as it is, and the next record begins on a line of its own."""
    path = os.path.join(folder, "audit.log")
    with open(path, "w") as file:
        file.write(torn)
    daemon = start_daemon(redis_server, audit={"file": path})
    [key] = issue(daemon)
    until(lambda: key.encode() in open(path, "rb").read(), 20, "the record")
    daemon.stop()
    with open(path) as file:
        text = file.read()
    assert text.startswith(torn + "\n")
    records = [json.loads(line) for line in text[len(torn) + 1:].split("\n")[:-1]]
    assert records[0]["event"] == "server.start" and issued(records) == [key]


def test_restart_appends(redis_server, start_daemon, folder):
    path, keys = os.path.join(folder, "audit.log"), []
    for _ in range(3):
        daemon = start_daemon(redis_server, audit={"file": path})
        keys += issue(daemon, 5)
        daemon.stop()
    records = json_lines(path)
    assert issued(records) == keys
    assert [record["event"] for record in records if record["event"].startswith("server.")] == ["server.start", "server.stop"] * 3


def test_folder_that_is_missing_at_first(redis_server, start_daemon, folder):
    path = os.path.join(folder, "missing", "audit.log")
    daemon = start_daemon(redis_server, audit={"file": path})
    daemon.wait_log("cannot open the audit log")
    issue(daemon)
    os.mkdir(os.path.dirname(path))
    until(lambda: os.path.exists(path), 20, "the hook to start again")
    keys = issue(daemon, 5)
    assert issued(wait_issued(daemon, keys)) == keys


def test_copy_without_a_file_says_what_to_write(redis_server, start_daemon, folder):
    """Of the installed hook the configuration says it."""
    with open(os.path.join(LUA, "audit.lua")) as file:
        copy = hook_file(folder, "copy.lua", file.read())
    daemon = start_daemon(redis_server, hooks={copy: {}})
    daemon.wait_log('hook copy.lua: does not start; it is started again in 1 s: which file is the audit log? audit { file = "..." }')


# The disk is full


def in_namespace(daemon, *command):
    subprocess.run(["nsenter", "-m", "-t", str(daemon.pid), *command], check=True)


@pytest.fixture
def small_disk(redis_server, start_daemon, folder):
    """small_disk(size) -> a daemon whose audit log is on a tmpfs of that size, and where problems are written. Only the
    daemon sees that disk. It has one worker, so that records keep the order of the requests."""
    tried = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    if not tried:
        pytest.skip("needs root, to mount a disk")

    def start(size):
        disk = os.path.join(folder, "disk")
        os.mkdir(disk)
        hook, settings, into = recorder(folder, only="problem")
        mount = f'mount -t tmpfs -o size={size} tokenkeep "$0" && exec "$@"'
        daemon = start_daemon(redis_server, workers=1, audit={"file": os.path.join(disk, "audit.log")},
                              hooks={"audit.lua": {}, hook: settings}, wrapper=("unshare", "-m", "sh", "-c", mount, disk))
        assert not os.listdir(disk)
        daemon.audit_options["file"] = f"/proc/{daemon.pid}/root{disk}/audit.log"
        return daemon, into

    return start


def test_full_disk(small_disk):
    daemon, into = small_disk("64k")
    path = daemon.audit_options["file"]
    ballast = os.path.join(os.path.dirname(path), "ballast")
    with open(ballast, "wb") as file:
        file.write(bytes(48 * 1024))
    keys = issue(daemon, 100)
    begin = until(lambda: problems(into, "audit.file"), 20, "the problem")
    assert len(begin) == 1 and begin[0]["phase"] == "begin" and "space" in begin[0]["error"], begin
    keys += issue(daemon, 20)
    time.sleep(2.5)  # ticks that must not say it again
    assert os.stat(path).st_size == 16 * 1024
    assert len(problems(into, "audit.file")) == 1

    os.unlink(ballast)
    assert issued(wait_issued(daemon, keys)) == keys
    until(lambda: len(problems(into, "audit.file")) > 1, 20, "the end of the problem")
    [_, end] = problems(into, "audit.file")
    assert end["phase"] == "end" and 2 < end["seconds"] < 60 * SLOWNESS, end
    time.sleep(2.5)
    assert len(problems(into, "audit.file")) == 2
    assert "audit.dropped" not in [record["event"] for record in json_lines(path)]


def test_full_disk_for_long(small_disk):
    """More records than may wait: those that are missing are counted in the file and in the log."""
    daemon, into = small_disk("64k")
    path, size = daemon.audit_options["file"], len(json.dumps(data(token=...)))
    keys, unreadable = issue(daemon, 2 * WAITING_MAX // (size + 150)), token()
    Planter(daemon).plant_bytes(key_of(unreadable), b"junk")
    assert daemon.ask("GET " + unreadable).last == "NO invalid"
    until(lambda: problems(into, "token.corrupt"), 20, "the reporter to have heard all that came before")
    until(lambda: problems(into, "audit.file"), 20, "the problem")
    in_namespace(daemon, "mount", "-o", "remount,size=64m", "none", os.path.dirname(path.split("/root", 1)[1]))
    until(lambda: len(problems(into, "audit.file")) == 2, 20, "the end of the problem")
    last = issue(daemon)
    records = wait_issued(daemon, last)

    at = 0
    for record in records:
        if record["event"] == "token.issue":
            assert record["key"] == (keys + last)[at]
            at += 1
        elif record["event"] == "audit.dropped":
            assert record.keys() == {"event", "count", "time"} and TIME.fullmatch(record["time"])
            assert record["count"] > 0
            at += record["count"]
            daemon.wait_log(f"{record['count']} records are missing from the audit log, the last of {record['time']}")
    assert at == len(keys) + 1 and len(issued(records)) < at


def test_full_disk_to_the_end(small_disk):
    daemon, _ = small_disk("16k")
    issue(daemon, 100)
    daemon.stop()
    assert "the last records are lost, the audit log cannot be written: No space left on device" in daemon.stderr()


# The daily summary


@pytest.fixture
def receiver():
    result = Receiver()
    yield result
    result.close()


def soon(seconds):
    """What o'clock it is in so many seconds: hours UTC, with their fractions."""
    return "%.6f" % ((time.time() + seconds) % 86400 / 3600)


def summary_hook(receiver, **settings):
    return {os.path.join(LUA, "examples", "daily_summary.lua"): {"webhook": receiver.address + "/summary", **settings}}


def test_daily_summary(redis_server, start_daemon, receiver):
    receiver.script("500", "429 1")
    daemon = start_daemon(redis_server, hooks=summary_hook(receiver, hour=soon(8 * SLOWNESS), users="2", retry="0.2"))
    for user, count in (("ann", 3), ("bob", 5), ("carol", 1), ("dan", 2)):
        keys = issue(daemon, count, username=user)
    daemon.ask("DELETE " + keys[0])

    requests = receiver.wait(3, 30 * SLOWNESS)
    time.sleep(2.5)
    assert len(receiver.requests) == 3, "posted again after a success"
    assert {request.path for request in requests} == {"/summary"}
    assert {request.headers["content-type"] for request in requests} == {"application/json"}
    assert requests[0].body == requests[1].body == requests[2].body
    assert 0.15 <= requests[1].time - requests[0].time and 0.95 <= requests[2].time - requests[1].time
    first, *rest = requests[0].json["text"].split("\n")
    assert re.fullmatch(r"tokenkeep: 13 events since \d{4}-\d\d-\d\d \d\d:\d\d UTC", first)
    assert rest[0] == "By kind: token.issue 11, server.start 1, token.delete 1"
    assert rest[1] in ("By user: bob 5, ann 3, others 3", "By user: bob 5, ann 3, others 4")
    assert "again in 0.2 s: status 500" in daemon.stderr() and "again in 1 s: status 429" in daemon.stderr()
    assert receiver.address not in daemon.stderr()


# The example on a clock that is a day ahead with each second.
DAYS = """
local hook, day = require "daily_summary", 0

return {
    start = hook.start,
    event = hook.event,
    tick = function(now)
        day = day + 1
        hook.tick(now + day * 24 * 3600)
    end,
}
"""


def test_daily_summary_of_each_day(redis_server, start_daemon, receiver, folder):
    for name in ("daily_summary.lua", "top_list.lua"):
        shutil.copy(os.path.join(LUA, "examples", name), folder)
    days = hook_file(folder, "days.lua", DAYS)
    daemon = start_daemon(redis_server, hooks={days: {"webhook": receiver.address}})
    issue(daemon, 5, username="ann")
    receiver.forget()
    issue(daemon, 3, username="bob")
    texts = [request.json["text"] for request in receiver.wait(3)]
    assert texts[-1].endswith(" UTC\nBy kind: none\nBy user: none") and ": 0 events since" in texts[-1]
    # A day may end between the records of one batch.
    assert sum(int(count) for text in texts for count in re.findall(r"bob (\d+)", text)) == 3
    assert sum(int(re.search(r": (\d+) events", text)[1]) for text in texts) <= 9


def test_daily_summary_gives_up(redis_server, start_daemon, receiver):
    receiver.close()  # nobody listens
    daemon = start_daemon(redis_server, hooks=summary_hook(receiver, hour=soon(5 * SLOWNESS), retry="0.1"))
    daemon.wait_log("the summary was not posted", 40)
    assert daemon.stderr().count("will be posted again") == 5
    assert receiver.address not in daemon.stderr()


@pytest.mark.parametrize("settings, complaint", [
    ({"hour": "25"}, "hour: give a number from 0 to 24"),
    ({"users": "many"}, "users: give a number from 0 to 100"),
])
def test_daily_summary_says_what_is_wrong(redis_server, start_daemon, receiver, settings, complaint):
    daemon = start_daemon(redis_server, hooks=summary_hook(receiver, **settings))
    daemon.wait_log(complaint)
    assert run("--check", "--config", daemon.config_file).returncode == 0  # it calls no function of a hook


def test_daily_summary_without_webhook(redis_server, start_daemon):
    daemon = start_daemon(redis_server, hooks={os.path.join(LUA, "examples", "daily_summary.lua"): {}})
    daemon.wait_log("where to post to?")
