# SPDX-License-Identifier: MIT
"""The same commands in RESP2: by python3-redis, which nobody here wrote, by redis-cli, and byte by byte."""
import json
import subprocess
import threading
import time

import pytest
import redis

from tokens import TOKEN, data, key_of, part, to_json

LIMIT = 65536
KEY = "z" * 22


def resp(*words):
    """A request: an array of bulk strings."""
    words = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def read_reply(client):
    """One reply as (type, value): bytes, int, None or a list of replies."""
    line = client.read_line()
    assert line.endswith(b"\r"), f"not RESP: {line[:200]!r}"
    kind, rest = line[:1], line[1:-1]
    assert b"\r" not in rest
    if kind in (b"+", b"-"):
        return kind, rest
    assert kind in (b":", b"$", b"*"), f"not RESP: {line[:200]!r}"
    number = int(rest)
    assert b"%d" % number == rest
    if kind == b":":
        return kind, number
    if number == -1:
        return kind, None
    if kind == b"$":
        body = client.read_exactly(number + 2)
        assert body.endswith(b"\r\n")
        return kind, body[:-2]
    return kind, [read_reply(client) for _ in range(number)]


def plain(reply):
    """A reply without its types."""
    kind, value = reply
    return [plain(item) for item in value] if isinstance(value, list) else value


def ask(client, *words):
    client.send(resp(*words))
    return read_reply(client)


@pytest.fixture
def connect(daemon):
    """A python3-redis client of the shared daemon; answers as text."""
    clients = []

    def make(role="manage", target=None, **settings):
        host, port = (target or daemon).address(role)
        clients.append(redis.Redis(host=host, port=port, decode_responses=True, socket_timeout=20, **settings))
        return clients[-1]
    yield make
    for client in clients:
        client.close()


def fails(call, *words):
    with pytest.raises(redis.exceptions.ResponseError) as caught:
        call(*words)
    return str(caught.value)


# Through python3-redis

def test_library_round_trip(connect):
    client = connect()
    fields = data(name="Zoë \U0001f600", uid=5)
    assert client.ping() is True
    assert client.execute_command("STORE", to_json(fields)) == "OK"
    assert json.loads(client.get(fields["token"])) == fields
    assert client.execute_command("CHECK", fields["token"]) == "alice"
    assert client.execute_command("CHECK", fields["token"], "read:all") == "alice"
    assert json.loads(client.execute_command("GETKEY", key_of(fields["token"])))["uid"] == 5
    assert client.execute_command("DELETE", key_of(fields["token"])) == "OK"
    assert client.execute_command("DELETE", key_of(fields["token"])) is None
    assert client.get(fields["token"]) is None
    assert client.execute_command("CHECK", fields["token"]) is None
    issued = client.execute_command("ISSUE", to_json(data(token=...)))
    assert json.loads(client.get(issued))["token"] == issued


def test_library_errors(connect):
    client = connect("verify")
    assert fails(client.get, "x").startswith("NO malformed")
    # The library takes the word ERR away.
    assert fails(client.execute_command, "DELETEALL").removeprefix("ERR ").startswith("denied")
    assert client.ping() is True


def test_library_connects_with_a_name_and_a_database(connect):
    client = connect(client_name="somebody", db=0)
    assert client.ping() is True
    assert isinstance(client.client_id(), int)
    assert client.echo("hello there") == "hello there"
    assert client.client_setname("other") is True


def test_library_pipelines(connect):
    client = connect()
    stored = [data(username=f"user-{number}") for number in range(100)]
    pipe = client.pipeline(transaction=False)
    for fields in stored:
        pipe.execute_command("STORE", to_json(fields))
        pipe.execute_command("CHECK", fields["token"])
        pipe.execute_command("DELETE", key_of(fields["token"]))
        pipe.get(fields["token"])
    assert pipe.execute() == [reply for fields in stored for reply in ("OK", fields["username"], "OK", None)]


def test_library_over_a_unix_socket(daemon):
    client = redis.Redis(unix_socket_path=daemon.manage, decode_responses=True)
    assert client.ping() is True
    client.close()


@pytest.fixture
def own(start_daemon, start_redis):
    return start_daemon(start_redis(), workers=1)


def test_library_scans(own, connect):
    client = connect(target=own)
    assert client.execute_command("LIST") == []
    assert client.execute_command("DELETEALL") == 0
    held = [data() for _ in range(30)]
    for fields in held:
        client.execute_command("STORE", to_json(fields))
    assert sorted(client.execute_command("LIST")) == sorted(key_of(fields["token"]) for fields in held)
    assert client.execute_command("VERIFYALL") == [30, 0, []]
    own.redis.client().set("token:" + KEY, b"junk")
    checked, bad, lines = client.execute_command("VERIFYALL", "FIX")
    assert (checked, bad, len(lines)) == (31, 1, 1) and lines[0].startswith(KEY + " ")
    assert client.execute_command("VERIFYALL") == [30, 0, []]
    assert client.execute_command("DELETEALL") == 30


def test_library_corrupt(own, connect):
    own.redis.client().set("token:" + KEY, b"junk")
    client = connect(target=own)
    assert fails(client.execute_command, "GETKEY", KEY).removeprefix("ERR ").startswith("corrupt")
    assert client.get(f"gt-{KEY}.{part()}") is None


def test_library_many_keys(own, connect):
    own.redis.client().eval("for i = 0, ARGV[1] - 1 do redis.call('SET', string.format('token:%022d', i), 'junk') end",
                            0, 20000)
    client = connect(target=own)
    assert sorted(client.execute_command("LIST")) == [f"{number:022}" for number in range(20000)]
    checked, bad, lines = client.execute_command("VERIFYALL")
    assert (checked, bad, len(set(lines))) == (20000, 20000, 20000)


# The answers, byte by byte

@pytest.mark.parametrize("words, answer", [
    (["PING"], b"+PONG\r\n"), (["ping"], b"+PONG\r\n"), (["PING", "hello"], b"$5\r\nhello\r\n"),
    (["PING", ""], b"$0\r\n\r\n"), (["ECHO", "hello"], b"$5\r\nhello\r\n"),
    (["echo", "é"], b"$2\r\n\xc3\xa9\r\n"), (["GET", TOKEN], b"$-1\r\n"), (["CHECK", TOKEN], b"$-1\r\n"),
    (["CHECK", TOKEN, "a"], b"$-1\r\n"), (["GETKEY", KEY], b"$-1\r\n"),
    (["DELETE", KEY], b"$-1\r\n"), (["SELECT", "0"], b"+OK\r\n"), (["CLIENT", "SETNAME", "x"], b"+OK\r\n"),
    (["client", "setinfo", "LIB-NAME", "x"], b"+OK\r\n"),
    (["COMMAND"], b"*0\r\n"), (["COMMAND", "DOCS"], b"*0\r\n")])
def test_exact_answers(daemon, words, answer):
    with daemon.connect() as client:
        client.send(resp(*words) + resp("PING"))
        assert client.read_exactly(len(answer) + 7) == answer + b"+PONG\r\n"


def test_exact_answers_to_changes(daemon):
    fields = data(name="ñ")
    with daemon.connect() as client:
        client.send(resp("STORE", to_json(fields)) + resp("CHECK", fields["token"]) + resp("DELETE",
                                                                                           key_of(fields["token"])))
        expected = b"+OK\r\n$5\r\nalice\r\n+OK\r\n"
        assert client.read_exactly(len(expected)) == expected


def test_get_is_the_same_json_as_in_a_line(daemon):
    fields = data(name="ñ", groups=[{"name": "g", "id": 1}])
    with daemon.connect() as client:
        assert ask(client, "STORE", to_json(fields)) == (b"+", b"OK")
        kind, value = ask(client, "GET", fields["token"])
        assert kind == b"$" and "OK " + value.decode() == client.ask("GET " + fields["token"]).last


@pytest.mark.parametrize("words, start", [
    (["GET", "x"], b"NO malformed"), (["GETKEY", "x"], b"NO malformed"), (["GET"], b"ERR badreq"), (["GET", "a", "b"], b"ERR badreq"),
    (["STORE"], b"ERR badreq"), (["STORE", "{}"], b"ERR badreq"), (["STORE", "{"], b"ERR badreq"),
    (["STORE", ""], b"ERR badreq"), (["STORE", "{}", "{}"], b"ERR badreq"),
    (["FOO"], b"ERR badreq unknown command"), (["FOO", "x", "y"], b"ERR badreq unknown command"),
    (["SET", "a", "b"], b"ERR badreq unknown command"), ([""], b"ERR badreq"),
    (["SELECT", "1"], b"ERR "), (["SELECT"], b"ERR "), (["SELECT", "x"], b"ERR "), (["CLIENT"], b"ERR "),
    (["CLIENT", "KILL", "ID", "1"], b"ERR "), (["HELLO", "3"], b"NOPROTO"), (["HELLO", "4"], b"NOPROTO"),
    (["LIST", "USER"], b"ERR badreq"), (["DELETE", "USER", "Alice"], b"ERR badreq"), (["LIST USER", "alice"], b"ERR badreq"),
    (["#t", "PING"], b"ERR badreq"), (["#t PING"], b"ERR badreq"),
    (["LIST", "x"], b"ERR badreq"), (["VERIFYALL", "x"], b"ERR badreq"), (["ECHO"], b"ERR badreq")])
def test_error_answers(daemon, words, start):
    with daemon.connect() as client:
        kind, text = ask(client, *words)
        assert kind == b"-" and text.startswith(start)
        assert ask(client, "PING") == (b"+", b"PONG")


def test_roles(daemon):
    with daemon.connect("verify") as client:
        for words in (["STORE", "{}"], ["STORE"], ["DELETE", KEY], ["DELETEALL"], ["LIST"], ["VERIFYALL"], ["STATS"],
                      ["GETKEY", KEY], ["ISSUE", "{}"], ["delete"]):
            kind, text = ask(client, *words)
            assert kind == b"-" and text.startswith(b"ERR denied")
        assert ask(client, "GET", TOKEN) == (b"$", None)


def test_scope_answer(daemon):
    fields = data()
    with daemon.connect() as client:
        ask(client, "STORE", to_json(fields))
        assert ask(client, "CHECK", fields["token"], "write") == (b"-", b"NO scope write")
        assert ask(client, "CHECK", fields["token"], "read:all", "write") == (b"-", b"NO scope write")


@pytest.mark.parametrize("words", [["HELLO"], ["HELLO", "2"], ["hello", "2"]])
def test_hello(daemon, words):
    with daemon.connect() as client:
        kind, items = ask(client, *words)
        assert kind == b"*" and len(items) % 2 == 0
        pairs = dict(zip(plain((kind, items))[::2], plain((kind, items))[1::2]))
        assert pairs[b"proto"] == 2


def test_client_id(daemon):
    with daemon.connect() as client:
        kind, number = ask(client, "CLIENT", "ID")
        assert kind == b":" and number >= 0
        assert ask(client, "client", "id") == (kind, number)


@pytest.mark.parametrize("word", ["STATS", "HELP"])
def test_name_value_arrays(daemon, word):
    with daemon.connect() as client:
        kind, items = ask(client, word)
        lines = client.ask(word).lines
        assert kind == b"*" and len(items) == 2 * len(lines) > 0
        names = plain((kind, items))[::2]
        assert len(names) == len(set(names)) == len(lines)
        assert all(line.startswith(name.decode() + " ") for name, line in zip(names, lines))


def test_quit(daemon):
    with daemon.connect() as client:
        client.send(resp("GET", TOKEN) + resp("QUIT") + resp("PING"))
        assert read_reply(client) == (b"$", None)
        assert read_reply(client) == (b"+", b"OK")
        client.expect_closed()


def test_empty_arrays_are_ignored(daemon):
    with daemon.connect() as client:
        client.send(b"*0\r\n*0\r\n" + resp("PING") + b"*0\r\n\r\n" + b"PING\n")
        assert client.read_exactly(10) == b"+PONG\r\nOK\n"


# Mixed with lines

def test_mixed_with_lines(daemon):
    fields = data()
    with daemon.connect() as client:
        client.send(b"PING\n" + resp("PING") + b"#t PING\r\n" + resp("STORE", to_json(fields))
                    + b"CHECK " + fields["token"].encode() + b"\n" + resp("GET", TOKEN)
                    + b"\r\n" + b"GET " + TOKEN.encode() + b"\n" + resp("NOTHING") + b"NOTHING\n")
        found = [client.read_line() for _ in range(9)]
    if b"#t OK" in found[:2]:  # a tagged answer comes as soon as it is ready
        found.remove(b"#t OK")
        found.insert(2, b"#t OK")
    assert found[:7] == [b"OK", b"+PONG\r", b"#t OK", b"+OK\r", b"OK alice", b"$-1\r", b"NO invalid"]
    assert found[7].startswith(b"-ERR badreq unknown command") and found[8].startswith(b"ERR badreq")


# Arguments

@pytest.mark.parametrize("words", [["GET", "a b"], ["GET", " " + TOKEN], ["GET", TOKEN + " "], ["GET", TOKEN + "\n"],
                                   ["GET", TOKEN + "\r\n"], ["GET", TOKEN + "\0"], ["GET", "a\tb"],
                                   ["PING\n"], ["PING "], [" PING"], ["PI\0NG"], ["CHECK", TOKEN, "a b"],
                                   ["CHECK", TOKEN, "a\x7f"], ["GETKEY", "a b"], ["GET " + TOKEN], ["GET", b"\xff"],
                                   ["CHECK", TOKEN, b"\xc3\x28"], [b"\xff"], ["ECHO", "a\nb"], ["PING", "a\r\nb"],
                                   ["CLIENT", "SETNAME", "a\nb"]])
def test_words_refuse_spaces_and_control_bytes(daemon, words):
    with daemon.connect() as client:
        kind, text = ask(client, *words)
        assert kind == b"-" and text.startswith(b"ERR badreq")
        assert ask(client, "PING") == (b"+", b"PONG")


def test_arguments_are_not_split_or_joined(daemon):
    fields = data()
    text = to_json(fields)
    with daemon.connect() as client:
        for words in ([f"STORE {text}"], ["STORE", text[:20], text[20:]], ["STORE", *json.dumps(fields).split(" ")],
                      [f"GET {TOKEN}"]):
            assert ask(client, *words)[1].startswith(b"ERR badreq")
        assert ask(client, "STORE", json.dumps(fields)) == (b"+", b"OK")
        assert ask(client, "GET", fields["token"])[0] == b"$"


@pytest.mark.parametrize("bad", ["\n", "\r\n", "\t", "\0", "\x7f", b"\xff", b"\xed\xa0\x80"])
def test_json_refuses_control_bytes(daemon, bad):
    fields = data(name="NAME")
    text = to_json(fields).encode().replace(b"NAME", b"a" + (bad if isinstance(bad, bytes) else bad.encode()))
    with daemon.connect() as client:
        assert ask(client, "STORE", text)[1].startswith(b"ERR badreq")
        assert ask(client, "STORE", to_json(data())[:-1] + "\n}")[1].startswith(b"ERR badreq")


def test_http_in_an_argument_is_text(daemon):
    with daemon.connect() as client:
        assert ask(client, "ECHO", "HTTP/1.1") == (b"$", b"HTTP/1.1")
        assert ask(client, "GET", "/")[1].startswith(b"NO malformed")


# Framing that is none: refused, nothing behind it executed, and the connection closed

MALFORMED = [b"*\r\n", b"*x\r\n", b"*1x\r\n", b"*-1\r\n", b"*-2\r\n", b"*+1\r\n$4\r\nPING\r\n",
             b"* 1\r\n$4\r\nPING\r\n", b"*1\n$4\nPING\n", b"*1\rX", b"*1\r\n+PING\r\n", b"*1\r\n:1\r\n",
             b"*1\r\nPING\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n", b"*1\r\n$\r\n",
             b"*1\r\n$4x\r\nPING\r\n", b"*1\r\n$4\rXPING\r\n", b"*1\r\n$+4\r\nPING\r\n",
             b"*1\r\n$ 4\r\nPING\r\n", b"*1\r\n$4\r\nPINGxx", b"*1\r\n$4\r\nPING\n\n", b"*1\r\n$3\r\nPING\r\n",
             b"*1\r\n$5\r\nPING\r\n\r\n", b"*1\r\n\r\n", b"*99999999999999999999\r\n",
             b"*1\r\n$99999999999999999999\r\n", b"*18446744073709551617\r\n$4\r\nPING\r\n",
             b"*1\r\n$18446744073709551620\r\nPING\r\n", b"*\0\r\n", b"*1\r\n$4294967300\r\nPING\r\n"]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_framing(daemon, text):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    with daemon.connect() as client:
        client.send(resp("PING") + text + resp("DELETE", key_of(fields["token"]))
                    + f"DELETE {key_of(fields['token'])}\n".encode())
        rest = client.read_to_end()
    assert rest.startswith(b"+PONG\r\n")
    assert rest[7:] == b"" or (rest[7:].startswith((b"-ERR badreq", b"-ERR toolong")) and rest.count(b"\n") == 2
                               and rest.endswith(b"\r\n"))
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


# Sizes

@pytest.mark.parametrize("text", [b"*1000000000\r\n", b"*1\r\n$1000000000\r\n",
                                  b"*2\r\n$3\r\nGET\r\n$%d\r\n" % (LIMIT + 1), b"*%d\r\n" % (LIMIT + 2),
                                  b"*2147483647\r\n", b"*1\r\n$2147483647\r\n",
                                  b"*" + b"1" * 100_000, b"*" + b"0" * 100_000, b"*1\r\n$" + b"0" * 100_000])
def test_sizes_are_refused_when_announced(daemon, text):
    """Not when all of it has come, which may be never."""
    with daemon.connect() as client:
        try:
            client.send(text)
        except ConnectionError:
            pass
        rest = client.read_to_end()
        assert rest.startswith((b"-ERR toolong", b"-ERR badreq")) and rest.count(b"\n") == 1


def test_requests_up_to_the_limit(daemon):
    with daemon.connect() as client:
        for size in (LIMIT // 2, LIMIT - 2000):
            fields = data(name="n" * 10)
            text = to_json(fields)
            assert ask(client, "STORE", text[:-1] + " " * (size - len(text)) + "}") == (b"+", b"OK")
            assert ask(client, "GET", fields["token"])[0] == b"$"


@pytest.mark.parametrize("words", [["GET", "x" * (LIMIT + 1)], ["GET", *["x" * 1000] * 100],
                                   ["CHECK", TOKEN, *["x"] * 100_000], ["x" * (LIMIT + 1)],
                                   ["STORE", "{" + " " * LIMIT + "}"]],
                         ids=["word", "words", "count", "command", "json"])
def test_requests_over_the_limit(daemon, words):
    with daemon.connect() as client:
        try:
            client.send(resp(*words) + resp("PING"))
        except ConnectionError:
            pass
        rest = client.read_to_end()
        assert rest.startswith(b"-ERR toolong") and rest.count(b"\n") == 1


# Bytes in pieces

def requests_in_bytes():
    fields = data("gt-" + "e" * 22 + "." + "f" * 22, name="é")
    text = (resp("PING") + resp("STORE", to_json(fields)) + b"*0\r\n" + resp("CHECK", fields["token"])
            + b"PING\n" + resp("DELETE", "e" * 22) + resp("FOO", "x" * 40))
    return text, b"+PONG\r\n+OK\r\n$5\r\nalice\r\nOK\n+OK\r\n-ERR badreq unknown command"


def check_pieces(client, expected):
    assert client.read_exactly(len(expected)) == expected
    client.read_line()


def test_cut_at_every_byte(daemon):
    text, expected = requests_in_bytes()
    with daemon.connect() as client:
        for at in range(1, len(text)):
            client.send(text[:at])
            time.sleep(0.0005)
            client.send(text[at:])
            check_pieces(client, expected)


def test_one_byte_at_a_time(daemon):
    text, expected = requests_in_bytes()
    with daemon.connect() as client:
        client.send_pieces([text[at:at + 1] for at in range(len(text))])
        check_pieces(client, expected)


def test_cut_request_is_never_executed(daemon):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    text = resp("DELETE", key_of(fields["token"]))
    for at in range(1, len(text)):
        with daemon.connect() as client:
            client.send(text[:at])
            client.shutdown()
            assert not client.read_to_end().startswith(b"+")
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


def test_ten_thousand_requests_in_one_go(daemon):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    text = (resp("PING") + resp("CHECK", fields["token"]) + resp("GET", TOKEN) + resp("FOO")) * 2500
    with daemon.connect(timeout=60) as client:
        thread = threading.Thread(target=client.send, args=(text,), daemon=True)
        thread.start()
        for _ in range(2500):
            assert read_reply(client) == (b"+", b"PONG")
            assert read_reply(client) == (b"$", b"alice")
            assert read_reply(client) == (b"$", None)
            assert read_reply(client)[0] == b"-"
        thread.join(60)


# redis-cli

def cli(daemon, *words, role="manage", **settings):
    host, port = daemon.address(role)
    return subprocess.run(["redis-cli", "-h", host, "-p", str(port), *words], capture_output=True, text=True,
                          timeout=30, **settings)


def test_redis_cli(daemon):
    fields = data()
    assert cli(daemon, "ping").stdout == "PONG\n"
    assert cli(daemon, "store", to_json(fields)).stdout == "OK\n"
    assert json.loads(cli(daemon, "get", fields["token"], role="verify").stdout) == fields
    assert cli(daemon, "check", fields["token"], "read:all").stdout == "alice\n"
    assert cli(daemon, "delete", key_of(fields["token"])).stdout == "OK\n"
    assert cli(daemon, "--no-raw", "get", fields["token"]).stdout == "(nil)\n"
    assert "NO malformed" in cli(daemon, "get", "x").stdout
    assert "unknown command" in cli(daemon, "foo").stdout
    assert "denied" in cli(daemon, "list", role="verify").stdout


def test_redis_cli_with_commands_on_standard_input(daemon):
    done = cli(daemon, input="ping\necho hello\n")
    assert done.stdout.split() == ["PONG", "hello"]
