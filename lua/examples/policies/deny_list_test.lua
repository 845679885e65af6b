-- SPDX-License-Identifier: MIT
-- Run by: tokenkeep policy test FOLDER
local KEY = "9wey4A895wHjs9kZdz9GnQ"
local SECRET = "PNLVeIaEJQRbW8YdtbrPrw"
local denied = { username = "alice", token = "gt-" .. KEY .. "." .. SECRET }
local mallory = { username = "mallory" }

return {
    policy = "deny_list.lua",
    settings = { keys = "jy8Hz1MUB9RkTYy0-COK_A  " .. KEY, users = "mallory trudy" },
    cases = {
        { name = "a key that is on it", request = { command = "get" }, token = denied,
          want = "this token is on the deny list" },
        { name = "CHECK as GET", request = { command = "check" }, token = denied,
          want = "this token is on the deny list" },
        { name = "another token of that user", request = { command = "get" }, token = { username = "alice" },
          want = true },
        { name = "a user who is on it", request = { command = "get" }, token = mallory,
          want = "this user is on the deny list" },
        { name = "who gets no new token", request = { command = "issue" }, token = mallory,
          want = "this user is on the deny list" },
        { name = "nor stores one", request = { command = "store" }, token = mallory,
          want = "this user is on the deny list" },
        { name = "part of a name is not the name", request = { command = "get" }, token = { username = "mallor" },
          want = true },
        { name = "what is denied can be deleted", request = { command = "delete" }, token = denied, want = true },
    },
}
