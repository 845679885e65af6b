# SPDX-License-Identifier: MIT
"""tokenkeepd in a folder of its own: its configuration written, started, watched and stopped."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

from client import Client, Closed, connect
from hooks import json_lines, matches
from sealed import new_key, write_keyring
from waiting import SLOWNESS, deadline, free_port, until


def program(name):
    """The path of an installed program: TOKENKEEPD or TOKENKEEP in the environment, else what PATH has."""
    path = os.environ.get(name.upper()) or shutil.which(name)
    assert path, f"{name} is not installed; name it in {name.upper()}"
    return path


WORKER, REPORTER = "tk-worker-", "tk-reporter"  # what processes are called; a worker's number follows

# Wherever one of these appears on standard error, a test has found something.
SANITIZER = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|AddressSanitizer:DEADLYSIGNAL")


def environment():
    """Workers are non-dumpable, where leak detection cannot work; whoever wants it otherwise says so."""
    result = dict(os.environ)
    asan = result.get("ASAN_OPTIONS", "")
    if "detect_leaks" not in asan:
        result["ASAN_OPTIONS"] = (asan + ":" if asan else "") + "detect_leaks=0"
    result.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    return result


def run(*arguments, name="tokenkeepd", timeout=60, **settings):
    """Runs a program to its end; returns what subprocess.run does, output as text."""
    done = subprocess.run([program(name), *arguments], stdin=settings.pop("stdin", subprocess.DEVNULL),
                          timeout=timeout * SLOWNESS,
                          capture_output=True, text=True, errors="replace", env=environment(), **settings)
    assert not SANITIZER.search(done.stderr), done.stderr
    return done


def run_on_terminal(*arguments, name="tokenkeep", reply=b"", timeout=60):
    """Runs a program with a terminal as standard input and standard error, on which `reply` is typed; returns its status, its
    output and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([program(name), *arguments], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment(),
                               start_new_session=True)
    os.close(theirs)
    os.write(ours, reply)
    shown, end = b"", deadline(timeout)
    while time.monotonic() < end:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            shown += os.read(ours, 1000)
        except OSError:
            break
    out = process.stdout.read()
    process.stdout.close()
    os.close(ours)
    return process.wait(20), out.decode(), shown.decode()


def quote(text):
    """A string of the configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def option(name, value):
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"{name} = {'true' if value else 'false'}\n"
    return f"{name} = {quote(value) if isinstance(value, str) else value}\n"


def section(title, options):
    return title + " {\n" + "".join("    " + option(name, value) for name, value in options.items()) + "}\n"


def hook_section(title, settings):
    """A hook's settings keep their names as they are: they mean something to the hook alone."""
    lines = (f"    {name} = {quote(value) if isinstance(value, str) else value}\n" for name, value in settings.items())
    return f"hook {quote(title)} {{\n" + "".join(lines) + "}\n"


def process_field(pid, field):
    """One field of /proc/PID/status, or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return line.split(":", 1)[1].strip()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def memory(pid):
    """The resident memory of a process in bytes."""
    return int((process_field(pid, "VmRSS") or "0 kB").split()[0]) * 1024


def cpu_time(pid):
    """The CPU time of a process of one thread, in nanoseconds."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


class Daemon:
    """Keywords: `redis` is a RedisServer, a FakeRedis or a URL; to the first one logs in as the user of the sample ACL, unless
    there is another `prefix` than that is for, or a user or password; `redis_options`, `cache`, `log` and `listener` (for
    every listener) are further options of those sections, `listeners` whole further listeners by name; `keys` the
    keyring; `extra` text behind everything; all others are options of the top level. `_` in a name stands for `-`.

    `audit` and `slack` are the options of these sections, and `hooks` maps titles (names or paths) to their settings.
    `audit` alone brings the hook audit.lua along, and a file of its own unless it names one. `wrapper` is a command that
    executes, in its own process, the one that is appended to it.

    Listeners, all on the loopback: verify (TCP), verify_unix, manage (unix), manage_tcp."""

    def __init__(self, folder, redis, workers=2, prefix="token:", keys=None, redis_options=None, cache=None, log=None,
                 listener=None, listeners=None, audit=None, slack=None, hooks=None, extra="", wrapper=(), **options):
        self.folder = folder
        self.redis = redis
        self.prefix = prefix
        self.workers_wanted = workers
        self.keys = list(keys or [new_key()])
        self.options = dict(options)
        self.redis_options = dict(redis_options or {})
        self.cache = dict(cache or {})
        self.log = dict(log or {})
        self.listener = dict(listener or {})
        self.listeners = dict(listeners or {})
        self.audit_options = None if audit is None else {"file": os.path.join(folder, "audit.log"), **audit}
        self.slack = dict(slack or {})
        self.hooks = dict(hooks if hooks is not None else {} if audit is None else {"audit.lua": {}})
        self.extra = extra
        self.wrapper = list(wrapper)
        self.config_file = os.path.join(folder, "tokenkeepd.conf")
        self.keyring = os.path.join(folder, "keyring")
        self.process = None
        self.steady = None  # the workers, all to live until stop(); None once a test has killed or replaced some
        self.ended = False  # set by a test that ends the daemon other than with stop()
        self._seen = 0
        self.verify = self.manage_tcp = None
        self.verify_unix = os.path.join(folder, "verify.sock")
        self.manage = os.path.join(folder, "manage.sock")

    # Configuration

    def write_config(self):
        write_keyring(self.keyring, self.keys)
        url = self.redis if isinstance(self.redis, str) else self.redis.url
        listeners = {
            "verify": {"address": "%s:%d" % self.verify, "role": "verify"},
            "verify-unix": {"address": "unix:" + self.verify_unix, "role": "verify"},
            "manage": {"address": "unix:" + self.manage, "role": "manage"},
            "manage-tcp": {"address": "%s:%d" % self.manage_tcp, "role": "manage"},
            **self.listeners,
        }
        text = option("workers", self.workers_wanted) + option("keyring", self.keyring)
        text += "".join(option(name, value) for name, value in self.options.items())
        for name, options in listeners.items():
            text += section(f'listener "{name}"', {**options, **self.listener})
        text += section("redis", {"url": url, "prefix": self.prefix, **self.redis_login(), **self.redis_options})
        for name, options in (("cache", self.cache), ("log", self.log), ("audit", self.audit_options), ("slack", self.slack)):
            if options:
                text += section(name, options)
        text += "".join(hook_section(title, settings) for title, settings in self.hooks.items())
        with open(self.config_file, "w") as file:
            file.write(text + self.extra)

    def redis_login(self):
        """The options for the user of the sample ACL, where that is to be used."""
        login = getattr(self.redis, "login", None)
        if login is None or self.prefix != "token:" or {"username", "password-file"} & self.redis_options.keys():
            return {}
        password = os.path.join(self.folder, "redis-password")
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(login[1])
        return {"username": login[0], "password-file": password}

    # Processes

    def start(self, wait=True):
        """Writes the configuration and starts; `wait`: until every listener answers, and fails when none ever does."""
        for attempt in range(5):
            self.verify = ("127.0.0.1", free_port())
            self.manage_tcp = ("127.0.0.1", free_port())
            self.write_config()
            self._spawn()
            if not wait:
                return
            until(lambda: self.process.poll() is not None or self.ready(), 60, "tokenkeepd to answer")
            if self.process.poll() is None:
                self.steady = self.workers()
                return
            if "in use" not in self.stderr() or attempt == 4:
                raise AssertionError(f"tokenkeepd ended with status {self.process.returncode}:\n{self.stderr()}")

    def _spawn(self):
        with open(os.path.join(self.folder, "stderr"), "ab") as stderr:
            self.process = subprocess.Popen([*self.wrapper, program("tokenkeepd"), "--config", self.config_file],
                                            stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=environment(),
                                            cwd=self.folder)

    def ready(self):
        """Every worker serves, so it has read its keyring, every listener answers, and there is a reporter if there are
        hooks."""
        if (self.hooks and not self.reporter()) or len(self.workers()) < self.workers_wanted:
            return False
        try:
            with Client(self.manage, 5) as client:
                stats = client.ask("STATS")
                if stats.last != "OK" or int(dict(line.split(" ") for line in stats.lines)["workers"]) < self.workers_wanted:
                    return False
            for address in (self.verify, self.verify_unix, self.manage, self.manage_tcp):
                with Client(address, 5) as client:
                    if client.ask("PING").last != "OK":
                        return False
        except (OSError, Closed):
            return False
        return True

    @property
    def sanitized(self):
        """Whether it is a sanitizer build, which takes memory of its own."""
        with open(program("tokenkeepd"), "rb") as file:
            return b"__asan_init" in file.read()

    @property
    def pid(self):
        return self.process.pid

    def _children(self):
        """The names of the children that live, by process id."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
                pids = [int(word) for word in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            return {}
        return {pid: process_field(pid, "Name") or "redis" for pid in pids
                if not (process_field(pid, "State") or "Z").startswith("Z")}

    def workers(self):
        """The process ids of the workers, in order."""
        return sorted(pid for pid, name in self._children().items() if name.startswith(WORKER))

    def reporters(self):
        """The process ids of the reporters: more than one while a new one takes over."""
        return sorted(pid for pid, name in self._children().items() if name == REPORTER)

    def reporter(self):
        """The process id of the reporter, None when there is none."""
        pids = self.reporters()
        return pids[-1] if pids else None

    def memory(self):
        """The largest resident memory of a worker in bytes."""
        return max((memory(pid) for pid in self.workers()), default=0)

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self):
        """Has the master replace all workers, and waits until as many new ones serve."""
        old, before = set(self.workers()), len(self.stderr())
        self.signal(signal.SIGHUP)
        # Counting children alone would take the process that tries the configuration for a worker.
        until(lambda: "reloaded: " in self.stderr()[before:] and len(set(self.workers()) - old) >= self.workers_wanted, 60,
              "new workers after SIGHUP")
        until(self.ready, 60, "tokenkeepd to answer after SIGHUP")
        self.steady = None
        return [pid for pid in self.workers() if pid not in old]

    def reload_refused(self):
        """Has the master try a configuration that is wrong; nothing changes. Returns what the log says of it."""
        before, workers = len(self.stderr()), self.workers()
        self.signal(signal.SIGHUP)
        until(lambda: "not reloaded" in self.stderr()[before:], 20, "the reload to be refused")
        assert self.workers() == workers
        return self.stderr()[before:]

    def check(self):
        """Nothing went wrong so far: alive, the same workers, no sanitizer report since the last look."""
        text = self.stderr()
        new, self._seen = text[self._seen:], len(text)
        assert not SANITIZER.search(new), "a sanitizer report:\n" + new
        assert self.process.poll() is None, f"tokenkeepd ended with status {self.process.returncode}:\n{new}"
        if self.steady is not None:
            assert set(self.steady) <= set(self.workers()), f"a worker died:\n{new}"

    def stop(self):
        """SIGTERM; the exit status is 0 and nobody crashed on the way."""
        if self.process.poll() is None:
            self.check()
            self.ended = True
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(60 * SLOWNESS)
            except subprocess.TimeoutExpired:
                raise AssertionError("tokenkeepd does not stop:\n" + self.stderr()) from None
        assert self.process.returncode == 0, f"exit status {self.process.returncode}:\n{self.stderr()}"
        assert not SANITIZER.search(self.stderr()), "a sanitizer report:\n" + self.stderr()

    def kill(self):
        """Ends whatever is left of it, by process id."""
        if self.process is None:
            return
        children = self.workers() + self.reporters()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in children:
            try:
                if process_field(pid, "PPid") in (str(self.pid), "1") and (process_field(pid, "Name")
                                                                           or "").startswith((WORKER, REPORTER)):
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def stderr(self):
        with open(os.path.join(self.folder, "stderr"), errors="replace") as file:
            return file.read()

    def wait_log(self, text, seconds=20):
        """Waits until standard error has `text`."""
        until(lambda: text in self.stderr(), seconds, f"{text!r} in the log")

    # The audit log

    def audit(self):
        """The records of the audit log so far, as dictionaries."""
        return json_lines(self.audit_options["file"])

    def records(self, after=0, **fields):
        """Those from number `after` on that have these values; `...` means any, None that there is no such field."""
        return [record for record in self.audit()[after:] if matches(record, fields)]

    def wait_record(self, seconds=20, after=0, **fields):
        """Waits for the first such record and returns it."""
        return until(lambda: self.records(after, **fields), seconds, f"a record of {fields}")[0]

    # Clients

    def connect(self, role="manage", timeout=20.0, **settings):
        """A client; `role` is `manage` or `verify` over TCP, `manage_unix` or `verify_unix`."""
        return Client(self.address(role), timeout, **settings)

    def address(self, role):
        return {"manage": self.manage_tcp, "manage_unix": self.manage, "verify": self.verify,
                "verify_unix": self.verify_unix}[role]

    def raw(self, role="manage"):
        return connect(self.address(role))

    def ask(self, request, role="manage", timeout=20.0):
        """One request on a connection of its own."""
        with self.connect(role, timeout) as client:
            return client.ask(request, timeout)

    def stats(self):
        """STATS as a dictionary; numbers are int."""
        lines = self.ask("STATS").lines
        pairs = (line.split(" ", 1) for line in lines)
        return {name: int(value) if re.fullmatch(r"-?\d+", value) else value for name, value in pairs}
