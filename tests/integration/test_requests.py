# SPDX-License-Identifier: MIT
"""Every request of the line protocol: what it does, who may say it, and in which order it is checked."""
import json
import os
import re
import signal
import time

import pytest

from tokens import TOKEN, data, key_of, part, secret_of, to_json, token
from waiting import until

KEY = key_of(TOKEN)
VERIFY = ["PING", "HELP", "GET", "CHECK"]
MANAGE = ["GETKEY", "STORE", "ISSUE", "DELETE", "DELETEALL", "LIST", "VERIFYALL", "STATS"]
FIELDS = ["token", "username", "token_type", "scopes", "created", "expires", "service", "name", "email", "uid", "gid",
          "groups"]


def everything(**changes):
    """Token data with every field there is."""
    fields = {"expires": int(time.time()) + 3600, "service": "portal", "name": "Zoë \U0001f600",
              "email": "alice@example.org",
              "uid": 1000, "gid": 2**63 - 1, "groups": [{"name": "staff", "id": 7},
                                                        {"name": "2.b_c-d", "id": 2**63 - 1}]}
    return data(**{**fields, **changes})


def store(daemon, **changes):
    """Stores token data; returns its token."""
    fields = data(**changes)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    return fields["token"]


# Many at once

def test_what_many_ask_at_once(daemon):
    """All that 40 clients have sent to a worker that did not look: more than it reads in a turn of its loop, and for more
    tokens than it foresees. Everybody gets the answers to what they asked, in their order, and nobody a part of another's."""
    tokens = [store(daemon, username=f"user-{i}") for i in range(50)]
    clients = [daemon.connect() for _ in range(40)]
    workers = daemon.workers()
    try:
        for client in clients:
            assert client.ask("PING").last == "OK"
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        for i, client in enumerate(clients):
            client.send("".join(f"CHECK {tokens[(i + 7 * j) % 50]}\n" for j in range(300)) + f"CHECK {tokens[i]}"[:30 + i])
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    for i, client in enumerate(clients):
        assert [answer.last for answer in client.answers(300)] == [f"OK user-{(i + 7 * j) % 50}" for j in range(300)]
    for i, client in enumerate(clients):
        client.send(f"CHECK {tokens[i]}"[30 + i:] + "\n")
    for i, client in enumerate(clients):
        assert client.answer().last == f"OK user-{i}"
        client.close()


# PING, HELP, QUIT

@pytest.mark.parametrize("role", ["verify", "verify_unix", "manage", "manage_unix"])
@pytest.mark.parametrize("word", ["PING", "ping", "PiNg"])
def test_ping(daemon, role, word):
    assert daemon.ask(word, role).last == "OK"


@pytest.mark.parametrize("role", ["verify", "manage"])
def test_help_has_every_command(daemon, role):
    answer = daemon.ask("HELP", role)
    assert answer.last == "OK"
    words = {line.split(" ")[0] for line in answer.lines}
    assert words >= set(VERIFY + MANAGE + ["QUIT"])


def test_quit_comes_last_and_closes(daemon):
    with daemon.connect() as client:
        client.send(f"GET {token()}\n#a GET {token()}\nPING\nQUIT\nPING\n")
        found = client.answers(4)
        assert sorted(answer.code for answer in found[:3]) == ["NO invalid", "NO invalid", "OK"]
        assert found[3].last == "OK" and found[3].tag is None
        client.expect_closed()


def test_quit_may_have_a_tag(daemon):
    with daemon.connect() as client:
        client.send("#bye quit\n")
        assert client.read_line() == b"#bye OK"
        client.expect_closed()


# GET

def test_get_gives_back_what_was_stored(daemon):
    fields = everything(scopes=["write:a", "read:all", "write:a", "Exec.b_c-D"])
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    for role in ("verify", "manage", "verify_unix"):
        answer = daemon.ask("GET " + fields["token"], role)
        assert answer.cls == "OK"
        assert json.loads(answer.text) == {**fields, "scopes": ["Exec.b_c-D", "read:all", "write:a"]}


def test_get_json_is_compact_and_in_order(daemon):
    fields = everything(name="Alice")
    daemon.ask("STORE " + to_json(fields))
    text = daemon.ask("GET " + fields["token"]).text
    assert list(json.loads(text)) == FIELDS
    assert " " not in text and text.isascii()


def test_get_leaves_absent_fields_out(daemon):
    held = store(daemon)
    assert list(json.loads(daemon.ask("GET " + held).text)) == ["token", "username", "token_type", "scopes", "created"]


def test_wrong_secret_is_invalid_and_hides_nothing(daemon):
    held = store(daemon)
    wrong = token(key_of(held))
    near = held[:-1] + ("A" if held[-1] != "A" else "B")
    for _ in range(3):
        assert daemon.ask("GET " + wrong).last == "NO invalid"
        assert daemon.ask("GET " + near).last == "NO invalid"
        assert daemon.ask("CHECK " + wrong).last == "NO invalid"
        assert daemon.ask("GET " + held).cls == "OK"


def test_mismatch_is_logged_with_the_key_and_without_secrets(start_daemon, redis_server):
    daemon = start_daemon(redis_server)
    held = store(daemon)
    wrong = token(key_of(held))
    assert daemon.ask("GET " + wrong).last == "NO invalid"
    daemon.wait_log(key_of(held))
    assert secret_of(wrong) not in daemon.stderr() and secret_of(held) not in daemon.stderr()


def test_tokens_are_compared_as_text(daemon):
    # 22 characters hold 132 bits: base64 decoders take these two last characters for the same 128.
    held = store(daemon, token=token(secret="A" * 21 + "A"))
    assert daemon.ask("GET " + held[:-1] + "B").last == "NO invalid"
    assert daemon.ask("GET " + held).cls == "OK"


MALFORMED = ["x", "gt-", "gt", "gt-" + "a" * 22, "gt-" + "a" * 22 + ".", "gt-" + "a" * 21 + "." + "b" * 22,
             "gt-" + "a" * 22 + "." + "b" * 21, "gt-" + "a" * 22 + "." + "b" * 23, "gt-" + "a" * 23 + "." + "b" * 22,
             "GT-" + "a" * 22 + "." + "b" * 22, "gt-" + "a" * 22 + "-" + "b" * 22, "gt_" + "a" * 22 + "." + "b" * 22,
             "gt-" + "a" * 21 + "+." + "b" * 22, "gt-" + "a" * 22 + "." + "b" * 21 + "=",
             "gt-" + "a" * 22 + "." + "b" * 21 + "é",
             "gt-" + "a" * 45, "token:gt-" + "a" * 22 + "." + "b" * 22, "gt-" + "a" * 22 + ".." + "b" * 21]


@pytest.mark.parametrize("text", MALFORMED)
@pytest.mark.parametrize("command", ["GET", "CHECK"])
def test_not_a_token(daemon, command, text):
    assert daemon.ask(f"{command} {text}", "verify").code == "NO malformed"


@pytest.mark.parametrize("text", ["x", "a" * 21, "a" * 23, "a" * 21 + ".", "a" * 21 + "/", "a" * 20 + "é", TOKEN,
                                  "token:" + "a" * 22, "*"])
@pytest.mark.parametrize("command", ["GETKEY", "DELETE"])
def test_not_a_key(daemon, command, text):
    assert daemon.ask(f"{command} {text}").code == "NO malformed"


def test_every_character_of_the_alphabet(daemon):
    for start in range(0, 64, 16):
        letters = ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" * 2)[start:start + 22]
        held = store(daemon, token=token(letters, letters[::-1]))
        assert daemon.ask("GET " + held).cls == "OK"
        assert daemon.ask("GETKEY " + letters).cls == "OK"
        assert daemon.ask("DELETE " + letters).last == "OK"


# CHECK

@pytest.mark.parametrize("asked, answer", [
    ([], "OK alice"), (["read:all"], "OK alice"), (["read:all", "exec:x"], "OK alice"),
    (["exec:x", "exec:x"], "OK alice"),
    (["write"], "NO scope write"), (["read:all", "write"], "NO scope write"), (["write", "read:all"], "NO scope write"),
    (["read"], "NO scope read"), (["read:all2"], "NO scope read:all2"), (["READ:ALL"], "NO scope READ:ALL")])
def test_check(daemon, asked, answer):
    held = store(daemon, scopes=["read:all", "exec:x"])
    assert daemon.ask(" ".join(["CHECK", held, *asked]), "verify").last == answer


def test_check_without_scopes_in_the_token(daemon):
    held = store(daemon, scopes=[], username="bob")
    assert daemon.ask("CHECK " + held).last == "OK bob"
    assert daemon.ask("CHECK " + held + " a").last == "NO scope a"


def test_check_many_scopes(daemon):
    scopes = [f"scope:{number}" for number in range(1000)]
    held = store(daemon, scopes=scopes)
    assert daemon.ask(" ".join(["CHECK", held, *scopes])).last == "OK alice"
    assert daemon.ask(" ".join(["CHECK", held, *scopes[1:], "other"])).last == "NO scope other"


def test_check_of_an_invalid_token_says_nothing_of_scopes(daemon):
    assert daemon.ask(f"CHECK {token()} read:all").last == "NO invalid"


# GETKEY

def test_getkey(daemon):
    fields = everything()
    daemon.ask("STORE " + to_json(fields))
    answer = daemon.ask("GETKEY " + key_of(fields["token"]))
    assert answer.cls == "OK"
    found = json.loads(answer.text)
    del found["token"], fields["token"]
    assert found == fields


def test_getkey_of_an_unknown_key(daemon):
    assert daemon.ask("GETKEY " + part()).last == "NO invalid"


# STORE

def test_store_replaces(daemon):
    held = store(daemon)
    assert json.loads(daemon.ask("GET " + held).text)["username"] == "alice"
    store(daemon, token=held, username="bob")
    assert json.loads(daemon.ask("GET " + held).text)["username"] == "bob"
    other = token(key_of(held))
    store(daemon, token=other, username="carol")
    assert daemon.ask("GET " + held).last == "NO invalid"
    assert json.loads(daemon.ask("GET " + other).text)["username"] == "carol"


def test_store_is_seen_after_a_no(daemon):
    held = token()
    for worker in range(6):
        assert daemon.ask("GET " + held).last == "NO invalid"
    store(daemon, token=held)
    for worker in range(6):
        assert daemon.ask("GET " + held).cls == "OK"


def test_store_ends_with_the_token(daemon, planter):
    expires = int(time.time()) + 1000
    held = store(daemon, expires=expires)
    assert planter.client.execute_command("EXPIRETIME", planter.name(key_of(held))) == expires


def test_store_without_expiry_stays(daemon, planter):
    held = store(daemon, expires=int(time.time()) + 1000)
    store(daemon, token=held)
    assert planter.client.ttl(planter.name(key_of(held))) == -1
    store(daemon, token=held, expires=None)
    assert planter.client.ttl(planter.name(key_of(held))) == -1


def test_store_at_the_end_of_time(daemon, planter):
    held = store(daemon, expires=253402300799)
    assert planter.client.execute_command("EXPIRETIME", planter.name(key_of(held))) == 253402300799
    assert daemon.ask("GET " + held).cls == "OK"


def test_expired_token_is_invalid(daemon):
    expires = int(time.time()) + 3
    held = store(daemon, expires=expires)
    with daemon.connect() as client:
        while time.time() < expires - 1:
            assert client.ask("GET " + held).cls == "OK"
            time.sleep(0.05)
        time.sleep(max(0, expires + 0.05 - time.time()))
        for request in ("GET " + held, "CHECK " + held, "GETKEY " + key_of(held)):
            assert client.ask(request).last == "NO invalid"


def test_created_defaults_to_now(daemon):
    before = int(time.time())
    held = store(daemon, created=...)
    created = json.loads(daemon.ask("GET " + held).text)["created"]
    assert before <= created <= time.time()


def test_a_failed_store_stores_nothing(daemon, planter):
    held = token()
    assert daemon.ask("STORE " + to_json(data(held, username="-"))).code == "ERR badreq"
    assert planter.value(key_of(held)) is None
    held = store(daemon)
    assert daemon.ask("STORE " + to_json(data(held, scopes="x"))).code == "ERR badreq"
    assert json.loads(daemon.ask("GET " + held).text)["username"] == "alice"


# ISSUE

def test_issue(daemon, planter):
    answer = daemon.ask("ISSUE " + to_json(everything(token=...)))
    assert re.fullmatch(r"OK gt-[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{22}", answer.last)
    found = json.loads(daemon.ask("GET " + answer.text).text)
    assert found["token"] == answer.text
    assert planter.stored(key_of(answer.text))["token"] == [key_of(answer.text), secret_of(answer.text)]


def test_issue_with_a_null_token(daemon):
    assert daemon.ask("ISSUE " + to_json(data(token=None))).cls == "OK"


def test_issue_never_repeats(daemon):
    line = "ISSUE " + to_json(data(token=...)) + "\n"
    with daemon.connect() as client:
        client.send(line * 200)
        found = [answer.text for answer in client.answers(200)]
    assert len(set(found)) == len({key_of(text) for text in found}) == len({secret_of(text) for text in found}) == 200


@pytest.mark.parametrize("value", [TOKEN, "", 7, {"key": KEY, "secret": KEY}])
def test_issue_refuses_a_token(daemon, value):
    answer = daemon.ask("ISSUE " + to_json({**data(), "token": value}))
    assert answer.code == "ERR badreq" and "token" in answer.text


def test_issue_keeps_the_expiry(daemon, planter):
    expires = int(time.time()) + 500
    answer = daemon.ask("ISSUE " + to_json(data(token=..., expires=expires)))
    assert planter.client.execute_command("EXPIRETIME", planter.name(key_of(answer.text))) == expires


# DELETE

def test_delete(daemon, planter):
    held = store(daemon)
    assert daemon.ask("GET " + held).cls == "OK"
    assert daemon.ask("DELETE " + key_of(held)).last == "OK"
    for _ in range(6):
        assert daemon.ask("GET " + held, "verify").last == "NO invalid"
    assert planter.value(key_of(held)) is None
    assert daemon.ask("DELETE " + key_of(held)).last == "NO invalid"


def test_delete_is_seen_on_every_worker(daemon):
    held = store(daemon)
    clients = [daemon.connect("verify") for _ in range(8)]
    for client in clients:
        assert client.ask("GET " + held).cls == "OK"
    assert daemon.ask("DELETE " + key_of(held)).last == "OK"
    for client in clients:
        assert client.ask("GET " + held).last == "NO invalid"
        client.close()


# What is not there

@pytest.mark.parametrize("line", ["FOO", "FOO bar", "PINGS", "PIN", "GETT " + TOKEN, "SET a b", "KEYS *", "FLUSHALL",
                                  "AUTH x", "{}",
                                  TOKEN, "É", "DELETE_ALL", "VERIFY"])
@pytest.mark.parametrize("role", ["verify", "manage"])
def test_unknown_command(daemon, line, role):
    with daemon.connect(role) as client:
        assert client.ask(line).code == "ERR badreq"
        assert client.ask("PING").last == "OK"


# Roles, and the order of the checks: command known, role, number of arguments, arguments

@pytest.mark.parametrize("role", ["verify", "verify_unix"])
@pytest.mark.parametrize("command", MANAGE)
@pytest.mark.parametrize("arguments", ["", " x", " x y z", " " + "a" * 22, " {}"])
def test_role_is_checked_before_arguments(daemon, role, command, arguments):
    with daemon.connect(role) as client:
        assert client.ask(command + arguments).code == "ERR denied"
        assert client.ask(command.lower() + arguments).code == "ERR denied"
        assert client.ask("PING").last == "OK"


def test_denied_requests_do_nothing(daemon, planter):
    held = store(daemon)
    with daemon.connect("verify") as client:
        for line in (f"DELETE {key_of(held)}", "DELETEALL", "STORE " + to_json(data(held, username="eve"))):
            assert client.ask(line).code == "ERR denied"
    assert json.loads(daemon.ask("GET " + held).text)["username"] == "alice"


@pytest.mark.parametrize("line", ["GET", "CHECK", "GETKEY", "DELETE", "STORE", "ISSUE", "GET x y", "GETKEY x y",
                                  "DELETE x y", "PING x", "HELP x", "QUIT x",
                                  "STATS x", "DELETEALL x", f"GET {TOKEN} {TOKEN}", f"DELETE {KEY} {KEY}"])
def test_number_of_arguments(daemon, line):
    with daemon.connect() as client:
        assert client.ask(line).code == "ERR badreq"
        assert client.ask("PING").last == "OK"


@pytest.mark.parametrize("line", ["LIST x", "LIST x y z", "VERIFYALL x", "VERIFYALL FIX x", "VERIFYALL FIX FIX"])
def test_arguments_that_are_words(daemon, line):
    assert daemon.ask(line).code == "ERR badreq"


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title, str.swapcase])
def test_command_words_in_any_case(daemon, change):
    held = token()
    assert daemon.ask(change("store") + " " + to_json(data(held))).last == "OK"
    assert daemon.ask(change("get") + " " + held).cls == "OK"
    assert daemon.ask(change("check") + " " + held).last == "OK alice"
    assert daemon.ask(change("getkey") + " " + key_of(held)).cls == "OK"
    assert daemon.ask(change("stats")).last == "OK"
    assert daemon.ask(change("delete") + " " + key_of(held)).last == "OK"
    assert daemon.ask(change("issue") + " " + to_json(data(token=...))).cls == "OK"


# STATS

def test_stats_lines(daemon):
    answer = daemon.ask("STATS")
    assert answer.last == "OK" and answer.lines
    names = [line.split(" ")[0] for line in answer.lines]
    assert len(names) == len(set(names))
    for line in answer.lines:
        assert re.fullmatch(r"[a-z][a-z0-9-]* \S.*", line), line


def test_stats_count(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=1)
    before = daemon.stats()
    held = store(daemon)
    with daemon.connect() as client:
        for _ in range(10):
            assert client.ask("GET " + held).cls == "OK"
        for _ in range(3):
            assert client.ask("FOO").code == "ERR badreq"
        assert client.ask("GET " + token(key_of(held))).last == "NO invalid"
    with daemon.connect("verify") as client:
        assert client.ask("STATS").code == "ERR denied"

    def grown():
        after = daemon.stats()
        return {name: after[name] - before[name] for name in before if isinstance(before[name], int)}

    change = until(lambda: grown() if grown()["requests"] >= 15 else None, what="the counters")
    assert change["cache-hits"] >= 9 and change["cache-misses"] >= 1
    assert change["err-badreq"] == 3 and change["err-denied"] == 1
    assert change["tokens-stored"] == 1 and change["tokens-mismatched"] == 1
    assert change["connections-accepted"] >= 3


def test_stats_are_of_all_workers(start_daemon, redis_server):
    daemon = start_daemon(redis_server, workers=3)
    before = daemon.stats()["requests"]
    clients = [daemon.connect() for _ in range(30)]
    for client in clients:
        assert client.ask("PING").last == "OK"
    assert until(lambda: daemon.stats()["requests"] - before >= 30, what="requests of all workers")
    for client in clients:
        client.close()
