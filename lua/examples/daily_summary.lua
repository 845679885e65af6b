-- SPDX-License-Identifier: MIT
-- Posts once a day how many events there were, of each kind and of which users' tokens. It is worked through in
-- tokenkeep-lua(7). Its options, all of which may be left out:
--
--   hook "daily_summary.lua" {
--       hour    = "6.5"                                   # when to post, in hours UTC: half past six
--       users   = "10"                                    # how many users are named
--       retry   = "60"                                    # seconds until a post that failed is tried again
--       webhook = "http://127.0.0.1:8065/hooks/summary"   # instead of the webhook of the section slack
--   }

local top_list = require "top_list"

local DAY = 24 * 3600
local USERS_MAX = 5000 -- users that are counted one by one
local POSTS_MAX = 6    -- tries, each after twice the wait of the one before

local options = {}
local kinds, users, total, since -- what was counted, and since when
local due                        -- when the next summary is posted

local function number(settings, name, default, low, high)
    local value = tonumber(settings[name] or default)
    if not value or value < low or value > high then
        error(name .. ": give a number from " .. low .. " to " .. high, 0)
    end
    return value
end

local function count_anew()
    kinds, users, total = top_list.new(100), top_list.new(USERS_MAX), 0
    since = keep.now()
end

-- The first moment after `now` when it is `hour` o'clock UTC.
local function next_due(now)
    local moment = now - now % DAY + options.hour * 3600
    return moment > now and moment or moment + DAY
end

local function summary()
    local beginning = os.date("!%Y-%m-%d %H:%M UTC", since // 1 | 0)
    local text = options.application .. ": " .. total .. " events since " .. beginning
        .. "\nBy kind: " .. top_list.text(kinds, 100)
        .. "\nBy user: " .. top_list.text(users, options.users)
    return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function post(body, try)
    local function failed(reason, retry_after)
        local wait = math.max(options.retry * 2 ^ (try - 1), retry_after or 0)
        if try == POSTS_MAX or wait > DAY then
            keep.log("error", "the summary was not posted: " .. reason)
            return
        end
        keep.log("warning", ("the summary will be posted again in %g s: %s"):format(wait, reason))
        keep.timer(wait, function()
            post(body, try + 1)
        end)
    end

    local begun, reason = keep.http.post(options.webhook, body, function(answer)
        if not answer.status then
            failed(answer.error)
        elseif answer.status // 100 ~= 2 then
            failed("status " .. answer.status, answer.retry_after)
        end
    end)
    if not begun then
        failed(reason)
    end
end

local hook = {}

function hook.start(settings)
    options.application = settings.slack.application
    options.webhook = settings.webhook or settings.slack.webhook
    options.hour = number(settings, "hour", 0, 0, 24)
    options.users = number(settings, "users", 10, 0, 100)
    options.retry = number(settings, "retry", 60, 0.1, 3600)
    if not options.webhook then
        error("where to post to? webhook, or slack { webhook-file = ... }, says it", 0)
    end
    count_anew()
    due = next_due(since)
end

function hook.event(event)
    total = total + 1
    top_list.add(kinds, event.event)
    if event.username then
        top_list.add(users, event.username)
    end
end

function hook.tick(now)
    if now >= due then
        post(keep.json.encode { text = summary() }, 1)
        count_anew()
    end
    due = next_due(now) -- every time: the clock may have been set
end

return hook
