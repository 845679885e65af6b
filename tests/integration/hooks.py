# SPDX-License-Identifier: MIT
"""Hooks that tests write, and what hooks wrote: files of one JSON object a line."""
import json
import os
import textwrap

# A hook that writes down all it is told, one JSON object a line, in the file that its setting `into` names.
RECORDER = """
local file

local function note(what, value)
    assert(file:append(keep.json.encode({ what = what, value = value, at = keep.now() })))
end

return {
    start = function(settings)
        file = assert(keep.file.open(settings.into))
        note("start", { into = settings.into, n = settings.n })
    end,
    event = function(event) note("event", event) end,
    problem = function(problem) note("problem", problem) end,
    stop = function() note("stop", {}) end,
}
"""


def hook_file(folder, name, text):
    """Writes the hook (or a module, `name` then has its folders) and returns its path."""
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(textwrap.dedent(text))
    return path


def recorder(folder, name="recorder.lua"):
    """A recorder: its path, its settings as Daemon(hooks=) takes them, and where it writes."""
    into = os.path.join(folder, name + ".records")
    return hook_file(folder, name, RECORDER), {"into": into}, into


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
