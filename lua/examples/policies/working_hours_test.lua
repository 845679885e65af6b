-- SPDX-License-Identifier: MIT
-- Run by: tokenkeep policy test FOLDER
local MONDAY = 1795392000 -- 23 November 2026, 0:00 UTC
local MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
local admin = { scopes = { "exec:admin", "read:all" } }
local reader = { scopes = { "read:all" } }
local closed = "exec:admin is good in working hours alone"

local function check(time, ...)
    return { command = "check", scopes = { ... }, time = time }
end

local function get(time)
    return { command = "get", time = time }
end

return {
    policy = "working_hours.lua",
    settings = { scope = "exec:admin", days = "mon tue wed thu fri", from = "8:00", till = "18:30" },
    cases = {
        { name = "Monday noon", request = check(MONDAY + 12 * HOUR, "exec:admin"), token = admin, want = true },
        { name = "Monday at eight", request = check(MONDAY + 8 * HOUR, "exec:admin"), token = admin, want = true },
        { name = "a second before", request = check(MONDAY + 8 * HOUR - 1, "exec:admin"), token = admin,
          want = closed },
        { name = "the last second", request = check(MONDAY + 18 * HOUR + 30 * MINUTE - 1, "exec:admin"), token = admin,
          want = true },
        { name = "half past six", request = check(MONDAY + 18 * HOUR + 30 * MINUTE, "exec:admin"), token = admin,
          want = closed },
        { name = "Friday noon", request = check(MONDAY + 4 * DAY + 12 * HOUR, "exec:admin"), token = admin,
          want = true },
        { name = "Saturday noon", request = check(MONDAY + 5 * DAY + 12 * HOUR, "exec:admin"), token = admin,
          want = closed },
        { name = "Sunday noon", request = check(MONDAY - 12 * HOUR, "exec:admin"), token = admin, want = closed },
        { name = "it is the second that is asked for", request = check(MONDAY, "read:all", "exec:admin"), token = admin,
          want = closed },
        { name = "another scope at night", request = check(MONDAY, "read:all"), token = admin, want = true },
        { name = "no scope at night", request = check(MONDAY), token = admin, want = true },
        { name = "GET at noon", request = get(MONDAY + 12 * HOUR), token = admin, want = true },
        { name = "GET at night", request = get(MONDAY), token = admin, want = closed },
        { name = "GET at night of a token without the scope", request = get(MONDAY), token = reader, want = true },
    },
}
