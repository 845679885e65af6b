-- SPDX-License-Identifier: MIT
-- lua/slack.lua with a library `keep` whose clock stands still until a scenario lets time pass, and with a Slack that
-- answers when it is told to. test_slack.c runs every function in the table that this returns.

local SLACK = ...

local now, posts, timers, logs -- of the scenario that runs; posts: what was posted, when, and whom to answer
local usual                    -- the answer that every post gets at once; nil: none
local hook

local function copy(value)
    if type(value) ~= "table" then
        return value
    end
    local result = {}
    for name, inner in pairs(value) do
        result[name] = copy(inner)
    end
    return result
end

local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b
    end
    for name in pairs(a) do
        if not same(a[name], b[name]) then
            return false
        end
    end
    for name in pairs(b) do
        if a[name] == nil then
            return false
        end
    end
    return true
end

local function show(value)
    if type(value) ~= "table" then
        return ("%q"):format(value)
    end
    local parts = {}
    for name, inner in pairs(value) do
        parts[#parts + 1] = tostring(name) .. " = " .. show(inner)
    end
    table.sort(parts)
    return "{ " .. table.concat(parts, ", ") .. " }"
end

local function expect(got, wanted)
    if not same(got, wanted) then
        error(("got %s\nwanted %s"):format(show(got), show(wanted)), 2)
    end
end

local function timer(seconds, action)
    assert(math.type(seconds) and seconds >= 0 and type(action) == "function")
    local result = { at = now + seconds, action = action, cancel = function(self) timers[self] = nil end }
    timers[result] = true
    return result
end

local function due(before)
    local first
    for each in pairs(timers) do
        if each.at <= before and (not first or each.at < first.at) then
            first = each
        end
    end
    return first
end

-- Lets time pass, and all happen that is due by then.
local function pass(seconds)
    local before = now + seconds
    for each in due, before do
        timers[each] = nil
        now = each.at
        each.action()
    end
    now = before
end

-- Slack answers the last post.
local function answer(what)
    posts[#posts].callback(what)
end

local function post(address, body, callback)
    assert(address == "the webhook" and callback)
    posts[#posts + 1] = { at = now, callback = callback, blocks = body.blocks, attachments = body.attachments }
    local given = usual
    if given and given.refused then
        return nil, given.refused
    elseif given then
        timer(0, function() callback(given) end)
    end
    return true
end

local function begin(interval)
    now, posts, timers, logs, usual = 1000, {}, {}, {}, { status = 200 }
    keep = {
        now = function() return now end,
        log = function(level, text) logs[#logs + 1] = level .. " " .. text end,
        timer = timer,
        json = { encode = copy },
        http = { post = post },
    }
    hook = assert(loadfile(SLACK))()
    hook.start { slack = { webhook = "the webhook", application = "tokenkeep", group_interval = interval or 300.0 },
                 audit = {} }
end

local function problem(kind, more)
    local result = { kind = kind, time = "T" .. now, message = "It is " .. kind }
    for name, value in pairs(more or {}) do
        result[name] = value
    end
    hook.problem(result)
end

local function text(n)
    for _, block in ipairs(posts[n].blocks) do
        if block.type == "section" then
            return block.text.text
        end
    end
end

local function value(n, heading)
    for _, block in ipairs(posts[n].blocks) do
        for _, field in ipairs(block.fields or {}) do
            local found = field.text:match("^%*" .. heading .. "%*\n(.*)$")
            if found then
                return found
            end
        end
    end
end

local function times()
    local result = {}
    for i, each in ipairs(posts) do
        result[i] = each.at - 1000
    end
    return result
end

local tests = {}

function tests.a_message()
    begin()
    problem("token.corrupt", { message = "A value <does> not open & so on", key = "token:abc", process = "worker 3",
                               error = "line 1\nline 2 ``` <&>" })
    local function md(string)
        return { type = "mrkdwn", text = string, verbatim = true }
    end
    expect(posts[1].blocks, {
        { type = "section", text = md("Error in tokenkeep: A value &lt;does&gt; not open &amp; so on") },
        { type = "section", fields = { md("*Kind*\ntoken.corrupt"), md("*Time*\nT1000"), md("*Redis key*\ntoken:abc"),
                                       md("*Process*\nworker 3") } },
        { type = "divider" },
    })
    expect(posts[1].attachments, {
        { blocks = { { type = "section", text = md("*Error*\n```\nline 1\nline 2 ''' &lt;&amp;&gt;\n```") } } },
    })
    pass(1)
    problem("simple")
    expect(posts[2].blocks[2], { type = "section", fields = { md("*Kind*\nsimple"), md("*Time*\nT1001") } })
    expect(posts[2].attachments, nil)
end

function tests.long_texts_are_cut()
    local cut = " ... (cut)"
    begin()
    local function cut_of(string)
        problem(string, { message = string, key = string, error = string })
        pass(1)
        return text(#posts), value(#posts, "Redis key"), posts[#posts].attachments[1].blocks[1].text.text
    end
    for _, character in ipairs { "x", "\u{e9}", "\u{1F600}" } do
        local message, key, code = cut_of(character:rep(2971))
        expect(message, "Error in tokenkeep: " .. character:rep(2971))
        expect(utf8.len(key), 2000 - #"*Redis key*\n")
        expect(key:sub(-#cut), cut)
        expect(utf8.len(code), 2971 + 16)
        message, key, code = cut_of(character:rep(10000))
        expect(message, "Error in tokenkeep: " .. character:rep(3000 - 20 - #cut) .. cut)
        expect(key, character:rep(2000 - 12 - #cut) .. cut)
        expect(code, "*Error*\n```\n" .. character:rep(3000 - 16 - #cut) .. cut .. "\n```")
    end
    for shift = 0, 5 do
        local message = cut_of(("x"):rep(shift) .. ("&"):rep(3000))
        expect(message:sub(-#cut - 5), "&amp;" .. cut)
        assert(utf8.len(message) <= 3000 and utf8.len(message) > 2994)
        expect(message:gsub("&amp;", ""):find("&", 1, true), nil)
    end
    expect(cut_of("\xff\xfe bytes \x80"), "Error in tokenkeep: ?? bytes ?")
end

function tests.the_like_is_grouped()
    begin()
    problem("a")
    for i = 1, 5 do
        pass(10)
        problem("a", { message = "number " .. i })
    end
    problem("b")
    expect({ #posts, text(1), text(2) }, { 2, "Error in tokenkeep: It is a", "Error in tokenkeep: It is b" })
    expect(value(1, "Count"), nil)
    pass(249)
    expect(#posts, 2)
    pass(1)
    expect({ #posts, text(3), value(3, "Count"), value(3, "Time") },
           { 3, "Error in tokenkeep: number 5", "5 in 5 min 0 s", "T1050" })
    problem("a")
    pass(300)
    expect({ #posts, value(4, "Count") }, { 4, "1 in 5 min 0 s" })
    pass(300)
    expect(#posts, 4)
    problem("a")
    expect({ #posts, value(5, "Count") }, { 5, nil })
end

function tests.one_a_second()
    begin()
    for i = 1, 10 do
        problem("kind " .. i)
    end
    pass(100)
    expect(times(), { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 })
    for i = 1, 10 do
        expect(value(i, "Kind"), "kind " .. i)
    end
end

function tests.one_under_way_at_a_time()
    begin()
    usual = nil
    problem("a")
    problem("b")
    pass(9)
    expect(#posts, 1)
    answer { status = 200 }
    pass(0.5)
    expect(#posts, 1)
    pass(0.5)
    expect(#posts, 2)
end

function tests.what_waits_is_bounded()
    begin(3600)
    usual = nil
    for i = 1, 99 do
        problem("kind " .. i)
    end
    problem("lasts", { phase = "begin" })
    problem("lasts", { phase = "end", seconds = 1 })
    expect(#posts, 1) -- and 100 wait
    problem("lasts", { phase = "begin" })
    problem("lasts", { phase = "end", seconds = 1 })
    problem("one more")
    usual = { status = 200 }
    answer { status = 200 }
    pass(3000)
    expect(#posts, 101)
    expect(posts[2].blocks[1], { type = "context",
                                 elements = { { type = "mrkdwn", text = "Messages lost before this one: 3",
                                                verbatim = true } } })
    expect(#posts[2].blocks, 4)
    expect(#posts[3].blocks, 3)
end

function tests.kinds_are_bounded()
    begin()
    for i = 1, 150 do
        problem("kind " .. i)
    end
    pass(299)
    expect(#posts, 101)
    expect(value(101, "Kind"), "kind 101")
    pass(100)
    expect(#posts, 102)
    expect({ value(102, "Kind"), value(102, "Count") }, { "kind 150", "49 in 5 min 0 s" })
    pass(1000)
    problem("kind 149")
    problem("kind 148")
    pass(1)
    expect({ #posts, value(103, "Kind"), value(104, "Kind") }, { 104, "kind 149", "kind 148" })
end

function tests.tried_again()
    for _, failure in ipairs { { status = 500 }, { status = 503 }, { error = "Timeout was reached" }, { status = 429 } } do
        begin()
        usual = failure
        problem("a")
        pass(59)
        expect(times(), { 0, 2, 8, 24 })
        expect(logs, { "warning cannot post to Slack: " .. (failure.error or "the answer was " .. failure.status) })
        usual = { status = 200 }
        pass(1)
        expect(times(), { 0, 2, 8, 24, 60 })
        expect(posts[5].blocks, posts[1].blocks)
        pass(1)
        expect(logs[2], "warning posting to Slack works again, 0 messages were lost")
        problem("b")
        pass(1000)
        expect({ #posts, #logs }, { 6, 2 })
    end
end

function tests.given_up()
    begin()
    usual = { status = 500 }
    problem("a")
    pass(100)
    problem("b")
    pass(100)
    expect(times(), { 0, 2, 8, 24, 60, 100, 102, 108, 124, 160 })
    usual = { status = 200 }
    problem("c")
    pass(1)
    expect(posts[11].blocks[1].elements[1].text, "Messages lost before this one: 2")
    expect(logs, { "warning cannot post to Slack: the answer was 500",
                   "warning posting to Slack works again, 2 messages were lost" })
    problem("d")
    expect(posts[12].blocks[1].type, "section")
end

function tests.refused_for_good()
    for _, status in ipairs { 302, 400, 403, 404, 410 } do
        begin()
        usual = { status = status }
        problem("a")
        problem("b")
        pass(500)
        expect(times(), { 0, 1 })
        expect(logs, { "warning cannot post to Slack: the answer was " .. status })
    end
end

function tests.not_even_begun()
    begin()
    usual = { refused = "64 posts are under way already" }
    problem("a")
    problem("b")
    pass(1)
    usual = { status = 200 }
    pass(10)
    expect(times(), { 0, 2, 3 })
    expect(logs[1], "warning cannot post to Slack: 64 posts are under way already")
end

function tests.retry_after()
    begin()
    usual = { status = 429, retry_after = 30 }
    problem("a")
    problem("b")
    pass(29)
    expect(#posts, 1)
    usual = { status = 200 }
    pass(10)
    expect(times(), { 0, 30, 31 })
    -- Also behind a message that is lost, and never less than our own wait.
    usual = { status = 403, retry_after = 50 }
    problem("c")
    problem("d")
    pass(49)
    expect(#posts, 4)
    usual = { status = 503, retry_after = 0 }
    pass(2.5)
    expect(times()[5], 39 + 50)
    expect(#posts, 5)
    pass(0.5)
    expect(times()[6], 39 + 52)
end

function tests.an_outage()
    begin()
    problem("redis.away", { phase = "begin", process = "worker 1", message = "Redis is away", error = "refused" })
    pass(125)
    problem("redis.away", { phase = "end", process = "worker 1", seconds = 125.4, message = "Redis is back" })
    expect({ #posts, text(1), text(2) },
           { 2, "Error in tokenkeep: Redis is away", "Back to normal in tokenkeep after 2 min 5 s: Redis is back" })
    expect({ value(2, "Kind"), value(2, "Time"), value(2, "Process"), posts[2].attachments },
           { "redis.away", "T1125", "worker 1" })
    pass(100)
    problem("redis.away", { phase = "begin", process = "worker 1" })
    problem("redis.away", { phase = "end", process = "worker 1", seconds = 0.44 })
    pass(100)
    expect({ #posts, text(4) }, { 4, "Back to normal in tokenkeep after 0.4 s: It is redis.away" })
end

function tests.an_outage_of_several_processes()
    begin()
    for i = 1, 3 do
        problem("away", { phase = "begin", process = "worker " .. i })
        pass(1)
    end
    pass(97)
    for i = 1, 3 do
        expect(#posts, 1)
        problem("away", { phase = "end", process = "worker " .. i, seconds = 104 - i })
        pass(2)
    end
    expect({ #posts, times()[2], text(2) }, { 2, 104, "Back to normal in tokenkeep after 1 min 43 s: It is away" })
    pass(100)
    expect(#posts, 2)
end

function tests.one_that_does_not_say_so()
    begin()
    for i = 1, 3 do
        problem("away", { phase = "begin", process = "worker " .. i })
    end
    pass(50)
    problem("away", { phase = "end", process = "worker 1", seconds = 50 })
    pass(9)
    problem("away", { phase = "end", process = "worker 2", seconds = 59 })
    expect(#posts, 1)
    pass(1)
    expect({ #posts, times()[2] }, { 2, 60 })
    pass(30)
    problem("away", { phase = "end", process = "worker 3", seconds = 90 })
    pass(100)
    expect(#posts, 2)
    problem("away", { phase = "begin", process = "worker 3" })
    expect(#posts, 3)
end

function tests.away_again_before_it_settled()
    begin()
    problem("away", { phase = "begin", process = "worker 1" })
    problem("away", { phase = "begin", process = "worker 2" })
    pass(10)
    problem("away", { phase = "end", process = "worker 1", seconds = 10 })
    pass(5)
    problem("away", { phase = "begin", process = "worker 1" })
    pass(100)
    expect(#posts, 1)
    problem("away", { phase = "end", process = "worker 1", seconds = 100 })
    problem("away", { phase = "end", process = "worker 2", seconds = 115 })
    expect({ #posts, text(2) }, { 2, "Back to normal in tokenkeep after 1 min 55 s: It is away" })
end

function tests.a_process_crashes_in_an_outage()
    begin()
    problem("away", { phase = "begin", process = "worker 1" })
    problem("away", { phase = "begin", process = "worker 2" })
    problem("worker.crash", { process = "worker 2" })
    pass(20)
    problem("away", { phase = "end", process = "worker 1", seconds = 20 })
    expect({ #posts, text(2), text(3) }, { 3, "Error in tokenkeep: It is worker.crash",
                                           "Back to normal in tokenkeep after 20 s: It is away" })
    -- The only one crashes, and the one in its place finds the same, or does not.
    pass(2000)
    problem("away", { phase = "begin", process = "worker 1" })
    problem("worker.crash", { process = "worker 1" })
    pass(5)
    problem("away", { phase = "begin", process = "worker 1" })
    pass(50)
    expect(#posts, 5)
    problem("worker.crash", { process = "worker 1" })
    pass(11)
    expect({ #posts, text(6) }, { 6, "No longer in tokenkeep after 1 min 5 s: It is away" })
end

function tests.an_end_whose_begin_was_missed()
    begin()
    problem("away", { phase = "end", process = "worker 1", seconds = 500 })
    expect(#posts, 0)
    problem("away", { phase = "end", process = "worker 2", seconds = 501 })
    problem("away", { phase = "end", process = "worker 3", seconds = 499 })
    pass(100)
    expect({ #posts, text(1) }, { 1, "Back to normal in tokenkeep after 8 min 21 s: It is away" })
    problem("other", { phase = "end", seconds = 7200 })
    pass(10)
    expect({ #posts, text(2) }, { 2, "Back to normal in tokenkeep after 2 h 0 min: It is other" })
end

function tests.the_end()
    begin()
    for _ = 1, 3 do
        problem("a", { error = "why" })
    end
    problem("b")
    problem("away", { phase = "begin", process = "worker 1" })
    problem("away", { phase = "begin", process = "worker 2" })
    problem("away", { phase = "end", process = "worker 1", seconds = 0 })
    expect(#posts, 1)
    hook.stop()
    expect({ #posts, #posts[2].blocks, #posts[2].attachments }, { 2, 12, 1 })
    expect(posts[2].blocks[7].text.text, "Error in tokenkeep: It is a")
    expect(posts[2].blocks[10].text.text, "Back to normal in tokenkeep after 0.0 s: It is away")
    pass(1000)
    expect(#posts, 2)
    begin()
    hook.stop()
    expect(#posts, 0)
end

function tests.the_end_with_much_left()
    begin()
    usual = { status = 500 }
    for i = 1, 50 do
        problem("kind " .. i)
    end
    pass(1)
    hook.stop()
    expect({ #posts, #posts[2].blocks }, { 2, 49 })
    expect(posts[2].blocks[1].elements[1].text, "Messages lost before this one: 34")
    expect(value(2, "Kind"), "kind 1")
end

function tests.without_a_webhook()
    begin()
    local done, reason = pcall(hook.start, { slack = { application = "tokenkeep" } })
    expect({ done, reason }, { false, 'which webhook is there to post to? slack { webhook-file = "..." } says it' })
end

return tests
