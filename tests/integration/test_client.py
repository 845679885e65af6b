# SPDX-License-Identifier: MIT
"""tokenkeep, the command-line client, against servers scripted here, which lie, stall and leave, and against tokenkeepd."""
import base64
import json
import os
import re
import select
import socket
import subprocess
import threading
import time

import pytest

from daemon import environment, program, run_on_terminal
from tokens import data, key_of, part, secret_of, to_json, token
from waiting import SLOWNESS, free_port

YES, NO, NO_VERDICT, USAGE = 0, 1, 2, 64
TOKEN, KEY = "gt-abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOP0189-_", "abcdefghijklmnopqrstuv"
ISSUE = '{"username":"ada","token_type":"user","scopes":[]}'
MANUAL = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "tokenkeep.1")


class Scripted:
    """A server on a unix socket: the answer to a line is what `script` has for it, else b"" and the connection closes.
    A callable in the script is given the connection and answers by itself."""

    def __init__(self, path, script):
        self.path, self.script, self.lines = path, script, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while not self.over.is_set():
            if not select.select([self.listener], [], [], 0.05)[0]:
                continue
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rb") as reader:
                try:
                    self._converse(connection, reader)
                except OSError:
                    pass

    def _converse(self, connection, reader):
        for line in reader:
            line = line.decode("utf-8").rstrip("\n")
            self.lines.append(line)
            answer = self.script.get(line, self.script.get("*", b""))
            if callable(answer):
                answer(connection)
                return
            if not answer:
                return
            connection.sendall(answer)

    def close(self):
        self.over.set()
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def serve(folder):
    """serve({line: answer}) -> Scripted; "*" stands for any other line."""
    servers = []

    def start(script):
        servers.append(Scripted(os.path.join(folder, f"s{len(servers)}"), script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Ran:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        """What is printed is one JSON value on one line."""
        assert self.out.count("\n") == 1 and self.out.endswith("\n"), self.out
        return json.loads(self.out)


def cli(*arguments, stdin=None, env=None, binary=False):
    """Runs tokenkeep to its end, which comes soon."""
    asked = stdin if binary or stdin is None else stdin.encode()
    done = subprocess.run([program("tokenkeep"), *arguments], env={**environment(), **(env or {})}, capture_output=True,
                          timeout=60 * SLOWNESS, **({"input": asked} if asked is not None else {"stdin": subprocess.DEVNULL}))
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode()
    done.stdout, done.stderr = done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace")
    return Ran(done)


def ask(server, *arguments, **settings):
    return cli("--socket", server.path, *arguments, **settings)


# What is asked, and how each answer is shown

KEY_LINES = (b"+ 0123456789abcdef 1 70\n+ fedcba9876543210 2 0\n+ 0000000000000001 3 1\n"
             b"+ 00000000000000aa 0 5\n")
ANSWERS = [
    (["get", TOKEN], "GET " + TOKEN, b'OK {"username":"ada","uid":9223372036854775807}\n',
     YES, '{"username":"ada","uid":9223372036854775807}\n', {"username": "ada", "uid": 9223372036854775807}),
    (["getkey", KEY], "GETKEY " + KEY, b'OK {"username":"ada"}\n', YES, '{"username":"ada"}\n', {"username": "ada"}),
    (["check", TOKEN, "read:all", "-"], f"CHECK {TOKEN} read:all -", b"OK ada\n",
     YES, "ada\n", {"valid": True, "username": "ada"}),
    (["check", TOKEN], "CHECK " + TOKEN, b"NO invalid\n", NO, "", {"valid": False, "reason": "invalid"}),
    (["check", TOKEN, "a", "b"], f"CHECK {TOKEN} a b", b"NO scope b\n",
     NO, "", {"valid": False, "reason": "scope", "detail": "b"}),
    (["get", TOKEN], "GET " + TOKEN, b"NO policy not on Sundays\n",
     NO, "", {"valid": False, "reason": "policy", "detail": "not on Sundays"}),
    (["get", "nonsense"], "GET nonsense", b"NO malformed\n", NO, "", {"valid": False, "reason": "malformed"}),
    (["store", '{ "a": [1, 2] }'], 'STORE {"a":[1,2]}', b"OK\n", YES, "stored\n", {"stored": True}),
    (["issue", ISSUE], "ISSUE " + ISSUE, f"OK {TOKEN}\n".encode(), YES, TOKEN + "\n", {"token": TOKEN}),
    (["issue", ISSUE], "ISSUE " + ISSUE, b"NO policy no\n", NO, "", {"issued": False, "reason": "policy", "detail": "no"}),
    (["delete", KEY], "DELETE " + KEY, b"OK\n", YES, "deleted\n", {"deleted": True}),
    (["delete", KEY], "DELETE " + KEY, b"NO invalid\n", NO, "", {"deleted": False, "reason": "invalid"}),
    (["delete-all", "--yes"], "DELETEALL", b"OK 12\n", YES, "deleted 12\n", {"deleted": 12}),
    (["list"], "LIST", b"OK 0\n", YES, "", {"keys": [], "count": 0}),
    (["list"], "LIST", b"+ %s\n+ %s\nOK 2\n" % (KEY.encode(), KEY[::-1].encode()),
     YES, f"{KEY}\n{KEY[::-1]}\n", {"keys": [KEY, KEY[::-1]], "count": 2}),
    (["verify-all"], "VERIFYALL", b"OK 9 0\n", YES, "checked 9, bad 0, remaining 0\n",
     {"checked": 9, "bad": 0, "remaining": 0, "values": []}),
    (["verify-all"], "VERIFYALL", b"+ %s not a sealed value\nOK 9 1\n" % KEY.encode(),
     NO, KEY + " not a sealed value\nchecked 9, bad 1, remaining 1\n",
     {"checked": 9, "bad": 1, "remaining": 1, "values": [{"key": KEY, "problem": "not a sealed value", "deleted": False}]}),
    (["rekey"], "REKEY", b"+ progress 0 0\n+ progress 5 9\nOK 9 0 7\n", YES, "checked 9, bad 0, resealed 7\n",
     {"checked": 9, "bad": 0, "resealed": 7, "values": []}),
    (["rekey"], "REKEY", b"+ progress 5 9\n+ %s too short\nOK 9 1 7\n" % KEY.encode(), NO,
     KEY + " too short\nchecked 9, bad 1, resealed 7\n",
     {"checked": 9, "bad": 1, "resealed": 7, "values": [{"key": KEY, "problem": "too short", "deleted": False}]}),
    (["stats"], "STATS", b"+ requests 7\n+ cache-hits 123\nOK\n",
     YES, "requests   7\ncache-hits 123\n", {"requests": 7, "cache-hits": 123}),
    (["stats", "--keys"], "STATS KEYS", KEY_LINES + b"OK 3 0\n", YES,
     "1  0123456789abcdef         70 seals\n2  fedcba9876543210          0 may go\n3  0000000000000001          1 in use\n"
     "-  00000000000000aa          5 missing\nunreadable 3\nunindexed 0\n",
     {"keys": [{"id": "0123456789abcdef", "place": 1, "values": 70, "use": "seals"},
               {"id": "fedcba9876543210", "place": 2, "values": 0, "use": "may go"},
               {"id": "0000000000000001", "place": 3, "values": 1, "use": "in use"},
               {"id": "00000000000000aa", "place": 0, "values": 5, "use": "missing"}], "unreadable": 3, "unindexed": 0}),
]


@pytest.mark.parametrize("arguments,line,answer,status,text,value", ANSWERS)
def test_answers(serve, arguments, line, answer, status, text, value):
    server = serve({line: answer})
    plain = ask(server, *arguments)
    assert (plain.status, plain.out) == (status, text), plain.err
    assert (plain.err != "") == (answer.startswith(b"NO"))
    machine = ask(server, "--json", *arguments)
    assert (machine.status, machine.json) == (status, value), machine.err
    assert server.lines == [line, line]


def test_no_key_may_go_while_the_index_lacks_tokens(serve):
    ran = ask(serve({"STATS KEYS": KEY_LINES + b"OK 0 1\n"}), "stats", "--keys", "--json")
    assert [key["use"] for key in ran.json["keys"]] == ["seals", "in use", "in use", "missing"]


def test_ping(serve):
    server = serve({"PING": b"OK\n"})
    plain = ask(server, "ping")
    assert (plain.status, plain.out) == (YES, "OK\n")
    assert re.fullmatch(r"round trip \d+\.\d{3} ms\n", plain.err)
    machine = ask(server, "ping", "--json")
    assert machine.status == YES and machine.json["ok"] is True and machine.json["microseconds"] > 0


def test_fix_tells_what_remains(serve):
    lines = b"+ %s forged; deleted\n+ %s unknown key\n" % (KEY.encode(), KEY[::-1].encode())
    left = serve({"VERIFYALL FIX": lines + b"OK 9 2\n"})
    ran = ask(left, "verify-all", "--fix")
    assert ran.status == NO
    assert ran.out == f"{KEY} forged; deleted\n{KEY[::-1]} unknown key\nchecked 9, bad 2, remaining 1\n"
    ran = ask(left, "verify-all", "--fix", "--json")
    assert ran.status == NO and ran.json == {"checked": 9, "bad": 2, "remaining": 1, "values": [
        {"key": KEY, "problem": "forged", "deleted": True}, {"key": KEY[::-1], "problem": "unknown key", "deleted": False}]}
    clean = serve({"VERIFYALL FIX": b"+ %s forged; deleted\nOK 9 1\n" % KEY.encode()})
    ran = ask(clean, "verify-all", "--fix", "--json")
    assert ran.status == YES and ran.json["bad"] == 1 and ran.json["remaining"] == 0
    assert ask(serve({"VERIFYALL FIX": b"+ %s forged; deleted\nOK 9 0\n" % KEY.encode()}), "verify-all", "--fix").status == NO_VERDICT
    assert ask(serve({"VERIFYALL FIX": b"OK 9 0\n"}), "verify-all", "--fix").status == YES


# No verdict

@pytest.mark.parametrize("arguments", [
    ["get", TOKEN], ["check", TOKEN], ["delete", KEY], ["issue", "{}"], ["list"], ["verify-all"], ["stats"], ["ping"],
    ["delete-all", "--yes"]])
def test_errors_are_no_verdict(serve, arguments):
    server = serve({"*": b"ERR unavail Redis is away\n"})
    plain = ask(server, *arguments)
    assert (plain.status, plain.out) == (NO_VERDICT, "")
    assert f"tokenkeep: {arguments[0]}: the server answered ERR unavail: Redis is away" in plain.err
    machine = ask(server, *arguments, "--json")
    assert machine.status == NO_VERDICT and machine.json["error"]["code"] == "unavail"
    assert "Redis is away" in machine.json["error"]["message"]


def test_error_in_the_middle(serve):
    """A list that fails midway is no list."""
    server = serve({"*": b"+ %s\nERR unavail Redis is away\n" % KEY.encode()})
    assert ask(server, "list").status == NO_VERDICT
    machine = ask(server, "list", "--json")
    assert machine.status == NO_VERDICT and machine.json["error"]["code"] == "unavail"


@pytest.mark.parametrize("code,hint", [("denied", "--socket"), ("busy", "try again")])
def test_errors_say_what_to_do(serve, code, hint):
    assert hint in ask(serve({"*": f"ERR {code} because\n".encode()}), "list").err


@pytest.mark.parametrize("part", [b"", b"O", b"OK ada", b"OK \x00", b"+ " + KEY.encode() + b"\n"])
def test_server_leaves_early(serve, part):
    def leave(connection):
        connection.sendall(part)

    for command in (["check", TOKEN], ["list"], ["delete", KEY]):
        ran = ask(serve({"*": leave}), *command, "--json")
        assert ran.status == NO_VERDICT
        # What an item does in the answer of a command without items is a question of its own.
        assert ran.json["error"]["code"] == ("protocol" if part[:1] == b"+" and command[0] != "list" else "closed")
        if ran.json["error"]["code"] == "closed":
            assert ("whether the change was made is not known" in ran.err) == (command[0] == "delete")


HOSTILE = [b"\n", b"OKAY\n", b"ok\n", b"NO\n", b"+PONG\n", b"-ERR x\n", b"#t OK ada\n", b"HTTP/1.1 400 Bad Request\r\n",
           b"OK \x1b[31mada\n", b"OK a\x00b\n", b"OK ada\r\n", b"OK a\x7fb\n", b"OK \xc2\x9b31mada\n", b"OK \xff\n", b"OK \xed\xa0\x80\n",
           b"ERR unavail \x1b]0;owned\x07\n", b"NO policy \x1b[2J\n", b"+ \x1b[2J\n", b"x" * (1 << 20), b"OK " + b"x" * (1 << 21) + b"\n"]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: repr(answer[:20]))
@pytest.mark.parametrize("command", [["check", TOKEN], ["list"]], ids=lambda command: command[0])
def test_hostile_answers(serve, command, answer):
    """What is not of the protocol is no verdict, and no control character reaches a terminal."""
    server = serve({"*": answer})
    plain, machine = ask(server, *command), ask(server, "--json", *command)
    assert plain.status == NO_VERDICT and plain.out == ""
    assert machine.status == NO_VERDICT and machine.json["error"]["code"] == "protocol"
    for text in (plain.err, machine.err, machine.out):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text), text
    assert "is it tokenkeepd?" in plain.err


@pytest.mark.parametrize("arguments,answer", [
    (["get", TOKEN], b"OK\n"), (["get", TOKEN], b"OK ada\n"), (["get", TOKEN], b"OK [1]\n"), (["get", TOKEN], b'OK {"a":1,"a":2}\n'),
    (["get", TOKEN], b"+ x\nOK {}\n"), (["check", TOKEN], b"OK\n"), (["store", "{}"], b"OK 1\n"), (["delete", KEY], b"OK gone\n"),
    (["issue", "{}"], b"OK\n"), (["issue", "{}"], b"OK gt-x\n"), (["delete-all", "--yes"], b"OK\n"), (["delete-all", "--yes"], b"OK many\n"),
    (["delete-all", "--yes"], b"OK -1\n"), (["list"], b"OK\n"), (["list"], b"+ x y\nOK 1\n"), (["list"], b"+ -rf\nOK 1\n"),
    (["verify-all"], b"OK 1\n"), (["verify-all"], b"OK 1 2 3\n"), (["verify-all"], b"+ x\nOK 1 1\n"), (["stats"], b"+ x\nOK\n"),
    (["stats"], b"+ x y\nOK\n"), (["stats"], b"+ x \nOK\n"), (["ping"], b"+ x\nOK\n"),
    (["rekey"], b"OK 1 2\n"), (["rekey"], b"OK 1 2 3 4\n"), (["rekey"], b"+ x\nOK 1 0 1\n"), (["rekey"], b"+ progress\nOK 1 0 1\n"),
    (["rekey"], b"+ progress 1\nOK 1 0 1\n"), (["rekey"], b"+ progress 1 -1\nOK 1 0 1\n"), (["rekey"], b"OK 1 0\n"),
    (["stats", "--keys"], b"OK\n"), (["stats", "--keys"], b"OK 1\n"), (["stats", "--keys"], b"OK 1 2 3\n"),
    (["stats", "--keys"], b"+ requests 7\nOK 0 0\n"), (["stats", "--keys"], b"+ 0123456789abcdef 1\nOK 0 0\n"),
    (["stats", "--keys"], b"+ 0123456789abcdef 1 2 3\nOK 0 0\n"), (["stats", "--keys"], b"+ 0123456789abcde 1 2\nOK 0 0\n"),
    (["stats", "--keys"], b"+ 0123456789abcdef0 1 2\nOK 0 0\n"), (["stats", "--keys"], b"+ 0123456789abcdef 1 -2\nOK 0 0\n"),
    (["stats", "--keys"], b"+ 0123456789abcdef -1 2\nOK 0 0\n"), (["stats", "--keys"], b"+ 0123456789ABCDEF 1 2\nOK 0 0\n"),
    (["stats", "--keys"], b"+ 0123456789abcdef 1 1234567890123456789\nOK 0 0\n"),
])
def test_answers_to_another_question(serve, arguments, answer):
    for extra in ([], ["--json"]):
        ran = ask(serve({"*": answer}), *arguments, *extra)
        assert ran.status == NO_VERDICT and "is it tokenkeepd?" in ran.err


def test_long_answers(serve):
    """Token data may be longer escaped than any request, and a line may come in pieces."""
    value = {"name": "é" * 100000, "email": "x" * 300000}
    line = b"OK " + json.dumps(value).encode() + b"\n"
    assert len(line) > 900000

    def dribble(connection):
        for at in range(0, len(line), 50000):
            connection.sendall(line[at:at + 50000])
            time.sleep(0.002)

    assert ask(serve({"*": line}), "get", TOKEN).json == value
    assert ask(serve({"*": dribble}), "get", TOKEN).json == value


def test_a_list_that_fills_the_buffer(serve):
    """More than the line buffer holds, lines ending anywhere in it."""
    keys = [f"{n:022d}" for n in range(100000)]
    server = serve({"LIST": b"".join(b"+ %s\n" % key.encode() for key in keys) + b"OK 100000\n"})
    assert ask(server, "list").out.split() == keys
    assert ask(server, "list", "--json").json == {"keys": keys, "count": 100000}


def test_timeout(serve):
    def stall(connection):
        time.sleep(3)

    server = serve({"*": stall})
    start = time.monotonic()
    ran = ask(server, "--timeout", "0.3", "--json", "delete", KEY)
    assert 0.3 <= time.monotonic() - start < 3
    assert ran.status == NO_VERDICT and ran.json["error"]["code"] == "timeout"
    assert "--timeout" in ran.err and "whether the change was made is not known" in ran.err


def drip(connection, bytes_):
    for at in range(len(bytes_)):
        connection.sendall(bytes_[at:at + 1])
        time.sleep(0.1)


def test_timeout_is_of_the_whole_answer(serve):
    """A server that sends a byte now and then holds nobody for ever ..."""
    ran = ask(serve({"*": lambda connection: drip(connection, b"OK " + b"a" * 30 + b"\n")}), "--timeout", "1", "check", TOKEN)
    assert ran.status == NO_VERDICT and "within 1 seconds" in ran.err


def test_timeout_of_long_work_is_of_silence(serve):
    """... but where much is to be done, bytes mean progress."""
    answer = b"+ " + KEY.encode() + b"\nOK 1\n"
    ran = ask(serve({"*": lambda connection: drip(connection, answer)}), "--timeout", "1.5", "list")
    assert (ran.status, ran.out) == (YES, KEY + "\n"), ran.err


def test_a_server_that_does_not_accept(folder):
    """A full queue of a stopped server, which a unix socket's connect() waits for."""
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = []
        for _ in range(2):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(path)
        ran = cli("--socket", path, "--timeout", "0.3", "ping")
        for one in waiting:
            one.close()
    assert ran.status == NO_VERDICT and "no answer in time" in ran.err


def test_the_last_word_of_a_server_that_has_left(folder):
    """ERR busy at the limit of connections comes unasked, and the connection is closed before the request is sent."""
    path = os.path.join(folder, "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        process = subprocess.Popen([program("tokenkeep"), "--socket", path, "--json", "store", "-"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
        process.stdin.write(to_json({"name": "x" * 900000}).encode())
        process.stdin.close()
        listener.settimeout(20)
        connection, _ = listener.accept()
        connection.sendall(b"ERR busy too many connections\n")
        connection.close()
        out = process.stdout.read()
        assert process.wait(20) == NO_VERDICT
        process.stdout.close()
    assert json.loads(out)["error"]["code"] == "busy"


# Finding the server

def test_no_server(folder):
    path = os.path.join(folder, "none.sock")
    ran = cli("--socket", path, "ping", "--json")
    assert ran.status == NO_VERDICT and ran.json["error"]["code"] == "connect"
    assert f"cannot connect to {path}: no such file; is tokenkeepd running? name its socket with --socket" in ran.err
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert "connection refused" in cli("--socket", path, "ping").err
    ran = cli("--server", f"127.0.0.1:{free_port()}", "ping")
    assert ran.status == NO_VERDICT and "connection refused" in ran.err


def test_where_the_server_is(serve):
    server, other = serve({"PING": b"OK\n"}), serve({"PING": b"ERR busy not me\n"})
    assert cli("ping", env={"TOKENKEEP_SOCKET": server.path}).status == YES
    assert cli("--socket", server.path, "ping", env={"TOKENKEEP_SOCKET": other.path}).status == YES
    assert cli("ping", f"--socket={server.path}", env={"TOKENKEEP_SOCKET": ""}).status == YES
    if not os.path.exists("/run/tokenkeep/admin.sock"):
        assert "/run/tokenkeep/admin.sock" in cli("ping", env={"TOKENKEEP_SOCKET": ""}).err


@pytest.mark.parametrize("family,host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "localhost"), (socket.AF_INET6, "[::1]")])
def test_tcp(family, host):
    with socket.socket(family) as listener:
        try:
            listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen(1)
        process = subprocess.Popen([program("tokenkeep"), "--server", f"{host}:{listener.getsockname()[1]}", "ping"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
        listener.settimeout(20)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == b"PING\n"
            connection.sendall(b"OK\n")
            assert process.communicate()[0] == b"OK\n" and process.returncode == YES


@pytest.mark.parametrize("address", ["", "x", ":1", "x:", "x:0", "x:65536", "x:1y", "::1:7117", "x: 1", "[::1]"])
def test_bad_addresses(address):
    assert cli("--server", address, "ping").status == USAGE


# The command line

@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["-"], ["--json"], ["--nonsense", "ping"], ["-x", "ping"], ["--socket"], ["ping", "--socket"], ["ping", "x"],
    ["get"], ["get", "a", "b"], ["check"], ["delete"], ["list", "x"], ["list", "--fix"], ["list", "--yes"], ["verify-all", "--yes"],
    ["--socket", "a", "--server", "127.0.0.1:1", "ping"], ["--timeout", "0", "ping"], ["--timeout", "-1", "ping"],
    ["--timeout", "nan", "ping"], ["--timeout", "1e9", "ping"], ["--timeout", "x", "ping"], ["--timeout", "", "ping"],
    ["--json=1", "ping"], ["--socket", "x" * 200, "ping"], ["delete-all"], ["keygen", "x"],
    ["rekey", "x"], ["stats", "x"], ["stats", "--keys=1"], ["--keys", "stats"], ["stats", "--rate", "1"], ["list", "--keys", "uniform"],
    ["top"], ["list", "USER", "ada"],
])
def test_usage(arguments):
    ran = cli(*arguments)
    assert ran.status == USAGE and ran.err.startswith("tokenkeep: ")
    assert ran.out == "" or "--json" in arguments
    for machine in [cli("--json", *arguments)] + ([cli(*arguments, "--json")] if arguments[-1:] != ["--socket"] else []):
        assert machine.status == USAGE and machine.json["error"]["code"] == "usage"


def listed_commands(text):
    """The commands that a help lists; at least two spaces stand behind each."""
    return re.findall(r"^  (\S+(?: \S+)?)  +\S", text.split("commands:")[1], re.M)


def test_help_and_version():
    ran = cli("--help")
    assert ran.status == YES and ran.err == ""
    commands = listed_commands(ran.out)
    assert commands == ["get", "check", "getkey", "store", "issue", "delete", "delete-all", "delete-user", "list", "list-user", "verify-all", "rekey", "stats", "ping", "bench", "keygen",
                        "policy try", "policy test"]
    for command in commands:
        ran = cli(*command.split(), "--help")
        assert ran.status == YES and f"tokenkeep [OPTION ...] {command}" in ran.out
    assert "delete-all" in cli("nonsense").err
    assert re.fullmatch(r"tokenkeep \d+\.\d+\.\d+\n", cli("--version").out)


def test_the_manual_has_every_command_and_option():
    with open(MANUAL) as file:
        manual = file.read()
    commands = listed_commands(cli("--help").out)
    assert re.findall(r"^\.It Ic ([a-z-]+(?: [a-z-]+)*)", manual.split(".Sh COMMANDS")[1].split(".Sh JSON")[0], re.M) == commands
    for option in re.findall(r"--([a-z]+)", cli("--help").out):
        assert f"Fl -{option}" in manual, option


def test_options_stand_anywhere(serve):
    server = serve({"*": b"OK ada\n"})
    assert cli("check", "--json", TOKEN, "--socket", server.path, "a").json["valid"] is True
    assert ask(server, "check", "--", TOKEN, "--json").out == "ada\n"
    assert server.lines == [f"CHECK {TOKEN} a", f"CHECK {TOKEN} --json"]


@pytest.mark.parametrize("key", ["-" + KEY[1:], "--" + KEY[2:], "--json" + KEY[6:], "-" * 22])
def test_keys_that_begin_with_a_hyphen(serve, key):
    server = serve({"*": b"OK\n"})
    assert ask(server, "delete", key).status == YES
    assert ask(server, "--json", "delete", key).status == YES
    assert server.lines == ["DELETE " + key] * 2


BAD_WORDS = ["", "a b", "a\nDELETEALL", "a\rb", "a\tb", "\n", " a", "a ", "a\x7f", "é", "\x1b[m", "/etc/token"]


@pytest.mark.parametrize("word", BAD_WORDS)
def test_an_argument_is_one_word(serve, word):
    """Nothing that is given can become a second request; what cannot be sent is not."""
    server = serve({"*": b"OK\n"})
    for arguments in (["get", word], ["check", word], ["check", TOKEN, word], ["getkey", word], ["delete", word]):
        ran = ask(server, *arguments)
        assert ran.status == USAGE and (word.strip() == "" or word not in ran.err), ran.err
    assert server.lines == []


@pytest.mark.parametrize("text", ["", "{", "{}x", "[]", "1", '{"a":1,"a":2}', '{"a":"\n"}', '{}\nDELETEALL', '{"a":99999999999999999999}',
                                  '{"a":"\x7f"}', '{"a":"\\u0000"}'])
def test_bad_json_is_not_sent(serve, text):
    server = serve({"*": b"OK\n"})
    for command in ("store", "issue"):
        assert ask(server, command, text).status == USAGE
        ran = ask(server, command, "-", stdin=text)
        assert ran.status == USAGE and "JSON" in ran.err
    assert server.lines == []


def test_bad_json_is_not_quoted(serve):
    ran = ask(serve({}), "store", "-", stdin='{\n  "token": "gt-sesame" "username"\n}')
    assert ran.status == USAGE and "line 2, column" in ran.err and "sesame" not in ran.err and "username" not in ran.err


# Standard input

@pytest.mark.parametrize("text", [TOKEN, TOKEN + "\n", TOKEN + "\r\n", TOKEN + "\nDELETEALL\n"])
def test_tokens_from_standard_input(serve, text):
    server = serve({"CHECK %s a" % TOKEN: b"OK ada\n"})
    assert ask(server, "check", "-", "a", stdin=text).out == "ada\n"
    assert server.lines == [f"CHECK {TOKEN} a"]


@pytest.mark.parametrize("text", [b"", b"\n", b"\r\n", b"a b\n", b"a\x00b\n", b"\xff\n", b"x" * 70000], ids=lambda text: repr(text[:8]))
def test_bad_standard_input(serve, text):
    server = serve({"*": b"OK\n"})
    for command in ("get", "delete"):
        assert ask(server, command, "-", stdin=text, binary=True).status == USAGE
    assert server.lines == []


def test_json_from_standard_input(serve):
    """Spread over lines; numbers and strings arrive as they were."""
    pretty = '{\n  "uid": 9223372036854775807,\r\n\t"name": "a  b\\n\\"{ }\\\\",\n  "scopes": [ "a" , "b" ],\n  "x": 1.10\n}\n'
    server = serve({"*": b"OK\n"})
    assert ask(server, "store", "-", stdin=pretty).status == YES
    assert server.lines == ['STORE {"uid":9223372036854775807,"name":"a  b\\n\\"{ }\\\\","scopes":["a","b"],"x":1.10}']
    assert ask(server, "store", "-", stdin=" " * (1 << 20) + "{}").status == USAGE


def test_standard_input_that_cannot_be_read(serve, folder):
    fd = os.open(folder, os.O_RDONLY)
    done = subprocess.run([program("tokenkeep"), "--socket", serve({}).path, "get", "-"], stdin=fd, capture_output=True,
                          timeout=60, env=environment())
    os.close(fd)
    assert done.returncode == USAGE and b"cannot read standard input" in done.stderr


# Terminals and full disks

@pytest.mark.parametrize("reply,status", [(b"yes\n", YES), (b"y\n", NO), (b"\n", NO), (b"yes please\n", NO), (b"\x04", NO)])
def test_delete_all_asks(serve, reply, status):
    server = serve({"DELETEALL": b"OK 3\n"})
    ended, out, shown = run_on_terminal("--socket", server.path, "delete-all", reply=reply)
    assert ended == status and f"every token that {server.path} holds" in shown
    assert out == ("deleted 3\n" if status == YES else "") and server.lines == (["DELETEALL"] if status == YES else [])


def test_delete_all_without_a_terminal(serve):
    server = serve({"DELETEALL": b"OK 3\n"})
    ran = ask(server, "delete-all", stdin="yes\n")
    assert ran.status == USAGE and "--yes" in ran.err and server.lines == []


def test_progress(serve):
    """Long work shows on a terminal that it goes on, and takes that away at its end."""
    def slow(connection):
        time.sleep(2.5)
        connection.sendall(b"OK 3 0\n")

    status, out, shown = run_on_terminal("--socket", serve({"*": slow}).path, "verify-all")
    assert status == YES and out == "checked 3, bad 0, remaining 0\n"
    assert "working for 2 s" in shown and shown.endswith("\r\x1b[K")


def test_progress_of_a_rekey(serve):
    """How many values there are, not how long it takes."""
    def slow(connection):
        for line in (b"+ progress 0 0\n", b"+ progress 64 200\n", b"+ progress 128 200\n"):
            connection.sendall(line)
            time.sleep(1.2)
        connection.sendall(b"OK 200 0 200\n")

    status, out, shown = run_on_terminal("--socket", serve({"*": slow}).path, "rekey")
    assert status == YES and out == "checked 200, bad 0, resealed 200\n"
    assert "looking for values" in shown and shown.index("64 of 200 values") < shown.index("128 of 200 values")
    assert "working for" not in shown and shown.endswith("\r\x1b[K")


def test_a_full_disk_is_no_answer(serve):
    server = serve({"*": f"OK {TOKEN}\n".encode()})
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program("tokenkeep"), "--socket", server.path, "issue", "{}"], stdout=full,
                              stderr=subprocess.PIPE, timeout=60, env=environment())
    assert done.returncode == NO_VERDICT and b"cannot write to standard output" in done.stderr


def test_keygen():
    lines = {cli("keygen").out for _ in range(5)} | {cli("keygen", "--json").json["key"] + "\n"}
    assert len(lines) == 6
    for line in lines:
        assert len(base64.b64decode(line.rstrip("\n"), validate=True)) == 32


# With tokenkeepd

def test_the_life_of_a_token(daemon):
    fields = {"username": "ada", "token_type": "user", "scopes": ["write:b", "read:a"], "expires": int(time.time()) + 3600,
              "uid": 9223372036854775807, "name": "Ada \"\u00e9\" \\"}
    at = {"env": {"TOKENKEEP_SOCKET": daemon.manage}}
    issued = cli("issue", "-", stdin=json.dumps(fields, indent=4), **at)
    assert issued.status == YES and issued.err == ""
    text = issued.out.rstrip("\n")
    expected = {**fields, "token": text, "scopes": ["read:a", "write:b"]}
    got = cli("get", "-", stdin=text, **at).json
    assert got.pop("created") == pytest.approx(time.time(), abs=60) and got == expected
    assert {**cli("getkey", key_of(text), **at).json, "created": 0} == {**expected, "created": 0}
    assert cli("check", text, "read:a", "write:b", **at).out == "ada\n"
    assert cli("--server", "%s:%d" % daemon.verify, "check", text).out == "ada\n"
    assert cli("check", text, "admin", "--json", **at).json == {"valid": False, "reason": "scope", "detail": "admin"}
    assert cli("check", f"gt-{key_of(text)}.{secret_of(token())}", **at).status == NO
    listed = cli("list", "--json", **at).json
    assert key_of(text) in listed["keys"] and listed["count"] == len(listed["keys"])
    assert cli("delete", key_of(text), **at).status == YES
    assert cli("delete", key_of(text), **at).status == NO
    assert cli("get", text, **at).status == NO


def test_store_and_what_the_server_refuses(daemon):
    at = {"env": {"TOKENKEEP_SOCKET": daemon.manage}}
    fields = data()
    assert cli("store", to_json(fields), **at).out == "stored\n"
    assert cli("get", fields["token"], **at).json == fields
    ran = cli("store", to_json(data(expire=1)), "--json", **at)
    assert ran.status == NO_VERDICT and ran.json["error"]["code"] == "badreq" and "expire" in ran.json["error"]["message"]
    ran = cli("--server", "%s:%d" % daemon.verify, "list")
    assert ran.status == NO_VERDICT and "ERR denied" in ran.err and "--socket" in ran.err
    ran = cli("store", to_json(data(name="x" * 70000)), "--json", **at)
    assert ran.status == NO_VERDICT and ran.json["error"]["code"] == "toolong"
    assert cli("get", "nonsense", **at).status == NO


def test_figures(daemon):
    at = {"env": {"TOKENKEEP_SOCKET": daemon.manage}}
    assert cli("ping", **at).out == "OK\n"
    figures = cli("stats", "--json", **at).json
    assert figures["requests"] > 0 and figures["workers"] == daemon.workers_wanted
    assert [line.split()[0] for line in cli("stats", **at).out.splitlines()] == list(figures)


def test_all_tokens(start_daemon, redis_server):
    """verify-all, --fix and delete-all, with a prefix that is nobody else's."""
    own = start_daemon(redis_server, prefix=f"{part()}:")
    at = {"env": {"TOKENKEEP_SOCKET": own.manage}}
    keys = {key_of(cli("issue", ISSUE, **at).out) for _ in range(3)}
    assert cli("verify-all", **at).out == "checked 3, bad 0, remaining 0\n"
    bad = part()
    own.redis.client().set(own.prefix + bad, b"x")
    ran = cli("verify-all", "--json", **at)
    assert ran.status == NO and ran.json["values"][0]["key"] == bad and ran.json["remaining"] == 1
    ran = cli("verify-all", "--fix", "--json", **at)
    assert ran.status == YES and ran.json["values"][0]["deleted"] is True and ran.json["remaining"] == 0
    assert set(cli("list", **at).out.split()) == keys
    assert cli("rekey", **at).out == "checked 3, bad 0, resealed 0\n"
    (key,) = cli("stats", "--keys", "--json", **at).json["keys"]
    assert (key["place"], key["values"], key["use"]) == (1, 3, "seals")
    assert cli("delete-all", **at).status == USAGE
    assert cli("delete-all", "--yes", **at).out == "deleted 3\n"
    assert cli("list", "--json", **at).json == {"keys": [], "count": 0}
