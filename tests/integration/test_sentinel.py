# SPDX-License-Identifier: MIT
"""Redis behind real sentinels: found, followed through failovers, and believed only while it is the master."""
import contextlib
import os
import shutil
import signal
import socket
import threading
import time

import pytest

from client import Closed
from conftest import make_folder
from daemon import run
from redis_server import ACL_USER
from sentinels import Sentinels
from tokens import data, key_of, to_json, token
from waiting import until

FAILOVERS = int(os.environ.get("TOKENKEEP_FAILOVERS", "2"))
ANOTHER = "another server is the master now"


@pytest.fixture
def sentinels():
    folder = make_folder()
    servers = Sentinels(folder)
    yield servers
    servers.close()
    shutil.rmtree(folder, ignore_errors=True)


def store(daemon):
    """Stores a token; returns it, or None when that was refused."""
    fields = data()
    return fields["token"] if daemon.ask("STORE " + to_json(fields)).last == "OK" else None


def verdict(daemon, text):
    """What a look-up of a token says, OK or NO; None where a worker has not found the master yet."""
    answer = daemon.ask("GET " + text).cls
    return None if answer == "ERR" else answer


def stored(daemon):
    return until(lambda: store(daemon), 20, "a token that is stored")


def holds(server, text):
    return server.client().exists("token:" + key_of(text)) == 1


def followed(daemon, times=1):
    """Whether every worker has gone to another master so many times."""
    return daemon.stderr().count(ANOTHER) >= times * daemon.workers_wanted


def test_the_master_is_found_and_followed(sentinels, start_daemon):
    daemon = start_daemon(sentinels)
    first, held = sentinels.master(), stored(daemon)
    assert holds(first, held)
    sentinels.fail_over()
    until(lambda: followed(daemon), 20, "workers that have heard of it")
    second, new = sentinels.master(), stored(daemon)
    assert second is not first and holds(second, new)
    assert daemon.ask("GET " + held).cls == daemon.ask("GET " + new).cls == "OK"
    until(lambda: daemon.stats()["invalidation-links"] == daemon.workers_wanted, 20, "links to the new master")
    second.client().delete("token:" + key_of(held))
    until(lambda: daemon.ask("GET " + held).last == "NO invalid", 2, "a deletion there that is heard of")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_master_that_dies_is_replaced(sentinels, start_daemon, end):
    daemon = start_daemon(sentinels, cache={"ttl": 0})
    first, held = sentinels.master(), stored(daemon)
    until(lambda: all(holds(server, held) for server in sentinels.servers), 10, "replicas that have it")
    os.kill(first.process.pid, end)
    until(lambda: daemon.ask("GET " + held).cls == "OK", 30, "an answer of the new master")
    new = stored(daemon)
    assert not holds(sentinels.master(), token()) and holds(sentinels.master(), new) and sentinels.master() is not first
    if end == signal.SIGSTOP:
        first.cont()


def test_a_server_that_is_no_master_is_not_believed(sentinels, start_daemon):
    """Though the sentinel that is asked names it."""
    master, replica = sentinels.servers[:2]
    sentinels.tell_lies(sentinels.ports[0], replica)
    daemon = start_daemon(f"sentinel://127.0.0.1:{sentinels.ports[0]}/tokens")
    until(lambda: "is no master by its ROLE" in daemon.stderr(), 20, "a look at its role")
    until(lambda: daemon.ask("GET " + token()).code == "ERR unavail", 20, "a refusal")
    sentinels.tell_lies(sentinels.ports[0], master)
    assert holds(master, stored(daemon))


def test_a_master_that_lacks_replicas_is_not_left(sentinels, start_daemon):
    """It is the master by its ROLE: another connection to it would be no better."""
    daemon = start_daemon(sentinels)
    held, master = stored(daemon), sentinels.master().client()
    master.config_set("min-replicas-to-write", 9)
    until(lambda: daemon.stderr().count("NOREPLICAS") >= daemon.workers_wanted, 20, "beats that are refused")
    assert store(daemon) is None and daemon.ask("GET " + held).code == "ERR unavail"
    master.config_set("min-replicas-to-write", 0)
    stored(daemon)
    until(lambda: daemon.ask("GET " + held).cls == "OK", 20, "an answer")
    assert "connection lost" not in daemon.stderr()


def test_sentinels_may_go_and_come_back(sentinels, start_daemon):
    """Without any the last master is used, also when it was away; with them again the next one is found."""
    daemon = start_daemon(sentinels)
    held = stored(daemon)
    for port in sentinels.ports:
        sentinels.processes[port].kill()
        sentinels.processes[port].wait()
    until(lambda: daemon.stderr().count("no sentinel is of use") == daemon.workers_wanted, 20, "a word about it")
    assert store(daemon) and daemon.ask("GET " + held).cls == "OK"
    sentinels.servers[0].kill()
    until(lambda: daemon.ask("GET " + token()).code == "ERR unavail", 20, "no master")
    sentinels.servers[0].start()
    stored(daemon)
    for number, port in enumerate(sentinels.ports):
        sentinels.start(number, port)
    until(lambda: daemon.stderr().count("a sentinel answers again") == daemon.workers_wanted, 20, "the sentinels")
    until(sentinels.settled, 30, "sentinels that know each other")
    sentinels.fail_over()
    until(lambda: followed(daemon), 20, "workers that have heard of it")
    assert holds(sentinels.master(), stored(daemon))


def test_check_needs_leave_to_ask(sentinels, start_daemon):
    daemon = start_daemon(sentinels, redis_options={"min_replicas_acked": 1})
    assert run("--config", daemon.config_file, "--check").returncode == 0
    for command in ("role", "wait"):
        sentinels.servers[0].client().execute_command("ACL", "SETUSER", ACL_USER, "-" + command)
        done = run("--config", daemon.config_file, "--check")
        sentinels.servers[0].client().execute_command("ACL", "SETUSER", ACL_USER, "+" + command)
        assert done.returncode == 1 and f"+{command}" in done.stderr


def test_changes_are_made_when_replicas_have_them(sentinels, start_daemon):
    daemon = start_daemon(sentinels, redis_options={"min_replicas_acked": 2}, cache={"ttl": 0})
    replicas = [server for server in sentinels.servers if server is not sentinels.master()]
    held = stored(daemon)
    assert all(holds(server, held) for server in replicas)
    replicas[0].stop()
    try:
        fields = data()
        answer = daemon.ask("STORE " + to_json(fields))
        assert answer.code == "ERR unavail" and "uncertain" in answer.last
        assert daemon.ask("GET " + fields["token"]).cls == "OK"  # it may have been made, and was
        with daemon.connect() as client:
            client.send("".join(f"STORE {to_json(data())}\n" for _ in range(50)) + f"DELETE {key_of(token())}\nGET {held}\n")
            answers = client.answers(52)
        assert {answer.code for answer in answers[:51]} == {"ERR unavail"} and answers[51].cls == "OK"
        assert "connection lost" not in daemon.stderr()
    finally:
        replicas[0].cont()
    stored(daemon)


ODD = {
    "nil": (b"*-1\r\n", 'it knows no master named "tokens"'),
    "null string": (b"$-1\r\n", 'it knows no master named "tokens"'),
    "error": (b"-NOAUTH Authentication required hunter2.\r\n", "it answered with NOAUTH"),
    "integer": (b":1\r\n", "is it a sentinel?"),
    "one word": (b"*1\r\n$9\r\n127.0.0.1\r\n", "is it a sentinel?"),
    "no port": (b"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n", "is it a sentinel?"),
    "no host": (b"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", "is it a sentinel?"),
    "path": (b"*2\r\n$10\r\n/tmp/sock\x1b\r\n$4\r\n6379\r\n", "is it a sentinel?"),
    "long host": (b"*2\r\n$300\r\n" + b"a" * 300 + b"\r\n$4\r\n6379\r\n", "is it a sentinel?"),
    "huge": (b"*2147483647\r\n", "over the limit"),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "of a kind that RESP2 does not have"),
    "hangs up": (b"", "closed the connection"),
}


def bulks(*words):
    """An array of strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class OddSentinel(threading.Thread):
    """Answers whatever it is asked first with the same bytes, and hangs up."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer = answer
        self.asked = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(self.answer)
            self.asked += 1

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.mark.parametrize("answer, said", ODD.values(), ids=ODD)
def test_odd_sentinels(start_daemon, answer, said):
    odd = OddSentinel(answer)
    try:
        daemon = start_daemon(f"sentinel://127.0.0.1:{odd.port}/tokens", wait=False, redis_options={"connect_timeout": 0.2})
        until(lambda: "no sentinel is of use" in daemon.stderr() and said in daemon.stderr(), 20, "a word about it")
        assert daemon.ask("GET " + token()).code == "ERR unavail" and "hunter2" not in daemon.stderr()
    finally:
        odd.close()


def test_a_sentinel_that_changes_its_mind_does_not_fill_the_log(start_daemon):
    messages = b"".join(bulks(b"message", b"+switch-master", b"tokens 127.0.0.1 1 127.0.0.1 %d" % (1 + i % 2)) for i in range(2000))
    odd = OddSentinel(bulks(b"127.0.0.1", b"1") + b"*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n" + messages)
    try:
        daemon = start_daemon(f"sentinel://127.0.0.1:{odd.port}/tokens", wait=False)
        until(lambda: odd.asked >= 20 and ANOTHER in daemon.stderr(), 60, "a sentinel that was asked again and again")
        assert daemon.stderr().count(ANOTHER) + daemon.stderr().count("sentinel") < 400
    finally:
        odd.close()


class Writer(threading.Thread):
    """Stores tokens one after the other until it is stopped; remembers those that were acknowledged."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon_process, self.acknowledged, self.refused, self.stopping = daemon, [], 0, False

    def run(self):
        while not self.stopping:
            try:
                text = store(self.daemon_process)
            except (OSError, Closed):
                text = None
            if text:
                self.acknowledged.append(text)
            else:
                self.refused += 1
                time.sleep(0.01)


@pytest.mark.parametrize("ways, replicas", [(["kill", "stop"], 1), (["order"], 2)])
def test_no_acknowledged_token_is_lost(sentinels, start_daemon, ways, replicas):
    """One replica must have what is acknowledged when a master may only die or hang. One that is replaced while it is well
    may go on for a moment with the replica that was not chosen, so then all must have it."""
    daemon = start_daemon(sentinels, redis_options={"min_replicas_acked": replicas}, cache={"ttl": 0})
    writers = [Writer(daemon) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        for turn in range(FAILOVERS):
            until(sentinels.settled, 60, "replicas that follow")
            before, count = sentinels.master(), sum(len(writer.acknowledged) for writer in writers)
            sentinels.end(before, ways[turn % len(ways)])
            until(lambda before=before: sentinels.master() not in (None, before), 60, "another master")
            sentinels.bring_back(before, ways[turn % len(ways)])
            until(lambda count=count: sum(len(writer.acknowledged) for writer in writers) > count + 20, 60, "changes on it")
    finally:
        for writer in writers:
            writer.stopping = True
        for writer in writers:
            writer.join()
    acknowledged = [text for writer in writers for text in writer.acknowledged]
    verdicts = {text: until(lambda text=text: verdict(daemon, text), 20, "an answer") for text in acknowledged}
    lost = [text for text, answer in verdicts.items() if answer != "OK"]
    print(f"{FAILOVERS} failovers ({', '.join(ways)}): {len(acknowledged)} tokens acknowledged, "
          f"{sum(writer.refused for writer in writers)} refused, {len(lost)} lost")
    assert not lost and len(acknowledged) > 20 * FAILOVERS
