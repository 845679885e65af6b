# SPDX-License-Identifier: MIT
"""Hooks: what they are given and may load, and hooks that go wrong in every way beside good ones that hear everything."""
import json
import os
import re
import signal
import textwrap
import time

import pytest

from daemon import run
from hooks import SLOW_MODULE, Recorders, ask_events, heard, hook_file, json_lines, lines_about, recorder, wait_heard
from planter import Planter
from sealed import keyring_line
from tokens import data, key_of, part, secret_of, to_json, token
from waiting import SLOWNESS, until


@pytest.fixture
def recorders(folder):
    return Recorders(folder)


# What hooks are given

SHOW = """
local function flat(value)
    if type(value) == "userdata" then return "userdata " .. tostring(value) end
    if type(value) ~= "table" then return type(value) .. " " .. tostring(value) end
    local result = {}
    for name, inner in pairs(value) do result[name] = flat(inner) end
    return result
end

return {
    start = function(settings)
        local file = assert(keep.file.open(settings.into))
        assert(file:append(keep.json.encode(flat(settings))))
    end,
}
"""


def test_settings(start_daemon, redis_server, folder):
    """A hook has its own block, as written, and what the sections audit and slack say, but for the webhook's address."""
    show = hook_file(folder, "show.lua", SHOW)
    bare = hook_file(folder, "bare.lua", SHOW)
    into, bare_into = os.path.join(folder, "settings"), os.path.join(folder, "bare")
    webhook, address = os.path.join(folder, "webhook"), "http://127.0.0.1:9/" + part()
    with open(os.open(webhook, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write(address + "\n")
    daemon = start_daemon(redis_server, audit={"mode": "best-effort", "reads": True},
                          slack={"webhook-file": webhook, "application": "the-keeper", "group-interval": 7.5},
                          hooks={show: {"into": into, "group-interval": 300, "under_score": "a b", "empty": "", "truth": "true"},
                                 bare: {"into": bare_into}})
    shown, = until(lambda: json_lines(into), 10, "the settings")
    assert shown == {"into": "string " + into, "group-interval": "string 300", "under_score": "string a b", "empty": "string ",
                     "truth": "string true",
                     "audit": {"file": "string " + daemon.audit_options["file"], "mode": "string best-effort", "reads": "boolean true"},
                     "slack": {"webhook": "userdata webhook", "application": "string the-keeper", "group_interval": "number 7.5"}}
    assert address not in daemon.stderr()


def test_settings_that_are_not_given(start_daemon, redis_server, folder):
    into = os.path.join(folder, "settings")
    start_daemon(redis_server, hooks={hook_file(folder, "show.lua", SHOW): {"into": into}})
    shown, = until(lambda: json_lines(into), 10, "the settings")
    assert shown == {"into": "string " + into, "audit": {"mode": "string best-effort", "reads": "boolean false"},
                     "slack": {"application": "string tokenkeep", "group_interval": "number 300.0"}}


CLOCK = """
local file, cancelled
local function note(what) assert(file:append(keep.json.encode({ what = what, at = keep.now() }))) end

return {
    start = function(settings)
        file = assert(keep.file.open(settings.into))
        note("start")
        for _, seconds in ipairs { 0, 0.25, 1 } do
            keep.timer(seconds, function() note("timer " .. seconds) end)
        end
        cancelled = keep.timer(0.3, function() note("never") end)
        keep.timer(0.1, function() cancelled:cancel() cancelled:cancel() end)
        keep.timer(0.2, function() keep.timer(0.2, function() note("inner") end) end)
    end,
    tick = function(now)
        assert(math.abs(now - keep.now()) < 0.1)
        note("tick")
    end,
}
"""


def test_ticks_and_timers(start_daemon, redis_server, folder):
    into = os.path.join(folder, "clock")
    start_daemon(redis_server, workers=1, hooks={hook_file(folder, "clock.lua", CLOCK): {"into": into}})
    until(lambda: [line["what"] for line in json_lines(into)].count("tick") >= 3, 10, "three ticks")
    lines = json_lines(into)
    began = lines[0]["at"]
    assert abs(began - time.time()) < 10
    ticks = [line["at"] for line in lines if line["what"] == "tick"]
    assert all(0.9 < after - before < 1.1 + 0.4 * SLOWNESS for before, after in zip(ticks, ticks[1:])), ticks
    for what, seconds in (("timer 0", 0), ("timer 0.25", 0.25), ("timer 1", 1), ("inner", 0.4)):
        at, = [line["at"] - began for line in lines if line["what"] == what]
        assert seconds - 0.01 <= at < seconds + 0.5 * SLOWNESS, what
    assert not [line for line in lines if line["what"] == "never"]


def test_the_log(start_daemon, redis_server, folder):
    hook = hook_file(folder, "talker.lua", r"""
        return { start = function()
            keep.log("error", "an error") keep.log("warning", "a warning") keep.log("info", "some info") keep.log("debug", "a detail")
            print("printed", 1, nil, true)
            keep.log("info", "one\ntwo\r\27[31m\0three\127\u{85}\u{9b}four")
            keep.log("info", "\xff\xfe broken")
            keep.log("info", ("long "):rep(100000))
        end }
        """)
    daemon = start_daemon(redis_server, workers=1, hooks={hook: {}}, log={"level": "info"})
    until(lambda: len(lines_about(daemon, "talker.lua")) >= 7, 10, "the lines")
    with open(os.path.join(daemon.folder, "stderr"), "rb") as file:
        raw = file.read()
    assert not any(byte < 0x20 and byte != 0x0A or byte == 0x7F for byte in raw) and b"\xc2\x85" not in raw and b"\xff" not in raw
    lines = lines_about(daemon, "talker.lua")
    assert [(level, text) for line, (level, text) in zip(lines, (("error", "an error"), ("warning", "a warning"), ("info", "some info")))
            if f" {level} " in line and line.endswith(text)] == [("error", "an error"), ("warning", "a warning"), ("info", "some info")]
    assert "a detail" not in daemon.stderr()
    assert "printed" in lines[3] and " info " in lines[3]
    assert "one?two" in lines[4] and "four" in lines[4]
    assert all(len(line) < 5000 for line in lines)


# Modules

def test_modules_from_the_folders(start_daemon, redis_server, folder):
    """Beside the hook, then beside the configuration, then what comes with the server; each loaded once."""
    into = os.path.join(folder, "modules")
    hook = hook_file(folder, "hooks/main.lua", """
        local file
        return { start = function(settings)
            file = assert(keep.file.open(settings.into))
            local found = {}
            for _, name in ipairs { "own", "deep.er.mod_2", "both", "conf", "deep.conf" } do found[name] = require(name) end
            found.count = require("counter").n + require("counter").n
            found.same = require("counter") == require("counter")
            found.installed = type(require("audit").event)
            assert(file:append(keep.json.encode(found)))
        end }
        """)
    for name, value in (("own", "hook"), ("deep/er/mod_2", "deep hook"), ("both", "the hook's")):
        hook_file(folder, f"hooks/{name}.lua", f'return "{value}"')
    hook_file(folder, "hooks/counter.lua", "loads = (loads or 0) + 1 return { n = loads }")
    start_daemon(redis_server, workers=1, hooks={hook: {"into": into}},
                 files={"conf.lua": "return 'conf'", "deep/conf.lua": "return require('conf') .. ' deep'", "both.lua": "return 'the wrong'"})
    found, = until(lambda: json_lines(into), 10, "the modules")
    assert found == {"own": "hook", "deep.er.mod_2": "deep hook", "both": "the hook's", "conf": "conf", "deep.conf": "conf deep", "count": 2,
                     "same": True, "installed": "function"}


ELSEWHERE = ["../outside", "..outside", ".outside", "outside.", "a..b", "/etc/outside", "sub/own", "own.lua", "own\\0", "", " ", "own ", "ä", "no_such",
             "chunk", "folder", "link/../own", "string", "keep", "io", "os.execute", "package", "%s%s%n", "a" * 5000, "throws", "broken", "self"]


# return 'chunk', as string.dump() of Lua 5.4 makes it on 64 bits.
CHUNK = bytes.fromhex("1b4c7561540019930d0a1a0a040808785600000000000000000000002877400180808000010284510000000300000046000201460001018104866368756e6b"
                      "810100008080808080")


def test_modules_from_nowhere_else(start_daemon, redis_server, folder):
    """An error, which a hook may catch, and no file outside of the folders is opened."""
    into = os.path.join(folder, "modules")
    names = ", ".join('"' + name.replace("\\\\", "\\") + '"' for name in ELSEWHERE)
    hook = hook_file(folder, "hooks/main.lua", """
        local cases = { NAMES, {}, true, 1.5, print }
        return { start = function(settings)
            local file = assert(keep.file.open(settings.into))
            for number, name in ipairs(cases) do
                local ok, reason = pcall(require, name)
                assert(file:append(keep.json.encode { number = number, ok = ok, reason = tostring(reason) }))
            end
            assert(not pcall(require))
            assert(file:append("{}"))
        end }
        """.replace("NAMES", names))
    hook_file(folder, "outside.lua", "return 'outside'")
    hook_file(folder, "hooks/own.lua", "return 'own'")
    hook_file(folder, "hooks/throws.lua", "error('thrown here')")
    hook_file(folder, "hooks/broken.lua", "return {")
    hook_file(folder, "hooks/self.lua", "return require('self')")
    with open(os.path.join(folder, "hooks", "chunk.lua"), "wb") as file:
        file.write(CHUNK)
    os.mkdir(os.path.join(folder, "hooks", "folder.lua"))
    daemon = start_daemon(redis_server, workers=1, hooks={hook: {"into": into}})
    until(lambda: json_lines(into) and json_lines(into)[-1] == {}, 10, "all modules")
    lines = json_lines(into)[:-1]
    assert len(lines) == len(ELSEWHERE) + 4
    for line in lines:
        assert not line["ok"] and line["reason"], (line, (ELSEWHERE + [None] * 9)[line["number"] - 1])
    reasons = {name: line["reason"] for name, line in zip(ELSEWHERE, lines)}
    assert "thrown here" in reasons["throws"] and "throws.lua:1" in reasons["throws"] and "broken.lua:1" in reasons["broken"]
    assert "no_such" in reasons["no_such"]
    assert daemon.reporter()


def test_the_language(start_daemon, redis_server, folder):
    """What is not there, and that what is there is what Lua has."""
    into = os.path.join(folder, "names")
    hook = hook_file(folder, "names.lua", """
        local function names(table)
            local result = {}
            for name in pairs(table) do result[#result + 1] = tostring(name) end
            table = nil
            return result
        end
        return { start = function(settings)
            local file, all = assert(keep.file.open(settings.into)), { _G = names(_G) }
            for name, value in pairs(_G) do
                if type(value) == "table" and value ~= _G then all[name] = names(value) end
            end
            for name, value in pairs(keep) do
                if type(value) == "table" then all["keep." .. name] = names(value) end
            end
            assert(file:append(keep.json.encode(all)))
        end }
        """)
    start_daemon(redis_server, workers=1, hooks={hook: {"into": into}})
    found, = until(lambda: json_lines(into), 10, "the names")
    found = {name: set(values) for name, values in found.items()}
    assert set(found) == {"_G", "string", "table", "math", "utf8", "os", "keep", "keep.json", "keep.file", "keep.http"}
    assert not found["_G"] & {"load", "loadfile", "dofile", "collectgarbage", "getmetatable", "setmetatable", "io", "debug", "package", "coroutine"}
    assert found["_G"] >= {"print", "require", "pcall", "xpcall", "error", "assert", "pairs", "next", "select", "tostring", "type", "keep"}
    assert found["os"] == {"date", "time", "difftime", "clock"} and "dump" not in found["string"]
    assert found["keep"] == {"log", "now", "json", "file", "http", "timer", "problem"}
    assert found["keep.json"] == {"encode", "decode", "array", "null"} and found["keep.file"] == {"open"} and found["keep.http"] == {"post"}


# Hooks that do not load

UNLOADABLE = {
    "syntax": ("local x = 1\nreturn {", 2, ""),
    "syntax_word": ("return { event = function( }", 1, ""),
    "throws": ("local x\nerror('thrown on purpose')", 2, "thrown on purpose"),
    "throws_table": ("error({})", None, ""),
    "throws_nil": ("error()", None, ""),
    "calls_nothing": ("local x = 1\nnonsense()", 2, "nonsense"),
    "nothing": ("", None, "table"),
    "a_number": ("return 5", None, "table"),
    "a_function": ("return print", None, "table"),
    "unknown_name": ("return { evnet = function() end }", None, "evnet"),
    "strange_name": ("return { ['\\27[2Jclear'] = function() end }", None, ""),
    "number_name": ("return { function() end }", None, "1"),
    "no_function": ("return { event = true }", None, "event"),
    "missing_module": ("local m = require 'no_such_module'", 1, "no_such_module"),
    "outside_module": ("local m = require '../outside'", 1, ""),
    "loops": ("while true do end", 1, "time"),
    "allocates": ("local t = {}\nwhile true do t[#t + 1] = ('x'):rep(1000000) .. #t end", None, "memory"),
    "bytecode": ("\x1bLuaT", None, "binary"),
    "recurses": ("local function f() return 1 + f() end\nreturn f()", None, ""),
}


@pytest.mark.parametrize("name", UNLOADABLE)
def test_a_hook_that_does_not_load(daemon, folder, name):
    """`--check` and a start say which file and line, and why; nothing starts."""
    text, line, reason = UNLOADABLE[name]
    hook = hook_file(folder, name + ".lua", text)
    config = os.path.join(folder, "conf")
    with open(daemon.config_file) as file:
        good = file.read()
    with open(config, "w") as out:
        out.write(good + f'hook "{hook}" {{ }}\n')
    for arguments in (("--check",), ()):
        done = run("--config", config, *arguments, timeout=20)
        assert done.returncode == 78, done
        place = name + ".lua" + (f":{line}" if line else "")
        said = [row for row in done.stderr.splitlines() if place in row]
        assert said and reason in said[-1], done.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stderr)


@pytest.mark.parametrize("name,path", [("missing", "no_such.lua"), ("folder", "."), ("device", "/dev/zero"), ("secret", "keyring")])
def test_a_hook_that_is_no_file(daemon, folder, name, path):
    config = os.path.join(folder, "conf")
    with open(daemon.config_file) as file:
        good = file.read()
    path = {"folder": folder, "secret": daemon.keyring}.get(name, path)
    with open(config, "w") as out:
        out.write(good + f'hook "{path}" {{ }}\n')
    done = run("--config", config, "--check", timeout=20)
    assert done.returncode == 78 and os.path.basename(path) in done.stderr, done
    assert keyring_line(daemon.keys[0]).strip() not in done.stderr


def test_reload(start_daemon, redis_server, folder):
    """A changed hook is there after SIGHUP; one that does not load changes nothing."""
    into = os.path.join(folder, "versions")
    source = """
        local file
        return {
            start = function(settings) file = assert(keep.file.open(settings.into)) end,
            event = function(event) assert(file:append(keep.json.encode { key = event.key, version = "VERSION" })) end,
        }
        """
    hook = hook_file(folder, "changing.lua", source.replace("VERSION", "one"))
    daemon = start_daemon(redis_server, workers=1, hooks={hook: {"into": into}})

    def told(key):
        return until(lambda: [line["version"] for line in json_lines(into) if line.get("key") == key], 10, "the event")

    assert told(*ask_events(daemon, 1)) == ["one"]
    hook_file(folder, "changing.lua", source.replace("VERSION", "two"))
    assert told(*ask_events(daemon, 1)) == ["one"]
    daemon.reload()
    assert told(*ask_events(daemon, 1)) == ["two"]
    reporter = daemon.reporter()
    for bad, reason in (("return {", ":1:"), ("return { evnet = print }", "evnet"), ("error('no reload')", "no reload")):
        hook_file(folder, "changing.lua", bad)
        said = daemon.reload_refused()
        assert "changing.lua" in said and reason in said
    assert daemon.reporters() == [reporter]
    assert told(*ask_events(daemon, 1)) == ["two"]
    hook_file(folder, "changing.lua", source.replace("VERSION", "three"))
    daemon.hooks[hook]["unused"] = "more"
    daemon.write_config()
    daemon.reload()
    assert told(*ask_events(daemon, 1)) == ["three"]
    until(lambda: len(daemon.reporters()) == 1, 10, "the old reporter to end")


def test_hooks_come_and_go_with_a_reload(start_daemon, redis_server, folder):
    daemon = start_daemon(redis_server, workers=1)
    assert daemon.reporters() == []
    hook, settings, into = recorder(folder)
    daemon.hooks = {hook: settings}
    daemon.write_config()
    daemon.reload()
    wait_heard(into, ask_events(daemon, 20))
    daemon.hooks = {}
    daemon.write_config()
    daemon.reload()
    until(lambda: not daemon.reporters(), 10, "the reporter to end")
    assert json_lines(into)[-1]["what"] == "stop"
    before = daemon.stats()["events-sent"]
    ask_events(daemon, 20)
    assert daemon.stats()["events-sent"] == before


# Hooks that go wrong

def failing(what, where):
    """A hook that does `what` in the function `where`, or in what that sets going."""
    body = {
        "start": "start = function() WHAT end",
        "event": "event = function(event) WHAT end",
        "problem": "start = function() keep.problem { kind = 'test', message = 'to be heard' } end, problem = function(problem) WHAT end",
        "tick": "tick = function(now) WHAT end",
        "timer": "start = function() keep.timer(0.05, function() WHAT end) end",
        "post": "start = function() keep.http.post('http://127.0.0.1:9/', '', function(answer) WHAT end) end",
    }[where]
    return "return { " + body.replace("WHAT", what) + " }"


WRONGS = {
    "throws": ("error('thrown on purpose')", "thrown on purpose"),
    "loops": ("while true do end", "time"),
    "catches": ("while true do pcall(function() while true do end end) end", "time"),
    "allocates": ("local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", ""),  # or its time is over before
}
WHERES = ["start", "event", "problem", "tick", "timer", "post"]
# More ways, each in the function `event`.
MORE_WRONGS = {
    "throws_nil": ("error()", ""),
    "throws_table": ("error({ secret = 1 })", ""),
    "throws_much": ("error(('much '):rep(100000))", "much much"),
    "throws_strange": (r"error('one\ntwo\27[31m\0\xff\u{85}three')", "one"),
    "throws_null": ("error(keep.json.null)", ""),
    "indexes_nil": ("local x = event.nothing.more", "nothing"),
    "recurses": ("local function f() return 1 + f() end return f()", ""),
    "handler_fails": ("local function f() return xpcall(f, f) end while true do f() end", ""),
    "catches_memory": ("local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(100000) .. #t end end) end", ""),
    "one_huge_string": ("local s = ('x'):rep(1 << 40)", ""),
    "doubles": ("local s = 'x' while true do s = s .. s end", ""),
    "big_table": ("local t = {} for i = 1, math.huge do t[i] = i end", ""),
    "closures": ("local f = print while true do local g = f f = function() return g end end", ""),
    "gsub": ("while true do (('x'):rep(1000)):gsub('x', function() return 'yy' end) end", "time"),
    "sorts": ("local t = {} for i = 1, 20000 do t[i] = i end while true do table.sort(t, function(a, b) return a > b end) end", ""),
    "goto": ("::again:: goto again", "time"),
    "format": ("while true do keep.json.encode { event = event, text = ('%99d'):format(1) } end", "time"),
    "moves": ("table.move({}, 1, 1 << 40, 2, {})", ""),
    "repeats_nothing": ("local s = ('x'):rep(1 << 20):rep(1 << 20, '')", ""),
    "concats": ("local t = {} for i = 1, 1000 do t[i] = ('x'):rep(100000) end local s = table.concat(t)", ""),
    "unpacks": ("select('#', table.unpack({}, 1, 1 << 30))", ""),
}


def check_failures(daemon, recorders, wrongs, reporter):
    """Every hook of `wrongs` (a reason by file name) has failed and said so; the others have heard everything, of the
    failures too; and the reporter is the same."""
    keys = ask_events(daemon, 100)
    for name, reason in wrongs.items():
        until(lambda name=name: lines_about(daemon, name), 20 * SLOWNESS, f"{name} to fail")
        said = lines_about(daemon, name)[0]
        assert " error " in said and reason in said, said
        assert "traceback" in said and name + ":1" in said or "memory" in said or "CPU time" in said, said
    keys += ask_events(daemon, 100)
    recorders.wait(keys)
    until(lambda: all(any(name in told for told in recorders.failed()) for name in wrongs), 10,
          "problems of all that failed")
    assert daemon.reporters() == [reporter]
    with open(os.path.join(daemon.folder, "stderr"), encoding="utf-8", newline="") as file:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", file.read())


@pytest.mark.parametrize("wrong", WRONGS)
def test_hooks_that_go_wrong_in_every_function(start_daemon, redis_server, folder, recorders, wrong):
    what, reason = WRONGS[wrong]
    wheres = WHERES[1:] if wrong in ("loops", "catches") else WHERES  # start() has a whole second: a test of its own
    names = {f"{wrong}_{where}.lua": where for where in wheres}
    hooks = {hook_file(folder, name, failing(what, where)): {} for name, where in names.items()}
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around(hooks))
    check_failures(daemon, recorders, {name: reason for name in names}, daemon.reporter())
    daemon.stop()
    assert json_lines(recorders.two)[-1]["what"] == "stop"


@pytest.mark.parametrize("half", [0, 1])
def test_hooks_that_go_wrong_in_every_way(start_daemon, redis_server, folder, recorders, half):
    wrongs = dict(list(MORE_WRONGS.items())[half::2])
    hooks = {hook_file(folder, name + ".lua", failing(what, "event")): {} for name, (what, _) in wrongs.items()}
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around(hooks))
    check_failures(daemon, recorders, {name + ".lua": reason for name, (_, reason) in wrongs.items()}, daemon.reporter())


def test_stop_functions_that_go_wrong(start_daemon, redis_server, folder, recorders):
    """They hold up neither the stop nor the others."""
    hooks = {hook_file(folder, f"stop_{name}.lua", "return { stop = function() " + what + " end }"): {} for name, (what, _) in WRONGS.items()}
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around(hooks))
    recorders.wait(ask_events(daemon, 10))
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 5 * SLOWNESS
    for path in (recorders.one, recorders.two):
        assert json_lines(path)[-1]["what"] == "stop" and heard(path)[-1]["event"] == "server.stop"
    assert len(lines_about(daemon, "stop_throws.lua")) == 1 and len(lines_about(daemon, "stop_loops.lua")) == 1


def test_a_hook_that_is_stuck_in_c(start_daemon, redis_server, folder, recorders):
    """What takes long between two looks at the time: the reporter goes, the next one leaves that hook alone for a while, and
    the log says what was lost."""
    hook_file(folder, "slow.lua", SLOW_MODULE)
    stuck = hook_file(folder, "stuck.lua", """
        return { event = function(event)
            if event.command == "LIST" then require("slow") end
        end }
        """)
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({stuck: {}}))
    reporter = daemon.reporter()
    recorders.wait(ask_events(daemon, 20))
    assert daemon.ask("LIST").cls == "OK"
    until(lambda: daemon.reporter() not in (None, reporter), 10, "another reporter")
    recorders.wait(ask_events(daemon, 20))
    assert "stuck.lua" in daemon.stderr()
    daemon.check()


# Failing again and again

def test_the_waits_grow(start_daemon, redis_server, folder, recorders):
    """One second, then two, then four; and how many events it missed is said when it is back."""
    hook = hook_file(folder, "again.lua", """
        return { event = function(event) error("thrown again") end }
        """)
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({hook: {}}))

    def failures():
        return [line for line in lines_about(daemon, "again.lua") if "thrown again" in line]

    until(lambda: len(failures()) == 1, 10, "the first failure")  # of server.start
    total = 1
    for number, wait in ((1, 1), (2, 2)):
        failed = time.monotonic()
        assert re.search(rf"\b{wait}(\.0)? s", failures()[-1]), failures()[-1]
        keys = ask_events(daemon, 10 * number)
        recorders.wait(keys)
        said = f"has missed {10 * number} events"
        missed = until(lambda said=said: [line for line in lines_about(daemon, "again.lua") if said in line], 10, said)
        assert len(missed) == 1
        assert wait - 0.2 < time.monotonic() - failed < wait + 0.5 + 0.5 * SLOWNESS
        ask_events(daemon, 1)
        total += 1
        until(lambda: len(failures()) == total, 10, "another failure")
    assert re.search(r"\b4(\.0)? s", failures()[-1]), failures()[-1]
    until(lambda: len(recorders.failed()) == 3, 10, "three problems")


def test_start_that_loops(start_daemon, redis_server, folder, recorders):
    hook = hook_file(folder, "endless.lua", failing("while true do end", "start"))
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({hook: {}}))
    recorders.wait(ask_events(daemon, 50))
    failed = until(lambda: lines_about(daemon, "endless.lua"), 20, "the start to fail")
    assert "endless.lua:1" in failed[0] and "CPU time" in failed[0]
    recorders.wait(ask_events(daemon, 50))


def test_start_that_fails_is_tried_again(start_daemon, redis_server, folder, recorders):
    """What was in the way is gone: then it hears events."""
    place = os.path.join(folder, "place")
    into = os.path.join(place, "late.records")
    hook, _, _ = recorder(folder, "late.lua")
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({hook: {"into": into}}))
    until(lambda: lines_about(daemon, "late.lua"), 10, "the start to fail")
    recorders.wait(ask_events(daemon, 10))
    os.mkdir(place)
    until(lambda: json_lines(into), 10, "the start to succeed")
    keys = ask_events(daemon, 10)
    wait_heard(into, keys)
    recorders.wait(keys)


# Problems

def problems(recorders, kind):
    return [problem for problem in heard(recorders.two, "problem") if problem["kind"] == kind]


def test_unreadable_values_are_problems(start_daemon, redis_server, recorders):
    """With the Redis key and the reason, and nothing of the value."""
    daemon = start_daemon(redis_server, workers=1, prefix="sick:", hooks=recorders.around({}))
    planter = Planter(daemon)
    fields = data(name="plain-marker")
    key = key_of(fields["token"])
    value = planter.plant(fields)
    planter.plant_bytes(key, value[:-1] + bytes([value[-1] ^ 1]))
    assert daemon.ask("GET " + fields["token"]).last == "NO invalid"
    problem, = until(lambda: problems(recorders, "token.corrupt"), 10, "the problem")
    assert problem["key"] == "sick:" + key and problem["process"] == "worker 1" and problem["message"] and problem["error"]
    assert "phase" not in problem
    with open(recorders.two) as file:
        text = file.read()
    assert "plain-marker" not in text and secret_of(fields["token"]) not in text


def test_an_outage_is_two_problems_of_each_worker(start_daemon, start_redis, recorders):
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, hooks=recorders.around({}), redis_options={"connect-timeout": 0.5, "command-timeout": 0.5})
    assert daemon.ask("GET " + token()).cls == "NO"
    redis.kill()
    away = time.time()
    until(lambda: daemon.ask("GET " + token()).cls == "ERR", 10, "Redis to be away")
    begin, = until(lambda: problems(recorders, "redis.away"), 10, "the beginning")
    time.sleep(0.5)
    redis.start()
    until(lambda: daemon.ask("GET " + token()).cls == "NO", 10, "Redis to be back")
    lasted = time.time() - away
    _, end = until(lambda: len(problems(recorders, "redis.away")) > 1 and problems(recorders, "redis.away"), 10, "the end")
    assert begin["phase"] == "begin" and end["phase"] == "end" and begin["error"] and "seconds" not in begin
    assert begin["process"] == end["process"] == "worker 1"
    assert 0.4 <= end["seconds"] <= lasted + 0.1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", begin["time"])


def test_a_refusal_is_a_problem(start_daemon, start_fake, recorders):
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, hooks=recorders.around({}))
    fake.answer("SET", b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")
    assert daemon.ask("STORE " + to_json(data())).code == "ERR unavail"
    problem = until(lambda: problems(recorders, "redis.refused"), 10, "the problem")[0]
    assert "OOM" in problem["error"] + problem["message"] and problem["process"] == "worker 1"


def test_a_crash_is_a_problem(start_daemon, redis_server, recorders):
    daemon = start_daemon(redis_server, workers=2, hooks=recorders.around({}))
    daemon.steady = None
    os.kill(daemon.workers()[0], signal.SIGKILL)
    problem, = until(lambda: problems(recorders, "worker.crash"), 10, "the problem")
    assert re.search(r"worker [12]", problem["message"] + problem.get("process", "")) and "9" in problem["message"] + problem.get("error", "")


def test_problems_of_hooks_reach_all_of_them(start_daemon, redis_server, folder, recorders):
    """Whole and bounded, whatever is in them."""
    hook = hook_file(folder, "raiser.lua", r"""
        return { event = function(event)
            if event.event ~= "token.delete" then return end
            keep.problem { kind = "my.kind", message = "a message", phase = "begin", key = "some:key", error = "an\nerror\27" }
            keep.problem { kind = "my.kind", message = ("much "):rep(10000), phase = "end", seconds = 2.5 }
            keep.problem { kind = "my.other", message = "Größe \u{1f600}" }
        end }
        """)
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({hook: {}}))
    ask_events(daemon, 1)
    until(lambda: problems(recorders, "my.other"), 10, "the problems")
    begin, end = problems(recorders, "my.kind")
    other, = problems(recorders, "my.other")
    assert (begin["message"], begin["phase"], begin["key"]) == ("a message", "begin", "some:key") and "\n" not in begin["error"]
    assert (end["phase"], end["seconds"]) == ("end", 2.5) and end["message"].startswith("much much") and len(end["message"]) <= 1024
    assert other["message"] == "Größe \U0001f600" and "phase" not in other
    assert heard(recorders.one, "problem") == heard(recorders.two, "problem")


# What is kept

def test_a_hook_beside_the_configuration_comes_first(start_daemon, redis_server, folder):
    """A name without a slash is looked for beside the configuration, then among those that come with the server."""
    into = os.path.join(folder, "own")
    mine = textwrap.dedent("""
        local file
        return {
            start = function(settings) file = assert(keep.file.open(settings.into)) end,
            event = function(event) assert(file:append(keep.json.encode { mine = event.key or "" })) end,
        }
        """)
    daemon = start_daemon(redis_server, workers=1, files={"audit.lua": mine}, audit={}, hooks={"audit.lua": {"into": into}})
    key, = ask_events(daemon, 1)
    until(lambda: {"mine": key} in json_lines(into), 10, "the event")
    assert not os.path.exists(daemon.audit_options["file"])


def test_events_are_flat_tables_of_their_own(start_daemon, redis_server, folder, recorders):
    """A hook that changes what it was given changes it for nobody."""
    hook = hook_file(folder, "spoiler.lua", """
        return { event = function(event) for name in pairs(event) do event[name] = nil end event.key = "spoilt" keep = nil string = nil end }
        """)
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({hook: {}}))
    recorders.wait(ask_events(daemon, 50))
    assert json.dumps(heard(recorders.one)) == json.dumps(heard(recorders.two))
    assert not recorders.failed()
