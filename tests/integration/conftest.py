# SPDX-License-Identifier: MIT
"""Fixtures: folders short enough for unix sockets, redis-servers, daemons, and what they said when a test fails.

`daemon` and `redis_server` are shared by all tests of a run (of one xdist worker) that only want a daemon with default
options; such tests use keys of their own and leave DELETEALL alone. `start_daemon`, `start_redis` and `start_fake` make
one for a single test."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from daemon import Daemon  # noqa: E402
from fake_redis import FakeRedis  # noqa: E402
from hooks import hook_file  # noqa: E402
from planter import Planter  # noqa: E402
from redis_proxy import RedisProxy  # noqa: E402
from redis_server import RedisServer  # noqa: E402

TAIL = 20000  # characters of standard error that a failure shows


def make_folder():
    return tempfile.mkdtemp(prefix="tk-", dir=os.environ.get("TMPDIR", "/tmp"))


@pytest.fixture
def folder():
    """A folder for one test, with a short path."""
    path = make_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def session_folder():
    path = make_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _in_use(request):
    return request.node.__dict__.setdefault("daemons_in_use", [])


@pytest.fixture
def start_redis():
    """start_redis(**keywords of RedisServer) -> RedisServer."""
    servers, folders = [], []

    def start(**settings):
        folders.append(make_folder())
        servers.append(RedisServer(folders[-1], **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start_proxy(start_redis):
    """start_proxy(**keywords of RedisServer) -> RedisProxy before a Redis of its own."""
    proxies, folders = [], []

    def start(**settings):
        folders.append(make_folder())
        proxies.append(RedisProxy(folders[-1], start_redis(**settings)))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start_fake():
    """start_fake() -> FakeRedis."""
    fakes, folders = [], []

    def start():
        folders.append(make_folder())
        fakes.append(FakeRedis(folders[-1]))
        return fakes[-1]

    yield start
    for fake in fakes:
        fake.close()
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start_daemon(request):
    """start_daemon(redis, wait=True, **keywords of Daemon) -> Daemon; stopped afterwards, which checks that nothing
    crashed. `kind` is a class of one's own to use for it, `files` maps names to texts that its folder has before."""
    daemons, folders = [], []

    def start(redis, wait=True, kind=Daemon, files=None, **settings):
        folders.append(make_folder())
        for name, text in (files or {}).items():
            hook_file(folders[-1], name, text)
        daemon = kind(folders[-1], redis, **settings)
        _in_use(request).append(daemon)
        daemons.append(daemon)
        daemon.start(wait)
        return daemon

    yield start
    problems = []
    for daemon in daemons:
        try:
            if not daemon.ended and daemon.process is not None:
                daemon.stop()
        except AssertionError as problem:
            problems.append(str(problem))
        finally:
            daemon.kill()
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def redis_server():
    path = make_folder()
    server = RedisServer(path)
    yield server
    server.close()
    shutil.rmtree(path, ignore_errors=True)


class _Shared:
    """The shared daemon, started again when a test broke it."""

    def __init__(self, redis):
        self.redis, self.daemon, self.folder = redis, None, None

    def get(self):
        if self.daemon is None:
            self.folder = make_folder()
            self.daemon = Daemon(self.folder, self.redis)
            self.daemon.start()
        return self.daemon

    def drop(self):
        if self.daemon is not None:
            self.daemon.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.daemon = None


@pytest.fixture(scope="session")
def _shared(redis_server):
    shared = _Shared(redis_server)
    yield shared
    if shared.daemon is not None:
        try:
            shared.daemon.stop()
        finally:
            shared.drop()


@pytest.fixture
def daemon(request, _shared):
    result = _shared.get()
    _in_use(request).append(result)
    yield result
    try:
        result.check()
    except AssertionError:
        _shared.drop()
        raise


@pytest.fixture
def planter(daemon):
    return Planter(daemon)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for number, daemon in enumerate(item.__dict__.get("daemons_in_use", ())):
        try:
            report.sections.append((f"tokenkeepd {number + 1}, standard error", daemon.stderr()[-TAIL:]))
        except (OSError, AttributeError):
            pass
