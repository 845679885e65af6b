-- SPDX-License-Identifier: MIT
-- Two rules about the scopes of administrators, and how rules are put together: others do not get such scopes, and a
-- token that has one lives for hours, not for weeks. Worked through in tokenkeep-policy(7).
--
--   policy "admin_scopes.lua" {
--       scopes = "exec:admin admin:*"   # * is any text, ? any character
--       admins = "alice bob"
--       hours  = "8"
--   }

local is_admin_scope, is_admin, seconds

local function words(text)
    local list = {}
    for word in text:gmatch("%S+") do
        list[#list + 1] = word
    end
    return list
end

-- A rule is a function as a policy has: true, true and what it changes, or false and a reason.

-- From tokens of others the scopes are taken away.
local function only_admins(_, data)
    local left = {}
    for _, scope in ipairs(data.scopes) do
        if not is_admin_scope(scope) then
            left[#left + 1] = scope
        end
    end
    if is_admin(data.username) or #left == #data.scopes then
        return true
    end
    if #left == 0 then
        return false, "only administrators have these scopes"
    end
    return true, { scopes = left }
end

local function not_for_long(request, data)
    local latest = request.time + seconds
    for _, scope in ipairs(data.scopes) do
        if is_admin_scope(scope) and (not data.expires or data.expires > latest) then
            return true, { expires = latest }
        end
    end
    return true
end

-- Makes one function of many rules: each sees what those before it have changed, and the first that refuses ends it.
local function in_order(rules)
    return function(request, token)
        local data = { username = token.username, scopes = token.scopes, expires = token.expires }
        local changed = {}
        for _, rule in ipairs(rules) do
            local permitted, detail = rule(request, data)
            if not permitted then
                return false, detail
            end
            for name, value in pairs(detail or {}) do
                data[name], changed[name] = value, value
            end
        end
        return true, changed
    end
end

local policy = {}

function policy.load(settings)
    is_admin_scope = keep.glob(words(settings.scopes or "exec:admin admin:*"))
    is_admin = keep.set(words(settings.admins or ""))
    local hours = math.tointeger(tonumber(settings.hours or 8))
    if not hours or hours < 1 or hours > 8760 then
        error("hours: give a whole number from 1 to 8760")
    end
    seconds = hours * 3600
end

policy.issue = in_order { only_admins, not_for_long }
policy.store = policy.issue

return policy
