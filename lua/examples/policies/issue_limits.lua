-- SPDX-License-Identifier: MIT
-- A user may be issued so many tokens a minute, which live for a month at most. Worked through in tokenkeep-policy(7).
--
--   policy "issue_limits.lua" {
--       most = "5"    # tokens a minute for one user; each worker counts for itself
--       days = "30"   # that a token may live
--   }

local DAY = 24 * 3600

local most, days

local function whole_number(settings, name, low, high)
    local value = math.tointeger(tonumber(settings[name]))
    if not value or value < low or value > high then
        error(name .. ": give a whole number from " .. low .. " to " .. high)
    end
    return value
end

local policy = {}

function policy.load(settings)
    most = whole_number(settings, "most", 1, 1000000)
    days = whole_number(settings, "days", 1, 3650)
end

-- Sessions and what services need are the affair of the programs that issue them.
function policy.store(request, token)
    local latest = request.time + days * DAY
    if token.token_type == "user" and (not token.expires or token.expires > latest) then
        return true, { expires = latest }
    end
    return true
end

function policy.issue(request, token)
    if token.token_type == "user" and keep.count("issue", token.username, 60) > most then
        return false, "no more than " .. most .. " new tokens a minute"
    end
    return policy.store(request, token)
end

return policy
