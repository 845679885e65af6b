#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes docs/benchmarks.md, and the pictures in docs/benchmarks/, of what tests/bench/compare.py measured.

    tests/bench/document.py RESULTS.json DOCS-FOLDER"""
import itertools
import json
import os
import random
import subprocess
import sys

from compare import measured_requests

NAMES = {"line": "tokenkeepd, lines", "resp": "tokenkeepd, RESP", "redis": "Redis", "memcached": "memcached"}
COLOURS = {"line": "#1b6ca8", "resp": "#1b6ca8", "redis": "#c0392b", "memcached": "#2e8b57"}

INTRODUCTION = """# Benchmarks

What a request costs tokenkeepd, beside Redis and memcached asked by the same load generator, `tokenkeep bench`. This page
is made by `scripts/bench`, which measures everything anew and writes it.

{machine}

Every row was measured in {rounds} rounds, the servers in turn within each, and is the median of the rounds; with more than a
million tokens in one round. The runs have {scale:g} of their full length. *CPU* is the
server's own CPU time a request in microseconds, kernel included; for tokenkeepd all its processes, but not the Redis
behind it. *Rate* is requests a second. Server and generator share the machine's processors, so the rate says as much about
them as about the server; a ratio of CPU times holds from run to run, and from machine to machine far better than any
figure itself. One worker of tokenkeepd, and one thread of memcached, unless said otherwise. Values are as large as token
data of {value_size} bytes sealed; 50 connections over TCP on the loopback unless said otherwise.

One row by hand, with a tokenkeepd, a Redis and a memcached of your own:

```
tokenkeep --socket /run/tokenkeep/admin.sock bench --tokens 100000 --pipeline 16 --requests 1000000 --pid PID
tokenkeep --server 127.0.0.1:6379 bench --protocol redis --tokens 100000 --pipeline 16 --requests 1000000 --pid PID
tokenkeep --server 127.0.0.1:11211 bench --protocol memcached --tokens 100000 --pipeline 16 --requests 1000000 --pid PID
```
"""

LIMITS = """## What the figures do not show

- A network. The loopback has no latency, no loss and no interrupts of its own; the kernel's share of an unpipelined
  request, which is most of it, differs with each network card and each mitigation of processor faults.
- More than this machine's {processors} processors. With as many workers as processors, the generator takes its share of them.
- Uncached requests count tokenkeepd alone. Each also costs Redis a GET, which stands in the row beside it.
- Policies, `audit` of reads, TLS: what they add is measured by `tests/bench/policy.py` and `tests/bench/audit.py`.
- Redis and memcached answer with the bytes that they were given. tokenkeepd compares the token's secret, looks at its
  expiry, and asks whether the entry may still be used; what it answers is the JSON of the token data.
- Persistence: the Redis that is measured writes nothing to a disk, and neither does the one behind tokenkeepd.
"""


def ratios(results):
    """CPU time and rate of tokenkeepd, asked in lines, beside those of the best of the others."""
    others = [results[name] for name in ("redis", "memcached") if name in results]
    if not others:
        return ["", ""]
    return [f"{results['line']['cpu'] / min(other['cpu'] for other in others):.2f}",
            f"{results['line']['rate'] / max(other['rate'] for other in others):.2f}"]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join("---" if i == 0 else "---:" for i in range(len(header))) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def cost_table(cases, what):
    """CPU and rate of every server of every case, and how tokenkeepd compares."""
    servers = [name for name in NAMES if any(name in case["results"] for case in cases)]
    header = [what] + [f"{NAMES[name]}: CPU" for name in servers] + ["ratio"] + [f"{NAMES[name]}: rate" for name in servers] + ["ratio"]
    rows = []
    for case in cases:
        results = case["results"]
        cells = [f"{results[name]['cpu']:.2f}" if name in results else "" for name in servers]
        rates = [f"{results[name]['rate']:,.0f}" if name in results else "" for name in servers]
        of_cpu, of_rate = ratios(results)
        rows.append([case["name"], *cells, of_cpu, *rates, of_rate])
    return table(header, rows)


def latency_table(cases, what):
    rows = []
    for case in cases:
        for name, result in case["results"].items():
            rows.append([case["name"], NAMES[name], *(f"{value:,.0f}" for value in result["latency"].values())])
    return table([what, "server", *(f"{name} (us)" for name in cases[0]["results"]["line"]["latency"])], rows)


def ideal_hit_ratio(tokens, entries, requests, exponent=0.99):
    """Of a least-recently-used cache that is asked the same: for each token once, then by zipf."""
    weights = list(itertools.accumulate(1 / n ** exponent for n in range(1, tokens + 1)))
    cache, hits = dict.fromkeys(range(max(tokens - entries, 0), tokens)), 0
    for token in random.Random(1).choices(range(tokens), cum_weights=weights, k=requests):
        if token in cache:
            hits += 1
            del cache[token]
        elif len(cache) == entries:
            del cache[next(iter(cache))]
        cache[token] = None
    return hits / requests


def hit_table(cases, scale):
    rows = []
    for case in cases:
        result, entries = case["results"]["line"], dict(map(tuple, case["cache"]))["entries"]
        ideal = ideal_hit_ratio(case["options"]["tokens"], entries, measured_requests(case, scale))
        rows.append([case["name"], f"{100 * result['hit_ratio']:.2f} %", f"{100 * ideal:.2f} %", f"{result['cpu']:.2f}",
                     f"{result['rate']:,.0f}"])
    return table(["cache", "hits", "ideal LRU", "CPU", "rate"], rows)


def memory_table(measured):
    rows = [[f"a token of {size} bytes", f"{worker:,}", f"{redis:,}"] for size, (worker, redis) in measured["tokens"].items()]
    return table(["bytes of memory for", "in a worker", "in Redis"], [*rows, ["a connection that waits", f"{measured['connection']:,}", ""]])


def plot(folder, file, cases, title, x):
    """CPU time over the x of each case, as SVG."""
    servers = [name for name in NAMES if name in cases[0]["results"]]
    data = "".join("$d%d << EOD\n%sEOD\n" % (i, "".join(f"{case['options']['x']} {case['results'][name]['cpu']}\n" for case in cases))
                   for i, name in enumerate(servers))
    lines = ", ".join(f"$d{i} using 1:2 with linespoints pointtype 7 linewidth 2 linecolor rgb '{COLOURS[name]}' title '{NAMES[name]}'"
                      for i, name in enumerate(servers))
    script = (f"set terminal svg size 640,360 dynamic background rgb 'white' font 'sans,12'\n{data}"
              f"set title '{title}'\nset xlabel '{x}'\nset ylabel 'CPU time a request (us)'\nset logscale x\nset yrange [0:*]\n"
              f"set format x '%.0s%c'\nset grid linecolor rgb '#dddddd'\nset key bottom right\nplot {lines}\n")
    picture = subprocess.run(["gnuplot"], input=script, text=True, check=True, stdout=subprocess.PIPE).stdout
    with open(os.path.join(folder, file), "w") as out:
        out.writelines(line.rstrip() + "\n" for line in picture.splitlines())
    return f"![{title}](benchmarks/{file})\n"


def document(results, folder):
    groups = {}
    for case in results["cases"]:
        groups.setdefault(case["group"], []).append(case)
    pictures = os.path.join(folder, "benchmarks")
    os.makedirs(pictures, exist_ok=True)
    machine = results["machine"]
    about = (f"Measured on {results['date']} on {machine['processors']} processors ({machine['processor']}), {machine['memory']} of "
             f"memory, {machine['system']}, Linux {machine['kernel']}, {machine['compiler']}, -O2. "
             f"Versions: {'; '.join(machine['versions'])}.")
    growth = {depth: [case for case in groups["tokens"] if case["options"]["pipeline"] == depth] for depth in (1, 16)}
    parts = [
        INTRODUCTION.format(machine=about, rounds=results["rounds"], scale=results["scale"], value_size=400),
        "## Cached GET\n\n`GET` of tokens that are in the worker's cache, beside `GET` of Redis and `mg` of memcached. The ratios, here "
        "and below, are of tokenkeepd's CPU time and rate (lines) to those of the better of the two.\n",
        cost_table(groups["cached"], "what"),
        "## Uncached GET, STORE, unknown tokens\n\n`GET` of tokens that no cache has: a round trip to Redis, opening, decoding, "
        "rendering and caching; beside Redis' own `GET`.\n",
        cost_table(groups["uncached"], "uncached GET"),
        "`STORE`: parsing and checking the JSON, sealing, and a round trip to Redis, which also gets an entry in the index by user; beside "
        "Redis' own `SET`.\n",
        cost_table(groups["store"], "STORE"),
        "Made-up tokens, each of them another: one look-up in Redis, which answers that there is none.\n",
        cost_table(groups["unknown"], "unknown tokens"),
        "## Workers\n\nEach worker has a cache of its own. The generator is one thread more on the same processors.\n",
        cost_table(groups["workers"], "workers"),
        "## Idle connections\n\nCached GET over 50 connections, while others ask nothing.\n",
        cost_table(groups["idle"], "idle connections"),
        "## Latency\n\nCached GET at a fixed rate, in an open loop: latency counts from when a request was due, so a stall shows.\n",
        latency_table(groups["rate"], "requests a second"),
        "## How cost grows\n\nWith the number of tokens in the cache:\n",
        plot(pictures, "tokens.svg", growth[1], "Cached GET, unpipelined", "tokens"),
        plot(pictures, "tokens-pipelined.svg", growth[16], "Cached GET, pipelined by 16", "tokens"),
        cost_table(groups["tokens"], "tokens"),
        "With the size of the values, unpipelined:\n",
        plot(pictures, "size.svg", groups["size"], "Cached GET, unpipelined", "bytes of a sealed value"),
        cost_table(groups["size"], "bytes"),
        "With the number of connections, unpipelined:\n",
        plot(pictures, "connections.svg", groups["connections"], "Cached GET, unpipelined", "connections"),
        cost_table(groups["connections"], "connections"),
        "When the cache is smaller than what is asked for: 100,000 tokens by zipf (0.99), beside the hits that an ideal "
        "least-recently-used cache of so many entries has that is asked the same: for each token once, then by zipf.\n",
        hit_table(groups["working set"], results["scale"]),
        "## Memory\n\nWhat tokens and connections add to a worker's resident memory, and to what Redis uses: the value, its key and its "
        "expiry, and the entry in the index by user, ten tokens a user. The cache is bounded by `cache { bytes, entries }`, what a "
        "connection may hold by tokenkeep-protocol(7).\n",
        memory_table(results["memory"]),
        LIMITS.format(processors=machine["processors"]),
    ]
    with open(os.path.join(folder, "benchmarks.md"), "w") as file:
        file.write("\n".join(parts))


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    with open(sys.argv[1]) as file:
        document(json.load(file), sys.argv[2])


if __name__ == "__main__":
    main()
