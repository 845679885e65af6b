# SPDX-License-Identifier: MIT
"""Hooks that call the library too often or wrongly: each call is refused or an ordinary error, and nobody else notices."""
import os
import re
import time

import pytest

from hooks import Recorders, ask_events, hook_file, json_lines, lines_about
from receiver import Receiver
from waiting import SLOWNESS, until


@pytest.fixture
def recorders(folder):
    return Recorders(folder)


# Too much of everything

FLOODS = {
    "logs": """
        return { event = function() for i = 1, 1000 do keep.log("error", "line " .. i) end end }
        """,
    "problems": """
        local function raise() for i = 1, 1000 do keep.problem { kind = "flood", message = "flooded " .. i } end end
        return { start = raise, problem = function(problem) if problem.kind == "flood" then keep.problem { kind = "flood", message = "more" } end end }
        """,
    "timers": """
        local function again() keep.timer(0, again) end
        local full
        return { start = function()
            for i = 1, 2000 do
                local ok, reason = pcall(keep.timer, 3600, print)
                if not ok and not full then full = i - 1 keep.log("info", "timers: " .. full) end
            end
        end }
        """,
    "timers_of_no_time": """
        local function again() keep.timer(0, again) end
        return { start = function() for i = 1, 10 do again() end end }
        """,
    "posts": """
        return { start = function(settings)
            local begun, reason = 0
            for i = 1, 200 do
                local ok, why = keep.http.post(settings.address, "body", function() end)
                if ok then begun = begun + 1 else reason = why end
            end
            keep.log("info", "posts: " .. begun .. " " .. reason)
        end }
        """,
    "files": """
        local open, reason = {}
        return { start = function(settings)
            for i = 1, 200 do
                local file, why = keep.file.open(settings.place .. "/file" .. i)
                if file then open[#open + 1] = file else reason = why end
            end
            keep.log("info", "files: " .. #open .. " " .. reason)
        end, event = function(event) for _, file in ipairs(open) do file:append(event.key or "") end end }
        """,
    "files_dropped": """
        return { event = function(event)
            for i = 1, 3 do keep.file.open("/dev/null") keep.file.open("/no/such/place") keep.file.open("/") end
        end }
        """,
}


def test_too_much_of_everything(start_daemon, redis_server, folder):
    """Bounded, one way or another, and nobody else notices."""
    recorders = Recorders(folder, only="event")
    receiver = Receiver()
    receiver.always("silent")
    place = os.path.join(folder, "place")
    os.mkdir(place)
    settings = {"address": receiver.address, "place": place}
    hooks = {hook_file(folder, name + ".lua", text): settings for name, text in FLOODS.items()}
    try:
        # Files and posts are bounded for all hooks together: the recorders come first.
        daemon = start_daemon(redis_server, workers=1, hooks={**recorders.around({}), **hooks})
        reporter = daemon.reporter()
        for _ in range(5):
            recorders.wait(ask_events(daemon, 20))
            time.sleep(0.25)
        assert daemon.reporters() == [reporter]
        logged = lines_about(daemon, "logs.lua")
        assert 20 <= len(logged) <= 20 * 4 * SLOWNESS
        assert any("left out" in line for line in logged[20:])
        assert any("timers: 1000" in line for line in lines_about(daemon, "timers.lua"))
        assert any("posts: 64 " in line for line in lines_about(daemon, "posts.lua"))
        assert any(re.search(r"files: \d+ ", line) for line in lines_about(daemon, "files.lua"))
        assert 50 < len(os.listdir(place)) <= 64
        assert "hooks have raised" in daemon.stderr() and daemon.stderr().count("hooks have raised") < 5
        assert "it is started again" not in daemon.stderr()
        began = time.monotonic()
        daemon.stop()
        assert time.monotonic() - began < 5 * SLOWNESS
    finally:
        receiver.close()


# Wrong calls

# Values for each place of a call, and what the functions take, by place: anything else is a wrong call.
VALUES = {
    "none": "nil", "truth": "true", "table": "{}", "function": "print", "null": "keep.json.null", "nan": "0/0", "huge": "1e308",
    "infinite": "1/0", "negative": "-1", "zero": "0", "integer": "math.mininteger", "text": "'text'", "long": "long", "file": "file",
    "timer": "timer", "list": "{1, 2, nil, 4, [{}] = 1}", "level": "'info'", "address": "'http://127.0.0.1:9/'", "path": "spare()",
}
NUMBERS = {"huge", "infinite", "integer", "nan", "negative", "zero"}  # a text too, as everywhere in Lua
FUNCTIONS = [
    ("keep.log", [{"level"}, {"text", "long", "level", "address", "path"} | NUMBERS]),
    ("keep.timer", [{"zero"}, {"function"}]),
    ("keep.problem", [set()]),
    ("keep.file.open", [{"path"}]),
    ("file.append", [{"file"}, {"text", "level", "address", "path"} | NUMBERS]),
    ("file.sync", [{"file"}]),
    ("file.reopen", [{"file"}]),
    ("file.failure", [{"file"}]),
    ("file.dropped", [{"file"}]),
    ("timer.cancel", [{"timer"}]),
    ("keep.http.post", [{"address"}, {"text", "level", "address", "path"} | NUMBERS, {"table"}, {"function"}]),
    ("keep.json.encode", [{"none", "truth", "table", "null", "negative", "zero", "integer", "text", "level", "address", "path", "huge", "long"}]),
    ("keep.json.decode", [{"text", "long", "level", "address", "path"} | NUMBERS]),
    ("keep.json.array", [{"table", "list"}]),
]
MORE_CALLS = [
    "keep.log()", "keep.log('info')", "keep.log('loud', 'text')", "keep.log(nil, nil)", "keep.timer()", "keep.timer(1)", "keep.timer(1e9, print)",
    "keep.timer('1', 'x')", "keep.problem()", "keep.problem { message = 'x' }", "keep.problem { kind = 'x' }", "keep.problem { kind = 1, message = 'x' }",
    "keep.problem { kind = 'x', message = {} }", "keep.problem { kind = 'x', message = 'x', phase = 'middle' }",
    "keep.problem { kind = 'x', message = 'x', seconds = 'x' }", "keep.problem { kind = 'x', message = 'x', seconds = 0/0, phase = 'end' }",
    "keep.problem { kind = 'x', message = 'x', key = true }", "keep.problem { kind = 'x', message = 'x', error = print }",
    "keep.file.open()", "keep.file.open('')", "keep.file.open('relative')", "keep.file.open('/with\\0nul')", "file.append(file)", "file:append()",
    "file:append(nil)", "file:append({})", "file.append()", "file.sync()", "file.close()", "file.append('x', 'x')", "closed:append('x')",
    "closed:sync()", "closed:reopen()", "file.nothing()", "file.close = print", "timer.cancel()", "timer.cancel(file)", "file.append(timer, 'x')",
    "timer.x = 1", "file()", "timer()", "#file", "file + 1", "file .. 'x'", "file < file", "keep.http.post()", "keep.http.post(good, 'x')",
    "keep.http.post(good, 'x', {})", "keep.http.post(good, 'x', {}, nil)", "keep.http.post(good, 'x', { timeout = 'x' }, print)",
    "keep.http.post(good, 'x', { timeout = 0/0 }, print)", "keep.http.post(good, 'x', { timeout = -1 }, print)",
    "keep.http.post(good, 'x', { type = 1 == 1 }, print)", "keep.http.post(good, 'x', { type = 'a\\r\\nX-Header: b' }, print)",
    "keep.http.post(file, 'x', print)", "keep.http.post(timer, 'x', print)", "keep.json.encode()", "keep.json.encode(print)",
    "keep.json.encode(0/0)", "keep.json.encode(1/0)", "keep.json.encode('\\xff')", "keep.json.encode { 1, 2, x = 3 }", "keep.json.encode { [1.5] = 1 }",
    "keep.json.encode { [true] = 1 }", "keep.json.encode { a = { b = { print } } }", "keep.json.encode { [2] = 1 }", "keep.json.encode(cycle)",
    "keep.json.encode(deep(33))", "keep.json.encode(file)", "keep.json.encode(('x'):rep(2 << 20))", "keep.json.decode()", "keep.json.decode({})",
    "keep.json.array()", "keep.json.array('x')", "require()", "require({})", "string.rep('x', 1 << 40)", "tostring()", "keep.nothing()",
]
# What must be no way to Lua's insides: every one of these is nil or an error.
INSIDES = ["file.__gc", "file.__index", "file.__metatable", "file.__close", "file.__name", "timer.__gc", "timer.__index", "keep.json.null.x",
           "('').dump", "string.dump", "load", "getmetatable", "setmetatable", "collectgarbage", "debug", "io", "package", "coroutine",
           "os.execute", "os.exit", "os.getenv", "os.remove", "webhook.x", "webhook.address", "webhook.__gc"]


def wrong_calls():
    """Each a call in Lua with one place wrong; and calls that are wrong as a whole."""
    for function, places in FUNCTIONS:
        good = [VALUES[sorted(place)[0]] if place else "{ kind = 'x', message = 'x' }" for place in places]
        for number, place in enumerate(places):
            for name in sorted(set(VALUES) - place):
                if function == "keep.timer" and number == 0 and name in ("zero",):
                    continue
                if function == "keep.http.post" and number == 2 and name in ("none", "function"):
                    continue  # may be left out, or be the callback
                arguments = list(good)
                arguments[number] = VALUES[name]
                yield f"{function}({', '.join(arguments)})"
    yield from MORE_CALLS


CALLER = """
local results, file, closed, timer, webhook
local spares = 0
local long = ("x"):rep(1000000) .. ("x"):rep(100000)
local good = "http://127.0.0.1:9/"
local place
local cycle = {}
cycle.cycle = cycle

local function spare()
    spares = spares + 1
    return place .. spares
end

local function deep(n)
    local value = 1
    for i = 1, n do value = { value } end
    return value
end

local calls = {
CALLS
}
local insides = {
INSIDES
}
local next_call = 1

-- A few at a time: each function has a tenth of a second.
local function work()
    local last = math.min(next_call + 19, #calls)
    for number = next_call, last do
        local ok, first, second = pcall(calls[number])
        local shown = { number = number, ok = ok, result = type(first) }
        if type(first) == "string" then shown.said = first:sub(1, 500) end
        if type(second) == "string" then shown.reason = second:sub(1, 500) end
        assert(results:append(keep.json.encode(shown)))
    end
    next_call = last + 1
    if next_call <= #calls then keep.timer(0, work) return end
    for number, inside in ipairs(insides) do
        local ok, value = pcall(inside)
        assert(results:append(keep.json.encode { inside = number, there = ok and value ~= nil }))
    end
    assert(results:append(keep.json.encode { done = true }))
end

return {
    start = function(settings)
        place, webhook = settings.place, settings.slack.webhook
        results = assert(keep.file.open(place))
        file = assert(keep.file.open(place .. "victim"))
        closed = assert(keep.file.open(place .. "closed"))
        closed:close()
        timer = keep.timer(3600, print)
        keep.timer(0, work)
    end,
}
"""


def test_wrong_calls(start_daemon, redis_server, folder, recorders):
    """Each is an ordinary error that says which argument is wrong, or a plain refusal; the hook and the reporter live on."""
    calls = list(wrong_calls())
    for call in calls:
        assert "\n" not in call
    statements = [("%s" if "=" in call.split("(")[0].split("{")[0] and " = " in call and not call.startswith("keep") else "return %s") % call
                  for call in calls]
    text = CALLER.replace("CALLS", "".join(f"    function() {statement} end,\n" for statement in statements))
    text = text.replace("INSIDES", "".join(f"    function() return {expression} end,\n" for expression in INSIDES))
    place = os.path.join(folder, "calls")
    hook = hook_file(folder, "caller.lua", text)
    webhook = os.path.join(folder, "webhook")
    with open(os.open(webhook, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write("http://127.0.0.1:9/secret\n")
    daemon = start_daemon(redis_server, workers=1, hooks=recorders.around({hook: {"place": place}}), slack={"webhook-file": webhook})
    reporter = daemon.reporter()
    until(lambda: any(line.get("done") for line in json_lines(place)) or "it is started again" in daemon.stderr(), 20, "all calls")
    lines = json_lines(place)
    shown = {line["number"]: line for line in lines if "number" in line}
    wrong = []
    for number, call in enumerate(calls, 1):
        line = shown[number]
        refused = line["ok"] and line["result"] in ("nil", "boolean") and line.get("reason")
        if not refused and (line["ok"] or not line.get("said")):
            wrong.append((call, line))
    assert not wrong, "\n".join(map(str, wrong))
    there = [INSIDES[line["inside"] - 1] for line in lines if line.get("there")]
    assert not there
    assert any(line.get("done") for line in lines)
    assert daemon.reporters() == [reporter]
    recorders.wait(ask_events(daemon, 20))
    assert not recorders.failed()
