# SPDX-License-Identifier: MIT
"""A client of the line protocol, as plain as a socket, for tests that care about every byte."""
import socket
import struct
import time

from waiting import SLOWNESS, deadline


class Closed(Exception):
    """The server closed the connection; `rest` is what it had sent of a line."""

    def __init__(self, rest=b""):
        super().__init__(f"connection closed with {rest!r} left")
        self.rest = rest


class Answer:
    """One answer: `lines` are the `+ ` lines without that mark, `last` is the line that ends it, `tag` what all began
    with."""

    def __init__(self, lines, last, tag=None):
        self.lines, self.last, self.tag = lines, last, tag
        self.cls, _, self.text = last.partition(" ")

    @property
    def code(self):
        """`ERR busy`, `NO invalid`, `OK`: the class, and the code or reason behind a class other than OK."""
        return self.cls if self.cls == "OK" else " ".join(self.last.split(" ")[:2])

    def __repr__(self):
        return f"<{self.tag or ''}{self.lines} {self.last[:300]!r}>"


def connect(address, timeout=20.0, source=None):
    """A socket to `("127.0.0.1", port)`, `("::1", port)` or a path; `source` is the address that it comes from (TCP)."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(timeout * SLOWNESS)
    if source:
        sock.bind((source, 0))
    sock.connect(address)
    return sock


class Client:
    def __init__(self, address, timeout=20.0, receive_buffer=None, source=None):
        self.timeout = timeout
        self.buffer = b""
        if receive_buffer:
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            self.sock = socket.socket(family)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.sock.settimeout(timeout * SLOWNESS)
            self.sock.connect(address)
        else:
            self.sock = connect(address, timeout, source)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends the connection with RST instead of FIN (TCP)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def send_pieces(self, pieces, pause=0.0):
        """Sends each piece with a write of its own."""
        for piece in pieces:
            self.sock.sendall(piece)
            time.sleep(pause)

    def shutdown(self):
        """Says that no byte follows; answers can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def _receive(self, end):
        left = end - time.monotonic()
        if left <= 0:
            raise AssertionError(f"no more from the server in time; so far {self.buffer[:200]!r}")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(1 << 18)
        except socket.timeout:
            raise AssertionError(f"no more from the server in time; so far {self.buffer[:200]!r}") from None
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(self.buffer)
        self.buffer += data

    def read_line(self, timeout=None):
        """The next line without its LF. Closed when the connection ends first."""
        end = deadline(timeout or self.timeout)
        while b"\n" not in self.buffer:
            self._receive(end)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def read_exactly(self, size, timeout=None):
        end = deadline(timeout or self.timeout)
        while len(self.buffer) < size:
            self._receive(end)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_to_end(self, timeout=None):
        """Everything until the server closes."""
        end = deadline(timeout or self.timeout)
        try:
            while True:
                self._receive(end)
        except Closed:
            data, self.buffer = self.buffer, b""
            return data

    def expect_closed(self, timeout=None):
        """The server closes, and has sent nothing more."""
        rest = self.read_to_end(timeout)
        assert rest == b"", f"expected the connection to close unanswered, got {rest[:300]!r}"

    def expect_silence(self, seconds):
        """Nothing comes and nothing closes for so long."""
        assert not self.buffer, f"expected nothing, got {self.buffer[:300]!r}"
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1000)
        except (socket.timeout, BlockingIOError):
            return
        raise AssertionError(f"expected nothing for {seconds} s, got {data[:300]!r}")

    def answer(self, timeout=None):
        """The next answer, with the `+ ` lines before its last. All lines of one answer have the same tag, and no bytes
        but printable ones."""
        lines, tag = [], None
        while True:
            raw = self.read_line(timeout)
            assert not any(byte < 0x20 or byte == 0x7F for byte in raw), f"control bytes in an answer: {raw[:300]!r}"
            line = raw.decode("utf-8")
            own = None
            if line.startswith("#"):
                own, _, line = line.partition(" ")
            if lines:
                assert own == tag, f"one answer with the tags {tag} and {own}"
            tag = own
            if line.startswith("+ "):
                lines.append(line[2:])
                continue
            assert line.split(" ")[0] in ("OK", "NO", "ERR"), f"an answer of no known class: {line[:300]!r}"
            return Answer(lines, line, tag)

    def ask(self, request, timeout=None):
        """Sends one request line and reads its answer."""
        self.send((request.encode() if isinstance(request, str) else request) + b"\n")
        return self.answer(timeout)

    def answers(self, count, timeout=None):
        return [self.answer(timeout) for _ in range(count)]

    def tagged(self, count, timeout=None):
        """Reads answers that may mix their lines only by tag; returns them by tag."""
        lines, done = {}, {}
        while len(done) < count:
            tag, _, line = self.read_line(timeout).decode("utf-8").partition(" ")
            assert tag.startswith("#"), f"a line without a tag: {tag} {line}"
            if line.startswith("+ "):
                lines.setdefault(tag, []).append(line[2:])
            else:
                assert tag not in done, f"two answers for {tag}"
                done[tag] = Answer(lines.pop(tag, []), line, tag)
        return done
