# SPDX-License-Identifier: MIT
"""A relay between workers and a real redis-server, where a test may hold a request before Redis has it, hold an answer that
Redis has given, or put another answer in its place. It knows which worker a connection belongs to."""
import os
import random
import socket
import struct
import threading
from collections import deque

from redis_socket import RedisSocket, read_command
from tokens import token
from waiting import deadline, until

HOLD_LIMIT = 60  # seconds after which nothing is held any longer, so that a failed test ends


def is_beat(words):
    """Whether the command is one of those by which workers find out whether they hear of changes."""
    return words[0].upper() == b"SET" and b".hb." in words[1]


class Hold:
    """Commands of that name that have `text` in one of their words, from the worker `pid` (None: from any)."""

    def __init__(self, proxy, name, text, pid, reply):
        self.proxy, self.name, self.text, self.pid, self.reply = proxy, name.upper().encode(), text.encode(), pid, reply
        self.held = 0
        self.relays = []  # that hold them
        self.released = False

    def matches(self, pid, words, reply):
        if is_beat(words) and b".hb." not in self.text:
            return False
        return (self.reply == reply and not self.released and words[0].upper() == self.name and self.pid in (None, pid)
                and any(self.text in word for word in words[1:]))

    def wait(self, count=1):
        """Until so many are held."""
        until(lambda: self.held >= count, 10, f"{count} {self.name.decode()} to be held")

    def release(self):
        with self.proxy.changed:
            self.released = True
            self.proxy.changed.notify_all()

    def hang_up(self):
        """Ends the connections on which they are held, as the worker sees it; what is held will reach Redis all the same."""
        for relay in self.relays:
            relay.worker.shutdown(socket.SHUT_RDWR)

    def let_go(self):
        """Releases what is held of workers that have gone away or given up, and waits until Redis has had it, or has ended the
        connection before."""
        self.release()
        until(lambda: all(relay.closed for relay in self.relays), 10, "Redis to be done with what was held")


class _Relay:
    """One connection."""

    def __init__(self, proxy, sock):
        self.proxy, self.worker, self.redis = proxy, sock, socket.socket(socket.AF_UNIX)
        self.pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.redis.connect(proxy.server.socket)
        self.asked = deque()
        self.closed = False

    def start(self):
        for body in (self._requests, self._replies):
            threading.Thread(target=self._run, args=(body,), daemon=True).start()

    def _run(self, body):
        try:
            body()
        except (OSError, ValueError):
            pass

    def _requests(self):
        """What the worker had sent before it went away still reaches Redis, as it would have from the kernel's buffers."""
        with self.worker.makefile("rb") as file:
            while True:
                words, raw = read_command(file)
                if words is None:
                    break
                if not is_beat(words):
                    with self.proxy.changed:
                        self.proxy.commands.append((self.pid, words))
                self.proxy.pass_hold(self, words, False)
                self.asked.append(words)
                self.redis.sendall(raw)
        self.redis.shutdown(socket.SHUT_WR)

    def _replies(self):
        with self.redis.makefile("rb") as file:
            while True:
                raw = _read_reply(file)
                if raw is None:
                    break
                # What comes unasked is an announcement on a worker's invalidation link.
                words = self.asked.popleft() if self.asked else [b"(announced)", raw]
                self.proxy.pass_hold(self, words, True)
                try:
                    self.worker.sendall(self.proxy.substitute(words) or raw)
                except OSError:
                    pass  # the worker went away; Redis goes on with what it has
        self.close()

    def close(self):
        self.closed = True
        for sock in (self.worker, self.redis):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _read_reply(file):
    line = file.readline()
    if not line.endswith(b"\n"):
        return None
    if line[:1] == b"$" and line != b"$-1\r\n":
        return line + file.read(int(line[1:]) + 2)
    if line[:1] == b"*" and line != b"*-1\r\n":
        return line + b"".join(_read_reply(file) for _ in range(int(line[1:])))
    return line


class RedisProxy(RedisSocket):
    """`server` is a RedisServer. Workers connect to `url`. `commands` is all they said but beats, as (pid, [words])."""

    def __init__(self, folder, server):
        self.server = server
        self.login = server.login
        self.changed = threading.Condition()
        self.commands = []
        self._holds = []
        self._frozen = False
        self._answers = []
        self._relays = []
        super().__init__(os.path.join(folder, "proxy.sock"))

    def client(self):
        return self.server.client()

    def close(self):
        try:
            self.refuse()
        except OSError:
            pass
        self.release()
        for relay in self._relays:
            relay.close()

    def _take(self, sock):
        relay = _Relay(self, sock)
        self._relays.append(relay)
        relay.start()

    # What a test may do

    def hold_request(self, name, text="", pid=None):
        """Such commands, and what comes behind them on their connection, do not reach Redis until they are released."""
        return self._hold(name, text, pid, False)

    def hold_reply(self, name, text="", pid=None):
        """Redis executes such commands, and its answers wait until they are released."""
        return self._hold(name, text, pid, True)

    def _hold(self, name, text, pid, reply):
        hold = Hold(self, name, text, pid, reply)
        with self.changed:
            self._holds.append(hold)
        return hold

    def release(self):
        self.thaw()
        for hold in list(self._holds):
            hold.release()

    def freeze(self):
        """Nothing passes any more, on no connection and in no direction, and nothing closes: a network that was cut."""
        with self.changed:
            self._frozen = True

    def thaw(self):
        with self.changed:
            self._frozen = False
            self.changed.notify_all()

    def cut(self, share=1.0, chance=random):
        """Ends that share of the connections, at both ends."""
        for relay in list(self._relays):
            if chance.random() < share:
                relay.close()

    def forget(self):
        """What was said so far, and what has ended."""
        with self.changed:
            self.commands.clear()
            self._holds = [hold for hold in self._holds if not hold.released]
            self._relays = [relay for relay in self._relays if not relay.closed]

    def hold_announcements(self, pid=None):
        """What Redis announces on the invalidation links is held back, and all that comes after it."""
        return self._hold("(announced)", "", pid, True)

    def answer_instead(self, name, text, raw, times=1):
        """Redis executes the command, and the worker is answered with the bytes `raw`."""
        with self.changed:
            self._answers.append([name.upper().encode(), text.encode(), raw, times])

    def seen(self, name, text="", pid=None):
        """How many such commands there were so far."""
        with self.changed:
            return sum(words[0].upper() == name.encode() and pid in (None, owner) and any(text.encode() in word for word in words[1:])
                       for owner, words in self.commands)

    def worker_of(self, client):
        """The process id of the worker that has this client: it is asked for a token that nobody knows."""
        unknown = token()
        assert client.ask("GET " + unknown).last == "NO invalid"
        with self.changed:
            return next(pid for pid, words in reversed(self.commands) if words[0] == b"GET" and unknown[3:25].encode() in words[1])

    def client_each(self, daemon, **settings):
        """A client on each worker, in the order of the process ids, which stand in its `worker`."""
        found, spare, end = {}, [], deadline(20)
        wanted = set(daemon.workers())
        while set(found) != wanted:
            client = daemon.connect(**settings)
            client.worker = self.worker_of(client)
            if client.worker in found:
                spare.append(client)
            found.setdefault(client.worker, client)
            assert len(spare) < 200 and deadline(0) < end, f"no client on {wanted - set(found)}"
        for client in spare:
            client.close()
        return [found[pid] for pid in sorted(found)]

    def client_on(self, daemon, worker):
        """One more client on that worker."""
        spare = []
        while True:
            client = daemon.connect()
            client.worker = self.worker_of(client)
            if client.worker == worker:
                break
            spare.append(client)
            assert len(spare) < 200, f"no client on {worker}"
        for other in spare:
            other.close()
        return client

    # What the relays ask

    def pass_hold(self, relay, words, reply):
        with self.changed:
            self.changed.wait_for(lambda: not self._frozen, HOLD_LIMIT)
            holds = [hold for hold in self._holds if hold.matches(relay.pid, words, reply)]
            for hold in holds:
                hold.held += 1
                hold.relays.append(relay)
            for hold in holds:
                self.changed.wait_for(lambda hold=hold: hold.released, HOLD_LIMIT)

    def substitute(self, words):
        with self.changed:
            for answer in self._answers:
                if answer[0] == words[0].upper() and answer[3] > 0 and any(answer[1] in word for word in words[1:]):
                    answer[3] -= 1
                    return answer[2]
        return None
