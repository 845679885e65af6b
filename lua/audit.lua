-- SPDX-License-Identifier: MIT
-- The audit log: every event is one JSON object on a line of its own, in the file that `audit { file = "..." }` names.

local file    -- the open audit log
local failing -- since when it cannot be written, as keep.now(); nil: it can
local gap     -- the record that will stand for records that found no room; nil: none did

local function append(record)
    return file:append(keep.json.encode(record))
end

-- Raises a problem once when writing begins to fail, and once when it works again.
local function look_at_file()
    local reason = file:failure()
    if reason and not failing then
        failing = keep.now()
        keep.problem { kind = "audit.file", phase = "begin", message = "The audit log cannot be written",
                       error = reason }
    elseif failing and not reason then
        keep.problem { kind = "audit.file", phase = "end", message = "The audit log is written again",
                       seconds = math.max(0, keep.now() - failing) }
        failing = nil
    end
end

-- Closes the gap, when there is one, with a line that says how many records are missing.
local function close_gap()
    if gap and append(gap) then
        keep.log("error", gap.count .. " records are missing from the audit log, the last of " .. gap.time)
        gap = nil
    end
end

local hook = {}

function hook.start(settings)
    local path = settings.audit.file
    if not path then
        error('which file is the audit log? audit { file = "..." } says it', 0)
    end
    local reason
    file, reason = keep.file.open(path)
    if not file then
        error("cannot open the audit log: " .. reason, 0)
    end
end

function hook.event(event)
    close_gap()
    if not gap and append(event) then
        return
    end
    gap = gap or { event = "audit.dropped", count = 0 }
    gap.count = gap.count + 1
    gap.time = event.time
    look_at_file()
end

function hook.tick()
    look_at_file()
    close_gap()
end

function hook.stop()
    close_gap()
    local written, reason = file:sync()
    if not written then
        keep.log("error", "the last records are lost, the audit log cannot be written: " .. reason)
    end
    file:close()
end

return hook
