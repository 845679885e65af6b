# SPDX-License-Identifier: MIT
"""Many events through a reporter whose hook allocates: it hears all of them, and the memory stays what it was.

TOKENKEEP_EVENTS in the environment says how many events; the figures are printed."""
import os
import time

from daemon import memory
from hooks import hook_file, json_lines
from tokens import part
from waiting import until

EVENTS = int(os.environ.get("TOKENKEEP_EVENTS", "100000"))
BATCH = 10_000  # events on their way at once, which the queues have room for
GROWTH_MAX = 2 * 1024 * 1024  # bytes; a sanitizer build keeps what was freed for a while

# Makes tables, strings and functions with every event, and lets go of most of them sooner or later.
ALLOCATOR = """
local file, count, kept, seen = nil, 0, {}, {}

return {
    start = function(settings) file = assert(keep.file.open(settings.into)) end,
    event = function(event)
        if event.event ~= "token.delete" then return end
        count = count + 1
        event.again = { event.key .. count, keep.json.encode(event), function() return event end }
        kept[count % 5000 + 1] = event
        seen[event.key] = true
        if count % 5000 == 0 then seen = {} end
        if count % 20 == 0 then keep.timer(0.01, function() event.again = nil end) end
        if count % BATCH == 0 then assert(file:append(keep.json.encode { count = count })) end
    end,
}
"""


def test_memory_stays_flat(start_daemon, redis_server, folder):
    into = os.path.join(folder, "count")
    hook = hook_file(folder, "allocator.lua", ALLOCATOR.replace("BATCH", str(BATCH)))
    daemon = start_daemon(redis_server, workers=1, hooks={hook: {"into": into}})
    batches = max(4, EVENTS // BATCH)
    request = "".join(f"DELETE {part()}\n" for _ in range(100)) * (BATCH // 100)
    sizes, began = [], time.monotonic()
    with daemon.connect() as client:
        for number in range(1, batches + 1):
            client.send(request)
            client.answers(BATCH)
            until(lambda number=number: len(json_lines(into)) >= number, 20, f"{number * BATCH} events to be heard")
            sizes.append(memory(daemon.reporter()))
    seconds = time.monotonic() - began
    settled, largest = max(sizes[:batches // 2]), max(sizes[batches // 2:])
    print(f"{batches * BATCH} events in {seconds:.1f} s; resident {settled >> 10} KiB in the first half, {largest >> 10} KiB in the second")
    assert largest - settled < GROWTH_MAX or daemon.sanitized, [size >> 10 for size in sizes]
    stats = daemon.stats()
    assert stats["events-sent"] >= batches * BATCH and stats["events-dropped"] == 0 and stats["events-lost"] == 0
    assert json_lines(into)[-1] == {"count": batches * BATCH}
