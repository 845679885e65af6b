# SPDX-License-Identifier: MIT
"""TLS to a real Redis: everything once, who is refused and why, certificates and passwords that change, and what is at the
other end but no such Redis."""
import os
import pwd
import shutil
import socket
import ssl
import threading

import pytest

from certificates import Authority
from daemon import run
from tokens import data, key_of, part, to_json, token
from waiting import free_port, until

QUICK = {"connect-timeout": 0.5, "command-timeout": 0.5}
EVERY_ATTEMPT = {"level": "debug"}  # the reason of each that fails, not of the first alone
OUR_CHECK = "our check of the server's certificate failed: "


@pytest.fixture(scope="module")
def authority(session_folder):
    return Authority(session_folder)


@pytest.fixture
def start_tls(start_redis, authority):
    """start_tls(**keywords of server_settings) -> a RedisServer, and the port on which it speaks TLS."""
    def start(users=None, by=authority, **settings):
        port = free_port()
        return start_redis(users=users, settings=by.server_settings(port, **settings)), port

    return start


def url(port, host="localhost"):
    return f"rediss://{host}:{port}"


def verdict(daemon):
    return daemon.ask("GET " + token()).code


def store(daemon, text=None, **fields):
    text = text or token()
    answer = daemon.ask("STORE " + to_json(data(text, **fields)))
    assert answer.last == "OK", answer
    return text


def test_everything_over_tls(start_tls, start_daemon, authority):
    """Every operation, the links on which changes are heard of, and answers of many records."""
    server, port = start_tls(clients=authority.ca)
    certificate, key = authority.issue("tokenkeep")
    options = {"tls-ca": authority.ca, "tls-certificate-file": certificate, "tls-key-file": key, "tls-minimum-version": "1.3"}
    daemon = start_daemon(url(port) + "/3", redis_options=options)
    other = start_daemon(url(port, "127.0.0.1") + "/3", redis_options=options, keys=daemon.keys)
    until(lambda: daemon.stats()["invalidation-links"] == 2, what="both links to be certain")
    text = store(daemon)
    assert daemon.ask("GET " + text).cls == "OK"
    assert other.ask("GET " + text).cls == "OK"
    assert other.ask("DELETE " + key_of(text)).last == "OK"
    assert until(lambda: verdict(daemon) == "NO invalid" and daemon.ask("GET " + text).cls == "NO")
    large = store(daemon, groups=[{"name": f"group-{n}", "id": n + 1} for n in range(500)])
    with daemon.connect() as client:
        for request in range(300):
            client.send(f"#r{request} GETKEY {key_of(large)}\n")
        assert {client.answer().tag for _ in range(300)} == {f"#r{request}" for request in range(300)}
    with daemon.connect() as client:
        client.send("".join(f"STORE {to_json(data(token(), username='carol'))}\n" for _ in range(3000)))
        assert {client.answer().last for _ in range(3000)} == {"OK"}
        client.send("".join(f"GETKEY {part()}\n" for _ in range(3000)))
        assert {client.answer().last for _ in range(3000)} == {"NO invalid"}
    assert daemon.ask("LIST USER carol").last == "OK 3000"
    assert len(daemon.ask("LIST").lines) == 3001
    assert daemon.ask("VERIFYALL").last == "OK 3001 0"
    assert daemon.ask("DELETE USER carol").last == "OK 3000"
    assert daemon.ask("DELETEALL").last == "OK 1"
    names = [client["name"] for client in server.client().client_list() if client["name"].startswith("tokenkeep-")]
    assert len(names) == 8  # two servers, two workers, two connections
    checked = run("--config", daemon.config_file, "--check")
    assert checked.returncode == 0, checked.stderr


def refusals(authority, folder):
    """(how Redis is, options of the daemon, what is said)"""
    stranger = Authority(folder, "stranger")
    ours = dict(zip(("tls-certificate-file", "tls-key-file"), stranger.issue("client")))
    ca = {"tls-ca": authority.ca}
    return {
        "expired": ({"certificate": authority.issue("expired", days=-1)}, ca, OUR_CHECK + "it, or a CA's above it, has expired"),
        "name": ({"certificate": authority.issue("name", "DNS:redis.example.org")}, ca, OUR_CHECK + "it is for another name"),
        "ca": ({"certificate": stranger.issue("redis")}, ca, OUR_CHECK + "no CA that is trusted here has issued it ("),
        "system": ({}, {}, OUR_CHECK + "no CA that is trusted here has issued it (the system's CAs)"),
        "none": ({"clients": authority.ca}, ca, "the server wants a certificate of ours"),
        "none-1.2": ({"clients": authority.ca, "tls_protocols": "TLSv1.2"}, ca, "the server refused the handshake: it may want"),
        "ours": ({"clients": authority.ca}, {**ca, **ours}, "the server refused our certificate: it trusts no CA"),
        "old": ({"tls_protocols": "TLSv1.1", "tls_ciphers": "DEFAULT@SECLEVEL=0"}, ca, "the server speaks no version of TLS that is allowed"),
        "minimum": ({"tls_protocols": "TLSv1.2"}, {**ca, "tls-minimum-version": "1.3"}, "the server speaks no version of TLS that is allowed"),
    }


@pytest.mark.parametrize("case", ["expired", "name", "ca", "system", "none", "none-1.2", "ours", "old", "minimum"])
def test_refusals(start_tls, start_daemon, authority, folder, case):
    """Nothing is said before both sides are content, and the log and --check say which side was not."""
    settings, options, words = refusals(authority, folder)[case]
    server, port = start_tls(**settings)
    daemon = start_daemon(url(port), workers=1, redis_options=options, log=EVERY_ATTEMPT)
    daemon.wait_log(words)
    assert verdict(daemon) == "ERR unavail"
    assert not [client for client in server.client().client_list() if client["name"]]
    checked = run("--config", daemon.config_file, "--check")
    assert checked.returncode == 1 and words in checked.stderr, checked.stderr


def test_a_name_of_its_own(start_tls, start_daemon, authority):
    """A certificate for another name than the URL's is good when that name is configured."""
    _, port = start_tls(certificate=authority.issue("own", "DNS:redis.example.org"))
    daemon = start_daemon(url(port), redis_options={"tls-ca": authority.ca, "tls-server-name": "redis.example.org"})
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached")


def test_tls_and_plain_do_not_meet(start_tls, start_daemon, authority):
    """What is said when only one side speaks TLS."""
    server, port = start_tls()
    plain = start_daemon(f"redis://127.0.0.1:{port}", workers=1, log=EVERY_ATTEMPT)
    plain.wait_log("before it answered (if this port speaks TLS, the URL begins with rediss://)")
    secure = start_daemon(url(server.port), workers=1, redis_options={"tls-ca": authority.ca, **QUICK}, log=EVERY_ATTEMPT)
    until(lambda: "(does this port speak TLS?)" in secure.stderr() or "does not speak TLS" in secure.stderr(),
          what="the log to say that TLS is not spoken")


def replace(paths, by):
    """Puts new files in the place of old ones."""
    for path, new in zip(paths, by):
        shutil.copy(new, path + ".new")
        os.rename(path + ".new", path)


def restart(server, settings):
    server.kill()
    server.settings = settings
    server.start()


def test_certificates_are_read_again(start_tls, start_daemon, authority, folder):
    """A new CA, a new certificate of ours and a new password are taken without a reload; a half of them changes nothing."""
    port = free_port()
    users = {"keeper": ("first", "~* &* +@all")}
    server, port = start_tls(users=users, clients=authority.ca)
    files = [os.path.join(folder, name) for name in ("ca.pem", "client.pem", "client.key")]
    password = os.path.join(folder, "password")
    for path, text in ((password, "first\n"), *((path, "") for path in files)):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)
    for path, source in zip(files, (authority.ca, *authority.issue("client"))):
        shutil.copyfile(source, path)
    daemon = start_daemon(url(port), redis_options=dict(zip(
        ("tls-ca", "tls-certificate-file", "tls-key-file", "username", "password-file"), (*files, "keeper", password))))
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached")

    successor = Authority(folder, "successor")
    new = (successor.ca, *successor.issue("client"))
    replace(files[2:], new[2:])  # the key alone
    restart(server, server.settings)
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached with what was read before")
    daemon.wait_log("what was read before goes on being used: " + files[2] + ": the TLS key does not belong to the certificate")

    replace(files, new)
    with open(password, "w") as file:
        file.write("second\n")
    server.users = {"keeper": ("second", "~* &* +@all")}
    restart(server, successor.server_settings(port, clients=successor.ca))
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached with what is new")
    until(lambda: daemon.stats()["invalidation-links"] == 2, what="both links to be certain")
    log = daemon.stderr()
    assert "the certificates have changed" in log and "the password has changed" in log
    assert "first" not in log and "second" not in log and "PRIVATE" not in log
    assert daemon.workers() == daemon.steady


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_files_for_root_alone(start_tls, start_daemon, authority, folder):
    """They are read at the start and at a reload, and --check says that this is so; those of the workers' group need none."""
    server, port = start_tls(clients=authority.ca)
    files = [os.path.join(folder, name) for name in ("client.pem", "client.key")]
    replace(files, authority.issue("client"))
    os.chmod(files[1], 0o600)
    os.chmod(folder, 0o755)
    ca = os.path.join(folder, "ca.pem")
    shutil.copy(authority.ca, ca)
    daemon = start_daemon(url(port, "127.0.0.1"), user=pwd.getpwuid(65534).pw_name, redis_options={
        "tls-ca": ca, "tls-certificate-file": files[0], "tls-key-file": files[1]}, log=EVERY_ATTEMPT)
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached")
    checked = run("--config", daemon.config_file, "--check")
    assert checked.returncode == 0 and files[1] + ": workers cannot read it" in checked.stderr, checked.stderr
    assert files[0] + ": workers cannot" not in checked.stderr
    successor = Authority(folder, "successor")
    replace(files, successor.issue("client"))
    os.chmod(files[1], 0o600)
    restart(server, authority.server_settings(port, clients=successor.ca))
    daemon.wait_log("the server refused our certificate: it trusts no CA")
    assert "goes on being used" not in daemon.stderr()
    daemon.reload()
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached after a reload")
    for path, new in zip(files, authority.issue("for-its-group")):
        os.chown(new, 0, pwd.getpwuid(65534).pw_gid)
        os.chmod(new, 0o640)
        os.rename(new, path)
    restart(server, authority.server_settings(port, clients=authority.ca))
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached without a reload")


def test_a_key_that_others_can_read(authority, folder, start_daemon):
    certificate, key = authority.issue("open")
    os.chmod(key, 0o644)
    daemon = start_daemon(url(free_port()), wait=False, redis_options={
        "tls-ca": authority.ca, "tls-certificate-file": certificate, "tls-key-file": key})
    assert daemon.process.wait(60) == 78
    daemon.ended = True
    assert f"{key}: others can use the TLS key" in daemon.stderr()


def test_redis_stops_in_the_handshake(start_tls, start_daemon, authority):
    """It times out, and is tried again."""
    server, port = start_tls()
    server.stop()
    try:
        daemon = start_daemon(url(port), workers=1, redis_options={"tls-ca": authority.ca, **QUICK}, log=EVERY_ATTEMPT)
        daemon.wait_log("no answer to the TLS handshake (does this port speak TLS?)")
        assert verdict(daemon) == "ERR unavail"
    finally:
        server.cont()
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be reached")


def test_redis_stops_and_is_killed(start_tls, start_daemon, authority):
    """A change that was sent is uncertain, look-ups are refused, and both links come back."""
    server, port = start_tls()
    daemon = start_daemon(url(port), workers=1, redis_options={"tls-ca": authority.ca, **QUICK})
    until(lambda: daemon.stats()["invalidation-links"] == 1, what="the link to be certain")
    text = store(daemon)
    server.stop()
    try:
        assert daemon.ask("DELETE " + key_of(text)).last.startswith("ERR unavail uncertain")
        until(lambda: daemon.ask("GET " + text).code == "ERR unavail", what="the lease to end")
    finally:
        server.cont()
    until(lambda: verdict(daemon) == "NO invalid", what="Redis to be back")
    server.kill()
    daemon.wait_log("is away: connection lost: ")
    server.start()
    until(lambda: daemon.stats()["invalidation-links"] == 1, what="the link to be certain again")
    assert daemon.ask("GET " + store(daemon)).cls == "OK"


class Peer:
    """Something on a port that answers each connection with `said`, over TLS when there is a context, and hangs up."""

    def __init__(self, said, context=None):
        self.said, self.context, self.served = said, context, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            try:
                with sock:
                    sock.settimeout(10)
                    if self.context:
                        sock = self.context.wrap_socket(sock, server_side=True)
                    sock.recv(4096)
                    sock.sendall(self.said)
                    sock.recv(4096)
            except OSError:
                pass
            self.served += 1


@pytest.mark.parametrize("secure, said, words", [
    (False, b"-ERR unknown command\r\n", "what answers does not speak TLS"),
    (False, b"\x16\x03\x03\x00\x04\x02\x00\x00\x00" + b"\x00" * 90, "TLS failed: "),
    (False, bytes(range(256)) * 100, "what answers does not speak TLS"),
    (False, b"\x15\x03\x03\x00\x02\x02\x50", "the server ended TLS: internal error"),
    (True, b"\xff" * 1000, "away: "),
    (True, b"+OK\r\n:7\r\n$3\r\nabc\r\n", "PING was answered with something unexpected"),
    (True, b"*2147483647\r\n", "an array over the limit"),
], ids=["text", "handshake", "bytes", "alert", "secure-bytes", "secure-replies", "secure-array"])
def test_peers_that_are_no_redis(start_daemon, authority, secure, said, words):
    """Garbage in the place of TLS, and inside of it."""
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("peer"))
    peer = Peer(said, context)
    daemon = start_daemon(url(peer.port), workers=1, redis_options={"tls-ca": authority.ca, **QUICK}, log=EVERY_ATTEMPT)
    daemon.wait_log(words)
    until(lambda: peer.served > 6, what="several attempts")
    assert verdict(daemon) == "ERR unavail"
    peer.listener.close()
