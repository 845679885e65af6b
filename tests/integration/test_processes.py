# SPDX-License-Identifier: MIT
"""Master and workers: deaths, signals, reloads, users, what is inherited, and the private Redis."""
import collections
import os
import pwd
import random
import re
import select
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
import redis

from client import Client, Closed
from daemon import WORKER, environment, process_field, program, run
from planter import Planter
from redis_proxy import RedisProxy
from sealed import key_id, new_key
from tokens import data, key_of, to_json, token
from waiting import SLOWNESS, free_port, until

KILLS = int(os.environ.get("TOKENKEEP_KILLS", "15"))
NO = "NO invalid"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def store(daemon, text=None, **fields):
    text = text or token()
    answer = daemon.ask("STORE " + to_json(data(text, **fields)))
    assert answer.last == "OK", answer
    return text


def children(pid):
    """Names of the children of a process by process id; the dead that wait to be reaped are left out."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            pids = [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {child: process_field(child, "Name") for child in pids if (process_field(child, "State") or "Z")[0] != "Z"}


def stopped(pid):
    return (process_field(pid, "State") or "T").startswith("T")


def gone(pid):
    return (process_field(pid, "State") or "Z").startswith("Z")


def successors(daemon, before):
    """Waits until as many workers as wanted run, and returns those that are not among `before`."""
    until(lambda: len(daemon.workers()) == daemon.workers_wanted and set(daemon.workers()) - set(before), 20, "a new worker")
    return [pid for pid in daemon.workers() if pid not in before]


@pytest.fixture
def proxy(start_redis, folder):
    result = RedisProxy(folder, start_redis())
    yield result
    result.close()


# Workers that die

def test_a_killed_worker_takes_nobody_with_it(start_daemon, proxy):
    daemon = start_daemon(proxy, workers=3)
    text = store(daemon)
    clients = proxy.client_each(daemon)
    victim = clients[1]
    daemon.steady = None
    for _ in range(3):
        os.kill(victim.worker, signal.SIGKILL)
        with pytest.raises(Closed):
            victim.read_line()
        for client in clients:
            if client is not victim:
                assert client.ask("GET " + text).cls == "OK"
        new, = successors(daemon, [client.worker for client in clients])
        victim.close()
        victim = clients[1] = proxy.client_on(daemon, new)
        assert victim.ask("GET " + text).cls == "OK"
    assert daemon.stderr().count("was killed by signal 9") == 3
    assert daemon.stats()["workers"] == 3
    for client in clients:
        client.close()


def test_connections_that_queue_survive_the_worker(start_daemon, redis_server):
    """The master keeps the listeners open: whoever was not accepted yet is answered by the successor."""
    daemon = start_daemon(redis_server, workers=1)
    daemon.steady = None
    for role in ("manage", "verify_unix"):
        worker, = daemon.workers()
        os.kill(worker, signal.SIGSTOP)
        until(lambda: stopped(worker), 5, "the worker to stop")
        clients = [daemon.connect(role) for _ in range(50)]
        for client in clients:
            client.send("PING\n")
        os.kill(worker, signal.SIGKILL)
        for client in clients:
            assert client.answer().last == "OK"
            client.close()
        successors(daemon, [worker])


def test_restarts_slow_down_for_those_who_die_young(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1)
    daemon.steady = None
    time.sleep(1.1)
    waits = []
    for _ in range(4):
        worker, = daemon.workers()
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        successors(daemon, [worker])
        waits.append(time.monotonic() - killed)
    assert re.findall(r"starts again in ([0-9.]+) s", daemon.stderr()) == ["0.0", "0.1", "0.2", "0.4"]
    assert waits[0] < 0.1 * SLOWNESS and waits[1] >= 0.1 and waits[2] >= 0.2 and waits[3] >= 0.4
    until(lambda: daemon.ask("PING").last == "OK", 10, "an answer")
    time.sleep(1.1)
    worker, = daemon.workers()
    os.kill(worker, signal.SIGKILL)
    successors(daemon, [worker])
    assert re.findall(r"starts again in ([0-9.]+) s", daemon.stderr())[-1] == "0.0"


def test_a_stuck_worker_is_replaced(start_daemon, proxy):
    daemon = start_daemon(proxy, workers=2)
    daemon.steady = None
    one, two = proxy.client_each(daemon)
    os.kill(one.worker, signal.SIGSTOP)
    since = time.monotonic()
    until(lambda: gone(one.worker), 15, "the worker to be killed")
    assert 8.5 < time.monotonic() - since < 12 + SLOWNESS
    new, = successors(daemon, [one.worker, two.worker])
    assert two.ask("PING").last == "OK"
    assert "has not ticked" in daemon.stderr()
    with pytest.raises(Closed):
        one.read_line()
    proxy.client_on(daemon, new).close()
    two.close()


@pytest.mark.parametrize("who", ["the master alone", "everybody"])
def test_a_stopped_master_blames_nobody(start_daemon, redis_server, who):
    daemon = start_daemon(redis_server, workers=2)
    workers = daemon.workers()
    asleep = [daemon.pid] if who == "the master alone" else [daemon.pid, *workers]
    with daemon.connect() as client:
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(12)
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.5)
        assert client.ask("PING").last == "OK"
    assert daemon.workers() == workers
    assert "killed" not in daemon.stderr()


def test_workers_end_with_a_killed_master(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=3)
    workers = daemon.workers()
    daemon.ended = True
    daemon.process.kill()
    daemon.process.wait()
    until(lambda: all(gone(pid) for pid in workers), 10, "the workers to end")
    with pytest.raises(OSError):
        daemon.connect()


# SIGTERM

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_answered_before_the_end(start_daemon, proxy, number):
    daemon = start_daemon(proxy, workers=2, redis_options={"command-timeout": 20})
    one, two = proxy.client_each(daemon)
    texts = [store(daemon) for _ in range(4)]
    new = token()
    gets, sets = proxy.hold_reply("GET", "token:"), proxy.hold_request("SET", key_of(new))
    one.send("".join(f"GET {text}\n" for text in texts) + "#p PING\n" + "PING\n")
    two.send("STORE " + to_json(data(new)) + "\n" + f"GET {new}\n#g GET {new}\n")
    gets.wait()
    sets.wait()
    idle, half = daemon.connect(), daemon.connect()
    assert idle.ask("PING").last == "OK" and half.ask("PING").last == "OK"
    half.send("PIN")
    daemon.ended = True
    daemon.signal(number)
    idle.expect_closed()
    half.expect_closed()
    until(lambda: refused(daemon), 5, "connections to be refused")
    assert daemon.process.poll() is None
    gets.release()
    sets.release()
    assert one.answer().tag == "#p"
    assert [answer.cls for answer in one.answers(5)] == ["OK"] * 5
    one.expect_closed()
    assert sorted(answer.cls for answer in two.answers(3))[1:] == ["OK", "OK"]
    two.expect_closed()
    assert daemon.process.wait(10 * SLOWNESS) == 0
    assert Planter(daemon).value(key_of(new)) is not None
    assert not os.path.exists(daemon.manage) and not os.path.exists(daemon.verify_unix)


def refused(daemon):
    try:
        daemon.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_requests_that_arrived_before_the_end_are_answered(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1)
    text = store(daemon)
    clients = [daemon.connect() for _ in range(20)]
    for client in clients:
        assert client.ask("PING").last == "OK"
    worker, = daemon.workers()
    os.kill(worker, signal.SIGSTOP)
    until(lambda: stopped(worker), 5, "the worker to stop")
    for client in clients:
        client.send(f"GET {text}\n" * 10)
    daemon.ended = True
    daemon.signal(signal.SIGTERM)
    time.sleep(0.2)
    os.kill(worker, signal.SIGCONT)
    for client in clients:
        assert all(answer.cls == "OK" for answer in client.answers(10))
        client.expect_closed()
    assert daemon.process.wait(10 * SLOWNESS) == 0


def test_a_second_signal_stops_at_once(start_daemon, proxy):
    daemon = start_daemon(proxy, workers=2, redis_options={"command-timeout": 20})
    client = daemon.connect()
    held = proxy.hold_reply("GET")
    client.send(f"GET {token()}\n")
    held.wait()
    daemon.ended = True
    daemon.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert daemon.process.poll() is None
    daemon.signal(signal.SIGTERM)
    asked = time.monotonic()
    assert daemon.process.wait(10 * SLOWNESS) == 0
    assert time.monotonic() - asked < 1.5 * SLOWNESS
    with pytest.raises(Closed):
        client.answer()


def test_a_client_that_does_not_read_holds_up_nobody(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1, drain_timeout=2, write_timeout=1)
    text = store(daemon, name="x" * 20000)
    client = daemon.connect(receive_buffer=4096)
    client.send(f"GET {text}\n" * 200)
    time.sleep(0.2)
    daemon.ended = True
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(10 * SLOWNESS) == 0
    client.close()


# SIGHUP

class Load(threading.Thread):
    """A client that asks all the time. It connects again only when its connection was closed between two requests."""

    def __init__(self, daemon, request, once=False, pause=0.0):
        super().__init__()
        self.daemon_, self.request, self.once, self.pause = daemon, request, once, pause
        self.answered, self.connected, self.failures = 0, 0, []
        self.stop = threading.Event()
        self.start()

    def run(self):
        client = None
        while not self.stop.is_set():
            try:
                if client is not None and select.select([client.sock], [], [], 0)[0]:
                    assert client.sock.recv(1, socket.MSG_PEEK) == b"", "something unasked"
                    client.close()
                    client = None
                if client is None:
                    client = self.daemon_.connect()
                    self.connected += 1
                answer = client.ask(self.request)
                assert answer.cls == "OK", answer
                self.answered += 1
                if self.once:
                    client.close()
                    client = None
            except (OSError, Closed, AssertionError) as failure:
                self.failures.append(repr(failure))
                client = None
            time.sleep(self.pause)
        if client is not None:
            client.close()

    def end(self):
        self.stop.set()
        self.join()
        return self.failures


def test_reloads_lose_no_request(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=2)
    text = store(daemon)
    loads = [Load(daemon, "GET " + text), Load(daemon, "GET " + text, once=True), Load(daemon, "STORE " + to_json(data()), pause=0.01),
             Load(daemon, "PING", pause=1.4)]
    daemon.steady = None
    seen = set(daemon.workers())
    for _ in range(10):
        seen.update(daemon.reload())
        time.sleep(0.15)
    time.sleep(2)
    failures = [failure for load in loads for failure in load.end()]
    assert failures == []
    assert len(seen) == 22
    assert all(load.answered > 5 for load in loads[:3]) and loads[0].connected == 1 and loads[2].connected == 1
    until(lambda: len(daemon.workers()) == 2, 10, "the old workers to end")


def test_busy_connections_of_old_workers_are_answered(start_daemon, proxy):
    daemon = start_daemon(proxy, workers=2, redis_options={"command-timeout": 20})
    old = proxy.client_each(daemon)
    text = store(daemon)
    held = proxy.hold_reply("GET", key_of(text))
    for client in old:
        client.send(f"GET {text}\n")
    held.wait(2)
    new = daemon.reload()
    time.sleep(1.5)
    assert set(client.worker for client in old) <= set(daemon.workers())
    held.release()
    for client in old:
        assert client.answer().cls == "OK"
        client.expect_closed()
    until(lambda: daemon.workers() == sorted(new), 10, "the old workers to end")


def test_old_workers_end_in_time(start_daemon, proxy):
    """A client that never stops asking is let go when the drain is over, between two requests."""
    daemon = start_daemon(proxy, workers=1, drain_timeout=1)
    worker, = daemon.workers()
    load = Load(daemon, "PING", pause=0.02)
    until(lambda: load.answered, 10, "answers")
    daemon.reload()
    until(lambda: gone(worker), 10, "the old worker to end")
    until(lambda: load.connected == 2, 10, "the client to come back")
    load.end()
    assert "did not finish" not in daemon.stderr()


def is_refused(address):
    try:
        Client(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_reload_takes_what_is_new(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1, max_line=1000)
    planter = Planter(daemon)
    old = store(daemon)
    assert planter.value(key_of(old))[1:9] == key_id(daemon.keys[0])
    assert daemon.ask("PING" + " " * 2000).code == "ERR toolong"
    # Keys: the new one seals, the old one still opens.
    daemon.keys.insert(0, new_key())
    daemon.workers_wanted = 3
    daemon.options["max_line"] = 5000
    daemon.listeners["extra"] = {"address": f"127.0.0.1:{free_port()}", "role": "verify"}
    daemon.write_config()
    daemon.reload()
    assert daemon.ask("GET " + old).cls == "OK"
    new = store(daemon)
    assert planter.value(key_of(new))[1:9] == key_id(daemon.keys[0])
    assert daemon.ask("PING" + " " * 2000).code == "ERR badreq"
    assert daemon.ask("PING" + " " * 6000).code == "ERR toolong"
    host, port = daemon.listeners["extra"]["address"].split(":")
    extra = (host, int(port))
    with Client(extra) as client:
        assert client.ask("DELETE " + key_of(old)).code == "ERR denied"
    # Roles, limits, prefix; and a listener less.
    daemon.listeners = {}
    daemon.prefix = "other:"
    daemon.extra = f'listener "more" {{ address = "{host}:{port}" role = "manage" max-connections = 2 }}\n'
    daemon.workers_wanted = 2
    daemon.write_config()
    daemon.reload()
    assert daemon.ask("GET " + old).last == NO
    clients = [Client(extra) for _ in range(3)]
    assert clients[0].ask("LIST").cls == "OK" and clients[1].ask("PING").last == "OK"
    assert clients[2].answer().code == "ERR busy"
    for client in clients:
        client.close()
    daemon.extra = ""
    daemon.prefix = "token:"
    daemon.write_config()
    daemon.reload()
    until(lambda: is_refused(extra), 10, "the former workers to leave the listener")
    assert daemon.ask("GET " + old).cls == "OK"


def spoil_option(daemon):
    return "tokenkeepd.conf:2", lambda text: text.replace("\n", "\nworkerz = 3\n", 1)


def spoil_value(daemon):
    return "tokenkeepd.conf:1", lambda text: text.replace("workers = 2", "workers = 0", 1)


def spoil_brace(daemon):
    return "tokenkeepd.conf:", lambda text: text.rstrip().rstrip("}")


def spoil_listener(daemon):
    return "tokenkeepd.conf:", lambda text: text + 'listener "public" { address = "0.0.0.0:1" role = "manage" }\n'


def spoil_address(daemon):
    return "not-there", lambda text: text + 'listener "nowhere" { address = "unix:/not-there/a.sock" role = "verify" }\n'


def spoil_everything(daemon):
    return "tokenkeepd.conf:1", lambda text: "\0\xff{{{"


@pytest.mark.parametrize("spoil", [spoil_option, spoil_value, spoil_brace, spoil_listener, spoil_address, spoil_everything])
def test_a_bad_configuration_changes_nothing(start_daemon, redis_server, spoil):
    daemon = start_daemon(redis_server, workers=2)
    text = store(daemon)
    with open(daemon.config_file) as file:
        good = file.read()
    expected, change = spoil(daemon)
    daemon.keys.insert(0, new_key())
    daemon.write_config()
    with open(daemon.config_file, "w", encoding="latin-1") as file:
        file.write(change(good))
    with daemon.connect() as client:
        log = daemon.reload_refused()
        assert expected in log, log
        assert client.ask("GET " + text).cls == "OK"
    assert daemon.ask("GET " + text).cls == "OK"
    assert Planter(daemon).value(key_of(store(daemon)))[1:9] == key_id(daemon.keys[1])
    with open(daemon.config_file, "w") as file:
        file.write(good)
    daemon.reload()
    assert daemon.ask("GET " + text).cls == "OK"


@pytest.mark.parametrize("how", ["a bad line", "a short key", "the same key twice", "no key", "no file", "readable by all", "a folder"])
def test_a_bad_keyring_changes_nothing(start_daemon, redis_server, how):
    daemon = start_daemon(redis_server, workers=2)
    text = store(daemon)
    with open(daemon.keyring) as file:
        good = file.read()
    bad = {"a bad line": good + "rubbish\n", "a short key": "AAAA\n" + good, "the same key twice": good + good, "no key": "# nothing\n"}
    if how in bad:
        with open(daemon.keyring, "w") as file:
            file.write(bad[how])
    elif how == "readable by all":
        os.chmod(daemon.keyring, 0o644)
    else:
        os.rename(daemon.keyring, daemon.keyring + ".away")
        if how == "a folder":
            os.mkdir(daemon.keyring)
    log = daemon.reload_refused()
    assert daemon.keyring in log
    if how == "a bad line":
        assert daemon.keyring + ":3" in log and "rubbish" not in log
    if how == "a short key":
        assert daemon.keyring + ":1" in log and "AAAA" not in log
    assert daemon.ask("GET " + text).cls == "OK"
    store(daemon)
    assert run("--config", daemon.config_file, "--check").returncode == 78


def test_sigusr1_is_harmless(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=2)
    with daemon.connect() as client:
        for pid in [daemon.pid, *daemon.workers()]:
            for number in (signal.SIGUSR1, signal.SIGPIPE):
                os.kill(pid, number)
        time.sleep(0.2)
        assert client.ask("PING").last == "OK"
    daemon.check()


def test_signals_for_the_master_do_nothing_to_workers(start_daemon, redis_server):
    """A ^C reaches every process of the terminal: the master alone decides."""
    daemon = start_daemon(redis_server, workers=2)
    with daemon.connect() as client:
        for pid in daemon.workers():
            for number in (signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
        time.sleep(0.2)
        assert client.ask("PING").last == "OK"
    daemon.check()


# Users, protection, inheritance

@as_root
@pytest.mark.parametrize("user", ["nobody", "daemon", None])
def test_workers_become_the_user_and_are_protected(start_daemon, start_redis, user):
    daemon = start_daemon(start_redis().tcp_url, workers=2, **({"user": user} if user else {}))
    account = pwd.getpwnam(user or "root")
    for pid in daemon.workers():
        # Root is given up once the secrets are read.
        until(lambda pid=pid: process_field(pid, "NoNewPrivs") == "1", 10, "a protected worker")
        assert set(process_field(pid, "Uid").split()) == {str(account.pw_uid)}
        assert set(process_field(pid, "Gid").split()) == {str(account.pw_gid)}
        if user:
            assert int(process_field(pid, "CapEff"), 16) == 0 and int(process_field(pid, "CapPrm"), 16) == 0
        with open(f"/proc/{pid}/limits") as file:
            assert re.search(r"Max core file size +0 +0 ", file.read())
    assert process_field(daemon.pid, "Uid").split()[0] == "0"
    store(daemon)
    daemon.reload()
    for pid in daemon.workers():
        until(lambda pid=pid: process_field(pid, "Uid").split()[0] == str(account.pw_uid), 10, "the new workers' user")


@as_root
def test_an_unknown_user_is_refused(start_daemon, redis_server, folder):
    daemon = start_daemon(redis_server)
    daemon.options["user"] = "nobody-of-this-name"
    daemon.write_config()
    daemon.reload_refused()
    done = run("--config", daemon.config_file, "--check")
    assert done.returncode == 78 and "nobody-of-this-name" in done.stderr


class Process:
    """tokenkeepd started by hand."""

    def __init__(self, *arguments, folder, **settings):
        self.log_path = os.path.join(folder, f"log-{time.monotonic_ns()}")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([program("tokenkeepd"), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment(), **settings)
        self.pid = self.process.pid

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def workers(self):
        """The process ids of the workers, once it serves: before that, children come and go that try things."""
        until(lambda: "serving: " in self.log(), 20, "tokenkeepd to serve")
        return [pid for pid, name in children(self.pid).items() if name.startswith(WORKER)]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30 * SLOWNESS) == 0, self.log()
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log()


@pytest.fixture
def spawn(folder):
    """spawn(*arguments, **keywords of Popen) -> Process; ended afterwards with its children."""
    started = []

    def start(*arguments, **settings):
        started.append(Process(*arguments, folder=folder, **settings))
        return started[-1]

    yield start
    for one in started:
        left = children(one.pid)
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        for pid in left:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        until(lambda left=left: all(gone(pid) for pid in left), 20, "the children to end")


@as_root
def test_the_masters_groups_are_given_up(start_daemon, start_redis, spawn):
    daemon = start_daemon(start_redis().tcp_url, user="nobody")
    daemon.stop()
    master = spawn("--config", daemon.config_file, extra_groups=[0, 4, 24])
    workers = master.workers()
    groups = {str(group) for group in os.getgrouplist("nobody", pwd.getpwnam("nobody").pw_gid)}
    until(lambda: all(set(process_field(pid, "Groups").split()) <= groups for pid in workers), 5, "other groups")
    master.stop()


@as_root
def test_workers_of_a_plain_user_cannot_be_looked_into(start_daemon, start_redis, spawn):
    """What cannot be dumped nor traced belongs to root in /proc, whoever runs it."""
    nobody = pwd.getpwnam("nobody")
    daemon = start_daemon(start_redis().tcp_url)
    daemon.stop()
    for path in (daemon.folder, daemon.config_file, daemon.keyring):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    master = spawn("--config", daemon.config_file, user="nobody", group=nobody.pw_gid, extra_groups=[])
    until(lambda: len(master.workers()) == 2, 10, "both workers")
    workers = master.workers()
    assert os.stat(f"/proc/{master.pid}/environ").st_uid == nobody.pw_uid
    for pid in workers:
        assert process_field(pid, "Uid").split()[0] == str(nobody.pw_uid)
        until(lambda pid=pid: os.stat(f"/proc/{pid}/environ").st_uid == 0, 5, "protection")
    master.stop()


def open_files(pid):
    """What each descriptor of a process leads to; nothing when it has ended."""
    try:
        return {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    except FileNotFoundError:
        return {}


@as_root
def test_nothing_is_inherited(start_daemon, redis_server, spawn, folder):
    """What the master was started with stays outside, and workers hold listeners, sockets and their event loop alone."""
    daemon = start_daemon(redis_server)
    daemon.stop()
    ends = os.pipe()
    spare = os.open(os.path.join(folder, "spare"), os.O_RDWR | os.O_CREAT)
    pipe = os.readlink(f"/proc/self/fd/{ends[0]}")
    os.dup2(spare, 100)
    master = spawn("--config", daemon.config_file, pass_fds=(*ends, spare, 100))
    for fd in (*ends, spare, 100):
        os.close(fd)
    client = until(lambda: try_connect(daemon.manage), 20, "a connection")
    assert client.ask("LIST").cls == "OK"
    os.kill(master.pid, signal.SIGHUP)
    until(lambda: "reloaded: " in master.log(), 20, "the reload")
    looked_at = [links for links in map(open_files, (master.pid, *children(master.pid))) if links]
    assert len(looked_at) >= 3  # the former workers may have ended since they were listed
    for links in looked_at:
        assert links[0] == "/dev/null" and links[1] == links[2] == master.log_path
        for fd, link in links.items():
            if fd > 2:
                assert re.match(r"socket:|anon_inode:\[event(poll|fd)\]|/dev/null|pipe:", link) and link != pipe, (fd, link)
        assert len(links) < 20
    client.close()
    master.stop()


def try_connect(address):
    try:
        return Client(address)
    except OSError:
        return None


@as_root
def test_closed_standard_descriptors(start_daemon, redis_server, spawn):
    """No socket becomes standard error when it was started without one."""
    daemon = start_daemon(redis_server)
    daemon.stop()
    script = 'exec "$0" --config "$1" <&- >&- 2>&-'
    process = subprocess.Popen(["sh", "-c", script, program("tokenkeepd"), daemon.config_file], env=environment())
    try:
        client = until(lambda: try_connect(daemon.manage), 20, "a connection")
        assert client.ask("GET " + token()).last == NO
        for pid in (process.pid, *children(process.pid)):
            assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
        client.close()
    finally:
        process.terminate()
        assert process.wait(30) == 0


# Balance

def test_connections_are_spread(start_daemon, proxy):
    daemon = start_daemon(proxy, workers=4)
    clients = [daemon.connect() for _ in range(400)]
    held = collections.Counter(proxy.worker_of(client) for client in clients)
    assert len(held) == 4 and min(held.values()) >= 70, held
    stats = daemon.stats()
    assert stats["connections"] == 401 and stats["workers"] == 4
    for client in clients:
        client.close()
    until(lambda: daemon.stats()["connections"] == 1, 10, "the connections to be gone")


def test_a_dead_workers_connections_are_not_counted(start_daemon, proxy):
    daemon = start_daemon(proxy, workers=2)
    daemon.steady = None
    clients = [daemon.connect() for _ in range(100)]
    held = collections.Counter(proxy.worker_of(client) for client in clients)
    victim = min(held)
    os.kill(victim, signal.SIGKILL)
    successors(daemon, held)
    until(lambda: daemon.stats()["connections"] == 101 - held[victim], 10, "the count to be right")
    until(lambda: daemon.stats()["workers"] == 2, 10, "the new worker to serve")
    more = [daemon.connect() for _ in range(60)]
    taken = collections.Counter(proxy.worker_of(client) for client in more)
    assert max(taken, key=taken.get) not in held, "the new worker takes most of the new connections"
    for client in clients + more:
        client.close()


# Checks and exit statuses

def test_check(start_daemon, start_redis, folder):
    redis = start_redis()
    daemon = start_daemon(redis)
    done = run("--config", daemon.config_file, "--check")
    assert (done.returncode, done.stdout) == (0, "configuration ok\n"), done
    redis.kill()
    done = run("--config", daemon.config_file, "--check")
    assert done.returncode == 1 and "Redis" in done.stderr and "does not answer" in done.stderr
    redis.start()
    until(lambda: daemon.ask("GET " + token()).last == NO, 10, "Redis to be back")


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--config"], ["--config", "a", "--state", "b"], ["--listen", "127.0.0.1:1"],
                                       ["stray"], ["--config", "a", "stray"]])
def test_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 64 and "usage:" in done.stderr and not done.stdout


def configure(daemon, text):
    """Adds text to the configuration of a daemon that was started, and stops it. Returns where that stands: FILE:LINE."""
    with open(daemon.config_file) as file:
        place = f"tokenkeepd.conf:{file.read().count(chr(10)) + 1}: "
    daemon.stop()
    with open(daemon.config_file, "a") as file:
        file.write(text + "\n")
    return place


@pytest.mark.parametrize("text,expected", [
    ('policy "none.lua" { }', 'policy: there is no script "none.lua" in '),
    ('policy "audit.lua" { mode = "off" }', 'policy.mode: "off" is none of enforce|shadow'),
    ('audit { mode = "required" }', "audit.mode: nothing writes the audit log that is required"),
    ('hook "audit.lua" { }', "hook: audit.lua has no file to write"),
    ('hook "slack.lua" { }', "hook: slack.lua has no webhook to post to"),
    ('hook "none.lua" { }', 'hook: there is no script "none.lua" in '),
    ('hook "./audit.lua" { }', "hook: there is no file "),
])
def test_refused_configurations(start_daemon, redis_server, text, expected):
    """Nobody believes that a policy is in force or that changes are recorded when they are not."""
    daemon = start_daemon(redis_server)
    place = configure(daemon, text)
    for arguments in (["--check"], []):
        done = run("--config", daemon.config_file, *arguments)
        assert done.returncode == 78 and place + expected in done.stderr, done


@pytest.mark.parametrize("text,expected", [
    ('audit { file = "audit.log" }', "audit.file: there is no hook"),
    ('slack { webhook-file = "webhook" }', "slack.webhook-file: there is no hook"),
])
def test_warnings(start_daemon, redis_server, spawn, text, expected):
    """What has no effect is said by a check and by a start."""
    daemon = start_daemon(redis_server)
    place = configure(daemon, text)
    with open(os.path.join(daemon.folder, "webhook"), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("https://hooks.example.org/services/a/b/c\n")
    done = run("--config", daemon.config_file, "--check")
    assert done.returncode == 0 and place + expected in done.stderr, done
    master = spawn("--config", daemon.config_file)
    client = until(lambda: try_connect(daemon.manage), 20, "a connection")
    assert client.ask("PING").last == "OK"
    client.close()
    assert [line for line in master.log().splitlines() if place + expected in line and " warning " in line]
    master.stop()


# The private Redis

class State:
    """`tokenkeepd --state`, started and started again."""

    def __init__(self, spawn, folder):
        self.spawn, self.directory = spawn, os.path.join(folder, "state")
        self.admin = os.path.join(self.directory, "admin.sock")
        self.master = None

    def start(self):
        self.listen = ("127.0.0.1", free_port())
        self.master = self.spawn("--state", self.directory, "--listen", "%s:%d" % self.listen)
        # Until then, a worker of a killed predecessor may be the one who answers.
        until(lambda: "serving: " in self.master.log(), 20, "tokenkeepd to serve")
        until(lambda: self.ask("GET " + token()).last == NO, 20, "Redis to answer")

    def ask(self, request):
        client = until(lambda: try_connect(self.admin), 20, "a connection")
        try:
            with client:
                return client.ask(request)
        except Closed:
            return until(lambda: self.ask(request), 20, "an answer")

    def store(self):
        text = token()
        assert self.ask("STORE " + to_json(data(text))).last == "OK"
        return text

    def redis(self):
        """The process id of redis-server, or None."""
        return next((pid for pid, name in children(self.master.pid).items() if name == "redis-server"), None)

    def second(self):
        """Another master on the same folder, to its end."""
        return run("--state", self.directory, "--listen", "127.0.0.1:%d" % free_port())


@pytest.fixture
def state(spawn, folder):
    return State(spawn, folder)


def test_state_from_nothing(state):
    state.start()
    assert stat.S_IMODE(os.stat(state.directory).st_mode) == 0o700
    keyring = os.path.join(state.directory, "keyring")
    assert stat.S_IMODE(os.stat(keyring).st_mode) == 0o600
    line = open(keyring).read()
    text = state.store()
    client = redis.Redis(unix_socket_path=os.path.join(state.directory, "redis.sock"))
    for name, value in (("appendonly", "yes"), ("appendfsync", "always"), ("port", "0")):
        assert client.config_get(name) == {name: value}
    client.close()
    with Client(state.listen) as client:
        assert client.ask("GET " + text).cls == "OK"
        assert client.ask("DELETE " + key_of(text)).code == "ERR denied"
    state.master.stop()
    state.start()
    assert open(keyring).read() == line
    assert state.ask("GET " + text).cls == "OK"
    state.master.stop()


def test_a_second_owner_is_refused(state):
    state.start()
    text = state.store()
    redis = state.redis()
    done = state.second()
    assert done.returncode == 1 and "in use" in done.stderr, done
    assert state.redis() == redis and state.ask("GET " + text).cls == "OK"
    state.master.stop()


def test_a_second_owner_is_refused_while_redis_lives_on(state):
    """The master was killed and its redis-server cannot end yet: the lock is the server's own."""
    state.start()
    text = state.store()
    redis = state.redis()
    others = [pid for pid in children(state.master.pid) if pid != redis]
    os.kill(redis, signal.SIGSTOP)
    state.master.process.kill()
    state.master.process.wait()
    try:
        until(lambda: all(gone(pid) for pid in others), 10, "the workers to end")
        done = state.second()
        assert done.returncode == 1 and "in use" in done.stderr, done
    finally:
        os.kill(redis, signal.SIGCONT)
    until(lambda: gone(redis), 10, "redis-server to end")
    state.start()
    assert state.ask("GET " + text).cls == "OK"
    state.master.stop()


def test_redis_ends_with_a_killed_master(state):
    state.start()
    text = state.store()
    pids = list(children(state.master.pid))
    assert len(pids) >= 2
    state.master.process.kill()
    state.master.process.wait()
    until(lambda: all(gone(pid) for pid in pids), 10, "everything to end")
    # At once, so that the successor may have to wait for what is still ending.
    state.start()
    assert state.ask("GET " + text).cls == "OK"
    state.master.process.kill()
    state.master.process.wait()
    state.start()
    assert state.ask("GET " + text).cls == "OK"
    state.master.stop()


def test_a_killed_private_redis_comes_back(state):
    """With every acknowledged token, while clients go on writing."""
    state.start()
    stored, stop = [], threading.Event()

    def write():
        client = Client(state.admin)
        while not stop.is_set():
            text = token()
            answer = client.ask("STORE " + to_json(data(text)))
            assert answer.last == "OK" or answer.code == "ERR unavail"
            if answer.last == "OK":
                stored.append(text)
        client.close()

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        before = len(stored)
        until(lambda before=before: len(stored) > before + 50, 20, "writes")
        redis = state.redis()
        os.kill(redis, signal.SIGKILL)
        until(lambda redis=redis: state.redis() not in (redis, None), 20, "a new redis-server")
    before = len(stored)
    until(lambda: len(stored) > before + 50, 20, "writes")
    stop.set()
    writer.join()
    with Client(state.admin) as client:
        until(lambda: client.ask("GET " + token()).last == NO, 20, "Redis to be back for this worker too")
        assert [text for text in stored if client.ask("GET " + text).cls != "OK"] == []
    assert len(stored) > 200
    state.master.stop()


def test_a_reload_leaves_the_private_redis_alone(state):
    state.start()
    text = state.store()
    redis = state.redis()
    workers = set(children(state.master.pid)) - {redis}
    os.kill(state.master.pid, signal.SIGHUP)
    until(lambda: "reloaded" in state.master.log(), 20, "the reload")
    until(lambda: not workers & set(children(state.master.pid)), 20, "new workers")
    assert state.redis() == redis and state.ask("GET " + text).cls == "OK"
    state.master.stop()
    assert gone(redis)


def test_what_is_in_flight_has_its_redis_until_the_end(state):
    """The private redis-server ends after the workers."""
    state.start()
    with Client(state.admin) as client:
        assert client.ask("PING").last == "OK"
        redis = state.redis()
        os.kill(redis, signal.SIGSTOP)
        text = token()
        client.send("STORE " + to_json(data(text)) + "\n")
        time.sleep(0.2)
        state.master.process.terminate()
        time.sleep(0.3)
        os.kill(redis, signal.SIGCONT)
        assert client.answer().last == "OK"
    assert state.master.process.wait(30) == 0
    state.start()
    assert state.ask("GET " + text).cls == "OK"
    state.master.stop()


# Everything at once

class Writer(threading.Thread):
    """Stores and deletes without a pause, and remembers what was acknowledged."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon_, self.stop = daemon, threading.Event()
        self.stored, self.deleted, self.problems = set(), set(), []
        self.start()

    def run(self):
        client = None
        while not self.stop.is_set():
            text = token()
            try:
                client = client or self.daemon_.connect()
                self.ask(client, "STORE " + to_json(data(text)), self.stored, text)
                if random.random() < 0.3:
                    self.stored.discard(text)
                    self.ask(client, "DELETE " + key_of(text), self.deleted, text)
            except (Closed, BrokenPipeError):
                client.close()
                client = None
            except (OSError, AssertionError) as problem:
                self.problems.append(repr(problem))
                client = None
        if client is not None:
            client.close()

    @staticmethod
    def ask(client, request, noted, text):
        answer = client.ask(request)
        assert answer.last == "OK", answer
        noted.add(text)


def kill_with_a_queue(daemon, victim):
    """Stops all workers, has connections queue, and kills one worker; all that queued are answered."""
    workers = daemon.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(stopped(pid) for pid in workers), 5, "the workers to stop")
    clients = [daemon.connect() for _ in range(10)]
    for client in clients:
        client.send("PING\n")
    os.kill(victim, signal.SIGKILL)
    for pid in workers:
        if pid != victim:
            os.kill(pid, signal.SIGCONT)
    reset = 0
    for client in clients:
        try:
            assert client.answer().last == "OK"
        except (Closed, OSError):
            reset += 1
        client.close()
    return reset


def test_killed_workers_lose_no_write_and_no_queued_connection(start_daemon, folder):
    daemon = start_daemon("private:" + os.path.join(folder, "redis"), workers=4)
    daemon.steady = None
    writers = [Writer(daemon) for _ in range(3)]
    queue = collections.deque(daemon.workers())
    reset = 0
    for _ in range(KILLS):
        victim = queue.popleft()
        before = set(daemon.workers())
        reset += kill_with_a_queue(daemon, victim)
        queue.append(successors(daemon, before)[0])
        time.sleep(0.3)
    for writer in writers:
        writer.stop.set()
        writer.join()
    assert [problem for writer in writers for problem in writer.problems] == []
    stored = set().union(*(writer.stored for writer in writers))
    deleted = set().union(*(writer.deleted for writer in writers))
    with daemon.connect() as client:
        lost = [text for text in stored if client.ask("GET " + text).cls != "OK"]
        risen = [text for text in deleted if client.ask("GET " + text).last != NO]
    print(f"{KILLS} kills, {len(stored)} stored and {len(deleted)} deleted; {len(lost)} lost, {len(risen)} risen, {reset} reset")
    assert (lost, risen, reset) == ([], [], 0) and len(stored) > 10 * KILLS and deleted
    assert daemon.stderr().count("was killed by signal 9") == KILLS
