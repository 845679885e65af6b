# SPDX-License-Identifier: MIT
"""The line protocol's framing: lines, tags, order, limits and times, byte by byte."""
import os
import signal
import socket
import threading
import time

import pytest

from client import Client, Closed
from daemon import cpu_time
from tokens import TOKEN, data, key_of, to_json, token
from waiting import SLOWNESS, until

LIMIT = 65536


# Lines and words

@pytest.mark.parametrize("text, answers", [
    (b"PING\n", [b"OK"]), (b"PING\r\n", [b"OK"]), (b"\nPING\n", [b"OK"]), (b"\r\n\r\n\n\nPING\r\n\n\r\n", [b"OK"]),
    (b"PING\nPING\r\nPING\n", [b"OK"] * 3), (b"\n" * 1000 + b"PING\n", [b"OK"])])
def test_lines(daemon, text, answers):
    with daemon.connect() as client:
        client.send(text + b"QUIT\n")
        assert [client.read_line() for _ in answers] == answers
        assert client.read_line() == b"OK"
        client.expect_closed()


BAD_LINES = [b" PING", b"PING ", b" ", b"  ", b" \r", b"GET  " + TOKEN.encode(), b"GET " + TOKEN.encode() + b" ",
             b"CHECK " + TOKEN.encode() + b"  a",
             b"CHECK " + TOKEN.encode() + b" a ", b"\tPING", b"PING\t", b"PI\tNG", b"PING\0", b"\0", b"PI\0NG",
             b"PING\r\r", b"\rPING", b"PI\rNG", b"\x7f", b"PING\x7f",
             b"GET\t" + TOKEN.encode(), b"\x1b[2J", b"GET \x01", b"\xff", b"PING\xff", b"GET \xc3\x28", b"GET \xc0\x80",
             b"GET \xed\xa0\x80", b"GET \xf4\x90\x80\x80",
             b"GET \xe2\x82", b"\x80PING", b"GET \xf0\x82\x82\xac", b"GET \xfe"]
BAD_JSON_LINES = [b'STORE {"name":"a\x01b"}', b'STORE {"name":"a\tb"}', b'STORE {\t}', b'STORE {"name":"\xff"}',
                  b'STORE {"name":"\xc3"}', b'ISSUE {"name":"\0"}',
                  b'STORE {"name":"a\x7fb"}', b'STORE {}\r\r', b'STORE {"name":"\xed\xa0\x80"}', b" STORE {}"]


@pytest.mark.parametrize("line", BAD_LINES + BAD_JSON_LINES)
def test_bad_lines(daemon, line):
    with daemon.connect() as client:
        assert client.ask(line).code == "ERR badreq"
        assert client.ask("PING").last == "OK"


def test_bad_bytes_in_good_json(daemon):
    """What the JSON parser alone might pass."""
    for bad in (b"\x7f", b"\xed\xa0\x80", b"\x01", b"\t"):
        fields = data(name="NAME")
        with daemon.connect() as client:
            assert client.ask(b"STORE " + to_json(fields).encode().replace(b"NAME", b"a" + bad)).code == "ERR badreq"
            assert client.ask("GET " + fields["token"]).last == "NO invalid"


# Tags

@pytest.mark.parametrize("tag", ["#a", "#0", "#-", "#_", "#AZaz09-_", "#" + "x" * 32])
def test_tags(daemon, tag):
    with daemon.connect() as client:
        for request, answer in (("PING", "OK"), ("FOO", "ERR badreq"), ("GET", "ERR badreq"), ("GET x", "NO malformed"),
                                ("GET " + TOKEN, "NO invalid"),
                                ("STORE {}", "ERR badreq"), ("DELETE " + "a" * 22, "NO invalid")):
            found = client.ask(f"{tag} {request}")
            assert (found.tag, found.code) == (tag, answer)
        assert client.ask("PING").tag is None


@pytest.mark.parametrize("line", ["#", "# PING", "#" + "x" * 33 + " PING", "#a.b PING", "#é PING", "#a", "#a ",
                                  "##a PING", "#a  PING", " #a PING", "#a #b PING", "#a\tPING", "#a/ PING"])
def test_bad_tags(daemon, line):
    with daemon.connect() as client:
        assert client.ask(line).code == "ERR badreq"
        assert client.ask("PING").last == "OK"


def test_every_line_has_the_tag(daemon):
    with daemon.connect() as client:
        for request in ("HELP", "STATS", "LIST"):
            client.send(f"#t {request}\n")
            while True:
                line = client.read_line()
                assert line.startswith(b"#t ")
                if not line.startswith(b"#t + "):
                    break
            assert line.startswith(b"#t OK")


def test_tags_need_not_be_unique(daemon):
    with daemon.connect() as client:
        client.send("#a PING\n#a PING\n#a FOO\n")
        assert sorted(answer.code for answer in client.answers(3)) == ["ERR badreq", "OK", "OK"]


# Order

@pytest.fixture
def start_slow(start_daemon, start_fake):
    """start_slow(**keywords of Daemon) -> a one-worker daemon on a Redis whose answers wait, when held, and that fake."""
    def start(**settings):
        fake = start_fake()
        return start_daemon(fake, workers=1, redis_options={"command-timeout": 20}, **settings), fake
    return start


@pytest.fixture
def slow(start_slow):
    return start_slow()


def test_tagged_answers_overtake(slow):
    daemon, fake = slow
    with daemon.connect() as client:
        fake.hold("GET")
        client.send(f"#slow GET {token()}\n#fast PING\n#no GET x\n")
        assert client.read_line() == b"#fast OK"
        assert client.read_line().startswith(b"#no NO malformed")
        client.expect_silence(0.3)
        fake.release()
        assert client.read_line() == b"#slow NO invalid"


def test_untagged_answers_keep_their_order(slow):
    daemon, fake = slow
    with daemon.connect() as client:
        fake.hold("GET")
        client.send(f"GET {token()}\nPING\nGET x\nGET {token()}\nFOO\n#t PING\n")
        assert client.read_line() == b"#t OK"
        client.expect_silence(0.3)
        fake.release()
        assert [answer.code for answer in client.answers(5)] == ["NO invalid", "OK", "NO malformed", "NO invalid",
                                                                 "ERR badreq"]


def test_untagged_waits_behind_a_change(slow):
    """Also one that needs nothing of Redis: it may not be answered, nor looked up, before the change is done."""
    daemon, fake = slow
    fields = data()
    with daemon.connect() as client:
        assert client.ask("GET " + fields["token"]).last == "NO invalid"
        fake.hold("SET")
        client.send(f"STORE {to_json(fields)}\nGET {fields['token']}\n")
        client.expect_silence(0.3)
        fake.release()
        assert [answer.code for answer in client.answers(2)] == ["OK", "OK"]


def test_tagged_overtakes_a_change(slow):
    daemon, fake = slow
    with daemon.connect() as client:
        fake.hold("SET")
        client.send(f"STORE {to_json(data())}\n#t PING\n")
        assert client.read_line() == b"#t OK"
        fake.release()
        assert client.read_line() == b"OK"


def test_untagged_waits_behind_a_tagged_change(slow):
    daemon, fake = slow
    fields = data()
    with daemon.connect() as client:
        fake.hold("SET")
        client.send(f"#s STORE {to_json(fields)}\nGET {fields['token']}\n")
        client.expect_silence(0.3)
        fake.release()
        found = {answer.tag: answer.code for answer in client.answers(2)}
        assert found == {"#s": "OK", None: "OK"}


def test_stores_do_not_wait_for_one_another(slow):
    """Redis answers none of them before it has the last one; a look-up behind them sees what that one stored."""
    daemon, fake = slow
    held = token()
    answers = []

    def answer(connection, words):
        answers.append(fake.default(connection, words))
        return b"".join(answers) if len(answers) == 6 else None

    fake.answer("ZADD", answer)
    fake.answer("SET", answer)
    with daemon.connect() as client:
        client.send("".join(f"STORE {to_json(data(held, username=name))}\n" for name in ("a", "b", "c")) + f"CHECK {held}\n")
        assert [answer.last for answer in client.answers(4)] == ["OK", "OK", "OK", "OK c"]


def test_a_store_waits_behind_other_changes(slow):
    """What a DELETE may have to look up first must be what stood there before the STORE."""
    daemon, fake = slow
    fields = data()
    deletions = []
    fake.answer("UNLINK", lambda connection, _: deletions.append(connection))
    with daemon.connect() as client:
        client.send(f"DELETE {key_of(fields['token'])}\nSTORE {to_json(fields)}\nGET {fields['token']}\n")
        until(lambda: deletions, 5, "the deletion")
        client.expect_silence(0.3)
        assert not fake.seen("SET")
        deletions[0].send(b":0\r\n")
        assert [answer.code for answer in client.answers(3)] == ["NO invalid", "OK", "OK"]


@pytest.mark.parametrize("times", [1, 50])
def test_pipelined_changes_do_what_they_say(daemon, times):
    with daemon.connect() as client:
        request, expected = "", []
        for number in range(times):
            fields = data(username=f"user-{number}")
            held, key = fields["token"], key_of(fields["token"])
            request += (f"GET {held}\nSTORE {to_json(fields)}\nGET {held}\nCHECK {held}\n"
                        f"STORE {to_json({**fields, 'username': 'bob'})}\nCHECK {held}\n"
                        f"DELETE {key}\nGET {held}\nDELETE {key}\n")
            expected += ["NO invalid", "OK", "OK", f"OK user-{number}", "OK", "OK bob", "OK", "NO invalid",
                         "NO invalid"]
        client.send(request)
        found = client.answers(len(expected))
        assert [answer.last if want.startswith("OK ") else answer.code for answer,
                want in zip(found, expected)] == expected


def test_quit_waits_for_everything(slow):
    daemon, fake = slow
    with daemon.connect() as client:
        fake.hold("GET")
        client.send(f"#slow GET {token()}\nGET {token()}\nQUIT\n")
        client.expect_silence(0.3)
        fake.release()
        found = client.answers(3)
        assert {answer.code for answer in found[:2]} == {"NO invalid"} and found[2].last == "OK"
        client.expect_closed()


def test_tagged_quit_waits_for_everything(slow):
    daemon, fake = slow
    with daemon.connect() as client:
        fake.hold("GET")
        client.send(f"#slow GET {token()}\n#q QUIT\n")
        client.expect_silence(0.3)
        fake.release()
        assert [client.read_line(), client.read_line()] == [b"#slow NO invalid", b"#q OK"]
        client.expect_closed()


# Bytes in pieces

def requests_in_bytes():
    fields = data("gt-" + "c" * 22 + "." + "d" * 22, name="é\U0001f600")
    text = f"#t PING\r\nSTORE {to_json(fields)}\nGET {fields['token']}\r\n\nDELETE {'c' * 22}\nFOO\n"
    return text.encode(), ["#t OK", "OK", "OK", "OK", "ERR badreq"]


def check_pieces(client, expected):
    found = client.answers(len(expected))
    assert [(answer.tag + " " if answer.tag else "") + answer.code for answer in found] == expected


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


def test_what_has_not_ended_costs_no_more_for_what_it_holds(start_daemon, redis_server):
    """Nothing is looked for in the beginning of a request again and again: a dot could be that of a token."""
    daemon = start_daemon(redis_server, workers=1)
    costs = []
    for filling in ("x", "."):
        with daemon.connect() as slow, daemon.connect() as other:
            slow.send("GETKEY " + 60000 * filling)
            other.ask("PING")
            before = cpu_time(daemon.workers()[0])
            for _ in range(300):
                slow.send(filling)
                other.ask("PING")
            costs.append(cpu_time(daemon.workers()[0]) - before)
            slow.send("\n")
            assert slow.answers(1)[0].last == "NO malformed"
    assert costs[1] < 3 * costs[0], costs


# Lengths

def padded(size, kind):
    """A line of so many bytes, and its answer when it is short enough."""
    if kind == "json":
        text = "STORE " + to_json(data())
        return text[:-1] + " " * (size - len(text)) + "}", "OK"
    if kind == "name":
        text = "STORE " + to_json(data(name="n"))
        return text.replace('"name":"n"', '"name":"' + "n" * (size - len(text) + 1) + '"'), "OK"
    if kind == "tagged":
        return "#" + "t" * 32 + " GET " + "x" * (size - 38), "NO malformed"
    return "GET " + "x" * (size - 4), "NO malformed"


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("kind", ["word", "json", "name", "tagged"])
@pytest.mark.parametrize("over", range(-3, 4))
@pytest.mark.parametrize("limit", [LIMIT, 1024])
def test_lengths_around_the_limit(request, start_daemon, redis_server, limit, over, kind, end):
    daemon = request.getfixturevalue("daemon") if limit == LIMIT else start_daemon(redis_server, workers=1,
                                                                                   max_line=limit)
    line, answer = padded(limit + over, kind)
    assert len(line) == limit + over
    with daemon.connect() as client:
        client.send("PING\n" + line + end + "PING\n")
        assert client.answer().last == "OK"
        if over <= 0:
            found = client.answer()
            assert found.code == answer
            assert client.answer().last == "OK"
        else:
            assert client.answer().code == "ERR toolong"
            client.expect_closed()


@pytest.mark.parametrize("size", [LIMIT + 100, 200_000, 5_000_000])
def test_too_long_without_an_end(daemon, size):
    """It is refused as soon as it is too long, not when it ends."""
    with daemon.connect() as client:
        try:
            client.send("x" * size)
        except ConnectionError:
            pass
        assert client.answer().code == "ERR toolong"
        client.expect_closed()


def test_nothing_behind_a_too_long_line_is_done(daemon):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    with daemon.connect() as client:
        client.send("x" * (LIMIT + 10) + f"\nDELETE {key_of(fields['token'])}\n")
        assert client.answer().code == "ERR toolong"
        client.read_to_end()
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


# Ends

@pytest.mark.parametrize("count", [1, 300])
def test_half_closed_client_is_answered(daemon, count):
    with daemon.connect() as client:
        client.send("".join(f"GET {token()}\n" for _ in range(count)) + "PING\n")
        client.shutdown()
        found = client.answers(count + 1)
        assert [answer.code for answer in found] == ["NO invalid"] * count + ["OK"]
        client.expect_closed()


def test_half_closed_client_is_answered_when_redis_is_slow(slow):
    daemon, fake = slow
    with daemon.connect() as client:
        fake.hold("GET")
        client.send(f"GET {token()}\n#t GET {token()}\n")
        client.shutdown()
        client.expect_silence(0.3)
        fake.release()
        assert sorted(client.read_line() for _ in range(2)) == [b"#t NO invalid", b"NO invalid"]
        client.expect_closed()


@pytest.mark.parametrize("role", ["manage", "manage_unix"])
def test_a_line_without_its_end_is_never_executed(daemon, role):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    for text in (f"DELETE {key_of(fields['token'])}", f"DELETE {key_of(fields['token'])}\r",
                 f"PING\nDELETE {key_of(fields['token'])}"):
        with daemon.connect(role) as client:
            client.send(text)
            client.shutdown()
            assert client.read_to_end() in (b"", b"OK\n")
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


def test_clients_that_leave_early(slow):
    """Answers to those who left are dropped, and nobody else notices."""
    daemon, fake = slow
    fake.hold("GET")
    for number in range(20):
        client = daemon.connect()
        client.send(f"GET {token()}\nGET {token()}\n#t GET {token()}\n")
        client.reset() if number % 2 else client.close()
    with daemon.connect() as client:
        assert client.ask("PING").last == "OK"
        client.send(f"GET {token()}\n")
        fake.release()
        assert client.answer().last == "NO invalid"


# HTTP

HTTP = ["GET / HTTP/1.1", "GET / HTTP/1.0", "GET /", "GET /index.html", "POST / HTTP/1.1", "POST /x", "PUT /x",
        "HEAD /", "DELETE /" + "a" * 21, "OPTIONS /", "PATCH /x", "TRACE /",
        "CONNECT example.org:443 HTTP/1.1", "PING HTTP/1.1", "x HTTP/1.9", "FOO BAR HTTP/1.0", "Host: example.org",
        "Host:", "Content-Length: 7", "X:", "PING:", "#a: PING",
        'STORE {"name":"x HTTP/1.1', "OPTIONS * HTTP/1.1", "GET HTTP/1.1"]


@pytest.mark.parametrize("line", HTTP)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_http_is_closed_unanswered(daemon, line, end):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    with daemon.connect() as client:
        client.send(f"{line}{end}DELETE {key_of(fields['token'])}{end}PING{end}")
        client.expect_closed()
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


@pytest.mark.parametrize("line, code", [
    ("GET x/y", "NO malformed"), ("CHECK /x", "NO malformed"), ("GETKEY /x", "NO malformed"), ("GETX /x", "ERR badreq"),
    ("PING /x", "ERR badreq"), ("FOO /x", "ERR badreq"),
    ("GET x HTTP/2", "ERR badreq"), ("GET x HTTP/1.", "ERR badreq"), ("GET x HTTP/1.x", "ERR badreq"),
    ("GET xHTTP/1.1", "NO malformed"),
    ("GET x HTTP/1.1x", "ERR badreq"), ("GET x http/1.1", "ERR badreq"), ("FOO Bar: x", "ERR badreq"),
    ("GET x:", "NO malformed"), ("a:b", "ERR badreq"), (":x", "ERR badreq"),
    ("STORE {}:", "ERR badreq"), ('STORE {"name":"x HTTP/1.1"}', "ERR badreq")])
def test_near_http_is_not_closed(daemon, line, code):
    with daemon.connect() as client:
        assert client.ask(line).code == code
        assert client.ask("PING").last == "OK"


def test_a_browser_changes_nothing(daemon):
    fields = data()
    daemon.ask("STORE " + to_json(fields))
    body = f"DELETE {key_of(fields['token'])}\r\nDELETEALL\r\n"
    with daemon.connect() as client:
        client.send("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}")
        client.expect_closed()
    assert daemon.ask("GET " + fields["token"]).cls == "OK"


# Much at once

def feed(client, data):
    """Sends in the background; what fails to be sent is not missed."""
    def run():
        try:
            client.send(data)
        except OSError:
            pass
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_ten_thousand_requests_in_one_go(daemon):
    stored = [data(username=f"user-{number}") for number in range(20)]
    for fields in stored:
        assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    request, expected = [], []
    for number in range(10_000):
        fields = stored[number % len(stored)]
        request.append(["PING", "CHECK " + fields["token"], "GET " + token(), "CHECK " + fields["token"] + " nothing",
                        "FOO"][number % 5])
        expected.append(["OK", "OK " + fields["username"], "NO invalid", "NO scope nothing", "ERR badreq"][number % 5])
    before = daemon.memory()
    with daemon.connect(timeout=120) as client:
        thread = feed(client, ("\n".join(request) + "\n").encode())
        found = client.answers(len(expected))
        thread.join(60)
        assert [answer.last if answer.cls != "ERR" else answer.code for answer in found] == expected
        assert client.ask("PING").last == "OK"
    assert daemon.memory() - before < 64 << 20


@pytest.mark.parametrize("tag", ["", "#t "])
def test_256_unanswered_requests_stop_the_reading(slow, tag):
    daemon, fake = slow
    links, beats = [], []
    fake.answer("GET", lambda connection, _words: links.append(connection))  # and so with nothing
    fake.answer("BEAT", lambda *_: beats.append(len(links)))
    with daemon.connect(timeout=60) as client:
        thread = feed(client, "".join(f"{tag}GET {token()}\n" for _ in range(5000)).encode())
        until(lambda: len(links) >= 256, what="256 requests to reach Redis")
        client.expect_silence(0.5)
        assert len(links) == 256
        with daemon.connect() as other:
            assert other.ask("PING").last == "OK"
        fake.forget("GET", "BEAT")
        links[0].send(b"".join(b"+OK\r\n" * beats.count(number) + b"$-1\r\n" for number in range(256))
                      + b"+OK\r\n" * beats.count(256))
        assert all(answer.last == "NO invalid" for answer in client.answers(5000, timeout=120))
        thread.join(60)


def test_busy_above_max_inflight(start_slow):
    daemon, fake = start_slow(max_inflight=16)
    with daemon.connect() as client, daemon.connect() as other:
        fake.hold("GET")
        client.send("".join(f"GET {token()}\n" for _ in range(40)))
        client.expect_silence(0.3)
        assert other.ask("GET " + token()).code == "ERR busy"
        assert other.ask("PING").last == "OK"
        fake.release()
        assert [answer.code for answer in client.answers(40)] == ["NO invalid"] * 16 + ["ERR busy"] * 24
        assert client.ask("GET " + token()).last == "NO invalid"


def test_busy_is_told_at_once_to_tagged_requests(start_slow):
    daemon, fake = start_slow(max_inflight=16)
    with daemon.connect() as client:
        fake.hold("GET")
        client.send("".join(f"#t{number} GET {token()}\n" for number in range(20)))
        busy = client.tagged(4)
        assert {answer.code for answer in busy.values()} == {"ERR busy"}
        fake.release()
        assert {answer.last for answer in client.tagged(16).values()} == {"NO invalid"}


def test_a_client_that_never_reads(start_daemon, redis_server):
    """Reading stops, memory is bounded, and after write-timeout the connection is closed."""
    daemon = start_daemon(redis_server, workers=1, write_timeout=2)
    fields = data(name="n" * 20000)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    request = f"GET {fields['token']}\n".encode() * 1000
    assert daemon.ask("GET " + fields["token"]).cls == "OK"
    before = daemon.memory()
    client = daemon.connect(receive_buffer=4096)
    client.sock.settimeout(0.2)
    sent, highest, failed = 0, 0, False
    start = time.monotonic()
    while time.monotonic() - start < 30 * SLOWNESS and not failed:
        try:
            sent += client.sock.send(request)
        except (socket.timeout, BlockingIOError):
            pass
        except OSError:
            failed = True
        highest = max(highest, daemon.memory())
        if daemon.stats()["connections-timed-out"] >= 1:
            break
    assert failed or daemon.stats()["connections-timed-out"] >= 1, "the connection was never closed"
    assert time.monotonic() - start >= 1.5
    assert sent < 20 << 20, "the server went on reading"
    assert highest - before < 32 << 20, f"{(highest - before) >> 20} MB for a client that does not read"
    client.close()
    assert daemon.ask("PING").last == "OK"


def test_requests_do_not_pile_up_behind_a_slow_reader(start_daemon, redis_server):
    """Each little room in the socket for an answer must not let another load of requests in."""
    daemon = start_daemon(redis_server, workers=1)
    taken = 0
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1152)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        client.connect(daemon.verify)

        def pump():
            nonlocal taken
            requests = b"HELP\n" * 16384
            try:
                while True:
                    taken += client.send(requests)
            except OSError:
                pass
        threading.Thread(target=pump, daemon=True).start()
        end = time.monotonic() + 8
        while time.monotonic() < end:
            client.recv(400)
            time.sleep(0.00001)
        client.shutdown(socket.SHUT_RDWR)
    # Both sockets' buffers together hold some 10 MB at most.
    assert taken < 14 << 20, f"{taken >> 20} MB of requests were taken in"
    assert daemon.ask("PING").last == "OK"


@pytest.mark.parametrize("size, count", [
    (20_000, 400), (60_000, 300), (1000, 3000), (100, 3000)])
def test_a_client_that_reads_late_gets_everything(daemon, size, count):
    """More answers than the sockets hold: the server stops in the middle, and goes on."""
    fields = data(name="n" * size)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    with daemon.connect(receive_buffer=65536) as client:
        thread = feed(client, f"GET {fields['token']}\n".encode() * count)
        time.sleep(0.5)
        assert all(answer.cls == "OK" for answer in client.answers(count))
        thread.join(60)
        assert client.ask("PING").last == "OK"


def test_a_client_that_reads_slowly_is_kept(start_daemon, redis_server):
    """write-timeout is for clients that do not read at all; this one reads, if less than the server has to say."""
    daemon = start_daemon(redis_server, workers=1, write_timeout=2)
    fields = data(name="n" * 20000)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    count = 400
    with daemon.connect(receive_buffer=65536) as client:
        thread = feed(client, f"GET {fields['token']}\n".encode() * count)
        start = time.monotonic()
        done = 0
        while time.monotonic() - start < 6:
            assert client.answer().cls == "OK"
            done += 1
            time.sleep(0.05)
        assert all(answer.cls == "OK" for answer in client.answers(count - done))
        thread.join(60)


# Times

def test_idle_connections_are_closed(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1, idle_timeout=2)
    with daemon.connect() as silent, daemon.connect() as once, daemon.connect() as busy:
        start = time.monotonic()
        assert once.ask("PING").last == "OK"
        while time.monotonic() - start < 4:
            assert busy.ask("PING").last == "OK"
            time.sleep(0.2)
        for client in (silent, once):
            client.expect_closed()
        assert busy.ask("PING").last == "OK"
    assert until(lambda: daemon.stats()["connections-timed-out"] >= 2)


def test_idle_is_not_before_its_time(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1, idle_timeout=5)
    with daemon.connect() as client:
        for _ in range(2):
            client.expect_silence(3)
            assert client.ask("PING").last == "OK"


def test_waiting_for_an_answer_is_not_idle(start_slow):
    daemon, fake = start_slow(idle_timeout=1, request_timeout=1)
    with daemon.connect() as client:
        fake.hold("GET")
        client.send(f"GET {token()}\n")
        client.expect_silence(3)
        fake.release()
        assert client.answer().last == "NO invalid"


@pytest.mark.parametrize("begin", [b"P", b"PING", b"PING\r", b"STORE {", b"#t", b"*", b"*1\r\n$4\r\nPI"])
def test_half_sent_requests_are_closed(start_daemon, redis_server, begin):
    daemon = start_daemon(redis_server, workers=1, request_timeout=1)
    with daemon.connect() as client, daemon.connect() as idle:
        client.send(begin)
        start = time.monotonic()
        client.expect_closed()
        assert time.monotonic() - start > 0.8
        assert idle.ask("PING").last == "OK"


def test_request_timeout_counts_from_the_first_byte(start_daemon, redis_server):
    """A client that sends a byte now and then does not stay for ever."""
    daemon = start_daemon(redis_server, workers=1, request_timeout=2)
    with daemon.connect() as client:
        start = time.monotonic()
        with pytest.raises((OSError, Closed, AssertionError)):
            while time.monotonic() - start < 30:
                client.send("x")
                client.expect_silence(0.3)
        assert 1.5 < time.monotonic() - start < 20 * SLOWNESS


def test_request_timeout_starts_anew_with_each_request(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1, request_timeout=2)
    with daemon.connect() as client:
        for _ in range(8):
            client.send("PI")
            time.sleep(0.5)
            assert client.ask("NG").last == "OK"


def test_a_worker_that_was_stopped_blames_no_client(start_daemon, redis_server):
    """What came in time while it did not look is answered, though all limits have passed by then."""
    daemon = start_daemon(redis_server, workers=1, request_timeout=1, idle_timeout=1)
    worker = daemon.workers()[0]
    with daemon.connect() as slow, daemon.connect() as idle:
        assert slow.ask("PING").last == idle.ask("PING").last == "OK"
        slow.send("PI")
        time.sleep(0.3)
        os.kill(worker, signal.SIGSTOP)
        slow.send("NG\n")
        idle.send("PING\n")
        time.sleep(2.5)
        os.kill(worker, signal.SIGCONT)
        assert slow.answer().last == idle.answer().last == "OK"


# Connections

@pytest.mark.parametrize("workers", [1, 2])
def test_max_connections(start_daemon, redis_server, folder, workers):
    path = os.path.join(folder, "small.sock")
    daemon = start_daemon(redis_server, workers=workers,
                          listeners={"small": {"address": "unix:" + path, "max-connections": 5}})
    held = [Client(path) for _ in range(5)]
    for client in held:
        assert client.ask("PING").last == "OK"
    for _ in range(3):
        with Client(path) as extra:
            assert extra.answer().code == "ERR busy"
            extra.expect_closed()
    for client in held:
        assert client.ask("PING").last == "OK"
    assert daemon.ask("PING").last == "OK"
    held.pop().close()

    def taken():
        client = Client(path)
        try:
            if client.ask("PING").last == "OK":
                return client
        except (Closed, OSError):
            pass
        client.close()
        return None
    held.append(until(taken, what="a place after one left"))
    for client in held:
        client.close()


def test_many_connections(daemon):
    clients = [daemon.connect("verify") for _ in range(400)]
    for client in clients:
        client.send("PING\n")
    for client in clients:
        assert client.answer().last == "OK"
        client.close()


def test_arguments_that_wait_are_bounded(start_daemon, redis_server):
    """What requests that wait on Redis hold counts like answers that wait."""
    daemon = start_daemon(redis_server, workers=1)
    before = daemon.memory()
    scopes = " ".join("s" * 60 + str(number) for number in range(900))
    redis_server.stop()
    try:
        clients = [daemon.connect() for _ in range(8)]
        for client in clients:
            feed(client, "".join(f"CHECK {token()} {scopes}\n" for _ in range(256)).encode())
        time.sleep(1)
        if not daemon.sanitized:
            assert daemon.memory() - before < 16 << 20
    finally:
        redis_server.cont()
    for client in clients:
        client.close()
