-- SPDX-License-Identifier: MIT
-- What luacheck is to know of hooks: the globals that they have, see tokenkeep-lua(7).
stds.hook = {
    read_globals = {
        "_G", "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen",
        "require", "select", "tonumber", "tostring", "type", "xpcall",
        string = { other_fields = true },
        table = { other_fields = true },
        math = { other_fields = true },
        utf8 = { other_fields = true },
        os = { fields = { "clock", "date", "difftime", "time" } },
        keep = {
            fields = {
                "log", "now", "timer", "problem",
                json = { fields = { "encode", "decode", "array", "null" } },
                file = { fields = { "open" } },
                http = { fields = { "post" } },
            },
        },
    },
}
std = "hook"
max_line_length = 120
