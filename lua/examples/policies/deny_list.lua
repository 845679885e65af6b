-- SPDX-License-Identifier: MIT
-- Tokens and users that are good for nothing, whatever Redis holds. Worked through in tokenkeep-policy(7).
--
--   policy "deny_list.lua" {
--       keys  = "9wey4A895wHjs9kZdz9GnQ jy8Hz1MUB9RkTYy0-COK_A"   # of tokens, never the whole tokens
--       users = "mallory"
--   }

local is_denied_key, is_denied_user

-- The words of a setting as a function that says whether a text is one of them. What is no word of that kind may be a
-- token that was pasted here, so the error does not show it.
local function set(settings, name, pattern)
    local list = {}
    for word in (settings[name] or ""):gmatch("%S+") do
        list[#list + 1] = word
        if not word:find(pattern) then
            error(name .. ": word " .. #list .. " cannot be right")
        end
    end
    return keep.set(list)
end

local policy = {}

function policy.load(settings)
    is_denied_key = set(settings, "keys", "^" .. ("[%w_-]"):rep(22) .. "$")
    is_denied_user = set(settings, "users", "^[%l%d-]+$")
end

function policy.get(_, token)
    if is_denied_key(token.key) then
        return false, "this token is on the deny list"
    end
    if is_denied_user(token.username) then
        return false, "this user is on the deny list"
    end
    return true
end

policy.check = policy.get
policy.store = policy.get
policy.issue = policy.get

return policy
