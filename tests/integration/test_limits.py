# SPDX-License-Identifier: MIT
"""What many connections cost."""
import os
import resource

import pytest

from client import connect
from daemon import memory, program
from tokens import data, to_json, token

CONNECTIONS = int(os.environ.get("TOKENKEEP_CONNECTIONS", "2000"))
IDLE_LIMIT = 3 * 1024  # bytes of memory for a connection that waits for its next request


def instrumented():
    with open(program("tokenkeepd"), "rb") as file:
        return b"__asan_" in file.read()


@pytest.mark.skipif(instrumented(), reason="a sanitizer's memory says nothing")
def test_memory_of_idle_connections(start_daemon, redis_server):
    """Connections that have asked and been answered, and wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(CONNECTIONS, hard - 200)
    daemon = start_daemon(redis_server, workers=1)
    worker, = daemon.workers()
    text = token()
    assert daemon.ask("STORE " + to_json(data(text))).last == "OK"
    assert daemon.ask("GET " + text).cls == "OK"
    before = memory(worker)
    sockets = []
    try:
        for _ in range(count):
            sockets.append(connect(daemon.address("manage")))
            sockets[-1].sendall(f"GET {text}\nPING\n".encode())
        for sock in sockets:
            received = b""
            while received.count(b"\n") < 2:
                received += sock.recv(4096)
            assert received.startswith(b"OK {") and received.endswith(b"\nOK\n")
        each = (memory(worker) - before) / count
        print(f"{count} idle connections, {each:.0f} bytes each")
        assert each < IDLE_LIMIT
        assert daemon.stats()["connections"] == count + 1
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
