-- SPDX-License-Identifier: MIT
-- Run by: tokenkeep policy test FOLDER
local NOW, DAY = 1800000000, 24 * 3600
local issue = { command = "issue", time = NOW }
local many = "no more than 3 new tokens a minute"

local function user(name, expires)
    return { username = name, token_type = "user", expires = expires }
end

return {
    policy = "issue_limits.lua",
    settings = { most = 3, days = 30 },
    cases = {
        { name = "a token without end gets one", request = issue, token = user("alice"),
          want = { expires = NOW + 30 * DAY } },
        { name = "31 days are made 30", request = issue, token = user("alice", NOW + 31 * DAY),
          want = { expires = NOW + 30 * DAY } },
        { name = "30 days are left", request = issue, token = user("alice", NOW + 30 * DAY), want = true },
        { name = "the fourth in a minute", request = issue, token = user("alice", NOW + DAY), want = many },
        { name = "of another user it is the first", request = issue, token = user("bob", NOW + DAY), want = true },
        { name = "STORE is not counted", request = { command = "store", time = NOW }, token = user("alice", NOW + DAY),
          times = 10, want = true },
        { name = "but shortened", request = { command = "store", time = NOW }, token = user("alice"),
          want = { expires = NOW + 30 * DAY } },
        { name = "sessions are let alone", request = issue, token = { username = "alice", token_type = "session" },
          times = 10, want = true },
        { name = "a fresh start forgets", fresh = true, request = issue, token = user("alice", NOW + DAY), times = 3,
          want = true },
    },
}
