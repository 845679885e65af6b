# SPDX-License-Identifier: MIT
"""Waiting for things to become true, with deadlines that suit a busy machine and a sanitizer build."""
import os
import random
import socket
import time

# One factor for all deadlines; a slow machine may raise it.
SLOWNESS = float(os.environ.get("TOKENKEEP_TEST_SLOWNESS", "1"))


def deadline(seconds=20.0):
    """The monotonic time at which patience ends."""
    return time.monotonic() + seconds * SLOWNESS


def until(condition, seconds=20.0, what="the condition", pause=0.01):
    """Calls `condition` until it returns something true, and returns that; fails after the deadline."""
    end = deadline(seconds)
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds * SLOWNESS:g} s in vain for {what}")
        time.sleep(pause)


def free_port(family=socket.AF_INET):
    """A TCP port that is free on the loopback. Not one that the kernel hands out by itself, so that no outgoing
    connection of a test beside us takes it before it is bound."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
