# SPDX-License-Identifier: MIT
"""The worked examples of policies, as they are installed, and the first policy of tokenkeep-policy(7)."""
import json
import os
import re
import shutil
import subprocess
import time

import pytest

from client import Client
from daemon import hook_section, program, run
from tokens import data, key_of, to_json, token
from waiting import until

PREFIX = os.path.dirname(os.path.dirname(os.path.abspath(program("tokenkeepd"))))
EXAMPLES = os.path.join(PREFIX, "share", "tokenkeep", "lua", "examples", "policies")
MANUAL = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "tokenkeep-policy.7")
DAY = 24 * 3600


def section(title, level="Ss"):
    with open(MANUAL) as file:
        return re.search(rf"^\.{level} {re.escape(title)}\n(.*?)(?=^\.S[hs] )", file.read(), re.MULTILINE | re.DOTALL)[1]


def blocks(text):
    return re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed$", text, re.MULTILINE | re.DOTALL)


def policy_section(name, **settings):
    return hook_section(os.path.join(EXAMPLES, name), settings).replace("hook", "policy", 1)


@pytest.fixture
def serve(start_daemon, redis_server):
    """serve(name, **settings) -> a client of role manage, of a server with one worker and this example in force."""
    clients = []

    def start(name, **settings):
        daemon = start_daemon(redis_server, workers=1, extra=policy_section(name, **settings))
        clients.append(Client(daemon.manage))
        clients[-1].daemon = daemon
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def issue(client, **fields):
    return client.ask("ISSUE " + to_json(data(**{"token": ..., "created": ..., **fields})))


def store(client, **fields):
    fields = data(token(), **fields)
    assert client.ask("STORE " + to_json(fields)).last == "OK"
    return fields["token"]


# Their tests


def test_their_tests_pass():
    done = run("policy", "test", EXAMPLES, name="tokenkeep")
    assert done.returncode == 0, done.stdout
    (closing,) = re.findall(r"^\d+ passed, 0 failed$", section("THE EXAMPLES", "Sh"), re.MULTILINE)
    assert done.stdout == closing + "\n"


def test_the_first_policy_of_the_manual(folder, start_daemon, redis_server):
    policy, tests = blocks(section("Write it"))[0], blocks(section("Test it"))[0]
    for name, text in (("expiry.lua", policy), ("expiry_test.lua", tests)):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    done = run("policy", "test", folder, name="tokenkeep")
    assert done.stdout == "2 passed, 0 failed\n" and done.returncode == 0
    daemon = start_daemon(redis_server, files={"expiry.lua": policy}, extra='policy "expiry.lua" { mode = "shadow" }\n')
    (line,) = (block for block in blocks(section("Watch it")) if block.startswith("policy expiry.lua"))
    with Client(daemon.manage) as client:
        assert issue(client).cls == "OK"
        until(lambda: line.strip() in daemon.stderr(), 10, "the line in the log")
        stats = dict(entry.split(" ") for entry in client.ask("STATS").lines)
    shown = re.findall(r"^(policy-\w+) +(\d+)$", section("Watch it"), re.MULTILINE)
    assert len(shown) == 3 and all(stats[name] == value for name, value in shown)
    daemon.extra = daemon.extra.replace('mode = "shadow"', "")
    daemon.write_config()
    daemon.reload()
    with Client(daemon.manage) as client:
        assert issue(client).last == "NO policy say when the token expires"
        assert issue(client, expires=int(time.time()) + DAY).cls == "OK"


def test_the_misspelt_names_of_the_manual_are_found(folder):
    """By the command that it gives; and nothing is found in the first policy."""
    if shutil.which("luacheck") is None:
        pytest.skip("luacheck is not installed")
    (command,) = re.findall(r"^\.Ql (luacheck .*)$", section("JUST ENOUGH LUA", "Sh"), re.MULTILINE)
    policy = blocks(section("Write it"))[0]
    for text, status in ((policy, 0), (policy.replace("if token.", "if tokn."), 1), (policy.replace("    if", "    most = 6 if"), 1)):
        with open(os.path.join(folder, "expiry.lua"), "w") as file:
            file.write(text)
        done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr


# What they do on a server


def test_service_networks(serve):
    client = serve("service_networks.lua", inside="127.0.0.2 10.0.0.0/8")
    service, session = store(client, token_type="service", username="bot-7"), store(client)
    refused = "NO policy service tokens are good inside alone"
    for source, answer in (("127.0.0.1", refused), ("127.0.0.2", "OK bot-7")):
        with Client(client.daemon.verify, source=source) as other:
            assert other.ask("CHECK " + service).last == answer
            assert other.ask("GET " + service).cls == answer[:2]
            assert other.ask("CHECK " + session).last == "OK alice"
    assert client.ask("GET " + service).last == refused


def test_working_hours(serve):
    far = time.strftime("%a", time.gmtime(time.time() + 3 * DAY)).lower()
    client = serve("working_hours.lua", scope="exec:admin", days=far, **{"from": "0:00", "till": "24:00"})
    admin, reader = store(client, scopes=["exec:admin", "read:all"]), store(client)
    assert client.ask(f"CHECK {admin} exec:admin").last == "NO policy exec:admin is good in working hours alone"
    assert client.ask(f"CHECK {admin} read:all").last == "OK alice"
    assert client.ask(f"GET {admin}").last == "NO policy exec:admin is good in working hours alone"
    assert client.ask(f"GET {reader}").cls == "OK"
    assert client.ask(f"CHECK {reader} exec:admin").last == "NO scope exec:admin"


def test_working_hours_when_it_is_time(serve):
    client = serve("working_hours.lua", scope="exec:admin", days="mon tue wed thu fri sat sun",
                   **{"from": "0:00", "till": "24:00"})
    admin = store(client, scopes=["exec:admin"])
    assert client.ask(f"CHECK {admin} exec:admin").last == "OK alice"
    assert client.ask(f"GET {admin}").cls == "OK"


def test_issue_limits(serve):
    client = serve("issue_limits.lua", most=3, days=30)
    answers = [issue(client, username="carl", token_type="user") for _ in range(4)]
    assert [answer.cls for answer in answers] == ["OK", "OK", "OK", "NO"]
    assert answers[3].last == "NO policy no more than 3 new tokens a minute"
    assert issue(client, username="dora", token_type="user").cls == "OK"
    assert issue(client, username="carl", token_type="session").cls == "OK"
    stored = json.loads(client.ask("GET " + answers[0].last[3:]).last[3:])
    assert abs(stored["expires"] - time.time() - 30 * DAY) < 60


def test_deny_list(serve):
    denied = token()
    client = serve("deny_list.lua", keys="jy8Hz1MUB9RkTYy0-COK_A " + key_of(denied), users="mallory")
    fine = store(client)
    assert client.ask("STORE " + to_json(data(denied))).last == "NO policy this token is on the deny list"
    assert issue(client, username="mallory").last == "NO policy this user is on the deny list"
    assert client.ask("CHECK " + fine).last == "OK alice"
    client.daemon.extra = policy_section("deny_list.lua", keys=key_of(fine))
    client.daemon.write_config()
    client.daemon.reload()
    with Client(client.daemon.verify) as other:
        assert other.ask("CHECK " + fine).last == "NO policy this token is on the deny list"
        assert other.ask("GET " + fine).last == "NO policy this token is on the deny list"


def test_admin_scopes(serve):
    client = serve("admin_scopes.lua", admins="alice", scopes="exec:admin admin:*", hours=8)

    def stored(answer):
        return json.loads(client.ask("GET " + answer.last[3:]).last[3:])

    assert issue(client, username="carl", scopes=["admin:users"]).last == "NO policy only administrators have these scopes"
    assert stored(issue(client, username="carl", scopes=["admin:users", "read:all"]))["scopes"] == ["read:all"]
    admin = stored(issue(client, scopes=["admin:users", "read:all"]))
    assert admin["scopes"] == ["admin:users", "read:all"] and abs(admin["expires"] - time.time() - 8 * 3600) < 60
    assert "expires" not in stored(issue(client))


# Settings that cannot be right


@pytest.mark.parametrize("name, settings, reason", [
    ("service_networks.lua", [], "inside: name the networks"),
    ("service_networks.lua", ["inside=10.0.0.0/8 10.0.0/8"], "element 2: not an address"),
    ("working_hours.lua", ["from=8:00", "till=18:00"], "scope: name one"),
    ("working_hours.lua", ["scope=x", "from=8:00"], "till: give a time"),
    ("working_hours.lua", ["scope=x", "from=8:00", "till=24:01"], "till: give a time"),
    ("working_hours.lua", ["scope=x", "from=8:60", "till=9:00"], "from: give a time"),
    ("working_hours.lua", ["scope=x", "from=8:00", "till=8:00"], "till: give a time after 8:00"),
    ("working_hours.lua", ["scope=x", "from=8:00", "till=18:00", "days=mon tues"], "days: tues is none of mon tue"),
    ("issue_limits.lua", ["most=5"], "days: give a whole number from 1 to 3650"),
    ("issue_limits.lua", ["most=0", "days=1"], "most: give a whole number from 1 to"),
    ("issue_limits.lua", ["most=1.5", "days=1"], "most: give a whole number from 1 to"),
    ("deny_list.lua", ["keys=short"], "keys: word 1 cannot be right"),
    ("deny_list.lua", ["users=bob Mallory"], "users: word 2 cannot be right"),
    ("admin_scopes.lua", ["hours=0"], "hours: give a whole number from 1 to 8760"),
])
def test_settings_that_cannot_be_right(name, settings, reason):
    arguments = [word for setting in settings for word in ("--set", setting)]
    done = run("policy", "try", os.path.join(EXAMPLES, name), "--command", "list", *arguments, name="tokenkeep")
    assert done.returncode == 2 and re.search(rf"{name}:\d+: ", done.stderr) and reason in done.stderr, done.stderr


def test_a_pasted_token_is_not_shown(folder):
    secret = token()
    done = run("policy", "try", os.path.join(EXAMPLES, "deny_list.lua"), "--command", "list", "--set", "keys=" + secret,
               name="tokenkeep")
    assert done.returncode == 2 and secret not in done.stderr and secret[26:] not in done.stderr
