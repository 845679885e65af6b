-- SPDX-License-Identifier: MIT
-- Run by: tokenkeep policy test FOLDER
local NOW, HOUR = 1800000000, 3600
local issue = { command = "issue", time = NOW }

local function of(name, expires, ...)
    return { username = name, scopes = { ... }, expires = expires }
end

return {
    policy = "admin_scopes.lua",
    settings = { scopes = "exec:admin admin:*", admins = "alice bob", hours = 8 },
    cases = {
        { name = "an administrator's lives for eight hours", request = issue, token = of("alice", nil, "admin:users"),
          want = { expires = NOW + 8 * HOUR } },
        { name = "or less", request = issue, token = of("alice", NOW + HOUR, "exec:admin"), want = true },
        { name = "without such a scope it lives for ever", request = issue, token = of("alice", nil, "read:all"),
          want = true },
        { name = "others lose the scope, and then live for ever", request = issue,
          token = of("carol", nil, "admin:users", "exec:admin", "read:all"), want = { scopes = { "read:all" } } },
        { name = "what others have beside it stays", request = issue, token = of("carol", nil, "exec:notebook"),
          want = true },
        { name = "nothing would be left", request = issue, token = of("carol", nil, "exec:admin"),
          want = "only administrators have these scopes" },
        { name = "no scopes at all", request = issue, token = of("carol", nil), want = true },
        { name = "STORE as ISSUE", request = { command = "store", time = NOW }, token = of("carol", nil, "admin:x"),
          want = "only administrators have these scopes" },
    },
}
