-- SPDX-License-Identifier: MIT
-- Tells operators of problems through the Slack incoming webhook that `slack { webhook-file = "..." }` names.
--
-- The first problem of a kind is posted at once. The like of it is counted, and told in one message every
-- group-interval. A problem that lasts is one message when it begins, and one when it is over.

local TEXT_MAX, FIELD_MAX = 3000, 2000 -- characters that Slack takes
local CUT = " ... (cut)"
local KINDS_MAX = 100                  -- kinds of problems that are told apart
local SETTLE = 10                      -- seconds in which all processes notice that something is over
local QUEUE_MAX = 100                  -- messages that wait
local PAUSE = 1                        -- seconds from a post's answer to the next post
local WAITS = { 2, 6, 16, 36 }         -- seconds before a message's second, third, fourth, fifth try
local LAST_MAX = 16                    -- messages that leave as one when the server stops: Slack takes 50 blocks

local slack -- settings.slack

-- Texts

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

-- Escapes what Slack would take for markup, and cuts at `max` characters, but not within one, nor within an entity.
local function escape(text, max)
    if not utf8.len(text) then
        text = text:gsub("[\x80-\xff]", "?")
    end
    text = text:gsub("[&<>]", ENTITIES)
    if utf8.len(text) <= max then
        return text
    end
    return text:sub(1, utf8.offset(text, max - #CUT + 1) - 1):gsub("&%a*$", "") .. CUT
end

local function markdown(text)
    return { type = "mrkdwn", text = text, verbatim = true }
end

local function field(heading, value)
    heading = "*" .. heading .. "*\n"
    return markdown(heading .. escape(value, FIELD_MAX - #heading))
end

-- A code block, which ends where we say and not where the text does.
local function code(heading, text)
    local before, after = "*" .. heading .. "*\n```\n", "\n```"
    return markdown(before .. escape(text:gsub("```", "'''"), TEXT_MAX - #before - #after) .. after)
end

-- Seconds as people say them: "0.4 s", "12 s", "2 min 5 s", "3 h 10 min".
local function length(seconds)
    if seconds < 1 then
        return ("%.1f s"):format(seconds)
    end
    local s = math.floor(seconds)
    if s < 60 then
        return ("%d s"):format(s)
    elseif s < 3600 then
        return ("%d min %d s"):format(s // 60, s % 60)
    end
    return ("%d h %d min"):format(s // 3600, s % 3600 // 60)
end

local HEADINGS = { "Kind", "Time", "Redis key", "Process", "Count" }

-- A message in Block Kit: "TITLE: what the problem says", what else is known of it, and the error in an attachment.
local function message(title, problem, count)
    local values = { Kind = problem.kind, Time = problem.time, ["Redis key"] = problem.key, Process = problem.process,
                     Count = count }
    local fields = {}
    for _, heading in ipairs(HEADINGS) do
        if values[heading] then
            table.insert(fields, field(heading, values[heading]))
        end
    end
    return {
        blocks = {
            { type = "section", text = markdown(escape(title .. ": " .. problem.message, TEXT_MAX)) },
            { type = "section", fields = fields },
            { type = "divider" },
        },
        attachments = problem.error and { { blocks = { { type = "section", text = code("Error", problem.error) } } } },
    }
end

local function error_message(problem, count)
    return message("Error in " .. slack.application, problem, count)
end

-- Posting: the oldest message first, one at a time, a second between two. One that cannot be posted is tried again a
-- few times, and then lost; how many were is told in the next that arrives.

local queue = {} -- messages that wait, the oldest first
local current    -- what is being posted, or waits for its next try: content, tries, and what it says was lost
local posting    -- whether a post is under way
local pause      -- the timer of the next post
local lost = 0   -- messages that were lost, and not told of
local failing    -- whether the last post failed
local stopped

local function note_failure(reason)
    if reason and not failing then
        keep.log("warning", "cannot post to Slack: " .. reason)
    elseif failing and not reason then
        keep.log("warning", ("posting to Slack works again, %d messages were lost"):format(lost))
    end
    failing = reason ~= nil
end

local post_next

local function post_after(seconds)
    pause = keep.timer(seconds, function()
        pause = nil
        post_next()
    end)
end

-- What Slack refuses for good is not tried again; what it or the way to it cannot do now is.
local function answered(sent, answer)
    local status = answer.status
    posting = false
    if status and status // 100 == 2 then
        note_failure(nil)
        lost = lost - sent.lost
        current = nil
        post_after(PAUSE)
        return
    end
    note_failure(answer.error or "the answer was " .. status)
    local wait = (not status or status == 429 or status >= 500) and WAITS[sent.tries]
    if not wait then
        current = nil
        lost = lost + 1
    end
    post_after(math.max(wait or PAUSE, answer.retry_after or 0))
end

local function post_current()
    local sent, content = current, current.content
    sent.tries = sent.tries + 1
    sent.lost = lost
    if lost > 0 then
        local told = { type = "context", elements = { markdown("Messages lost before this one: " .. lost) } }
        content = { blocks = { told, table.unpack(content.blocks) }, attachments = content.attachments }
    end
    local function done(answer)
        answered(sent, answer)
    end
    posting = true
    local begun, reason = keep.http.post(slack.webhook, keep.json.encode(content), done)
    if not begun then
        done { error = reason }
    end
end

function post_next()
    if posting or pause or stopped then
        return
    end
    if not current and queue[1] then
        current = { content = table.remove(queue, 1), tries = 0 }
    end
    if current then
        post_current()
    end
end

local function post(content)
    if #queue < QUEUE_MAX then
        queue[#queue + 1] = content
        post_next()
    else
        lost = lost + 1
    end
end

local function append(list, more)
    return table.move(more or {}, 1, #(more or {}), #list + 1, list)
end

-- All that waits, as one message: for when there is no more time for one a second.
local function post_last()
    if current and not posting then
        table.insert(queue, 1, current.content)
    end
    if not queue[1] then
        return
    end
    local blocks, attachments = {}, {}
    for i = 1, math.min(#queue, LAST_MAX) do
        append(blocks, queue[i].blocks)
        append(attachments, queue[i].attachments)
    end
    lost = lost + math.max(0, #queue - LAST_MAX)
    current = { content = { blocks = blocks, attachments = attachments[1] and attachments }, tries = 0 }
    post_current()
end

-- Problems of a moment, by kind.

local groups = {} -- by kind: how many there were since the last message, and the last of them
local n_groups = 0

local function post_group(group)
    if group.count > 0 then
        post(error_message(group.last, ("%d in %s"):format(group.count, length(slack.group_interval))))
        group.count = 0
        return true
    end
end

local function end_interval(kind)
    if post_group(groups[kind]) then
        keep.timer(slack.group_interval, function() end_interval(kind) end)
    else
        groups[kind] = nil
        n_groups = n_groups - 1
    end
end

local function happened(problem)
    local kind = (groups[problem.kind] or n_groups < KINDS_MAX) and problem.kind or "others"
    local group = groups[kind]
    if group then
        group.count = group.count + 1
        group.last = problem
        return
    end
    groups[kind] = { count = 0 }
    n_groups = n_groups + 1
    keep.timer(slack.group_interval, function() end_interval(kind) end)
    post(error_message(problem))
end

-- Problems that last, by kind. Each process notices for itself that one begins and ends. It began with the first of
-- them, and is over with the last, or when the others have had time to notice.

local outages = {} -- by kind: whether it `lasts`, `since` when, which `processes` have not said that it is over
local n_outages = 0

local function is_over(outage)
    local title = outage.last.phase == "end" and "Back to normal" or "No longer"
    local seconds = outage.seconds or keep.now() - outage.since
    if outage.timer then
        outage.timer:cancel()
    end
    post(message(("%s in %s after %s"):format(title, slack.application, length(seconds)), outage.last))
    outage.lasts, outage.timer, outage.seconds, outage.processes = false, nil, nil, {}
    outage.over = keep.now()
end

local function settle(outage)
    outage.timer = outage.timer or keep.timer(SETTLE, function()
        outage.timer = nil
        is_over(outage)
    end)
end

local function begins(problem, outage)
    outage.processes[problem.process or ""] = true
    if outage.timer then
        outage.timer:cancel()
        outage.timer = nil
    end
    if not outage.lasts then
        outage.lasts, outage.since, outage.last = true, keep.now(), problem
        post(error_message(problem))
    end
end

-- When it is not known to last, this was told to be over already, or began before this hook did.
local function ends(problem, outage)
    local known, seconds = outage.lasts, problem.seconds or 0
    if not known and keep.now() - seconds <= outage.over then
        return
    end
    outage.lasts, outage.last = true, problem
    outage.seconds = math.max(seconds, outage.seconds or 0)
    outage.processes[problem.process or ""] = nil
    if known and not next(outage.processes) then
        is_over(outage)
    else
        settle(outage)
    end
end

local function lasts(problem)
    local outage = outages[problem.kind]
    if not outage then
        if n_outages == KINDS_MAX then
            happened(problem)
            return
        end
        outage = { processes = {}, over = -math.huge }
        outages[problem.kind] = outage
        n_outages = n_outages + 1
    end
    local change = problem.phase == "begin" and begins or ends
    change(problem, outage)
end

-- A process that crashed will not say that anything is over; the next in its place says so if it lasts.
local function crashed(process)
    for _, outage in pairs(outages) do
        if outage.lasts and outage.processes[process] then
            outage.processes[process] = nil
            if not next(outage.processes) then
                settle(outage)
            end
        end
    end
end

local hook = {}

function hook.start(settings)
    slack = settings.slack
    if not slack.webhook then
        error('which webhook is there to post to? slack { webhook-file = "..." } says it', 0)
    end
end

function hook.problem(problem)
    if problem.phase then
        lasts(problem)
    else
        happened(problem)
    end
    if problem.kind == "worker.crash" and problem.process then
        crashed(problem.process)
    end
end

function hook.stop()
    stopped = true
    for _, group in pairs(groups) do
        post_group(group)
    end
    for _, outage in pairs(outages) do
        if outage.timer then
            is_over(outage)
        end
    end
    post_last()
end

return hook
