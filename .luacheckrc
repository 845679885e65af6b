-- SPDX-License-Identifier: MIT
-- What luacheck is to know of hooks and policies: the globals that they have, see tokenkeep-lua(7) and
-- tokenkeep-policy(7).
local function globals(...)
    return {
        "_G", "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen",
        "rawset", "select", "tonumber", "tostring", "type", "xpcall",
        string = { other_fields = true },
        table = { other_fields = true },
        math = { other_fields = true },
        utf8 = { other_fields = true },
        keep = { fields = { "log", "now", json = { fields = { "encode", "decode", "array", "null" } }, ... } },
    }
end

stds.hook = { read_globals = globals("timer", "problem") }
stds.hook.read_globals.require = {}
stds.hook.read_globals.os = { fields = { "clock", "date", "difftime", "time" } }
stds.hook.read_globals.keep.fields.file = { fields = { "open" } }
stds.hook.read_globals.keep.fields.http = { fields = { "post" } }
stds.policy = { read_globals = globals("cidr", "glob", "set", "count") }
std = "hook"
files["lua/examples/policies"] = { std = "policy" }
max_line_length = 120
