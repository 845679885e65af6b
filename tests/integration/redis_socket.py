# SPDX-License-Identifier: MIT
"""What the stand-ins for Redis have in common: a unix socket that takes connections, and reading what workers say."""
import os
import socket
import threading


def read_command(file):
    """One command: its words, and its bytes as they came. (None, None) where there is no more."""
    line = file.readline()
    if not line.startswith(b"*"):
        return None, None
    words, raw = [], line
    for _ in range(int(line[1:])):
        head = file.readline()
        body = file.read(int(head[1:]) + 2)
        words.append(body[:-2])
        raw += head + body
    return words, raw


class RedisSocket:
    """Listens on a unix socket; `_take(sock)`, which others write, has each connection, in a thread of its own."""

    def __init__(self, path):
        self.path = path
        self._listener = None
        self.listen()

    @property
    def url(self):
        return "unix:" + self.path

    def listen(self):
        """Takes connections again after refuse()."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self):
        """Refuses new connections and leaves the open ones alone."""
        os.unlink(self.path)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener):
        while True:
            try:
                self._take(listener.accept()[0])
            except OSError:
                if listener.fileno() < 0 or listener is not self._listener:
                    return
