# SPDX-License-Identifier: MIT
"""A master, its replicas and the sentinels that watch them, all real and on the loopback."""
import os
import secrets
import subprocess

import redis

from redis_server import ACL_USER, RedisServer, acl_rules
from waiting import free_port, until

DOWN_AFTER = 500  # milliseconds without an answer until a server is taken for dead


class Sentinels:
    """`servers` are RedisServers, of which the first begins as the master; sentinels call it "tokens"."""

    def __init__(self, folder, replicas=2, sentinels=3, settings=()):
        self.folder = folder
        self.servers = []
        self.login = (ACL_USER, secrets.token_hex(8))
        self.processes = {}
        for number in range(1 + replicas):
            own = os.path.join(folder, f"redis{number}")
            os.mkdir(own)
            follow = ["--replicaof", "127.0.0.1", str(self.servers[0].port)] if number > 0 else []
            self.servers.append(RedisServer(own, users={ACL_USER: (self.login[1], acl_rules())},
                                            settings=["--repl-diskless-sync-delay", "0", *follow, *settings]))
        self.ports = [free_port() for _ in range(sentinels)]
        for number, port in enumerate(self.ports):
            own = os.path.join(folder, f"sentinel{number}")
            os.mkdir(own)
            with open(os.path.join(own, "sentinel.conf"), "w") as out:
                out.write(f"port {port}\nbind 127.0.0.1\ndir {own}\nlogfile {own}/log\n"
                          f"sentinel monitor tokens 127.0.0.1 {self.servers[0].port} 2\n"
                          f"sentinel down-after-milliseconds tokens {DOWN_AFTER}\nsentinel failover-timeout tokens 3000\n"
                          "sentinel parallel-syncs tokens 2\n")
            self.start(number, port)
        until(self.settled, 30, "sentinels that know each other")

    def start(self, number, port):
        """Starts a sentinel, with what it knew before."""
        file = os.path.join(self.folder, f"sentinel{number}", "sentinel.conf")
        self.processes[port] = subprocess.Popen(["redis-server", file, "--sentinel"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                stderr=subprocess.STDOUT)

    def settled(self):
        """Whether every sentinel that runs knows all others, and each replica follows the master."""
        try:
            return self._settled()
        except redis.exceptions.RedisError:
            return False

    def _settled(self):
        master = self.master()
        followers = [server for server in self.servers if server is not master and server.process.poll() is None]
        states = [self.sentinel(port).sentinel_master("tokens") for port in self._running()]
        return (master is not None
                and all(state["num-other-sentinels"] == len(self.ports) - 1 and state["num-slaves"] >= len(followers) for state in states)
                and all(server.client().info("replication").get("master_link_status") == "up" for server in followers))

    def _running(self):
        return [port for port in self.ports if self.processes[port].poll() is None]

    @staticmethod
    def sentinel(port):
        return redis.Redis(port=port, decode_responses=True)

    def master(self):
        """The server that the sentinels take for the master; None while they are of two minds."""
        try:
            named = {int(self.sentinel(port).sentinel_get_master_addr_by_name("tokens")[1]) for port in self._running()}
        except (redis.exceptions.RedisError, TypeError):
            return None
        found = [server for server in self.servers if server.port in named]
        return found[0] if len(named) == 1 and found else None

    def fail_over(self):
        """Makes the sentinels choose another master, the old one being well."""
        before = self.master()
        until(lambda: self._asked_to_fail_over() or self.master() not in (None, before), 30, "sentinels that are ready")
        until(lambda: self.master() not in (None, before), 30, "another master")

    def _asked_to_fail_over(self):
        try:
            return self.sentinel(self.ports[0]).execute_command("SENTINEL", "FAILOVER", "tokens") in (b"OK", "OK", True)
        except redis.exceptions.ResponseError:
            return False

    def tell_lies(self, port, server):
        """Makes a sentinel take another server for the master: it knows nothing of the others from then on."""
        sentinel = self.sentinel(port)
        sentinel.execute_command("SENTINEL", "REMOVE", "tokens")
        sentinel.execute_command("SENTINEL", "MONITOR", "tokens", "127.0.0.1", server.port, 9)

    def end(self, master, way):
        """Makes the sentinels replace the master: "kill" it, "stop" it, or "order" them to."""
        if way == "kill":
            master.kill()
        elif way == "stop":
            master.stop()
        else:
            self.fail_over()

    @staticmethod
    def bring_back(server, way):
        """The master of before: sentinels make a replica of it."""
        if way == "kill":
            server.start()
        elif way == "stop":
            server.cont()

    @property
    def url(self):
        return "sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + "/tokens/0"

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        for server in self.servers:
            server.close()
