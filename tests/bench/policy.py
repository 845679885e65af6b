#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What policies cost a cached GET: the same load on servers without a policy, with an empty one, with a typical one (one
network, one scope), with some that use one thing alone, and with worked examples, in turns; tokenkeep-policy(7) has a
table of it. With TOKENKEEPD_BEFORE, another build without a policy runs beside them.

    TOKENKEEPD=.../tokenkeepd [TOKENKEEPD_BEFORE=.../tokenkeepd] tests/bench/policy.py [REQUESTS] [ROUNDS]"""
import os
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(__file__))

from audit import LOADS, load, store_one  # noqa: E402
from daemon import Daemon, hook_section  # noqa: E402
from hooks import hook_file  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from sealed import new_key  # noqa: E402

EMPTY = "return { get = function() return true end }"
TYPICAL = """
local near = keep.cidr { "127.0.0.0/8", "10.0.0.0/8", "::1" }
return { get = function(request, token)
    if not near(request.address) then return false, "not from here" end
    if not token.has_scope("read:all") then return false, "not for this token" end
    return true
end }
"""
FIELD = "return { get = function(_, token) return token.username ~= 'mallory' end }"
COUNT = "return { get = function(_, token) return keep.count('get', token.username, 60) > 0 end }"
WHOLE_DATA = "return { get = function(_, token) return token.email ~= 'mallory@example.org' end }"
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lua", "examples", "policies")
SETTINGS = {  # of the examples
    "service_networks": {"inside": "127.0.0.0/8 10.0.0.0/8 ::1"},
    "working_hours": {"scope": "exec:admin", "days": "mon tue wed thu fri sat sun", "from": "0:00", "till": "24:00"},
    "deny_list": {"users": "mallory"},
}


def policy_text(folder, name, script):
    """What the configuration says of a policy, or of an example."""
    if name in SETTINGS:
        path = os.path.join(EXAMPLES, name + ".lua")
    elif script:
        path = hook_file(folder, name + ".lua", script)
    else:
        return ""
    return hook_section(path, SETTINGS.get(name, {})).replace("hook", "policy", 1)


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 500000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    folder = tempfile.mkdtemp(prefix="tk-")
    redis, daemons, keys = None, {}, [new_key()]
    try:
        os.mkdir(folder + "/redis")
        redis = RedisServer(folder + "/redis")
        kinds = {"without": "", "empty": EMPTY, "typical": TYPICAL, "field": FIELD, "count": COUNT, "whole-data": WHOLE_DATA,
                 **dict.fromkeys(SETTINGS)}
        after = os.environ["TOKENKEEPD"]
        if "TOKENKEEPD_BEFORE" in os.environ:
            kinds = {"before": "", **kinds}
        for name, script in kinds.items():
            os.mkdir(f"{folder}/{name}")
            os.environ["TOKENKEEPD"] = os.environ["TOKENKEEPD_BEFORE"] if name == "before" else after
            text = policy_text(folder, name, script)
            daemons[name] = Daemon(f"{folder}/{name}", redis, workers=1, keys=keys, extra=text, cache={"ttl": 3600})
            daemons[name].start()
            store_one(daemons[name])
        results = {name: [] for name in daemons}
        for round in range(rounds):
            for name in list(daemons) if round % 2 == 0 else reversed(list(daemons)):
                results[name].append(load(daemons[name], LOADS["GET, cached"], requests))
        base = statistics.median(result[1] for result in results["without"])
        for name, runs in results.items():
            rate, worker, _ = (statistics.median(column) for column in zip(*runs))
            print(f"{name}: {rate:.0f}/s, worker {worker:.2f} us a request, {worker - base:+.2f} us")
        for daemon in daemons.values():
            daemon.stop()
    finally:
        for daemon in daemons.values():
            daemon.kill()
        if redis:
            redis.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
