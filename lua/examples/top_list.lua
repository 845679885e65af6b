-- SPDX-License-Identifier: MIT
-- Counts by name in bounded memory: names beyond the limit are counted together.

local top_list = {}

function top_list.new(limit)
    return { limit = limit, names = 0, counts = {}, beyond = 0 }
end

function top_list.add(list, name)
    local count = list.counts[name]
    if not count and list.names == list.limit then
        list.beyond = list.beyond + 1
        return
    end
    if not count then
        list.names = list.names + 1
    end
    list.counts[name] = (count or 0) + 1
end

-- The `n` largest counts as text, the largest first, such as "ann 12, bob 3, others 5"; "none" when there are none.
function top_list.text(list, n)
    local names = {}
    for name in pairs(list.counts) do
        names[#names + 1] = name
    end
    table.sort(names, function(a, b)
        local count_a, count_b = list.counts[a], list.counts[b]
        return count_a > count_b or count_a == count_b and a < b
    end)

    local parts, others = {}, list.beyond
    for i, name in ipairs(names) do
        if i <= n then
            parts[i] = name .. " " .. list.counts[name]
        else
            others = others + list.counts[name]
        end
    end
    if others > 0 then
        parts[#parts + 1] = "others " .. others
    end
    return #parts > 0 and table.concat(parts, ", ") or "none"
end

return top_list
