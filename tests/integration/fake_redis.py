# SPDX-License-Identifier: MIT
"""A server that speaks enough RESP2 to be taken for Redis, and lets a test decide what some commands are answered."""
import itertools
import os
import socket
import threading
import time

from redis_socket import RedisSocket, read_command


def bulk(data):
    """A bulk string, or the null bulk string."""
    if data is None:
        return b"$-1\r\n"
    data = data.encode() if isinstance(data, str) else data
    return b"$%d\r\n%s\r\n" % (len(data), data)


def array(items):
    """An array of bulk strings; an item that is already bytes in RESP is wrapped in Raw."""
    return b"*%d\r\n" % len(items) + b"".join(item.data if isinstance(item, Raw) else bulk(item) for item in items)


def integer(number):
    return b":%d\r\n" % number


class Raw:
    def __init__(self, data):
        self.data = data


class _Rule:
    def __init__(self, reply, delay, close, times):
        self.reply, self.delay, self.close, self.times = reply, delay, close, times


class _Connection:
    def __init__(self, fake, sock, number):
        self.fake, self.sock, self.number = fake, sock, number
        self.name = ""
        self.tracks, self.subscribed = None, False  # the prefix whose changes it hears of; once it listens
        self.sending = threading.Lock()
        self.file = sock.makefile("rb")

    def serve(self):
        try:
            while True:
                command, _ = read_command(self.file)
                if command is None or not self.fake._answer(self, command):
                    break
        except (OSError, ValueError):
            pass
        self.close()

    def send(self, data):
        """Sends bytes as they are, also unasked ones."""
        with self.sending:
            self.sock.sendall(data)

    def close(self):
        self.fake._forget(self)
        for action in (lambda: self.sock.shutdown(socket.SHUT_RDWR), self.file.close, self.sock.close):
            try:
                action()
            except OSError:
                pass


class FakeRedis(RedisSocket):
    """Listens on a unix socket in `folder`. Without rules it is a small Redis that keeps strings, and sorted sets
    without expiry. `commands` are all
    commands seen, as (connection number, [words]); `connections` those that are open."""

    def __init__(self, folder):
        self.data = {}
        self.sets = {}
        self.commands = []
        self.connections = {}
        self._rules = {}
        self._held = set()
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        super().__init__(os.path.join(folder, "fake.sock"))

    def refuse(self):
        """Refuses new connections and closes the open ones."""
        super().refuse()
        self.disconnect()

    def disconnect(self):
        """Closes every open connection."""
        for connection in list(self.connections.values()):
            connection.close()

    def close(self):
        with self._changed:
            self._held.clear()
            self._changed.notify_all()
        try:
            self.refuse()
        except OSError:
            pass

    def answer(self, name, reply, delay=0.0, close=False, times=None):
        """From now on (or so many `times`) the command is answered with the bytes `reply`, as they are; None: with
        nothing; a function (connection, words) -> bytes or None: with what that returns. `close` ends the connection
        afterwards."""
        with self._changed:
            self._rules[name.upper()] = _Rule(reply, delay, close, times)

    def forget(self, *names):
        """Answers the commands by itself again; without names, all of them."""
        with self._changed:
            for name in names or list(self._rules):
                self._rules.pop(name.upper(), None)

    def hold(self, *names):
        """The commands are read but wait, and what is behind them on their connection too, until release()."""
        with self._changed:
            self._held.update(name.upper() for name in names)

    def release(self):
        with self._changed:
            self._held.clear()
            self._changed.notify_all()

    def seen(self, name):
        """The commands of that name so far, each a list of words (bytes)."""
        with self._changed:
            return [words for _, words in self.commands if words[0].upper() == name.upper().encode()]

    def _take(self, sock):
        connection = _Connection(self, sock, next(self._numbers))
        with self._changed:
            self.connections[connection.number] = connection
        threading.Thread(target=connection.serve, daemon=True).start()

    def _forget(self, connection):
        with self._changed:
            self.connections.pop(connection.number, None)

    def _answer(self, connection, words):
        """Answers one command. False when the connection is to be closed."""
        name = words[0].upper().decode("latin-1")
        if name == "SET" and b".hb." in words[1]:
            return self._answer_beat(connection, words[1])
        with self._changed:
            self.commands.append((connection.number, words))
            self._changed.wait_for(lambda: name not in self._held)
            rule = self._rules.get(name)
            if rule and rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    del self._rules[name]
        if rule is None:
            connection.send(self._default(connection, name, words[1:]))
            return True
        time.sleep(rule.delay)
        reply = rule.reply(connection, words) if callable(rule.reply) else rule.reply
        if reply:
            connection.send(reply)
        return not rule.close

    def _answer_beat(self, connection, key):
        """What a worker sets only to hear of it again; no rule of a test is meant for it but one for BEAT."""
        with self._changed:
            rule = self._rules.get("BEAT")
        if rule is None:
            self.announce(key)
        reply = b"+OK\r\n" if rule is None else rule.reply(connection, key) if callable(rule.reply) else rule.reply
        if reply:
            connection.send(reply)
        return True

    def default(self, connection, words):
        """What the command is answered without rules; for functions that change the answer now and then."""
        return self._default(connection, words[0].upper().decode("latin-1"), words[1:])

    def _default(self, connection, name, arguments):
        method = getattr(self, "_do_" + name.lower(), None)
        if method is None:
            return b"-ERR unknown command '%s'\r\n" % name.encode("latin-1")
        return method(connection, arguments)

    def _do_auth(self, _connection, _arguments):
        return b"+OK\r\n"

    _do_select = _do_auth

    def _do_ping(self, _connection, _arguments):
        return b"+PONG\r\n"

    def _do_client(self, connection, arguments):
        verb = arguments[0].upper()
        if verb == b"SETNAME":
            connection.name = arguments[1].decode("latin-1")
        if verb == b"TRACKING":
            connection.tracks = arguments[-1]
        if verb == b"ID":
            return integer(connection.number)
        if verb == b"LIST":
            wanted = {int(number) for number in arguments[2:]}
            return bulk("".join(f"id={c.number} addr=fake name={c.name}\n" for c in list(self.connections.values())
                                if not wanted or c.number in wanted))
        if verb == b"KILL":
            wanted = [int(arguments[i + 1]) for i in range(1, len(arguments) - 1) if arguments[i].upper() == b"ID"]
            victims = [self.connections[number] for number in wanted if number in self.connections]
            for victim in victims:
                victim.close()
            return integer(len(victims))
        return b"+OK\r\n"

    def _do_subscribe(self, connection, arguments):
        connection.subscribed = True
        return array([b"subscribe", arguments[0], Raw(integer(1))])

    def announce(self, *keys):
        """Tells whoever tracks them that the keys were changed; without keys, that all may have been."""
        for listener in list(self.connections.values()):
            own = [key for key in keys if listener.tracks is not None and key.startswith(listener.tracks)]
            if listener.subscribed and (own or not keys):
                payload = Raw(array(own) if own else b"*-1\r\n")
                try:
                    listener.send(array([b"message", b"__redis__:invalidate", payload]))
                except OSError:
                    pass

    def _do_get(self, _connection, arguments):
        return bulk(self.data.get(arguments[0]))

    def _do_set(self, _connection, arguments):
        options = [word.upper() for word in arguments[2:]]
        if b"NX" in options and arguments[0] in self.data:
            return bulk(None)
        self.data[arguments[0]] = arguments[1]
        self.announce(arguments[0])
        return b"+OK\r\n"

    def _do_unlink(self, _connection, arguments):
        gone = [key for key in arguments if self.data.pop(key, None) is not None]
        if gone:
            self.announce(*gone)
        return integer(len(gone))

    _do_del = _do_unlink

    def _do_zadd(self, _connection, arguments):
        entries = self.sets.setdefault(arguments[0], {})
        known = len(entries)
        entries[arguments[-1]] = arguments[-2]
        return integer(len(entries) - known)

    def _do_expireat(self, _connection, arguments):
        return integer(arguments[0] in self.sets)

    def _do_zcard(self, _connection, arguments):
        return integer(len(self.sets.get(arguments[0], {})))

    def _do_zscan(self, _connection, arguments):
        entries = self.sets.get(arguments[0], {})
        return array(["0", Raw(array([word for entry in entries.items() for word in entry]))])

    def _do_scan(self, _connection, _arguments):
        return array(["0", Raw(array(list(self.data)))])
