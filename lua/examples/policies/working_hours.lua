-- SPDX-License-Identifier: MIT
-- One scope is good only in working hours, which are in UTC. Worked through in tokenkeep-policy(7).
--
--   policy "working_hours.lua" {
--       scope = "exec:admin"
--       days  = "mon tue wed thu fri"
--       from  = "8:00"
--       till  = "18:30"                  # no longer at half past six
--   }

local HOUR, DAY = 3600, 24 * 3600
local DAYS = { "thu", "fri", "sat", "sun", "mon", "tue", "wed" } -- time begins on a Thursday, 1 January 1970

local scope, days, from, till

local function words(text)
    local list = {}
    for word in text:gmatch("%S+") do
        list[#list + 1] = word
    end
    return list
end

-- Seconds since midnight.
local function time_of_day(settings, name)
    local hour, minute = (settings[name] or ""):match("^(%d%d?):([0-5]%d)$")
    local seconds = hour and hour * HOUR + minute * 60
    if not seconds or seconds > DAY then
        error(name .. ': give a time in UTC, such as "8:30"')
    end
    return seconds
end

local policy = {}

function policy.load(settings)
    local is_day = keep.set(DAYS)
    scope = settings.scope or error('scope: name one, such as "exec:admin"')
    local list = words(settings.days or "mon tue wed thu fri")
    for _, day in ipairs(list) do
        if not is_day(day) then
            error("days: " .. day .. " is none of mon tue wed thu fri sat sun")
        end
    end
    days = keep.set(list)
    from, till = time_of_day(settings, "from"), time_of_day(settings, "till")
    if from >= till then
        error("till: give a time after " .. settings.from)
    end
end

local function permit(time)
    local second = time % DAY
    if days(DAYS[time // DAY % 7 + 1]) and second >= from and second < till then
        return true
    end
    return false, scope .. " is good in working hours alone"
end

function policy.check(request)
    for _, wanted in ipairs(request.scopes) do
        if wanted == scope then
            return permit(request.time)
        end
    end
    return true
end

-- Who asks with GET judges the scopes himself, and must not see this one when it is not good.
function policy.get(request, token)
    if token.has_scope(scope) then
        return permit(request.time)
    end
    return true
end

return policy
