# SPDX-License-Identifier: MIT
"""The reporter as a process: what it holds, what becomes of it and of the events when it dies, stops, hangs or is
replaced, and that clients notice nothing of all that."""
import base64
import os
import pwd
import re
import signal
import threading
import time

import pytest

from client import Closed
from daemon import process_field, run
from hooks import SLOW_MODULE, hook_file, json_lines, recorder
from receiver import Receiver
from tokens import data, key_of, secret_of, to_json, token
from waiting import SLOWNESS, until

KILLS = int(os.environ.get("TOKENKEEP_KILLS", "15")) // 2
BATCH = 20
DATAGRAM_RECORDS = 400  # more than fit into a datagram
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Load:
    """Clients that store tokens for as long as the block runs. A connection for each batch, so that workers can be
    replaced; none may see an error, or wait for long."""

    def __init__(self, daemon, clients=3, patience=1.0, may_end=False):
        self.daemon, self.patience, self.may_end = daemon, patience, may_end
        self.sent, self.stored, self.slowest = set(), set(), 0.0
        self.failures = []
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures[:3]
        assert self.slowest < self.patience * SLOWNESS, f"a client waited {self.slowest:.2f} s"

    def _run(self):
        try:
            while not self.ending.is_set():
                self._batch([token() for _ in range(BATCH)])
        except (Closed, ConnectionError, FileNotFoundError) as end:
            if not self.may_end:
                self.failures.append(repr(end))
        except Exception as failure:  # pylint: disable=broad-except
            self.failures.append(repr(failure))

    def _batch(self, texts):
        with self.daemon.connect() as client:
            self.note(self.sent, texts)
            began = time.monotonic()
            client.send("".join("STORE " + to_json(data(text)) + "\n" for text in texts))
            for text in texts:
                answer = client.answer()
                assert answer.last == "OK", answer
                self.note(self.stored, [text])
            with self.lock:
                self.slowest = max(self.slowest, time.monotonic() - began)

    def note(self, where, texts):
        with self.lock:
            where.update(key_of(text) for text in texts)

    def wait_for(self, more):
        """Until so many more changes were acknowledged."""
        wanted = len(self.stored) + more
        until(lambda: len(self.stored) >= wanted or self.failures, 60, f"{more} changes")


def audit_log(daemon):
    return os.path.join(daemon.folder, "audit.log")


def audit_keys(daemon, event="token.store"):
    """The keys of the records, each of which stands there once."""
    keys = [record["key"] for record in json_lines(audit_log(daemon)) if record["event"] == event]
    assert len(set(keys)) == len(keys), "a record stands in the audit log twice"
    return set(keys)


def kinds(daemon):
    return [record["event"] for record in json_lines(audit_log(daemon)) if not record["event"].startswith("token.")]


def told_lost(daemon):
    """How many events were lost, by what the log says."""
    return sum(int(n) for n in re.findall(r"error (?:reporter|master)\[\d+\]: (\d+) events? (?:was|were) lost", daemon.stderr()))


def stop(daemon):
    daemon.steady = None
    daemon.stop()


def other_reporter(daemon, former):
    return until(lambda: daemon.reporter() if daemon.reporter() != former else None, 20, "another reporter")


def wait_idle(pid):
    """Until a reporter waits for more: what it has written counts as done then."""
    until(lambda: process_field(pid, "State").startswith("S"), 10, "the reporter to have nothing to do", pause=0.001)


def links(pid):
    """What the descriptors of a process are, by number."""
    result = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            result[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:  # closed meanwhile
            pass
    return result


def listening_inodes():
    """The inodes of all sockets that listen."""
    inodes = set()
    for name, state, column in (("tcp", "0A", 9), ("tcp6", "0A", 9), ("unix", "01", 6)):
        with open(f"/proc/net/{name}") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                listens = fields[3] == state if name != "unix" else fields[3] == "00010000"
                if listens:
                    inodes.add(fields[column])
    return inodes


# What it is

def test_what_it_holds(start_daemon, start_redis):
    """No keyring, no listener, no client's connection, none to Redis; the workers hold the way to it."""
    daemon = start_daemon(start_redis(), audit={})
    pid = daemon.reporter()
    with daemon.connect() as client:
        assert client.ask("STORE " + to_json(data())).last == "OK"
        until(lambda: audit_keys(daemon), 10, "the record")
        held = links(pid)
        assert held[0] == "/dev/null"
        files = [link for fd, link in held.items() if fd > 2 and link.startswith("/")]
        assert files == [audit_log(daemon)]
        listening = listening_inodes()
        worker_sockets = {link[8:-1] for link in links(daemon.workers()[0]).values() if link.startswith("socket:")}
        assert worker_sockets & listening, "a worker holds listeners, or this test cannot see them"
        mine = {link[8:-1] for link in held.values() if link.startswith("socket:")}
        assert not mine & listening
        assert not mine & {link[8:-1] for pid in daemon.workers() for link in links(pid).values()}
    assert process_field(pid, "NoNewPrivs") == "1"
    assert process_field(pid, "Name") == "tk-reporter"
    assert [process_field(worker, "Name") for worker in daemon.workers()] == ["tk-worker-1", "tk-worker-2"]


def memory_holds(pid, words):
    """Which of the byte strings are in the memory of a process."""
    found = set()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, permissions = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if "r" not in permissions or end - start > 1 << 28:
                continue
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            found |= {word for word in words if word in content}
    return found


@as_root
def test_no_secret_is_in_its_memory(start_daemon, start_redis, folder):
    password, path, text = "the-redis-password-of-this-test", os.path.join(folder, "password"), token()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(password)
    daemon = start_daemon(start_redis(password=password), audit={}, redis_options={"password-file": path})
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    until(lambda: key_of(text) in audit_keys(daemon), 10, "the record")
    words = {daemon.keys[0], base64.b64encode(daemon.keys[0]), password.encode(), secret_of(text).encode()}
    try:
        holder = set().union(*(memory_holds(pid, words) for pid in daemon.workers()))
    except PermissionError:
        pytest.skip("memory of other processes cannot be read here")
    assert holder, "the workers hold some of it, or this test cannot see anything"
    for pid in (daemon.reporter(), daemon.pid):
        assert not memory_holds(pid, words)


def test_without_hooks_there_is_none(start_daemon, start_redis):
    daemon = start_daemon(start_redis())
    assert daemon.reporters() == []
    assert daemon.ask("STORE " + to_json(data())).last == "OK"


# It dies

def test_killed_while_idle(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    texts = []
    with daemon.connect() as client:
        for _ in range(3):
            pid = daemon.reporter()
            texts.append(token())
            assert client.ask("STORE " + to_json(data(texts[-1]))).last == "OK"
            until(lambda: key_of(texts[-1]) in audit_keys(daemon), 10, "the record")
            wait_idle(pid)
            os.kill(pid, signal.SIGKILL)
            texts.append(token())
            assert client.ask("STORE " + to_json(data(texts[-1]))).last == "OK"
            other_reporter(daemon, pid)
            until(lambda: key_of(texts[-1]) in audit_keys(daemon), 10, "the record")
    stop(daemon)
    assert kinds(daemon) == ["server.start", "server.stop"]
    assert audit_keys(daemon) == {key_of(text) for text in texts}
    assert told_lost(daemon) == 0


def test_killed_under_load(start_daemon, start_redis):
    """What is missing in the audit log is said to be lost. It may be said of a few too many: those that were written
    at the moment of the death. Each reporter lives for a second, so that the next starts at once, and nothing is dropped
    meanwhile."""
    daemon = start_daemon(start_redis(), audit={})
    with Load(daemon) as load:
        for _ in range(KILLS):
            load.wait_for(300)
            time.sleep(1.1)
            pid = daemon.reporter()
            os.kill(pid, signal.SIGKILL)
            other_reporter(daemon, pid)
        load.wait_for(300)
    stop(daemon)
    missing = load.stored - audit_keys(daemon)
    assert len(missing) <= told_lost(daemon) <= len(missing) + KILLS * DATAGRAM_RECORDS
    if "dropped" not in daemon.stderr():
        assert len(missing) <= KILLS * DATAGRAM_RECORDS
    assert kinds(daemon)[-1] == "server.stop"


def test_ends_with_a_killed_master(start_daemon, start_redis):
    """The workers answer what they have received and end, and the reporter hears of it."""
    for _ in range(5):
        daemon = start_daemon(start_redis(), audit={})
        pids = [daemon.reporter(), *daemon.workers()]
        daemon.ended = True
        with Load(daemon, may_end=True) as load:
            load.wait_for(200)
            daemon.process.kill()
            daemon.process.wait()
            until(lambda: not any(map(alive, pids)), 10, "all to end")
        assert load.stored <= audit_keys(daemon) <= load.sent


def alive(pid):
    return (process_field(pid, "State") or "Z")[0] != "Z"


# It stands still

def test_stopped_for_a_while(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    pid = daemon.reporter()
    with Load(daemon) as load:
        load.wait_for(200)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(pid, signal.SIGCONT)
        load.wait_for(200)
    assert daemon.reporter() == pid
    stop(daemon)
    assert audit_keys(daemon) == load.stored
    assert told_lost(daemon) == 0


def test_stopped_for_long(start_daemon, start_redis):
    idle = start_daemon(start_redis(), audit={})
    idle_pid = idle.reporter()
    daemon = start_daemon(start_redis(), audit={})
    pid = daemon.reporter()
    with Load(daemon, clients=1) as load:
        load.wait_for(200)
        os.kill(pid, signal.SIGSTOP)
        since = time.monotonic()
        other_reporter(daemon, pid)
        assert 8.5 < time.monotonic() - since < 12 + SLOWNESS
        load.wait_for(200)
    stop(daemon)
    assert f"reporter (pid {pid}) has not ticked for 10 s and is killed" in daemon.stderr()
    assert idle.reporter() == idle_pid, "one that has nothing to do was taken for one that stands still"
    missing = load.stored - audit_keys(daemon)
    assert len(missing) <= told_lost(daemon) <= len(missing) + DATAGRAM_RECORDS


def test_a_stopped_master_blames_nobody(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    pid = daemon.reporter()
    os.kill(daemon.pid, signal.SIGSTOP)
    with Load(daemon) as load:
        load.wait_for(200)
        time.sleep(4)
        os.kill(daemon.pid, signal.SIGCONT)
        load.wait_for(200)
    assert daemon.reporter() == pid
    stop(daemon)
    assert audit_keys(daemon) == load.stored


# It is replaced

def test_a_reload_loses_nothing(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={}, drain_timeout=2)
    with Load(daemon) as load:
        for _ in range(5):
            load.wait_for(200)
            pid = daemon.reporter()
            daemon.reload()
            until(lambda: daemon.reporters() and pid not in daemon.reporters(), 20, "the old reporter to end")
        load.wait_for(200)
    assert len(daemon.reporters()) == 1
    stop(daemon)
    assert audit_keys(daemon) == load.stored
    assert told_lost(daemon) == 0
    assert kinds(daemon) == ["server.start", "server.stop"]


def test_hooks_that_come_and_go(start_daemon, start_redis):
    """The last reporter hears what the old workers still do; without hooks nobody is told anything. While workers with hooks
    and others may both serve, what is asked is heard or not."""
    daemon = start_daemon(start_redis(), audit={}, drain_timeout=10)
    unsure = set()
    with Load(daemon) as load:
        for _ in range(2):
            load.wait_for(200)
            due = load.stored - unsure
            late = token()
            with daemon.connect() as client:
                assert client.ask("PING").last == "OK"
                daemon.hooks = {}
                daemon.write_config()
                daemon.reload()
                assert client.ask("STORE " + to_json(data(late))).last == "OK"
            until(lambda: not daemon.reporters(), 20, "the reporter to end")
            known = audit_keys(daemon)
            assert due and due <= known and key_of(late) in known
            load.note(load.sent, [late])
            load.wait_for(200)
            assert audit_keys(daemon) == known
            daemon.hooks = {"audit.lua": {}}
            daemon.write_config()
            new = daemon.reload()
            until(lambda: daemon.workers() == new, 20, "the workers without hooks to end")
            unsure = set(load.sent)
        load.wait_for(200)
    pid = daemon.reporter()
    stop(daemon)
    assert not os.path.exists(f"/proc/{pid}")
    assert load.stored - unsure <= audit_keys(daemon) <= load.sent
    assert told_lost(daemon) == 0


IDENTIFIED = """
local file, name = nil, tostring({})
local function note(what, key)
    assert(file:append(keep.json.encode({ what = what, name = name, key = key })))
end
return {
    start = function(settings) file = assert(keep.file.open(settings.into)); note("start") end,
    event = function(event) note("event", event.key) end,
    stop = function() note("stop") end,
}
"""


def test_the_old_one_stops_before_the_new_one_hears(start_daemon, start_redis, folder):
    into = os.path.join(folder, "records")
    daemon = start_daemon(start_redis(), hooks={hook_file(folder, "identified.lua", IDENTIFIED): {"into": into}}, drain_timeout=2)
    with Load(daemon) as load:
        for _ in range(3):
            load.wait_for(200)
            pid = daemon.reporter()
            daemon.reload()
            until(lambda: daemon.reporters() and pid not in daemon.reporters(), 20, "the old reporter to end")
        load.wait_for(200)
    stop(daemon)
    records, stopped = json_lines(into), set()
    names = list(dict.fromkeys(record["name"] for record in records))
    assert len(names) == 4
    for record in records:
        if record["what"] == "stop":
            stopped.add(record["name"])
        elif record["what"] == "event":
            assert record["name"] not in stopped and set(names[:names.index(record["name"])]) <= stopped
    assert stopped == set(names)


# It stops

def test_a_last_message_arrives(start_daemon, start_redis, folder):
    """What a hook posts when it stops has time to leave, and no longer than that."""
    receiver = Receiver()
    try:
        hook = hook_file(folder, "posts.lua", """
            local address
            return {
                start = function(settings) address = settings.address end,
                stop = function() assert(keep.http.post(address, "bye", function() error("called") end)) end,
            }
        """)
        daemon = start_daemon(start_redis(), hooks={hook: {"address": receiver.address + "/answer/slow_0.5"}})
        pid = daemon.reporter()
        daemon.reload()
        until(lambda: not alive(pid), 10, "the old reporter to end")
        assert [request.body for request in receiver.requests] == [b"bye"]
        daemon.hooks = {hook: {"address": receiver.address + "/answer/silent"}}
        daemon.write_config()
        pid = daemon.reporter()
        daemon.reload()
        until(lambda: not alive(pid), 10, "the next one to end")
        receiver.forget()
        since = time.monotonic()
        stop(daemon)
        assert 2.5 < time.monotonic() - since < 6 + SLOWNESS
        assert [request.body for request in receiver.requests] == [b"bye"]
        assert "called" not in daemon.stderr()
    finally:
        receiver.close()


def test_a_stop_loses_nothing(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    with Load(daemon, may_end=True, patience=10) as load:
        load.wait_for(500)
        stop(daemon)
    recorded = audit_keys(daemon)
    assert load.stored <= recorded <= load.sent
    assert told_lost(daemon) == 0
    assert kinds(daemon) == ["server.start", "server.stop"]


def test_a_stop_hands_on_all_that_waits(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    until(lambda: kinds(daemon) == ["server.start"], 10, "the first record")
    pid = daemon.reporter()
    os.kill(pid, signal.SIGSTOP)
    texts = [token() for _ in range(300)]
    with daemon.connect() as client:
        for text in texts:  # one after the other, so that each record has a datagram of its own
            assert client.ask("STORE " + to_json(data(text))).last == "OK"
    assert not audit_keys(daemon)
    daemon.ended = True
    daemon.signal(signal.SIGTERM)
    until(lambda: int(process_field(pid, "ShdPnd"), 16) & 1 << (signal.SIGTERM - 1), 10, "the reporter's turn to stop")
    os.kill(pid, signal.SIGCONT)
    assert daemon.process.wait(20) == 0
    assert audit_keys(daemon) == {key_of(text) for text in texts}
    assert told_lost(daemon) == 0 and kinds(daemon) == ["server.start", "server.stop"]


def test_a_stop_waits_ten_seconds_for_it(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    pid = daemon.reporter()
    until(lambda: kinds(daemon) == ["server.start"], 10, "the first record")
    wait_idle(pid)
    os.kill(pid, signal.SIGSTOP)
    assert daemon.ask("STORE " + to_json(data())).last == "OK"
    since = time.monotonic()
    stop(daemon)
    assert 8 < time.monotonic() - since < 13 + SLOWNESS
    assert re.search(rf"reporter \(pid {pid}\) (did not finish in time|has not ticked for 10 s) and is killed", daemon.stderr())
    assert told_lost(daemon) == 2  # the change, and that the server stops


def test_a_second_signal_waits_for_nobody(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    os.kill(daemon.reporter(), signal.SIGSTOP)
    daemon.ended = True
    daemon.signal(signal.SIGTERM)
    until(lambda: not daemon.workers(), 10, "the workers to end")
    assert daemon.reporter()
    since = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    assert time.monotonic() - since < 2 * SLOWNESS
    assert "stopping at once: 1 process" in daemon.stderr()


# It opens its files anew

def position_in(pid, path):
    """Where a process stands in the file that it has open; None: it has it open no more."""
    for fd, link in links(pid).items():
        try:
            with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                if link == path:
                    return int(file.readline().split()[1])
        except FileNotFoundError:
            pass
    return None


def test_sigusr1_opens_files_anew(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), audit={})
    path, moved = audit_log(daemon), audit_log(daemon) + ".1"
    first, second = token(), token()
    assert daemon.ask("STORE " + to_json(data(first))).last == "OK"
    until(lambda: key_of(first) in audit_keys(daemon), 10, "the record")
    pid = daemon.reporter()
    assert position_in(pid, path) > 0
    daemon.signal(signal.SIGUSR1)
    until(lambda: position_in(pid, path) == 0, 5, "the file to be opened again")
    os.rename(path, moved)
    daemon.signal(signal.SIGUSR1)
    until(lambda: os.path.exists(path), 5, "a new file")
    assert daemon.ask("STORE " + to_json(data(second))).last == "OK"
    until(lambda: audit_keys(daemon) == {key_of(second)}, 10, "the record in the new file")
    assert daemon.reporter() == pid


# What the master tells, and what it watches

def recorded(path, what, **fields):
    """The values of this kind that a recorder has noted."""
    values = [record["value"] for record in json_lines(path) if record["what"] == what]
    return [value for value in values if all(value.get(name) == wanted for name, wanted in fields.items())]


def test_crashes_are_told(start_daemon, start_redis, folder):
    hook, settings, into = recorder(folder)
    daemon = start_daemon(start_redis(), hooks={hook: settings})
    until(lambda: recorded(into, "event", event="server.start", count=2, result="ok"), 10, "the start")
    daemon.steady = None
    victim = next(pid for pid in daemon.workers() if process_field(pid, "Name") == "tk-worker-2")
    os.kill(victim, signal.SIGKILL)
    event, = until(lambda: recorded(into, "event", event="worker.crash"), 10, "the event")
    assert (event["worker"], event["result"], event["reason"]) == (2, "error", "was killed by signal 9 (Killed)")
    problem, = until(lambda: recorded(into, "problem", kind="worker.crash"), 10, "the problem")
    assert (problem["process"], problem["message"]) == ("worker 2", "worker 2 was killed by signal 9 (Killed)")
    assert "phase" not in problem
    pid = daemon.reporter()
    os.kill(pid, signal.SIGKILL)
    problem, = until(lambda: recorded(into, "problem", kind="reporter.crash"), 10, "the next problem")
    assert (problem["process"], problem["message"]) == ("reporter", "reporter was killed by signal 9 (Killed)")
    stop(daemon)
    assert len(recorded(into, "event", event="server.stop", count=2)) == 1
    assert not recorded(into, "event", event="server.crash")
    assert [record["what"] for record in json_lines(into)][-1] == "stop"


HANGS = """
return { event = function(event)
    if event.username == "hang" then require("slow") end
end }
"""


def test_a_hook_that_hangs_in_c(start_daemon, start_redis, folder):
    """The master ends the reporter; workers and clients notice nothing, the other hooks go on, and the loss is told."""
    hook, settings, into = recorder(folder)
    hook_file(folder, "slow.lua", SLOW_MODULE)
    daemon = start_daemon(start_redis(), audit={},
                          hooks={"audit.lua": {}, hook: settings, hook_file(folder, "hangs.lua", HANGS): {}})
    pid = daemon.reporter()
    with Load(daemon) as load:
        load.wait_for(100)
        assert daemon.ask("STORE " + to_json(data(username="hang"))).last == "OK"
        successor = other_reporter(daemon, pid)
        load.wait_for(100)
        time.sleep(1.5)
        load.wait_for(100)
    assert f"reporter (pid {pid}) has spent 250 ms of CPU time in one Lua call and is killed" in daemon.stderr()
    assert "hook hangs.lua: did not come back from a call" in daemon.stderr()
    assert daemon.reporter() == successor
    problem, = until(lambda: recorded(into, "problem", kind="reporter.crash"), 20, "the problem")
    assert problem["message"] == "reporter has spent 250 ms of CPU time in one Lua call and was killed"
    stop(daemon)
    missing = load.stored - audit_keys(daemon)
    assert len(missing) < told_lost(daemon) <= len(missing) + DATAGRAM_RECORDS
    lost = [int(problem["message"].split()[0]) for problem in recorded(into, "problem", kind="events.lost")]
    assert sum(lost) == told_lost(daemon)


def test_a_busy_hook_is_let_be(start_daemon, start_redis, folder):
    """Long work in Lua is the hook host's affair, also when it begins."""
    slow = """
        return { start = function() local n = os.clock() + 0.6; while os.clock() < n do end end }
    """
    daemon = start_daemon(start_redis(), audit={}, hooks={"audit.lua": {}, hook_file(folder, "slow.lua", slow): {}})
    pid = daemon.reporter()
    time.sleep(1.5)
    assert daemon.reporter() == pid and "is killed" not in daemon.stderr()


# Who it is

@as_root
def test_it_becomes_the_configured_user(start_daemon, start_redis, folder):
    """It opens the webhook as root, and has no way back."""
    nobody = pwd.getpwnam("nobody")
    webhook = os.path.join(folder, "webhook")
    with open(os.open(webhook, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("https://127.0.0.1:9/secret\n")
    os.chmod(folder, 0o755)
    os.mkdir(os.path.join(folder, "log"))
    os.chown(os.path.join(folder, "log"), nobody.pw_uid, nobody.pw_gid)
    path = os.path.join(folder, "log", "audit.log")
    hooks = {os.path.abspath(hook_file(folder, "nothing.lua", "return {}")): {}, "audit.lua": {}, "slack.lua": {}}
    daemon = start_daemon(start_redis().tcp_url, user="nobody", audit={"file": path}, slack={"webhook-file": webhook}, hooks=hooks)
    pid = daemon.reporter()
    until(lambda: process_field(pid, "Uid").split() == [str(nobody.pw_uid)] * 4, 10, "the change of user")
    until(lambda: json_lines(path), 10, "the first record")
    assert process_field(pid, "Gid").split() == [str(nobody.pw_gid)] * 4
    assert set(process_field(pid, "Groups").split()) <= {str(group) for group in os.getgrouplist("nobody", nobody.pw_gid)}
    assert int(process_field(pid, "CapEff"), 16) == 0 and process_field(pid, "NoNewPrivs") == "1"
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0, "it can be dumped and traced"
    assert os.stat(path).st_uid == nobody.pw_uid
    with open(f"/proc/{pid}/limits") as file:
        assert re.search(r"Max core file size\s+0\s+0", file.read())
    daemon.stop()
    assert "secret" not in daemon.stderr()


# What stops a start, and a reload

BAD_HOOKS = [
    ("syntax.lua", "return {\n  event = function( end,\n}", r"syntax\.lua:2:"),
    ("throws.lua", "local x = 1\nerror('on purpose')", r"throws\.lua:2: on purpose"),
    ("nothing.lua", "local x = 1", r"nothing\.lua.*table"),
    ("unknown.lua", "return { events = function() end }", r"unknown\.lua.*events"),
    ("loops.lua", "while true do end", r"loops\.lua"),
]


def refused(daemon):
    """What --check and a start say, which must both fail."""
    checked = run("--config", daemon.config_file, "--check")
    started = run("--config", daemon.config_file)
    assert checked.returncode == started.returncode == 78, (checked, started)
    return checked.stderr, started.stderr


@pytest.mark.parametrize("name, text, complaint", BAD_HOOKS)
def test_a_bad_hook_is_refused(start_daemon, start_redis, folder, name, text, complaint):
    daemon = start_daemon(start_redis(), audit={})
    pids = [daemon.reporter(), *daemon.workers()]
    daemon.hooks[hook_file(folder, name, text)] = {}
    daemon.write_config()
    assert re.search("error check.*" + complaint, daemon.reload_refused())
    assert [daemon.reporter(), *daemon.workers()] == pids
    assert run("--config", daemon.config_file, "--check").returncode == 78
    daemon.stop()
    for said in refused(daemon):
        assert re.search("error check.*" + complaint, said), said


BAD_WEBHOOKS = [
    (None, 0o600, "webhook"),
    ("", 0o600, "first line"),
    ("https://hooks.example/secret", 0o644, "others can"),
    ("http://hooks.example/secret", 0o600, "Slack webhook"),
    ("ftp://127.0.0.1/secret", 0o600, "Slack webhook"),
    ("https://user:secret@hooks.example/", 0o600, "Slack webhook"),
    ("https://hooks.example/" + "secret" * 1000, 0o600, "at most"),
]


@pytest.mark.parametrize("address, mode, complaint", BAD_WEBHOOKS)
def test_a_bad_webhook_is_refused(start_daemon, start_redis, folder, address, mode, complaint):
    """With a word why, and not a word of the address."""
    daemon = start_daemon(start_redis(), audit={})
    webhook = os.path.join(folder, "hook-address")
    if address is not None:
        with open(os.open(webhook, os.O_WRONLY | os.O_CREAT), "w") as file:
            file.write(address + "\n")
        os.chmod(webhook, mode)
    daemon.slack = {"webhook-file": webhook}
    daemon.hooks["slack.lua"] = {}
    daemon.write_config()
    said = daemon.reload_refused()
    daemon.stop()
    for text in (said, *refused(daemon)):
        assert re.search(f"error check.*{re.escape(webhook)}.*", text) and complaint in text, text
        assert "secret" not in text and "hooks.example" not in text


def test_a_check_disturbs_nobody(start_daemon, start_redis, folder):
    """It loads the hooks and calls none of their functions, so nothing is written or posted."""
    hook, settings, into = recorder(folder)
    daemon = start_daemon(start_redis(), hooks={hook: settings})
    before = until(lambda: json_lines(into), 10, "the first records")
    done = run("--config", daemon.config_file, "--check")
    assert done.returncode == 0 and "configuration ok" in done.stdout, done
    assert [record["what"] for record in json_lines(into)].count("start") == 1
    assert before == json_lines(into)[:len(before)]
