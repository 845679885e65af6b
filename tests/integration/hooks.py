# SPDX-License-Identifier: MIT
"""Hooks that tests write, and what hooks wrote: files of one JSON object a line."""
import json
import os
import textwrap

from tokens import part
from waiting import until

# A hook that writes down all it is told, one JSON object a line, in the file that its setting `into` names; with `only`,
# nothing but "event" or "problem".
RECORDER = """
local file, only

local function note(what, value)
    if not only or only == what then
        assert(file:append(keep.json.encode({ what = what, value = value, at = keep.now() })))
    end
end

return {
    start = function(settings)
        file, only = assert(keep.file.open(settings.into)), settings.only
        note("start", {})
    end,
    event = function(event) note("event", event) end,
    problem = function(problem) note("problem", problem) end,
    stop = function() note("stop", {}) end,
}
"""


# A module that the compiler, which nothing interrupts, spends seconds on: each jump that finds its place moves all others.
SLOW_MODULE = ("do " + "goto out " * 32000 + "::out:: end ") * 3


def hook_file(folder, name, text):
    """Writes the hook (or a module, `name` then has its folders) and returns its path."""
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(textwrap.dedent(text))
    return path


def recorder(folder, name="recorder.lua", **settings):
    """A recorder: its path, its settings as Daemon(hooks=) takes them, and where it writes."""
    into = os.path.join(folder, name + ".records")
    return hook_file(folder, name, RECORDER), {"into": into, **settings}, into


def heard(path, what="event"):
    """What a recorder was told of one sort."""
    return [line["value"] for line in json_lines(path) if line["what"] == what]


def _object(pairs):
    names = [name for name, _ in pairs]
    assert names == sorted(set(names)), f"names twice or out of order: {names}"
    return dict(pairs)


def json_lines(path):
    """The objects of the file, whose names are sorted; an empty list when there is none. A last line without its LF is
    on its way."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    lines = data.split(b"\n")[:-1]
    for line in lines:
        assert not any(byte < 0x20 or byte == 0x7F for byte in line), f"control bytes in {line[:300]!r}"
    return [json.loads(line.decode("utf-8"), object_pairs_hook=_object) for line in lines]


def matches(record, fields):
    """Whether the record has these values; `...` means any, None that there is no such field."""
    return all(record.get(name) == value if value is not ... else name in record for name, value in fields.items())


def lines_about(daemon, name):
    """The log's lines about a hook."""
    return [line for line in daemon.stderr().splitlines() if f"hook {name}: " in line]


def ask_events(daemon, count):
    """Has that many events happen, one after the other; returns their keys."""
    keys = [part() for _ in range(count)]
    with daemon.connect() as client:
        client.send("".join(f"DELETE {key}\n" for key in keys))
        assert {answer.last for answer in client.answers(count)} == {"NO invalid"}
    return keys


def keys_heard(path):
    return [event["key"] for event in heard(path) if event["event"] == "token.delete"]


def wait_heard(path, keys, seconds=20):
    """Until a recorder has heard of all these keys, each once, in their order."""
    wanted = set(keys)
    until(lambda: wanted <= set(keys_heard(path)), seconds, f"{len(keys)} events in {path}")
    assert [key for key in keys_heard(path) if key in wanted] == list(keys)


class Recorders:
    """Two recorders, to stand before and behind other hooks."""

    def __init__(self, folder, **settings):
        self.first, first, self.one = recorder(folder, "first.lua", **settings)
        self.last, last, self.two = recorder(folder, "last.lua", **settings)
        self.settings = {self.first: first}, {self.last: last}

    def around(self, hooks):
        return {**self.settings[0], **hooks, **self.settings[1]}

    def wait(self, keys):
        wait_heard(self.one, keys)
        wait_heard(self.two, keys)

    def failed(self):
        """What problems said of hooks that failed."""
        return [problem["message"] for problem in heard(self.two, "problem") if problem["kind"] == "hook.failed"]
