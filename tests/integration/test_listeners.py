# SPDX-License-Identifier: MIT
"""Listeners: addresses, roles, and unix sockets with their modes and leftovers."""
import grp
import os
import pwd
import socket
import stat

import pytest

from client import Client
from daemon import Daemon, run
from waiting import free_port

# sysexits.h
EX_USAGE, EX_CONFIG = 64, 78


def ping(address):
    with Client(address) as client:
        return client.ask("PING").last == "OK"


def try_start(folder, redis, **settings):
    """Starts a daemon that is expected not to start; returns its end."""
    daemon = Daemon(folder, redis, **settings)
    daemon.verify, daemon.manage_tcp = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    daemon.write_config()
    return daemon, run("--config", daemon.config_file)


def check_config(folder, redis, **settings):
    daemon = Daemon(folder, redis, **settings)
    daemon.verify, daemon.manage_tcp = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    daemon.write_config()
    return run("--check", "--config", daemon.config_file)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")


@ipv6
@pytest.mark.parametrize("role", ["verify", "manage"])
def test_ipv6(start_daemon, redis_server, role):
    port = free_port(socket.AF_INET6)
    daemon = start_daemon(redis_server, workers=1, listeners={"six": {"address": f"[::1]:{port}", "role": role}})
    with Client(("::1", port)) as client:
        assert client.ask("PING").last == "OK"
        assert client.ask("STATS").code == ("OK" if role == "manage" else "ERR denied")
    assert daemon.ask("PING").last == "OK"


@ipv6
@pytest.mark.parametrize("address", ["*:%d", "0.0.0.0:%d"])
def test_every_address(start_daemon, redis_server, address):
    port = free_port()
    start_daemon(redis_server, workers=1, listeners={"all": {"address": address % port, "role": "verify"}})
    assert ping(("127.0.0.1", port))
    if address.startswith("*"):
        assert ping(("::1", port))


def test_role_defaults_to_verify(start_daemon, redis_server):
    port = free_port()
    start_daemon(redis_server, workers=1, listeners={"plain": {"address": f"127.0.0.1:{port}"}})
    with Client(("127.0.0.1", port)) as client:
        assert client.ask("STATS").code == "ERR denied"


@pytest.mark.parametrize("address", ["0.0.0.0:%d", "*:%d", "[::]:%d"])
def test_manage_beyond_loopback_is_refused(folder, redis_server, address):
    _, done = try_start(folder, redis_server, listeners={"wide": {"address": address % free_port(), "role": "manage"}})
    assert done.returncode == EX_CONFIG
    assert "tokenkeepd.conf" in done.stderr and "manage" in done.stderr
    assert check_config(folder, redis_server, listeners={"wide": {"address": address % free_port(),
                                                                  "role": "manage"}}).returncode == EX_CONFIG


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
                                     "[::1]", "[::1:7117", "unix:", "", "tcp:7117", "127.0.0.1:7117x"])
def test_bad_addresses(folder, redis_server, address):
    _, done = try_start(folder, redis_server, listeners={"bad": {"address": address, "role": "verify"}})
    assert done.returncode == EX_CONFIG and "tokenkeepd.conf:" in done.stderr


def test_a_path_too_long_for_a_socket(folder, redis_server):
    _, done = try_start(folder, redis_server, listeners={"long": {"address": "unix:" + os.path.join(folder,
                                                                                                    "x" * 110)}})
    assert done.returncode in (1, EX_CONFIG) and done.stderr


def test_an_address_in_use(folder, start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1)
    _, done = try_start(folder, redis_server, listeners={"taken": {"address": "%s:%d" % daemon.verify}})
    assert done.returncode == 1 and str(daemon.verify[1]) in done.stderr
    assert daemon.ask("PING").last == "OK"


# Unix sockets

@pytest.mark.parametrize("mode", ["0600", "0660", "0666", "0606", None])
def test_socket_modes(start_daemon, redis_server, folder, mode):
    path = os.path.join(folder, "s")
    options = {"address": "unix:" + path}
    if mode is not None:
        options["mode"] = Literal(mode)
    old = os.umask(0o077)
    try:
        start_daemon(redis_server, workers=1, listeners={"unix": options})
    finally:
        os.umask(old)
    found = os.stat(path)
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == int(mode or "0660", 8)
    assert ping(path)


class Literal:
    """A value that stands in the configuration without quotes."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_socket_owner_and_group(start_daemon, redis_server, folder):
    path = os.path.join(folder, "s")
    start_daemon(redis_server, workers=1, listeners={"unix": {"address": "unix:" + path, "owner": "nobody",
                                                              "group": "daemon", "mode": Literal("0620")}})
    found = os.stat(path)
    assert found.st_uid == pwd.getpwnam("nobody").pw_uid and found.st_gid == grp.getgrnam("daemon").gr_gid
    assert stat.S_IMODE(found.st_mode) == 0o620


@pytest.mark.parametrize("option", ["owner", "group"])
def test_unknown_owner(folder, redis_server, option):
    _, done = try_start(folder, redis_server, listeners={"unix": {"address": "unix:" + os.path.join(folder, "s"),
                                                                  option: "nobody-of-that-name"}})
    assert done.returncode in (1, EX_CONFIG) and done.stderr


def test_stale_socket_is_replaced(start_daemon, redis_server, folder):
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen(1)
    assert os.path.exists(path)
    start_daemon(redis_server, workers=1, listeners={"unix": {"address": "unix:" + path}})
    assert ping(path)


def test_live_socket_is_left_alone(redis_server, folder):
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen(1024)  # each look at it stays in the queue
        _, done = try_start(folder, redis_server, listeners={"unix": {"address": "unix:" + path}})
        assert done.returncode == 1 and path in done.stderr
        assert os.path.exists(path)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(10)
            probe.connect(path)


def test_socket_of_a_running_daemon_is_left_alone(start_daemon, redis_server, folder):
    daemon = start_daemon(redis_server, workers=1)
    _, done = try_start(folder, redis_server, listeners={"unix": {"address": "unix:" + daemon.manage}})
    assert done.returncode == 1
    assert ping(daemon.manage)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(redis_server, folder, kind):
    path = os.path.join(folder, "s")
    if kind == "file":
        with open(path, "w") as file:
            file.write("precious")
    elif kind == "folder":
        os.mkdir(path)
    else:
        with open(os.path.join(folder, "target"), "w") as file:
            file.write("precious")
        os.symlink("target", path)
    _, done = try_start(folder, redis_server, listeners={"unix": {"address": "unix:" + path}})
    assert done.returncode == 1
    assert os.path.lexists(path)
    if kind != "folder":
        with open(path) as file:
            assert file.read() == "precious"


def test_restart_over_its_own_sockets(start_daemon, redis_server):
    """Also after the master was killed, which leaves the files behind."""
    daemon = start_daemon(redis_server, workers=1)
    daemon.kill()
    daemon.start()
    assert daemon.ask("PING", "manage_unix").last == "OK"
    daemon.stop()
    daemon.start()
    assert daemon.ask("PING", "manage_unix").last == "OK"
    daemon.ended = False


# Options of the programs

@pytest.mark.parametrize("arguments", [[], ["--config"], ["--no-such-option"], ["--config", "a", "b"],
                                       ["--config", "a", "--state", "b"]])
def test_usage(arguments):
    done = run(*arguments)
    assert done.returncode == EX_USAGE and done.stderr


def test_no_such_file(folder):
    done = run("--config", os.path.join(folder, "nothing"))
    assert done.returncode == EX_CONFIG and "nothing" in done.stderr


def test_check_of_a_good_configuration(folder, redis_server):
    done = check_config(folder, redis_server)
    assert done.returncode == 0
