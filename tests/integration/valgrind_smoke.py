# SPDX-License-Identifier: MIT
"""One run of everything under valgrind: the installed server on its private Redis, every request as a line, the most of
them over RESP, the client's commands, a reload and a stop; and Redis over TLS. What valgrind reports of any process must be nothing."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from certificates import Authority
from client import Client
from daemon import program
from tokens import data, key_of, to_json, token
from waiting import free_port, until

TOKEN = token()
KEY = key_of(TOKEN)
WRONG = token(key=KEY)
STORED = to_json(data(TOKEN, name="laptop", uid=1000, groups=[{"name": "staff", "id": 100}]))
NEW = to_json(data(token=...))

# Request and what the answer's last line looks like, in order; every command of the table is here.
CONVERSATION = [
    ("PING", r"OK"),
    ("HELP", r"OK"),
    ("GET " + TOKEN, r"NO invalid"),
    ("GET " + TOKEN, r"NO invalid"),
    ("STORE " + STORED, r"OK"),
    ("GET " + TOKEN, r'OK \{"token":"' + re.escape(TOKEN) + r'".*\}'),
    ("GET " + TOKEN, r"OK \{.*\}"),
    ("GET " + WRONG, r"NO invalid"),
    ("GET nonsense", r"NO malformed"),
    ("CHECK " + TOKEN + " read:all", r"OK alice"),
    ("CHECK " + TOKEN + " write:all", r"NO scope write:all"),
    ("GETKEY " + KEY, r"OK \{.*\}"),
    ("ISSUE " + NEW, r"OK gt-[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{22}"),
    ("ISSUE " + STORED, r"ERR badreq .*token.*"),
    ("STORE {\"username\":", r"ERR badreq .*"),
    ("STORE " + STORED.replace("uid", "uidd"), r"ERR badreq .*"),
    ("LIST", r"OK 2"),
    ("VERIFYALL", r"OK 2 0"),
    ("VERIFYALL FIX", r"OK 2 0"),
    ("STATS KEYS", r"OK 0 0"),
    ("REKEY", r"OK 2 0 [02]"),
    ("LIST USER alice", r"OK [12]"),
    ("LIST USER Alice", r"ERR badreq .*"),
    ("DELETE USER nobody", r"OK 0"),
    ("DELETE " + KEY, r"OK"),
    ("DELETE " + KEY, r"NO invalid"),
    ("GET " + TOKEN, r"NO invalid"),
    ("DELETEALL", r"OK 1"),
    ("STATS", r"OK"),
    ("NONSENSE", r"ERR badreq .*"),
    ("#tag PING", r"#tag OK"),
    ("QUIT", r"OK"),
]

CLIENT = [
    (["ping"], 0),
    (["store", STORED], 0),
    (["get", TOKEN], 0),
    (["--json", "check", TOKEN, "read:all"], 0),
    (["check", TOKEN, "write:all"], 1),
    (["getkey", KEY], 0),
    (["issue", NEW], 0),
    (["list"], 0),
    (["list-user", "alice"], 0),
    (["delete-user", "nobody"], 0),
    (["stats"], 0),
    (["verify-all"], 0),
    (["rekey"], 0),
    (["stats", "--keys"], 0),
    (["stats", "--keys", "--json"], 0),
    (["delete", KEY], 0),
    (["delete", KEY], 1),
    (["delete-all", "--yes"], 0),
    (["bench", "--requests", "200", "--tokens", "20", "--mix", "hit,miss,unknown,store", "--threads", "2"], 0),
    (["--json", "bench", "--protocol", "resp", "--tokens", "20", "--seconds", "0.5", "--rate", "100", "--keys", "zipf", "--idle", "3",
      "--pid", str(os.getpid())], 0),
    (["keygen"], 0),
    (["policy", "try", "p/p.lua", "--command", "get", "--token-json", "p/token.json", "--set", "inside=::1/128"], 1),
    (["policy", "try", "p/p.lua", "--command", "issue", "--token-json", "p/token.json", "--user", "ada", "--json"], 0),
    (["policy", "try", "p/p.lua", "--command", "list", "--peer", "[::1]:7"], 2),
    (["policy", "try", "p/p.lua", "--command", "list", "--token-json", "p/token.json"], 64),
    (["policy", "try", "p/p_test.lua", "--command", "list"], 2),
    (["policy", "test", "p"], 1),
]

POLICY = {
    "p.lua": """
        local inside
        return {
          load = function(settings) inside = keep.cidr{settings.inside or "10.0.0.0/8"} end,
          get = function(request, token) return inside(request.address), "not from here" end,
          issue = function(request, token) return true, { expires = keep.json.null, scopes = { "b", "a", token.scopes[1] } } end,
          list = function() while true do end end,
        }""",
    "token.json": NEW,
    "p_test.lua": """
        return { policy = "p.lua", settings = { inside = "::1" }, cases = {
          { request = { command = "get" }, want = "not from here" },
          { request = { command = "get", address = "::1" }, want = "not from here" },
          { request = { command = "issue", user = "ada" }, want = { scopes = { "a", "b" } }, token = { scopes = { "a" } }, fresh = true },
          { request = { command = "list" }, fails = "instructions" },
          { request = { command = "store" }, token = { scopse = {} }, want = true },
          { name = 7 } } }""",
    "q_test.lua": "error('no test')",
}


def resp(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, words))


def valgrind(folder):
    return ["valgrind", "-q", "--trace-children=yes", "--trace-children-skip=*redis-server*", "--leak-check=full",
            "--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect",
            "--error-exitcode=99", f"--log-file={folder}/valgrind.%p"]


def run_conversation(address):
    with Client(address) as client:
        for request, expected in CONVERSATION:
            client.send(request + "\n")
            answer = client.answer()
            last = f"{answer.tag} {answer.last}" if answer.tag else answer.last
            assert re.fullmatch(expected, last), f"{request} was answered {last}"
        client.expect_closed()


def run_resp(address):
    with Client(address) as client:
        def exchange(*words):
            client.send(resp(*words))
            return client.read_line().decode().rstrip("\r")

        assert exchange("PING") == "+PONG"
        assert exchange("STORE", STORED) == "+OK"
        size = exchange("GET", TOKEN)
        assert json.loads(client.read_exactly(int(size[1:]) + 2))["username"] == "alice"
        assert exchange("DELETE", KEY) == "+OK"
        assert exchange("GET", TOKEN) == "$-1"
        assert exchange("LIST") == "*0"
        assert [exchange("REKEY"), *(client.read_line() for _ in range(4))] == ["*4", b":0\r", b":0\r", b":0\r", b"*0\r"]
        assert exchange("NONSENSE").startswith("-ERR badreq unknown command")
        client.send("*1\r\n$3\r\nGE")  # left half-sent


def run_client(folder, address):
    os.mkdir(os.path.join(folder, "p"))
    for name, text in POLICY.items():
        Path(folder, "p", name).write_text(text)
    for arguments, expected in CLIENT:
        done = subprocess.run(valgrind(folder) + [program("tokenkeep"), "--socket", address, *arguments], timeout=60,
                              capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == expected, f"tokenkeep {arguments[0]}: {done.stdout}{done.stderr}"


def verdict(address):
    """Whether Redis is up behind the server: it says no to an unknown token and not that it cannot tell."""
    try:
        with Client(address) as client:
            return client.ask("GET " + TOKEN).cls == "NO"
    except OSError:
        return False


def assert_clean(folder):
    findings = "".join(report.read_text() for report in sorted(Path(folder).glob("valgrind.*")))
    assert findings == "", findings


def test_everything_is_clean_under_valgrind(folder):
    """No process of a server that has done everything has touched memory that it should not, or leaked."""
    address = os.path.join(folder, "state", "admin.sock")
    log = Path(folder, "log")
    with log.open("wb") as stderr:
        server = subprocess.Popen(valgrind(folder) + [program("tokenkeepd"), "--state", os.path.join(folder, "state"),
                                                      "--listen", f"127.0.0.1:{free_port()}"], stderr=stderr)
    try:
        until(lambda: server.poll() is not None or verdict(address), 60, "a verdict")
        assert server.poll() is None, log.read_text()
        run_conversation(address)
        run_resp(address)
        run_client(folder, address)
        server.send_signal(signal.SIGHUP)
        until(lambda: "reloaded: " in log.read_text(), 30, "the reload")
        run_conversation(address)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()
    assert_clean(folder)


def test_tls_to_redis_is_clean_under_valgrind(folder, start_redis, start_daemon):
    """Connections over TLS that carried everything, were lost, refused, and made again with other certificates."""
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    port = free_port()
    settings = authority.server_settings(port, clients=authority.ca)
    redis = start_redis(settings=settings)
    certificate, key = authority.issue("client")
    daemon = start_daemon(f"rediss://localhost:{port}", workers=1, wrapper=valgrind(folder), log={"level": "debug"}, redis_options={
        "tls-ca": authority.ca, "tls-certificate-file": certificate, "tls-key-file": key, "connect-timeout": 5})
    until(lambda: verdict(daemon.manage), 60, "a verdict")
    run_conversation(daemon.manage)
    redis.kill()
    redis.settings = authority.server_settings(port, clients=stranger.ca)
    redis.start()
    daemon.wait_log("the server refused our certificate", 60)
    redis.kill()
    for old, new in zip((certificate, key), stranger.issue("client")):
        os.rename(new, old)
    redis.start()
    until(lambda: verdict(daemon.manage), 60, "a verdict")
    daemon.stop()
    assert_clean(folder)
