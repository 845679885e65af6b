# SPDX-License-Identifier: MIT
"""Policies at work: every command asks them, refusals and failures reach the client, the log and the audit log, and a
policy that misbehaves hurts nobody else."""
import os
import signal
import threading
import time

import pytest

from client import Closed
from daemon import section
from hooks import hook_file
from tokens import data, key_of, secret_of, to_json, token
from waiting import until

FAILED = "ERR internal the policy failed; the log says why"


def policy(path, **settings):
    return section(f'policy "{path}"', settings)


@pytest.fixture
def start_with(start_daemon, start_redis, folder):
    """start_with(*scripts, settings=..., **keywords of Daemon) -> a daemon with these policies, in order."""
    def start(*scripts, settings=(), **keywords):
        text = ""
        for i, script in enumerate(scripts):
            text += policy(hook_file(folder, f"p{i}.lua", script), **(settings[i] if i < len(settings) else {}))
        return start_daemon(start_redis(), extra=text, **keywords)
    return start


def request_for(command, text):
    """The request of a command about a token that is stored, and what it answers when nothing forbids it."""
    return {"GET": "GET " + text, "CHECK": "CHECK " + text, "GETKEY": "GETKEY " + key_of(text),
            "STORE": "STORE " + to_json(data(text)), "ISSUE": 'ISSUE {"username":"alice","token_type":"user","scopes":[]}',
            "DELETE": "DELETE " + key_of(text), "DELETEALL": "DELETEALL", "LIST": "LIST", "VERIFYALL": "VERIFYALL"}[command]


COMMANDS = ["GET", "CHECK", "GETKEY", "STORE", "ISSUE", "DELETE", "DELETEALL", "LIST", "VERIFYALL"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_asks(start_with, command):
    """Refused while a setting says so, with nothing changed; permitted otherwise."""
    daemon = start_with(f"""
        local refuse
        return {{
            load = function(settings) refuse = settings.refuse == "yes" end,
            {command.lower()} = function(request, token)
                assert(request.command == "{command.lower()}")
                if refuse then return false, "not today" end
                return true
            end,
        }}
    """, settings=[{"refuse": "yes"}], audit={})
    text = token()
    daemon.redis.client()
    stored = data(text)
    if command in ("STORE", "ISSUE"):
        assert daemon.ask(request_for(command, text)).last == "NO policy not today"
        assert daemon.ask("LIST").last == "OK 0"
    else:
        assert daemon.ask("STORE " + to_json(stored)).last == "OK"
        assert daemon.ask(request_for(command, text)).last == "NO policy not today"
        if command not in ("GET",):
            assert daemon.ask("GET " + text).cls == "OK"
    record = daemon.wait_record(event="request.denied", command=command)
    assert record["result"] == "denied" and record["reason"] == "policy p0.lua: not today"
    if command not in ("DELETEALL", "LIST", "VERIFYALL"):
        assert record["username"] == ("alice" if command == "ISSUE" else stored["username"])
    assert daemon.stats()["policy-refused"] == 1
    with open(daemon.config_file) as file:
        config = file.read()
    with open(daemon.config_file, "w") as file:
        file.write(config.replace('refuse = "yes"', 'refuse = "no"'))
    daemon.reload()
    until(lambda: daemon.ask(request_for(command, text)).cls == "OK", 10, "the workers that refuse to end")


def test_what_a_policy_is_told(start_with):
    """Every field of request and token, over TCP and a unix socket; never the secret."""
    daemon = start_with("""
        local function told(request, token)
            local all = { request = {}, token = token and {} }
            for name, value in pairs(request) do all.request[name] = value end
            if token then
                for name, value in pairs(token) do
                    if type(value) ~= "function" then all.token[name] = value end
                end
            end
            keep.log("info", "told " .. keep.json.encode(all))
            return true
        end
        return { get = told, check = told, getkey = told, delete = told, list = told }
    """)
    text = token()
    fields = data(text, scopes=["read:all", "exec:admin"], expires=4000000000, service="portal", name="a token", uid=1000)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    assert daemon.ask("#t1 CHECK " + text + " read:all exec:admin", "verify").cls == "OK"
    assert daemon.ask("GETKEY " + key_of(text), "manage_unix").cls == "OK"
    assert daemon.ask("LIST").cls == "OK"
    log = until(lambda: daemon.stderr() if daemon.stderr().count("told ") >= 3 else None, 10, "three lines")
    checked, by_key, listed = [line.split("told ", 1)[1] for line in log.splitlines() if "told " in line]
    for part in ('"command":"check"', '"address":"127.0.0.1"', '"listener":"verify"', '"role":"verify"', '"tag":"t1"',
                 '"scopes":["read:all","exec:admin"]', '"key":"' + key_of(text) + '"', '"service":"portal"',
                 '"expires":4000000000', '"uid":1000', '"scopes":["exec:admin","read:all"]'):
        assert part in checked, (part, checked)
    assert '"role":"manage"' in by_key and '"address"' not in by_key and f'"uid":{os.getuid()}' in by_key
    assert '"token"' not in listed
    assert secret_of(text) not in daemon.stderr()


def test_changed_data(start_with):
    """What store and issue return is laid over the data, by every policy in its turn, and is what is stored."""
    daemon = start_with("""
        return {
            store = function(request, token) return true, { scopes = { "read:all" }, name = keep.json.null } end,
            issue = function(request, token) return true, { expires = request.time + 60 } end,
        }
    """, """
        return {
            store = function(request, token)
                if #token.scopes ~= 1 or token.name then return false, "the first was not asked first" end
                return true, { email = "changed@example.org" }
            end,
        }
    """, audit={})
    text = token()
    assert daemon.ask("STORE " + to_json(data(text, scopes=["exec:admin", "read:all"], name="one"))).last == "OK"
    stored = daemon.ask("GET " + text).text
    assert '"scopes":["read:all"]' in stored and '"name"' not in stored and "changed@example.org" in stored
    assert daemon.wait_record(event="token.store", key=key_of(text))["scopes"] == "read:all"
    issued = daemon.ask('ISSUE {"username":"bob","token_type":"user","scopes":[]}').text
    record = daemon.wait_record(event="token.issue", key=key_of(issued))
    assert 50 <= record["expires"] - time.time() <= 61


@pytest.mark.parametrize("body", [
    "error('no')", "while true do end", "local t = {} while true do t[#t + 1] = ('x'):rep(10000) end",
    "return 1", "return nil, {}", "return true, 'x'", "pcall(function() while true do end end) return true",
    "return true, { username = 'NOT VALID' }", "return true, { expires = 'soon' }", "return true, { key = 'x' }",
    "return token.missing.field", "local s = 'x' while true do s = s .. s end",
])
def test_failures_permit_nothing(start_with, body):
    """Whatever a policy does wrong is no permission, is logged and a problem, and the next request is judged again."""
    daemon = start_with(f"""
        return {{ store = function(request, token)
            if token.username == "victim" then {body} end
            return true
        end }}
    """, workers=1)
    refused, permitted = token(), token()
    with daemon.connect() as client:
        for _ in range(2):
            assert client.ask("STORE " + to_json(data(refused, username="victim"))).last == FAILED
            assert client.ask("GET " + refused).last == "NO invalid"
            assert client.ask("STORE " + to_json(data(permitted))).last == "OK"
    assert "policy p0.lua failed: " in daemon.stderr()
    assert daemon.stats()["policy-failed"] == 2
    assert secret_of(refused) not in daemon.stderr()


def test_a_problem_is_raised(start_with, folder):
    daemon = start_with("return { get = function() error('broken') end }", audit={}, hooks={
        hook_file(folder, "watch.lua", "return { problem = function(p) keep.log('info', 'heard ' .. p.kind) end }"): {}})
    text = token()
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    assert daemon.ask("GET " + text).last == FAILED
    daemon.wait_log("heard policy.failed")


def test_shadow_mode(start_with):
    """Verdicts are logged and counted, and change nothing; an enforced policy behind it still counts."""
    daemon = start_with("return { get = function() return false, 'tried' end, list = function() error('x') end }",
                        "return { deleteall = function() return false, 'never' end }", settings=[{"mode": "shadow"}])
    text = token()
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    assert daemon.ask("GET " + text).cls == "OK"
    assert daemon.ask("LIST").last == "OK 1"
    assert daemon.ask("DELETEALL").last == "NO policy never"
    daemon.wait_log("p0.lua")
    stats = daemon.stats()
    assert (stats["policy-shadow"], stats["policy-refused"], stats["policy-failed"]) == (2, 1, 0)


def test_in_resp(start_with):
    daemon = start_with("return { get = function() return false, 'a\\r\\nb' end }")
    text = token()
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    with daemon.connect() as client:
        client.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(text), text.encode()))
        assert client.read_line() == b"-NO policy a??b\r"


def test_stuck_in_c(start_with):
    """A policy that the limits cannot end is ended by the watchdog with its worker; other workers do not notice."""
    daemon = start_with("""
        return { get = function(request, token)
            if token.username == "victim" then
                local t = {}
                for i = 1, 200000 do t[i] = tostring(i) end
                for _ = 1, 1000 do table.sort(t, function(a, b) return a < b end) end
            end
            return true
        end }
    """, workers=2)
    good, bad = token(), token()
    for text, name in ((good, "alice"), (bad, "victim")):
        assert daemon.ask("STORE " + to_json(data(text, username=name))).last == "OK"
    slowest, ending = [0.0], threading.Event()

    def ask_good():
        while not ending.is_set():
            began = time.monotonic()
            try:
                if daemon.ask("GET " + good).cls != "OK":
                    slowest[0] = 99
            except (Closed, OSError):
                continue  # it was the worker that was ended
            slowest[0] = max(slowest[0], time.monotonic() - began)

    thread = threading.Thread(target=ask_good)
    thread.start()
    daemon.steady = None
    try:
        for _ in range(3):
            try:
                assert daemon.ask("GET " + bad).last == FAILED
            except Closed:
                pass
    finally:
        ending.set()
        thread.join()
    assert slowest[0] < 5
    until(lambda: len(daemon.workers()) == 2, 20, "two workers again")


def test_a_bad_policy_stops_reload(start_with, folder):
    daemon = start_with("return { get = function() return true end }")
    hook_file(folder, "p0.lua", "return { got = 1 }")
    said = daemon.reload_refused()
    assert "p0.lua" in said and "got" in said
    hook_file(folder, "p0.lua", "return {\n\n  get = function( }")
    assert "p0.lua:3" in daemon.reload_refused()
    assert daemon.ask("PING").last == "OK"


def test_reload_under_load(start_with, folder):
    """No request is lost while policies are replaced: each is judged by the old or the new one."""
    daemon = start_with("return { get = function() return false, 'old' end }")
    text = token()
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    answers, ending = [], threading.Event()

    def run():
        while not ending.is_set():
            with daemon.connect() as client:
                for _ in range(20):
                    answers.append(client.ask("GET " + text).last)

    thread = threading.Thread(target=run)
    thread.start()
    hook_file(folder, "p0.lua", "return { get = function() return false, 'new' end }")
    daemon.reload()
    until(lambda: answers and answers[-1] == "NO policy new", 20, "the new policy")
    ending.set()
    thread.join()
    assert set(answers) <= {"NO policy old", "NO policy new"}


def test_connections_in_use_keep_their_policies(start_with, folder):
    """Until drain-timeout at most; new ones get the new policies at once."""
    daemon = start_with("return { get = function() return false, 'old' end }", workers=1, drain_timeout=2)
    text = token()
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    heard = set()
    with daemon.connect() as client:
        heard.add(client.ask("GET " + text).last)
        hook_file(folder, "p0.lua", "return { get = function() return false, 'new' end }")
        daemon.reload()
        until(lambda: daemon.ask("GET " + text).last == "NO policy new", 20, "the new policy")
        heard.add(client.ask("GET " + text).last)
        with pytest.raises((Closed, OSError)):
            while True:
                heard.add(client.ask("GET " + text).last)
                time.sleep(0.05)
    assert heard == {"NO policy old"}


def test_what_a_function_does_not_guard(start_with):
    """Each is asked about its own command alone, as the manual says."""
    daemon = start_with("local function no() return false, 'never' end return { get = no, issue = no, delete = no }")
    text = token()
    assert daemon.ask("STORE " + to_json(data(text, username="alice"))).last == "OK"
    for command in ("GET", "ISSUE", "DELETE"):
        assert daemon.ask(request_for(command, text)).last == "NO policy never"
    assert daemon.ask("CHECK " + text).last == "OK alice"
    assert daemon.ask("GETKEY " + key_of(text)).cls == "OK"
    assert daemon.ask("STORE " + to_json(data(text, username="bob"))).last == "OK"
    assert daemon.ask("CHECK " + text).last == "OK bob"
    assert daemon.ask("DELETEALL").last == "OK 1"


def test_nothing_is_asked_for_what_is_no_token(start_with):
    daemon = start_with("return { get = function() error('asked') end, check = function() error('asked') end }")
    text = token()
    assert daemon.ask("GET " + text).last == "NO invalid"
    assert daemon.ask("GET x").last == "NO malformed"
    assert daemon.ask("STORE " + to_json(data(text, scopes=["a"]))).last == "OK"
    assert daemon.ask("CHECK " + text + " b").last == "NO scope b"
    assert daemon.ask("GET " + token(key=key_of(text))).last == "NO invalid"


def test_delete_knows_the_token(start_with):
    """Policies are told whose token is to be deleted, in memory or not, and nil where there is none."""
    daemon = start_with("""
        return { delete = function(request, token)
            if not token then return true end
            if token.username ~= "alice" then return false, "only alice's" end
            return true
        end }
    """, workers=2)
    alice, bob = token(), token()
    for text, name in ((alice, "alice"), (bob, "bob")):
        assert daemon.ask("STORE " + to_json(data(text, username=name))).last == "OK"
    assert daemon.ask("DELETE " + key_of(bob)).last == "NO policy only alice's"
    assert daemon.ask("GET " + bob).cls == "OK"
    assert daemon.ask("DELETE " + key_of(alice)).last == "OK"
    assert daemon.ask("DELETE " + key_of(alice)).last == "NO invalid"


@pytest.mark.parametrize("warm", [True, False], ids=["in memory", "not in memory"])
def test_the_record_of_a_delete_says_what_the_policy_was_told(start_with, warm):
    """The token was looked up for the policy, and so the audit log says whose it was."""
    daemon = start_with("return { delete = function(request) return request.tag ~= 'no' end }", audit={}, workers=1)
    fields = data(username="alice", token_type="service", scopes=["read:all", "exec:admin"], expires=4000000000)
    key = key_of(fields["token"])
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    if warm:
        assert daemon.ask("GET " + fields["token"]).cls == "OK"
    assert daemon.ask("DELETE " + key).last == "OK"
    record = daemon.wait_record(event="token.delete", key=key)
    wanted = {"result": "ok", "username": "alice", "token_type": "service", "scopes": "exec:admin read:all", "expires": 4000000000}
    assert {name: record.get(name) for name in wanted} == wanted
    assert daemon.ask("DELETE " + key).last == "NO invalid"
    record = daemon.wait_record(event="token.delete", key=key, result="no")
    assert "username" not in record and record["reason"] == "invalid"
    daemon.ask("#no DELETE " + key)
    assert daemon.wait_record(event="request.denied", tag="no")["key"] == key


def test_redis_away(start_with):
    daemon = start_with("return { delete = function() return true end }", redis_options={"connect_timeout": 0.3, "command_timeout": 0.3})
    os.kill(daemon.redis.process.pid, signal.SIGSTOP)
    try:
        assert daemon.ask("DELETE " + key_of(token())).code == "ERR unavail"
    finally:
        os.kill(daemon.redis.process.pid, signal.SIGCONT)
