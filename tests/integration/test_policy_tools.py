# SPDX-License-Identifier: MIT
"""Policies where they are tried out: `tokenkeep policy try` and `tokenkeep policy test`, `tokenkeepd --check`, and reloads."""
import json
import os
import re
import subprocess
import time

import pytest

from daemon import environment, program, run
from tokens import data, part, to_json, token

YES, NO, NO_VERDICT, USAGE = 0, 1, 2, 64
MANUAL = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "tokenkeep.1")
COMMANDS = "get check getkey store issue delete deleteall list verifyall".split()
WITHOUT_TOKEN = {"deleteall", "list", "verifyall"}

# Refuses everything, and the reason is what it has been told.
MIRROR = """
local function show(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for _, element in ipairs(value) do parts[#parts + 1] = show(element) end
  return "[" .. table.concat(parts, " ") .. "]"
end
local fields = %s
local function mirror(request, token)
  local parts = {}
  for _, name in ipairs(fields) do
    local from, field = name:match("^(%%a)%%.(.+)$")
    local source = from == "r" and request or token
    parts[#parts + 1] = show(source and source[field])
  end
  return false, table.concat(parts, "|")
end
return { get = mirror, check = mirror, getkey = mirror, store = mirror, issue = mirror, delete = mirror, deleteall = mirror,
         list = mirror, verifyall = mirror }
"""

NETWORKS = """
local inside, most
return {
  load = function(settings)
    inside, most = keep.cidr{settings.inside}, tonumber(settings.most or "5")
  end,
  get = function(request, token)
    if token.token_type == "service" and not inside(request.address) then return false, "services are inside" end
    return true
  end,
  issue = function(request, token)
    if keep.count("issue", request.user or request.address, 60) > most then return false, "too many" end
    return true, { expires = request.time + 60 }
  end,
  store = function(request, token)
    return true, { scopes = {}, service = keep.json.null }
  end,
  check = function() while true do end end,
  delete = function() error("no idea") end,
  list = function() return "yes" end,
}
"""


class Ran:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Sanitizer" not in self.err and "runtime error" not in self.err, self.err

    @property
    def json(self):
        """What is printed is one JSON value on one line."""
        assert self.out.count("\n") == 1 and self.out.endswith("\n"), self.out
        return json.loads(self.out)

    @property
    def lines(self):
        """What `policy try` prints: {name: value}."""
        return dict(re.split(" +", line, maxsplit=1) for line in self.out.splitlines())


def cli(*arguments, stdin=None, cwd=None):
    """Runs tokenkeep to its end, which finds no server: none is needed."""
    source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    env = {**environment(), "TOKENKEEP_SOCKET": "/nowhere/admin.sock"}
    done = subprocess.run([program("tokenkeep"), *arguments], env=env, capture_output=True, timeout=60, cwd=cwd, text=True,
                          errors="surrogateescape", **source)
    return Ran(done)


@pytest.fixture
def write(folder):
    """write(name, text) -> the path of a file in the test's folder."""

    def make(name, text):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        return path

    return make


@pytest.fixture
def mirror(write):
    """mirror(*fields, options...) -> what a policy is told of these fields, "r.address", "t.username"."""

    def ask(fields, *options, command="get", **token_data):
        path = write("mirror.lua", MIRROR % ("{" + ", ".join(f'"{field}"' for field in fields.split()) + "}"))
        if command not in WITHOUT_TOKEN:
            options += ("--token-json", write("token.json", to_json(data(**token_data))))
        done = cli("policy", "try", path, "--command", command, "--json", *options)
        assert done.status == NO and done.json["verdict"] == "refuses", (done.out, done.err)
        return done.json["reason"].split("|")

    return ask


# policy try: what a policy is told

def test_every_command(mirror):
    for command in COMMANDS:
        role, listener = ("verify", "public") if command in ("get", "check") else ("manage", "admin")
        assert mirror("r.command r.role r.listener r.tag r.scopes", command=command)[:4] == [command, role, listener, "nil"]


@pytest.mark.parametrize("options,fields", [
    ([], ["127.0.0.1", "50000", "nil", "nil"]),
    (["--peer", "10.1.2.3"], ["10.1.2.3", "50000", "nil", "nil"]),
    (["--peer", "10.1.2.3:7"], ["10.1.2.3", "7", "nil", "nil"]),
    (["--peer", "2001:db8::1"], ["2001:db8::1", "50000", "nil", "nil"]),
    (["--peer", "[2001:db8::1]:65535"], ["2001:db8::1", "65535", "nil", "nil"]),
    (["--peer", "[::1]:0"], ["::1", "0", "nil", "nil"]),
    (["--user", "root"], ["nil", "nil", "root", "0"]),
    (["--user", "0"], ["nil", "nil", "root", "0"]),
    (["--user", "no-such-user"], ["nil", "nil", "no-such-user", "65533"]),
    (["--user", "4000000123"], ["nil", "nil", "nil", "4000000123"]),
])
def test_who_asks(mirror, options, fields):
    assert mirror("r.address r.port r.user r.uid", *options) == fields


def test_request_options(mirror):
    assert mirror("r.role r.listener", "--role", "manage") == ["manage", "admin"]
    assert mirror("r.role r.listener", "--role", "manage", "--listener", "x") == ["manage", "x"]
    assert mirror("r.tag", "--tag", "a-Z_9") == ["a-Z_9"]
    assert mirror("r.time", "--time", "12345") == ["12345"]
    now = time.time()
    assert now - 2 < int(mirror("r.time")[0]) < now + 60
    assert mirror("r.scopes", "--scope", "b", "--scope", "a:x", command="check", scopes=["a:x", "b", "c"]) == ["[b a:x]"]
    assert mirror("r.scopes", command="check") == ["[]"]
    assert mirror("r.scopes") == ["nil"]


def test_token(mirror, write):
    """Field by field, without the secret; and none where the command is about none."""
    key, expires = part(), int(time.time()) + 1000
    assert mirror("t.key t.username t.token_type t.scopes t.expires t.created t.email t.uid t.token t.secret t.service",
                  text=token(key=key), username="ada", token_type="oidc", scopes=["b", "a"], expires=expires, email="a@b", uid=7) == [
        key, "ada", "oidc", "[a b]", str(expires), "1700000000", "a@b", "7", "nil", "nil", "nil"]
    assert re.fullmatch("[A-Za-z0-9_-]{22}", mirror("t.key", token=...)[0])
    for command in sorted(WITHOUT_TOKEN):
        assert mirror("t.key t.username", command=command) == ["nil", "nil"]
    path, fields = os.path.join(os.path.dirname(write("x", "")), "mirror.lua"), to_json(data(username="from-stdin"))
    write("mirror.lua", MIRROR % '{"t.username"}')
    assert cli("policy", "try", path, "--command", "get", "--token-json", "-", stdin="\n " + fields + "\n").lines["reason"] == "from-stdin"


def test_settings(write):
    path = write("s.lua", """
        local told = {}
        return { load = function(settings)
                   for name, value in pairs(settings) do told[#told + 1] = name .. "=" .. value end
                   table.sort(told)
                 end,
                 list = function() return false, table.concat(told, ",") end }""")
    done = cli("policy", "try", path, "--command", "list", "--set", "b=2", "--set", "a=x = y", "--set", "empty=")
    assert done.status == NO and done.lines["reason"] == "a=x = y,b=2,empty="
    many = [word for n in range(64) for word in ("--set", f"n{n}=v")]
    assert cli("policy", "try", path, "--command", "list", *many).status == NO
    assert cli("policy", "try", path, "--command", "list", *many, "--set", "x=y").status == USAGE


# policy try: what is printed

@pytest.fixture
def networks(write):
    """networks(command, *options, **token data) -> Ran"""
    path = write("networks.lua", NETWORKS)

    def ask(command, *options, **fields):
        if command not in WITHOUT_TOKEN:
            options += ("--token-json", write("token.json", to_json(data(**{"token": ..., **fields}))))
        return cli("policy", "try", path, "--set", "inside=10.0.0.0/8", "--command", command, *options)

    return ask


def cost(ran):
    """Takes what the call took off the JSON."""
    shown = ran.json
    instructions, nanoseconds = shown.pop("instructions"), shown.pop("nanoseconds")
    assert instructions % 1000 == 0 and instructions >= 0 and isinstance(nanoseconds, int) and nanoseconds >= 0
    return shown, instructions, nanoseconds


def test_verdicts(networks):
    done = networks("get")
    assert (done.status, done.err) == (YES, "")
    assert list(done.lines) == ["verdict", "instructions", "nanoseconds"] and done.lines["verdict"] == "permits"
    done = networks("get", token_type="service")
    assert (done.status, done.err) == (NO, "")
    assert list(done.lines) == ["verdict", "reason", "instructions", "nanoseconds"]
    assert (done.lines["verdict"], done.lines["reason"]) == ("refuses", "services are inside")
    assert networks("get", "--peer", "10.9.9.9", token_type="service").lines["verdict"] == "permits"
    done = networks("issue", "--time", "1800000000")
    assert (done.status, done.err) == (YES, "")
    assert (done.lines["verdict"], done.lines["changed"]) == ("changes", '{"expires":1800000060}')
    done = networks("delete")
    assert done.status == NO_VERDICT and done.lines["verdict"] == "fails"
    assert re.search(r"networks\.lua:\d+: no idea", done.lines["reason"])
    done = networks("getkey")
    assert done.status == YES and done.lines["verdict"] == "permits" and done.lines["instructions"] == "0"


def test_verdicts_as_json(networks):
    assert cost(networks("get", "--json"))[0] == {"verdict": "permits"}
    assert cost(networks("get", "--json", token_type="service"))[0] == {"verdict": "refuses", "reason": "services are inside"}
    assert cost(networks("issue", "--json", "--time", "1800000000"))[0] == {"verdict": "changes", "changed": {"expires": 1800000060}}
    shown, instructions, nanoseconds = cost(networks("check", "--json"))
    assert shown["verdict"] == "fails" and "1000000 instructions" in shown["reason"]
    assert 1000000 <= instructions <= 1010000 and nanoseconds > 1000000
    shown = cost(networks("list", "--json"))[0]
    assert shown["verdict"] == "fails" and "string" in shown["reason"]


def test_changes(networks):
    """Fields that differ, null for those that are gone, nothing else."""
    fields = {"scopes": ["a"], "service": "x", "email": "a@b"}
    assert cost(networks("store", "--json", **fields))[0]["changed"] == {"scopes": [], "service": None}
    assert cost(networks("store", "--json", scopes=[]))[0] == {"verdict": "changes", "changed": {}}


def test_log_goes_to_standard_error(write):
    path = write("p.lua", 'print("loading") return { list = function() keep.log("warning", "asked") return true end }')
    done = cli("policy", "try", path, "--command", "list", "--json")
    assert done.status == YES and cost(done)[0] == {"verdict": "permits"}
    assert re.search(r"info .*loading\n(.*\n)*.*warning .*asked", done.err)


def test_paths(write, folder):
    """A name without a slash is a file here, and no other."""
    write("here.lua", "return { list = function() return false, 'here' end }")
    assert cli("policy", "try", "here.lua", "--command", "list", cwd=folder).lines["reason"] == "here"
    assert cli("policy", "try", "./here.lua", "--command", "list", cwd=folder).lines["reason"] == "here"
    done = cli("policy", "try", "audit.lua", "--command", "list", cwd=folder)
    assert done.status == NO_VERDICT and f"there is no file {folder}/audit.lua" in done.err


# policy try: what is refused

@pytest.mark.parametrize("options,expected", [
    ([], "--command: it is missing"),
    (["--command", "ping"], "--command: it is none of get, check"),
    (["--command", "GET"], "--command: it is none of get, check"),
    (["--command", "get"], "--token-json: get is about one; give its data"),
    (["--command", "list", "--token-json", "TOKEN"], "--token-json: list is about no token"),
    (["--command", "list", "--command", "list"], "--command is there twice"),
    (["--command", "list", "--peer", "example.org"], "--peer: it is no IPv4 or IPv6 address"),
    (["--command", "list", "--peer", "10.1.2.3:x"], "--peer: it is no whole number from 0 to 65535"),
    (["--command", "list", "--peer", "10.1.2.3:65536"], "--peer: it is no whole number from 0 to 65535"),
    (["--command", "list", "--peer", "10.1.2.3:"], "--peer: it is no whole number from 0 to 65535"),
    (["--command", "list", "--peer", "[::1"], "--peer: it is no"),
    (["--command", "list", "--peer", ""], "--peer: it is no IPv4 or IPv6 address"),
    (["--command", "list", "--peer", "::1", "--user", "ada"], "--user: who asks over TCP has an address"),
    (["--command", "list", "--user", ""], "--user: it is no name"),
    (["--command", "list", "--user", "+x"], "--user: it is no name"),
    (["--command", "list", "--user", "a\nb"], "--user: it is no name"),
    (["--command", "list", "--user", "4294967295"], "--user: it is no whole number"),
    (["--command", "list", "--role", "admin"], "--role: it is none of verify and manage"),
    (["--command", "list", "--role", "verify"], "--role: this command needs the role manage"),
    (["--command", "list", "--listener", "a b"], "--listener: there is a space"),
    (["--command", "list", "--listener", ""], "--listener: it has 0 bytes"),
    (["--command", "list", "--tag", ""], "--tag: a tag is 1 to 32"),
    (["--command", "list", "--tag", "a" * 33], "--tag: a tag is 1 to 32"),
    (["--command", "list", "--tag", "a.b"], "--tag: a tag is 1 to 32"),
    (["--command", "list", "--scope", "a"], "--scope: only check asks for scopes"),
    (["--command", "check", "--token-json", "TOKEN", "--scope", "a b"], "--scope: a scope is"),
    (["--command", "check", "--token-json", "TOKEN", "--scope", "exec:none"], "--scope: the token lacks exec:none"),
    (["--command", "list", "--time", "-1"], "--time: it is no whole number"),
    (["--command", "list", "--time", "1.5"], "--time: it is no whole number"),
    (["--command", "list", "--time", "now"], "--time: it is no whole number"),
    (["--command", "list", "--time", "253402300800"], "--time: it is no whole number"),
    (["--command", "list", "--time", "9" * 30], "--time: it is no whole number"),
    (["--command", "list", "--set", "a"], "--set takes NAME=VALUE"),
    (["--command", "list", "--set", "a=1", "--set", "a=1"], "--set: a setting is there twice"),
    (["--command", "list", "--tag", "\udcff"], "no valid UTF-8"),
    (["--command", "list", "--peer", "\udcff"], "--peer is no address"),
    (["--command", "list", "--set", "a=\udcff"], "--set takes NAME=VALUE"),
    (["--command"], "option --command needs a value"),
    (["--command", "list", "extra"], "policy try takes no more than 1 argument"),
    (["--command", "list", "--fix"], "policy try takes no --fix"),
])
def test_bad_questions(write, options, expected):
    path, fields = write("p.lua", "return {}"), write("token.json", to_json(data()))
    options = [fields if word == "TOKEN" else word for word in options]
    for extra in ([], ["--json"]):
        done = cli(*extra, "policy", "try", path, *options)
        assert done.status == USAGE and expected in done.err, (done.status, done.err)
        if extra:
            assert done.json["error"]["code"] == "usage" and expected in done.json["error"]["message"]
        else:
            assert done.out == ""


@pytest.mark.parametrize("name,value", [("mode", "shadow"), ("", "x"), ("a\x07", "x"), ("a", "x\x1b[2J")])
def test_bad_settings(write, name, value):
    """What could not stand in a configuration."""
    done = cli("policy", "try", write("p.lua", "return {}"), "--command", "list", "--set", f"{name}={value}")
    assert done.status == NO_VERDICT and "setting" in done.err and "\x1b" not in done.err and "\x07" not in done.err


def test_other_commands_take_no_question():
    for option in ("command", "token-json", "peer", "user", "role", "listener", "tag", "time", "scope", "set"):
        for command in (["ping"], ["policy", "test", "."]):
            done = cli(*command, f"--{option}", "x")
            assert done.status == USAGE and f"{' '.join(command[:2])} takes no --{option}" in done.err, done.err


def test_words():
    for words in (["policy"], ["policy", "tri"], ["try", "x"], ["policy test", "x"]):
        done = cli(*words)
        assert done.status == USAGE and "there is no such command" in done.err
    done = cli("policy", "try")
    assert done.status == USAGE and "policy try needs a FILE" in done.err
    done = cli("policy", "test")
    assert done.status == USAGE and "policy test needs a DIR" in done.err


def test_help_and_manual_name_every_option():
    done = cli("policy", "try", "--help")
    assert done.status == YES and done.out.startswith("usage: tokenkeep [OPTION ...] policy try --command NAME")
    shown = set(re.findall(r"^  --([a-z-]+) ", done.out, re.MULTILINE))
    with open(MANUAL, encoding="utf-8") as file:
        section = re.search(r"^\.Sh TRYING OUT POLICIES$(.*?)^\.Sh ", file.read(), re.MULTILINE | re.DOTALL)[1]
    assert shown == set(re.findall(r"^\.It Fl -([a-z-]+)", section, re.MULTILINE)) and len(shown) == 11
    assert "policy test DIR" in cli("policy", "test", "--help").out


HOSTILE = [
    "", "null", "[]", "7", '"x"', "{", '{"a":1}{', "nonsense \x1b[2J", "\0", '{"username":"a\0b"}', "[" * 100000,
    '{"username":"ada","username":"bob"}', '{"username":"\udcff"}',
    to_json(data(username="Ada Lovelace")), to_json(data(token="gt-x.y")), to_json(data(token=7)),
    to_json(data(token={"key": part()})),
    to_json(data(expires=1)), to_json(data(expires=1.5)), to_json(data(uid=-1)), to_json(data(uid=2**63)), to_json(data(expirse=1)),
    to_json(data(scopes={})), to_json(data(scopes=["a b"])), to_json(data(scopes=["s%d" % n for n in range(1001)])),
    to_json(data(groups=[{"name": "g", "id": 0}])), to_json(data(email="a" * 2000000)), to_json(data(username=...)),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_token_data(write, number):
    """Whatever it is: one line that says what is wrong, quotes nothing of it, and no verdict."""
    path, text = write("p.lua", "return { get = function() return true end }"), HOSTILE[number]
    given = write("token.json", text)
    done = cli("policy", "try", path, "--command", "get", "--token-json", given)
    assert (done.status, done.out) == (USAGE, ""), (done.status, done.out, done.err)
    assert done.err.startswith("tokenkeep: ") and done.err.count("\n") == 1 and "\x1b" not in done.err
    for word in ("Lovelace", "nonsense", "gt-x", "aaaa"):
        assert word not in done.err


def test_token_files(write, folder):
    path = write("p.lua", "return {}")
    for given in (os.path.join(folder, "none.json"), folder, "/dev/null"):
        done = cli("policy", "try", path, "--command", "get", "--token-json", given)
        assert done.status == USAGE and done.err.startswith("tokenkeep: ") and done.out == "", done.err


def test_no_secret_is_shown(write):
    """Neither of a token that is tried, nor of one that a policy throws at us."""
    fields = data()
    secret = fields["token"][26:]
    given = write("token.json", to_json(fields))
    path = write("p.lua", """
        local function all(token) local seen = {} for name, value in pairs(token) do
          seen[#seen + 1] = name .. "=" .. tostring(value) end return table.concat(seen, " ") end
        return { get = function(request, token) print(all(token)) return false, all(token) end,
                 delete = function(request, token) error(all(token)) end,
                 store = function(request, token) return true, { email = all(token) } end }""")
    for command in ("get", "delete", "store"):
        for extra in ([], ["--json"]):
            done = cli("policy", "try", path, "--command", command, "--token-json", given, *extra)
            assert "username=alice" in done.out and secret not in done.out + done.err


# Policies that do not load

BROKEN = [
    ("return {", r"p\.lua:1: "),
    ("\n\nreturn { get = nothing() }", r"p\.lua:3: .*nothing"),
    ("return 7", r"p\.lua"),
    ("", r"p\.lua"),
    ("return { gte = function() end }", "gte"),
    ("return { get = 7 }", "get"),
    ("return { load = function() error('not with these settings') end }", "not with these settings"),
    ("while true do end", r"p\.lua:1: "),
    ("return { load = function() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end }", r"memory|instructions|CPU"),
    ("\x1bLua", r"p\.lua"),
]


def checked(daemon):
    return run("--config", daemon.config_file, "--check")


@pytest.mark.parametrize("text,expected", BROKEN)
def test_policies_that_do_not_load(write, folder, start_daemon, redis_server, text, expected):
    """In every place: tried out, tested, checked, started, reloaded."""
    path = write("p.lua", text)
    done = cli("policy", "try", path, "--command", "list")
    assert done.status == NO_VERDICT and done.out == "" and re.search(expected, done.err), done.err
    done = cli("policy", "try", path, "--command", "list", "--json")
    assert done.status == NO_VERDICT and done.json["error"]["code"] == "policy"
    write("p_test.lua", 'return { policy = "p.lua", cases = { { request = { command = "list" }, want = true } } }')
    done = cli("policy", "test", folder)
    assert done.status == NO and re.search(expected, done.out) and done.out.endswith("\n0 passed, 1 failed\n"), done.out

    daemon = start_daemon(redis_server)
    daemon.extra = f'policy "{path}" {{ }}\n'
    daemon.write_config()
    done = checked(daemon)
    assert done.returncode == 78 and re.search(expected, done.stderr), done.stderr
    assert "\x1b" not in done.stderr
    assert re.search(expected, daemon.reload_refused())
    assert daemon.ask("PING").last == "OK"
    daemon.stop()
    done = run("--config", daemon.config_file)
    assert done.returncode == 78 and re.search(expected, done.stderr)


@pytest.mark.parametrize("name", ["none.lua", ".", "fifo"])
def test_what_is_no_policy(folder, name):
    os.mkfifo(os.path.join(folder, "fifo"))
    done = cli("policy", "try", os.path.join(folder, name), "--command", "list")
    assert done.status == NO_VERDICT and done.err.count("\n") == 1, done.err


def test_check_and_reload_take_good_ones(write, start_daemon, redis_server):
    path = write("p.lua", NETWORKS)
    daemon = start_daemon(redis_server)
    daemon.extra = f'policy "{path}" {{ inside = "10.0.0.0/8" mode = "shadow" }}\n'
    daemon.write_config()
    assert checked(daemon).returncode == 0
    daemon.reload()
    daemon.extra = f'policy "{path}" {{ inside = "10.0.0.0/8" mode = "shade" }}\n'
    daemon.write_config()
    assert "policy.mode" in checked(daemon).stderr
    daemon.extra = f'policy "{path}" {{ inside = "not an address" }}\n'
    daemon.write_config()
    assert checked(daemon).returncode == 78
    assert daemon.ask("PING").last == "OK"


# policy test

def cases(*texts, settings='{ inside = "10.0.0.0/8" }', policy="networks.lua"):
    return f'return {{ policy = "{policy}", settings = {settings}, cases = {{ ' + ", ".join(texts) + " } }"


PASSING = [
    '{ request = { command = "get" }, want = true }',
    '{ request = { command = "get", address = "192.0.2.1" }, token = { token_type = "service" }, want = "services are inside" }',
    '{ request = { command = "get", address = "192.0.2.1" }, token = { token_type = "service" }, want = false }',
    '{ request = { command = "get", address = "10.0.0.1", port = 7 }, token = { token_type = "service" }, want = true }',
    '{ request = { command = "issue", time = 1800000000 }, want = { expires = 1800000060 } }',
    '{ request = { command = "issue", address = "192.0.2.7" }, times = 5, token = { scopes = { "b", "a" } }, want = { expires = '
    'math.floor(keep.now()) + 60, } }',
    '{ request = { command = "issue", address = "192.0.2.7" }, times = 3, want = "too many" }',
    '{ request = { command = "issue", user = "ada" }, want = { expires = math.floor(keep.now()) + 60 } }',
    '{ request = { command = "store", uid = 0, role = "manage", listener = "l", tag = "t" }, token = { scopes = { "a" }, '
    'service = "s" }, want = { scopes = {}, service = keep.json.null } }',
    '{ request = { command = "store" }, want = true }',
    '{ request = { command = "store" }, want = {} }',
    '{ request = { command = "check", scopes = { "a" } }, token = { scopes = { "b", "a" } }, fails = "1000000 instructions" }',
    '{ request = { command = "check", scopes = {} }, fails = true }',
    '{ request = { command = "list" }, fails = "string" }',
    '{ request = { command = "verifyall" }, want = true }',
    '{ request = { command = "getkey" }, token = { token = "%s" }, want = true }' % token(),
    '{ request = { command = "getkey" }, token = { token = keep.json.null }, want = true }',
]


@pytest.mark.parametrize("number", range(len(PASSING)))
def test_cases_that_pass(write, folder, number):
    write("networks.lua", NETWORKS)
    before = PASSING[5:number] if number == 6 else []
    write("n_test.lua", cases(*before, PASSING[number]))
    done = cli("policy", "test", folder)
    # The clock may have moved on to the next second.
    if number in (5, 7) and done.status != YES:
        done = cli("policy", "test", folder)
    assert (done.status, done.err) == (YES, "") and done.out == f"{len(before) + 1} passed, 0 failed\n", done.out
    assert cli("policy", "test", folder, "--json").json == {"passed": len(before) + 1, "failed": 0, "failures": []}


FAILING = [
    ('{ request = { command = "get" }, want = false }', "refuses", "permits"),
    ('{ request = { command = "get" }, want = "services are inside" }', "refuses: services are inside", "permits"),
    ('{ request = { command = "get" }, token = { token_type = "service" }, want = true }', "permits", "refuses: services are inside"),
    ('{ request = { command = "get" }, token = { token_type = "service" }, want = "services" }', "refuses: services",
     "refuses: services are inside"),
    ('{ request = { command = "get" }, fails = true }', "fails", "permits"),
    ('{ request = { command = "delete" }, want = true }', "permits", "fails: networks.lua:"),
    ('{ request = { command = "delete" }, want = false }', "refuses", "fails: networks.lua:"),
    ('{ request = { command = "delete" }, fails = "an idea" }', "fails: ... an idea ...", "fails: networks.lua:"),
    ('{ request = { command = "issue", time = 1800000000 }, want = true }', "permits", 'changes: {"expires":1800000060}'),
    ('{ request = { command = "issue", time = 1800000000 }, want = {} }', "changes: {}", 'changes: {"expires":1800000060}'),
    ('{ request = { command = "issue", time = 1800000000 }, want = { expires = 1800000061 } }', 'changes: {"expires":1800000061}',
     'changes: {"expires":1800000060}'),
    ('{ request = { command = "issue", time = 1800000000 }, want = { expires = 1800000060, email = "a@b" } }',
     'changes: {"email":"a@b","expires":1800000060}', 'changes: {"expires":1800000060}'),
    ('{ request = { command = "issue", time = 1800000000 }, times = 6, want = { expires = 1800000060 } }',
     'changes: {"expires":1800000060}', "refuses: too many (time 6 of 6)"),
    ('{ request = { command = "issue", time = 1800000000 }, want = { expirse = 1 } }', 'changes: {"expirse":1}',
     "what is wanted cannot be stored: "),
    ('{ request = { command = "issue" }, want = false }', "refuses", 'changes: {"expires":'),
    # Questions that no server would put, and cases that are none
    ('{ request = { command = "ping" }, want = true }', "permits", "request.command: "),
    ('{ request = { }, want = true }', "permits", "request.command: "),
    ('{ request = { command = "get", adress = "::1" }, want = true }', "permits", "request: it has a field that there is not"),
    ('{ request = { command = "get", token = "x" }, want = true }', "permits", "request: it has a field that there is not"),
    ('{ request = { command = "get", address = "::1", user = "ada" }, want = true }', "permits", "request.user: "),
    ('{ request = { command = "get", port = 1.5 }, want = true }', "permits", "request.port: "),
    ('{ request = { command = "get", port = "7" }, want = true }', "permits", "request.port: "),
    ('{ request = { command = "get", time = 1.5 }, want = true }', "permits", "request.time: "),
    ('{ request = { command = "get", tag = 7 }, want = true }', "permits", "request.tag: "),
    ('{ request = { command = "get", user = 7 }, want = true }', "permits", "request.user: "),
    ('{ request = { command = "get", listener = 7 }, want = true }', "permits", "request.listener: "),
    ('{ request = { command = "get", scopes = { "a" } }, want = true }', "permits", "request.scopes: "),
    ('{ request = { command = "check", scopes = { 7 } }, want = true }', "permits", "request.scopes: "),
    ('{ request = { command = "check", scopes = { "a" } }, want = true }', "permits", "request.scopes: the token lacks a"),
    ('{ request = { command = "list" }, token = { }, want = true }', "permits", "token: list is about no token"),
    ('{ request = { command = "get" }, token = { usernmae = "x" }, want = true }', "permits", "token: "),
    ('{ request = { command = "get" }, token = 7, want = true }', "permits", "no case: token: "),
    ('{ request = { command = "get" }, token = { expires = 1 }, want = true }', "permits", "token: expires"),
    ('{ request = 7, want = true }', "permits", "no case: request: "),
    ('{ want = true }', "permits", "no case: request: "),
    ('{ request = { command = "get" } }', "refuses", "no case: give want"),
    ('{ request = { command = "get" }, want = true, fails = true }', "fails", "no case: give want"),
    ('{ request = { command = "get" }, want = 7 }', "refuses", "no case: want: "),
    ('{ request = { command = "get" }, want = { email = "a" } }', 'changes: {"email":"a"}', "no case: want: only store and issue"),
    ('{ request = { command = "issue" }, want = { key = "x" } }', 'changes: {"key":"x"}', "no case: want: no policy changes"),
    ('{ request = { command = "get" }, fails = false }', "fails", "no case: fails: "),
    ('{ request = { command = "get" }, want = true, times = 0 }', "permits", "no case: times: "),
    ('{ request = { command = "get" }, want = true, times = "x" }', "permits", "no case: times: "),
    ('{ request = { command = "get" }, want = true, fresh = 1 }', "permits", "no case: fresh: "),
    ('{ request = { command = "get" }, want = true, wants = true }', "permits", "no case: known are name, request"),
    ('7', "refuses", "no case: a case is a table"),
]


@pytest.mark.parametrize("number", range(len(FAILING)))
def test_cases_that_fail(write, folder, number):
    """Each is shown with what was wanted and what came; the cases around it are counted."""
    write("networks.lua", NETWORKS)
    text, wanted, came = FAILING[number]
    write("n_test.lua", cases(PASSING[0], text, PASSING[0]))
    done = cli("policy", "test", folder)
    assert done.status == NO
    lines = done.out.splitlines()
    assert lines[0] == "n_test.lua: case 2" and lines[1] == "    wanted  " + wanted and lines[2].startswith("    came    " + came), lines
    assert lines[3:] == ["2 passed, 1 failed"]
    shown = cli("policy", "test", folder, "--json")
    assert shown.status == NO and shown.json["passed"] == 2 and shown.json["failed"] == 1
    failure, = shown.json["failures"]
    assert (failure["file"], failure["case"], failure["wanted"]) == ("n_test.lua", "case 2", wanted)
    assert failure["came"].startswith(came)


def test_counts_go_from_case_to_case(write, folder):
    write("networks.lua", NETWORKS)
    ask = '{ name = "%s", request = { command = "issue", time = 1800000000 }, times = %d, fresh = %s, want = %s }'
    good, many = "{ expires = 1800000060 }", '"too many"'
    write("n_test.lua", cases(ask % ("a", 5, "false", good), ask % ("b", 1, "false", many), ask % ("c", 5, "true", good),
                              ask % ("d", 1, "false", many)))
    done = cli("policy", "test", folder)
    assert (done.status, done.out) == (YES, "4 passed, 0 failed\n")


def test_users_of_tests(write, folder):
    """A name is that of one case: the next has what /etc/passwd says."""
    write("p.lua", "return { list = function(request) return false, tostring(request.user) .. ' ' .. tostring(request.uid) end }")
    case = '{ request = { command = "list", %s }, want = "%s" }'
    asked = [("user = 'ada'", "ada 65533"), ("uid = 65533", "nil 65533"), ("user = 'ada', uid = 0", "ada 0"), ("uid = 0", "root 0"),
             ("user = 'root'", "root 0"), ("address = '::1'", "nil nil")]
    write("p_test.lua", cases(*(case % one for one in asked), policy="p.lua"))
    done = cli("policy", "test", folder)
    assert (done.status, done.out) == (YES, f"{len(asked)} passed, 0 failed\n")


def test_settings_of_tests(write, folder):
    write("p.lua", """local told return { load = function(settings) told = settings end, list = function()
        return false, told.a .. told.b .. told.c .. told.d end }""")
    case = '{ request = { command = "list" }, want = "x7truey z" }'
    write("p_test.lua", cases(case, settings='{ a = "x", b = 7, c = true, d = "y z" }', policy="p.lua"))
    assert cli("policy", "test", folder).status == YES
    for settings in ("7", "{ 1 }", "{ a = {} }", '{ mode = "shadow" }', '{ a = "\\27" }', '{ [""] = "x" }', "{ a = keep.json.null }"):
        write("p_test.lua", cases(case, settings=settings, policy="p.lua"))
        done = cli("policy", "test", folder)
        assert done.status == NO and done.out.startswith("p_test.lua: ") and done.out.endswith("\n0 passed, 1 failed\n"), done.out
        assert "\x1b" not in done.out


BAD_FILES = [
    ("return {", r"b_test\.lua:1: "),
    ("error('oh')", r"b_test\.lua:1: oh"),
    ("error({})", "table"),
    ("return", "returns no table"),
    ("return 7", "returns no table"),
    ("return {}", "policy: "),
    ("return { policy = 7, cases = {} }", "policy: "),
    ('return { policy = "none.lua", cases = { 1 } }', "there is no file"),
    ('return { policy = "networks.lua" }', "cases: "),
    ('return { policy = "networks.lua", cases = {} }', "cases: "),
    ('return { policy = "networks.lua", cases = { a = 1 } }', "cases: "),
    ('return { policy = "networks.lua", cases = { {} }, case = {} }', "known are policy, settings and cases"),
    ('return { policy = "networks.lua", cases = { print } }', r"cases\[1\]"),
    ("while true do end", r"b_test\.lua:1: .*CPU"),
    ("local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", "memory"),
    ("return pcall(function() while true do end end)", "CPU"),
    ("return os.getenv('HOME')", "os"),
    ("return io.open('/etc/passwd')", "io"),
    ("return require('os')", "require"),
    ("\x1bLua", "binary chunk|text"),
    ('return { policy = "a\\0b", cases = { {} } }', "NUL"),
]


@pytest.mark.parametrize("number", range(len(BAD_FILES)))
def test_files_that_cannot_be_used(write, folder, number):
    """One failure, and all other files run."""
    text, expected = BAD_FILES[number]
    write("networks.lua", NETWORKS)
    write("a_test.lua", cases(PASSING[0]))
    write("b_test.lua", text)
    write("c_test.lua", cases(PASSING[0], PASSING[1]))
    done = cli("policy", "test", folder)
    lines = done.out.splitlines()
    assert done.status == NO and len(lines) == 2 and lines[1] == "3 passed, 1 failed", done.out
    assert lines[0].startswith("b_test.lua: ") and re.search(expected, lines[0]), lines
    failure, = cli("policy", "test", folder, "--json").json["failures"]
    assert failure["file"] == "b_test.lua" and re.search(expected, failure["reason"])


def test_a_script_that_spoils_its_tools(write, folder):
    """What runs a test is not what the test can reach."""
    write("networks.lua", NETWORKS)
    write("a_test.lua", "keep.json.encode, keep.json, pairs, ipairs = nil, nil, nil, nil keep = nil " + cases(PASSING[0]))
    write("b_test.lua", "assert(keep.json.encode and pairs and not leaked) leaked = true " + cases(PASSING[0]))
    write("c_test.lua", "assert(not leaked) " + cases(PASSING[0]))
    done = cli("policy", "test", folder)
    assert (done.status, done.out) == (YES, "3 passed, 0 failed\n")


def test_names_are_shown_clean(write, folder):
    write("networks.lua", NETWORKS)
    write("n_test.lua", cases('{ name = "a\\27[2J\\nb", request = { command = "get" }, want = "\\155\\n\\7" }'.replace("\\155", "x")))
    done = cli("policy", "test", folder)
    assert done.out.splitlines() == ["n_test.lua: a?[2J?b", "    wanted  refuses: x??", "    came    permits", "0 passed, 1 failed"]
    assert cli("policy", "test", folder, "--json").json["failures"][0]["case"] == "a\x1b[2J\nb"


def test_folders(write, folder):
    """Which files are tests; and a folder without any is no success."""
    done = cli("policy", "test", folder)
    assert done.status == NO and done.out == "0 passed, 0 failed\n" and "_test.lua" in done.err
    assert cli("policy", "test", folder, "--json").json == {"passed": 0, "failed": 0, "failures": []}
    write("networks.lua", NETWORKS)
    for name in (".a_test.lua", "_test.lua", "a_test.lua~", "a_test.luac", "test.lua", "a.lua"):
        write(name, "error('not a test')")
    assert cli("policy", "test", folder).status == NO
    write("b_test.lua", cases('{ name = "second", request = { command = "get" }, want = false }'))
    write("a_test.lua", cases('{ name = "first", request = { command = "get" }, want = false }'))
    done = cli("policy", "test", folder)
    assert [line for line in done.out.splitlines() if "_test" in line] == ["a_test.lua: first", "b_test.lua: second"]
    os.mkfifo(os.path.join(folder, "c_test.lua"))
    os.mkdir(os.path.join(folder, "d_test.lua"))
    done = cli("policy", "test", folder)
    assert done.out.endswith("\n0 passed, 4 failed\n") and "c_test.lua" in done.out and "d_test.lua" in done.out
    for bad in (os.path.join(folder, "none"), os.path.join(folder, "networks.lua"), ""):
        done = cli("policy", "test", bad)
        assert done.status == USAGE and "cannot read the folder" in done.err
        assert cli("policy", "test", bad, "--json").json["error"]["code"] == "usage"


def test_the_policy_stands_beside_the_test(write, folder):
    write("networks.lua", NETWORKS)
    write("n_test.lua", cases(PASSING[0]))
    assert cli("policy", "test", ".", cwd=folder).status == YES
    assert cli("policy", "test", os.path.basename(folder), cwd=os.path.dirname(folder)).status == YES
    write("n_test.lua", cases(PASSING[0], policy=os.path.join(folder, "networks.lua")))
    assert cli("policy", "test", folder).status == YES


def test_the_example_of_the_manual(write, folder):
    """The test that tokenkeep(1) shows passes with a policy of that kind."""
    with open(MANUAL, encoding="utf-8") as file:
        text = re.search(r"^\.Sh TESTS OF POLICIES$.*?^\.Bd [^\n]*\n(.*?)^\.Ed", file.read(), re.MULTILINE | re.DOTALL)[1]
    write("manual_test.lua", text)
    write("networks.lua", """
        local inside
        return {
          load = function(settings) inside = keep.cidr{settings.inside} end,
          get = function(request, token)
            if token.token_type == "service" and not inside(request.address) then
              return false, "service tokens are for inside"
            end
            return true
          end,
          issue = function(request)
            if request.user then return true end
            return true, { expires = request.time + 30 * 86400 }
          end,
        }""")
    done = cli("policy", "test", folder)
    assert (done.status, done.out) == (YES, "4 passed, 0 failed\n")
