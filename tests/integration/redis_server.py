# SPDX-License-Identifier: MIT
"""A real redis-server in a folder of its own, on a unix socket and a TCP port; tests may stop, kill and restart it."""
import os
import secrets
import signal
import subprocess

import redis

from waiting import free_port, until


ACL_FILE = os.path.join(os.path.dirname(__file__), "../../conf/redis-acl")
ACL_USER = "tokenkeep"


def acl_rules():
    """What the sample allows the user of tokenkeepd, but the password."""
    with open(ACL_FILE, encoding="utf-8") as file:
        line = next(line for line in file if line.startswith(f"user {ACL_USER} on #SHA256-OF-THE-PASSWORD "))
    return line.split(" ", 4)[4].strip()


class RedisServer:
    """`users` maps a name to (password, rules), as `ACL SETUSER` takes them; `password` is the default user's. Without either
    there is the user of the sample ACL, and `login` is its name and password: a Daemon uses it by itself."""

    def __init__(self, folder, appendonly=False, password=None, users=None, settings=()):
        self.folder = folder
        self.socket = os.path.join(folder, "redis.sock")
        self.port = None
        self.appendonly = appendonly
        self.password = password
        self.login = None if password or users else (ACL_USER, secrets.token_hex(8))
        self.users = users or ({ACL_USER: (self.login[1], acl_rules())} if self.login else {})
        self.settings = list(settings)
        self.process = None
        self.start()

    def start(self):
        """Starts the server; after kill() on the same port and the same data."""
        for _ in range(5):
            port = self.port or free_port()
            self.process = subprocess.Popen(self._command(port), stdin=subprocess.DEVNULL, cwd=self.folder,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
            if until(lambda: self.process.poll() is not None or self._answers(), what="redis-server") is True:
                if self.process.poll() is None:
                    self.port = port
                    return
        raise AssertionError("redis-server does not start:\n" + self.log())

    def _command(self, port):
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", self.socket,
                   "--dir", self.folder, "--save", "", "--logfile", os.path.join(self.folder, "redis.log"),
                   "--databases", "16"]
        if self.appendonly:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        if self.password:
            command += ["--requirepass", self.password]
        for name, (password, rules) in self.users.items():
            command += ["--user", name, "on", ">" + password, *rules.split()]
        return command + self.settings

    def _answers(self):
        try:
            return self.client().ping()
        except (redis.exceptions.BusyLoadingError, redis.exceptions.ConnectionError, OSError):
            return False

    def client(self, **settings):
        """A python3-redis client as the default user over the unix socket; answers are bytes."""
        return redis.Redis(unix_socket_path=self.socket, password=self.password, **settings)

    @property
    def url(self):
        return "unix:" + self.socket

    @property
    def tcp_url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def log(self):
        with open(os.path.join(self.folder, "redis.log"), errors="replace") as file:
            return file.read()

    def stop(self):
        """Stops it in its tracks: connections stay open and nothing is answered."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def cont(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        """Ends it at once; start() or restart() bring it back."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def restart(self):
        self.kill()
        self.start()

    def close(self):
        self.kill()
