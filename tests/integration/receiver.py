# SPDX-License-Identifier: MIT
"""An HTTP or HTTPS server on the loopback that records what is posted to it, and answers as a test tells it to.

An answer is one string of words: "200", "500" or any status, a second word being its Retry-After ("429 7", "429 Fri, 01
Jan 2027 00:00:00 GMT"); "echo" (200, and the request as JSON); "redirect"; "slow SECONDS" (200, but later); and what no
server should do: "nothing" (closes), "silent" (stays open and says nothing), "drip" (a body without an end, a byte at a
time), "huge" (one as fast as it is read), "headers" (8 MiB of headers), "garbage" (no HTTP at all). A path of
"/answer/WORDS", with "_" for the spaces, is answered with these; every other one with the next answer of the script, or
with the usual one.

As a program, `receiver.py FOLDER` serves HTTP, HTTPS, and HTTPS under the name of another machine, writes the three ports
as a line, and ends with its standard input; FOLDER/trusted.pem is what the client is to trust."""
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time


def make_certificate(folder, name="certificate", names="DNS:localhost,IP:127.0.0.1,IP:::1"):
    """Makes FOLDER/NAME.pem, which signs itself for `names`, and its key; returns both paths."""
    certificate, key = (os.path.join(folder, name + ending) for ending in (".pem", ".key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=tokenkeep test", "-addext", "subjectAltName=" + names, "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    return certificate, key


class Request:
    """What was asked: `method`, `path`, `headers` (names in lower case), `body` (bytes), `time` (monotonic, when it was
    whole), `connection` (a number: the same for requests of one connection)."""

    def __init__(self, handler, body):
        self.method, self.path, self.body = handler.command, handler.path, body
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.time = time.monotonic()
        self.connection = handler.client_address[1]

    @property
    def json(self):
        return json.loads(self.body)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def setup(self):
        super().setup()
        self.server.receiver.connected(self.connection)

    def finish(self):
        self.server.receiver.disconnected(self.connection)
        super().finish()

    def log_message(self, *_arguments):
        pass

    def do_POST(self):
        try:
            size = int(self.headers.get("Content-Length", 0))
            request = Request(self, self.rfile.read(size))
            words = self.server.receiver.record(request).split(" ")
            odd = getattr(self, "_odd_" + words[0], None)
            if odd:
                odd(request, *words[1:])
            else:
                self._answer(int(words[0]), {"Retry-After": " ".join(words[1:])} if len(words) > 1 else {})
        except (OSError, ValueError):
            self.close_connection = True

    do_GET = do_PUT = do_POST

    def do_CONNECT(self):
        """Somebody takes this for a proxy: recorded, refused."""
        self.server.receiver.record(Request(self, b""))
        self._answer(403, {})

    def _answer(self, status, headers, body=b"ok"):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _odd_echo(self, request):
        self._answer(200, {}, json.dumps({"method": request.method, "path": request.path, "headers": request.headers,
                                          "body": request.body.decode("latin-1")}, sort_keys=True).encode())

    def _odd_redirect(self, _request):
        self._answer(302, {"Location": self.server.receiver.address + "/redirected"})

    def _odd_slow(self, _request, seconds):
        self.server.receiver.closing.wait(float(seconds))
        self._answer(200, {})

    def _odd_nothing(self, _request):
        self.close_connection = True

    def _odd_silent(self, _request):
        self.server.receiver.closing.wait(60)
        self.close_connection = True

    def _odd_drip(self, _request):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.receiver.closing.wait(0.05):
            self.wfile.write(b".")

    def _odd_huge(self, _request):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.receiver.closing.is_set():
            self.wfile.write(b"x" * 65536)

    def _odd_headers(self, _request):
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(8 * 1024):
            self.wfile.write(b"X-Long: " + b"x" * 1014 + b"\r\n")
        self.wfile.write(b"Content-Length: 0\r\n\r\n")

    def _odd_garbage(self, _request):
        self.wfile.write(b"\x00\xff\xfe nobody speaks\r\nlike this\r\n" * 8)
        self.close_connection = True


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that left, or that does not trust the certificate: no news."""


class Receiver:
    """Serves until close(). With `tls` it needs a `folder` for its certificate, whose path is then `certificate`; or
    that one and its key as a pair."""

    def __init__(self, tls=False, folder=None, certificate=None, port=0):
        self.requests = []
        self.usual = "200"
        self.closing = threading.Event()
        self._script = []
        self._connections = set()
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.receiver = self
        self.port = self._server.server_address[1]
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.certificate = None
        if tls:
            self.certificate, key = certificate or make_certificate(folder)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, key)
            # The handshake is the thread's own, so that a client that stalls in it stalls nobody else.
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def script(self, *answers):
        """The next requests are answered with these, in order, and then with the usual answer again."""
        with self._changed:
            self._script = list(answers)

    def always(self, answer):
        """The usual answer from now on."""
        with self._changed:
            self._script = []
            self.usual = answer

    def record(self, request):
        """Remembers a request; returns the words it is to be answered with."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            if request.path.startswith("/answer/"):
                return request.path[len("/answer/"):].replace("_", " ")
            return self._script.pop(0) if self._script else self.usual

    def connected(self, sock):
        with self._changed:
            self._connections.add(sock)

    def disconnected(self, sock):
        with self._changed:
            self._connections.discard(sock)

    def forget(self):
        """Forgets the requests so far."""
        with self._changed:
            self.requests = []

    def wait(self, count=1, seconds=20.0):
        """Waits until `count` requests have come; returns all that have."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, seconds):
                raise AssertionError(f"{len(self.requests)} requests came in {seconds:g} s, not {count}")
            return list(self.requests)

    def close(self):
        """Stops listening and ends the connections it holds. Another may then listen on the same port."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._changed:
            for sock in self._connections:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def main():
    folder = sys.argv[1]
    certificates = [make_certificate(folder), make_certificate(folder, "other", "DNS:other.example")]
    with open(os.path.join(folder, "trusted.pem"), "w") as trusted:
        for path, _key in certificates:
            with open(path) as file:
                trusted.write(file.read())
    receivers = [Receiver()] + [Receiver(tls=True, certificate=pair) for pair in certificates]
    print(*[receiver.port for receiver in receivers], flush=True)
    sys.stdin.read()
    for receiver in receivers:
        receiver.close()


if __name__ == "__main__":
    main()
