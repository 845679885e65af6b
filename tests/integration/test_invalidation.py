# SPDX-License-Identifier: MIT
"""What others change in Redis is heard of, and what cannot be heard of is not answered from memory. The caches live so long
that no time limit hides a mistake."""
import os
import shutil
import signal
import time

import pytest

from conftest import make_folder
from fake_redis import Raw, array, bulk
from hooks import heard, recorder
from planter import Planter
from redis_proxy import RedisProxy
from redis_server import RedisServer, acl_rules
from sealed import pack, seal
from tokens import data, key_of, part, to_json, to_stored, token
from waiting import SLOWNESS, until

LONG = {"ttl": 120, "negative-ttl": 120}
NO, UNAVAIL = "NO invalid", "ERR unavail"
LEASE = 1.5
STOPS = int(os.environ.get("TOKENKEEP_STOPS", "4"))


def alive(daemon, workers=None):
    """Until the caches of all workers may answer."""
    until(lambda: daemon.stats()["invalidation-links"] == (daemon.workers_wanted if workers is None else workers), 10,
          "invalidation links")


def log_count(daemon, text):
    return daemon.stderr().count(text)


class Case:
    """A daemon on a real Redis behind a relay, and a client on each worker."""

    def __init__(self, daemon, proxy):
        alive(daemon)
        self.daemon, self.proxy, self.redis = daemon, proxy, proxy.client()
        self.planter = Planter(daemon, self.redis)
        self.clients = proxy.client_each(daemon)

    def plant(self, fields=None):
        """A token that came into Redis without the daemon; returns it."""
        fields = fields or data()
        self.planter.plant(fields)
        return fields["token"]

    def name(self, text):
        return b"token:" + key_of(text).encode()

    def asks(self, text):
        return self.proxy.seen("GET", key_of(text))

    def get(self, client, text):
        answer = client.ask("GET " + text)
        return "OK" if answer.cls == "OK" else answer.last

    def warm(self, text, expected="OK"):
        """Has it in the cache of each worker."""
        def cached():
            before = self.asks(text)
            assert all(self.get(client, text) == expected for client in self.clients)
            return self.asks(text) == before
        until(cached, 10, "it to be cached", pause=0.05)

    def is_cached(self, text, expected="OK"):
        before = self.asks(text)
        assert all(self.get(client, text) == expected for client in self.clients)
        return self.asks(text) == before

    def lose_links(self):
        """As an operator might, or an output buffer that ran over."""
        for client in self.redis.client_list():
            if client["name"].endswith("-inval"):
                self.redis.client_kill_filter(_id=client["id"])


@pytest.fixture
def start_case(start_daemon, start_proxy):
    cases = []

    def start(redis=None, **settings):
        settings.setdefault("cache", LONG)
        proxy = start_proxy(**(redis or {}))
        cases.append(Case(start_daemon(proxy, **settings), proxy))
        return cases[-1]

    yield start
    for case in cases:
        for client in case.clients:
            client.close()


# Whatever changes a key

def sealed_for(case, text, **changes):
    return seal(case.daemon.keys[0], case.name(text), pack(to_stored(data(text, **changes))))


def flush_others(case, _text):
    case.proxy.server.client(db=3).flushdb()


WRITES = {
    "SET": lambda case, text: case.redis.set(case.name(text), sealed_for(case, text, username="new")),
    "the same SET": lambda case, text: case.redis.set(case.name(text), case.redis.get(case.name(text))),
    "DEL": lambda case, text: case.redis.delete(case.name(text)),
    "UNLINK": lambda case, text: case.redis.unlink(case.name(text)),
    "EXPIRE": lambda case, text: case.redis.expire(case.name(text), 1000),
    "EXPIRE in the past": lambda case, text: case.redis.expire(case.name(text), -1),
    "PERSIST": lambda case, text: case.redis.persist(case.name(text)),
    "RENAME away": lambda case, text: case.redis.rename(case.name(text), "elsewhere"),
    "RENAME over": lambda case, text: case.redis.rename("other", case.name(text)),
    "COPY over": lambda case, text: case.redis.copy("other", case.name(text), replace=True),
    "RESTORE over": lambda case, text: case.redis.restore(case.name(text), 0, case.redis.dump("other"), replace=True),
    "MOVE": lambda case, text: case.redis.move(case.name(text), 5),
    "MULTI": lambda case, text: case.redis.pipeline().delete(case.name(text)).set("x", 1).execute(),
    "EVAL": lambda case, text: case.redis.eval("return redis.call('DEL', KEYS[1])", 1, case.name(text)),
    "APPEND": lambda case, text: case.redis.append(case.name(text), b"x"),
    "GETDEL": lambda case, text: case.redis.getdel(case.name(text)),
    "FLUSHDB": lambda case, text: case.redis.flushdb(),
    "FLUSHDB of another": flush_others,
    "FLUSHALL": lambda case, text: case.redis.flushall(),
}
STAYS = {"the same SET", "EXPIRE", "PERSIST", "FLUSHDB of another"}


@pytest.fixture(scope="module")
def module_case():
    """One daemon for all that need nothing special."""
    from daemon import Daemon
    folders = [make_folder() for _ in range(3)]
    server = RedisServer(folders[0])
    proxy = RedisProxy(folders[1], server)
    daemon = Daemon(folders[2], proxy, cache=LONG)
    daemon.start()
    case = Case(daemon, proxy)
    yield case
    try:
        for client in case.clients:
            client.close()
        daemon.stop()
    finally:
        daemon.kill()
        proxy.close()
        server.close()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("write", WRITES)
def test_direct_writes(module_case, write):
    case = module_case
    text, bystander = case.plant(), case.plant()
    case.redis.set("other", b"junk")
    if write == "PERSIST":
        case.redis.expire(case.name(text), 1000)
    case.warm(text)
    case.warm(bystander)
    WRITES[write](case, text)
    time.sleep(0.2)
    before = case.asks(text)
    answers = [client.ask("GET " + text) for client in case.clients]
    assert case.asks(text) == before + len(case.clients), "answered from memory"
    if write == "SET":
        assert all('"username":"new"' in answer.last for answer in answers)
    else:
        assert {answer.code for answer in answers} == ({"OK"} if write in STAYS else {NO})
    if not write.startswith("FLUSH"):
        assert case.is_cached(bystander)
    alive(case.daemon)


def test_an_unknown_key_is_heard_of_too(module_case):
    case = module_case
    text = token()
    case.warm(text, NO)
    case.plant(data(text))
    until(lambda: {case.get(client, text) for client in case.clients} == {"OK"}, 1, "it to be known")


def test_the_same_name_in_another_database(module_case):
    """It costs a look-up, and nothing else."""
    case = module_case
    text = case.plant()
    case.warm(text)
    case.proxy.server.client(db=7).set(case.name(text), b"x")
    assert {case.get(client, text) for client in case.clients} == {"OK"}
    case.warm(text)


def test_names_that_are_no_tokens(module_case):
    case = module_case
    text = case.plant()
    case.warm(text)
    for name in ("token:", "token:x", "token:" + "!" * 22, case.name(text) + b"x", case.name(text)[:-1], "tokem:" + part(),
                 "token:.hb.x.1", "token:.hb.0000000000000000.1", b"token:" + b"\xff" * 22, b"token:" + b"\0" * 22):
        case.redis.set(name, 1)
    time.sleep(0.2)
    assert case.is_cached(text)
    case.redis.delete(*[name for name in case.redis.keys() if b".hb." not in name and name != case.name(text)])


def test_eviction(start_case):
    case = start_case()
    case.redis.config_set("maxmemory-policy", "allkeys-random")
    text = case.plant()
    case.warm(text)
    used = int(case.redis.info("memory")["used_memory"])
    case.redis.config_set("maxmemory", used - 1)
    until(lambda: case.redis.exists(case.name(text)) == 0 or not case.redis.set("x" + part(), b"x" * 10), 10, "eviction")
    case.redis.config_set("maxmemory", 0)
    until(lambda: {case.get(client, text) for client in case.clients} == {NO}, 3, "it to be gone")


def test_beats_are_no_tokens(start_case):
    case = start_case(workers=2)
    text = case.plant()
    until(lambda: len([name for name in case.redis.keys() if name.startswith(b"token:.hb.")]) >= 4, 10, "beats")
    client = case.clients[0]
    assert client.ask("LIST").last == "OK 1"
    assert client.ask("VERIFYALL").last == "OK 1 0"
    assert client.ask("VERIFYALL FIX").last == "OK 1 0"
    assert client.ask("DELETEALL").last == "OK 1"
    assert case.get(client, text) == NO
    beats = [name for name in case.redis.keys() if name.startswith(b"token:.hb.")]
    assert beats and all(case.redis.ttl(name) <= 5 for name in beats)


@pytest.mark.parametrize("prefix", ["", "a*?[{", "p" * 64])
def test_prefixes(start_daemon, start_redis, prefix):
    daemon = start_daemon(start_redis(), prefix=prefix, cache=LONG, workers=1)
    planter = Planter(daemon)
    alive(daemon)
    with daemon.connect() as client:
        fields = data()
        planter.plant(fields)
        for _ in range(3):
            assert client.ask("GET " + fields["token"]).cls == "OK"
        before = daemon.stats()["cache-hits"]
        assert client.ask("GET " + fields["token"]).cls == "OK" and daemon.stats()["cache-hits"] == before + 1
        planter.client.delete(planter.name(key_of(fields["token"])))
        until(lambda: client.ask("GET " + fields["token"]).last == NO, 1, "the change to be heard")
        assert client.ask("LIST").last == "OK 0"


# A link that does not keep up

def test_a_lagging_link_ends_hits(start_case):
    case = start_case()
    text, other = case.plant(), case.plant()
    case.warm(text)
    case.warm(other)
    held = case.proxy.hold_announcements()
    stalled = time.monotonic()
    held.wait(2)
    case.redis.delete(case.name(text))
    until(lambda: {case.get(client, text) for client in case.clients} == {NO}, 10, "hits to stop")
    assert time.monotonic() - stalled < LEASE + 0.3 * SLOWNESS
    time.sleep(max(0.0, stalled + LEASE - time.monotonic()))
    assert not case.is_cached(other), "a hit without a lease"
    stats = case.daemon.stats()
    assert stats["invalidation-links"] == 0 and stats["cache-bypassed"] > 0
    assert stats["invalidation-lag"] > 1000000
    held.release()
    alive(case.daemon)
    assert {case.get(client, text) for client in case.clients} == {NO}
    case.warm(other)
    until(lambda: case.daemon.stats()["invalidation-lag"] < 500000, 10, "the lag to be gone")


@pytest.mark.parametrize("lag,counts", [(1.1, True), (1.7, False)])
def test_a_lease_counts_from_the_sending(start_daemon, start_fake, lag, counts):
    """An echo proves no more than that all is heard from before its beat."""
    fake, beats = start_fake(), []
    daemon = start_daemon(fake, workers=1, cache=LONG)
    alive(daemon)

    def note(_connection, key):
        beats.append((time.monotonic(), key))
        return b"+OK\r\n"

    with daemon.connect() as client:
        text = token()
        client.ask("STORE " + to_json(data(text)))

        def hits():
            asked = len(fake.seen("GET"))
            assert client.ask("GET " + text).cls == "OK"
            return len(fake.seen("GET")) == asked

        for _ in range(2):
            assert hits() or hits()
            beats.clear()
            fake.answer("BEAT", note)
            until(lambda: beats, 5, "a beat")
            sent, key = beats[0]  # the one before was sent half a second earlier
            time.sleep(max(0.0, sent + lag - time.monotonic()))
            assert not hits()
            fake.announce(key)
            time.sleep(0.1)
            if counts:
                assert hits()
            time.sleep(max(0.0, sent + LEASE + 0.05 - time.monotonic()))
            assert not hits(), "a hit on the strength of an old beat"
            fake.forget("BEAT")
            alive(daemon)


def test_a_link_that_says_nothing_is_made_anew(start_daemon, start_fake):
    """One that was cut somewhere on the way, and nobody was told."""
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, cache=LONG)
    alive(daemon)
    links = len(fake.seen("SUBSCRIBE"))
    fake.answer("BEAT", b"+OK\r\n")
    until(lambda: len(fake.seen("SUBSCRIBE")) > links, 4, "a new link")
    fake.forget("BEAT")
    alive(daemon)


def test_a_cut_network(start_case):
    case = start_case(workers=1, redis_options={"command-timeout": 0.7, "connect-timeout": 0.5})
    client, text = case.clients[0], case.plant()
    case.warm(text)
    case.proxy.freeze()
    cut = time.monotonic()
    case.redis.delete(case.name(text))
    until(lambda: case.get(client, text) != "OK", 10, "hits to stop")
    assert time.monotonic() - cut < LEASE + 0.3 * SLOWNESS
    assert case.get(client, text).startswith(UNAVAIL)
    case.proxy.thaw()
    until(lambda: case.get(client, text) == NO, 5, "Redis to be back")
    alive(case.daemon)


def test_a_link_that_is_killed_comes_back(start_case):
    case = start_case()
    text = case.plant()
    for _ in range(5):
        case.warm(text)
        case.lose_links()
        until(lambda: not case.is_cached(text), 5, "the cache to be emptied")
        alive(case.daemon)
    stats = case.daemon.stats()
    assert stats["invalidation-links-lost"] == 10 and stats["invalidation-links-made"] == 12
    assert log_count(case.daemon, "alive again after") == 10 and log_count(case.daemon, "the cache is not used") == 0


def test_what_changes_before_the_subscription_is_not_missed(start_case):
    """Between TRACKING and SUBSCRIBE Redis announces to nobody."""
    case = start_case(workers=1)
    client, text = case.clients[0], case.plant()
    case.warm(text)
    held = case.proxy.hold_request("SUBSCRIBE")
    case.lose_links()
    held.wait()
    assert case.get(client, text) == "OK" and case.get(client, text) == "OK"
    case.redis.delete(case.name(text))
    held.release()
    alive(case.daemon)
    assert case.get(client, text) == NO


def test_what_is_asked_before_the_subscription_is_not_kept(start_case):
    """Nor joined: an answer that was on its way while the link was down."""
    case = start_case(workers=1, redis_options={"command-timeout": 20})
    client, text = case.clients[0], case.plant()
    other = case.proxy.client_on(case.daemon, client.worker)
    subscription = case.proxy.hold_request("SUBSCRIBE")
    case.lose_links()
    subscription.wait()
    late = case.proxy.hold_reply("GET", key_of(text))
    client.send(f"GET {text}\n")
    late.wait()
    case.redis.delete(case.name(text))
    made = case.proxy.seen("SUBSCRIBE")
    subscription.release()
    until(lambda: case.proxy.seen("SUBSCRIBE") == made, 5, "SUBSCRIBE")
    time.sleep(0.2)
    other.send(f"GET {text}\n")
    until(lambda: case.asks(text) == 2, 5, "a look-up of its own")
    late.release()
    assert client.answer().cls == "OK"
    assert other.answer().last == NO
    alive(case.daemon)
    assert case.get(client, text) == NO
    other.close()


def test_an_answer_under_way_is_given_and_not_kept(start_case):
    case = start_case(workers=1)
    client, text = case.clients[0], case.plant()
    other = case.proxy.client_on(case.daemon, client.worker)
    late = case.proxy.hold_reply("GET", key_of(text))
    client.send(f"GET {text}\n")
    late.wait()
    case.redis.delete(case.name(text))
    time.sleep(0.2)
    other.send(f"GET {text}\n")
    until(lambda: case.asks(text) == 2, 5, "a look-up of its own")
    late.release()
    assert client.answer().cls == "OK"
    assert other.answer().last == NO
    assert case.get(client, text) == NO
    other.close()


def test_a_worker_that_was_stopped_serves_nothing_old(start_daemon, start_redis):
    """It wakes with a full cache, a request, and announcements that it has not read."""
    daemon = start_daemon(start_redis(), workers=1, cache=LONG)
    planter, worker = Planter(daemon), daemon.workers()[0]
    alive(daemon)
    for number in range(STOPS):
        tokens = [data() for _ in range(20)]
        for fields in tokens:
            planter.plant(fields)
        with daemon.connect() as client:
            for _ in range(2):
                assert all(client.ask("GET " + fields["token"]).cls == "OK" for fields in tokens)
            os.kill(worker, signal.SIGSTOP)
            try:
                # Its socket is ready before that of the link, and yet the requests are complete only afterwards.
                requests = "".join(f"GET {fields['token']}\n" for fields in tokens)
                client.send(requests[:5])
                time.sleep(1.7 if number % 2 == 0 else 0.05)
                planter.client.delete(*[planter.name(key_of(fields["token"])) for fields in tokens])
                time.sleep(0.05 if number % 2 == 0 else 1.7 + 0.3 * number)
                client.send(requests[5:])
                time.sleep(0.05)
            finally:
                os.kill(worker, signal.SIGCONT)
            assert {answer.last for answer in client.answers(20)} == {NO}
        alive(daemon)
    assert daemon.workers() == [worker]


def test_a_hundred_thousand_keys_at_once(start_daemon, start_redis):
    daemon = start_daemon(start_redis(), cache=LONG)
    planter = Planter(daemon)
    alive(daemon)
    tokens = [data() for _ in range(50)]
    for fields in tokens:
        planter.plant(fields)
    with daemon.connect() as client:
        for _ in range(5):
            assert all(client.ask("GET " + fields["token"]).cls == "OK" for fields in tokens)
        names = [planter.name(key_of(fields["token"])) for fields in tokens]
        planter.client.eval("for i = 1, 100000 do redis.call('SET', 'token:' .. string.format('%022d', i), 'x') end "
                            "return redis.call('DEL', unpack(KEYS))", len(names), *names)
        began = time.monotonic()
        until(lambda: {client.ask("GET " + fields["token"]).last for fields in tokens} == {NO}, 5, "all to be gone")
        assert time.monotonic() - began < 2
    alive(daemon)


def test_redis_that_starts_again(start_daemon, start_redis):
    """What was cached before is not answered after it, whatever Redis has then."""
    redis = start_redis()
    daemon = start_daemon(redis, cache=LONG)
    planter = Planter(daemon)
    fields = data()
    for _ in range(2):
        alive(daemon)
        planter.plant(fields)
        with daemon.connect() as client:
            for _ in range(3):
                assert client.ask("GET " + fields["token"]).cls == "OK"
            redis.kill()
            until(lambda: client.ask("GET " + fields["token"]).code == UNAVAIL, 3, "hits to stop")
            redis.start()
            began = time.monotonic()
            until(lambda: client.ask("GET " + fields["token"]).last == NO, 5, "Redis to be back")
            assert time.monotonic() - began < 1 * SLOWNESS


# What Redis might say

def odd_messages():
    channel, message = b"__redis__:invalidate", b"message"
    inner = lambda *items: Raw(array(list(items)))  # noqa: E731
    yield from ({"text": array([message, channel, b"token:x"]), "integer": array([message, channel, Raw(b":1\r\n")]),
                 "error": array([message, channel, Raw(b"-ERR no\r\n")]), "status": b"+OK\r\n", "nil": b"$-1\r\n", "no array": b"*-1\r\n",
                 "empty": b"*0\r\n", "nil inside": array([message, channel, inner(b"token:x", None)]),
                 "number inside": array([message, channel, inner(Raw(b":1\r\n"))]),
                 "array inside": array([message, channel, inner(inner(b"token:x"))]),
                 "other channel": array([message, b"__redis__:invalidatf", inner(b"token:x")]),
                 "other kind": array([b"pmessage", channel, inner(b"token:x")]), "two": array([message, channel]),
                 "four": array([message, channel, inner(), inner()]), "unsubscribed": array([b"unsubscribe", channel, Raw(b":0\r\n")]),
                 "long key": array([message, channel, inner(b"k" * 300000)]), "RESP3": b">2\r\n$10\r\ninvalidate\r\n*0\r\n",
                 "over the limit": b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*2000000\r\n", "no end": b"*3\r\n$7\r\nmessage*",
                 "negative": b"*-7\r\n", "deep": b"*1\r\n" * 9, "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n", "zeros": b"\0" * 100,
                 }.items())


@pytest.mark.parametrize("stale", [0, 60])
def test_odd_messages_empty_the_cache(start_daemon, start_fake, stale):
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, cache={**LONG, "stale-on-error": stale})
    alive(daemon)
    with daemon.connect() as client:
        text = token()
        assert client.ask("STORE " + to_json(data(text))).last == "OK"

        def hits():
            asked = len(fake.seen("GET"))
            assert client.ask("GET " + text).cls == "OK"
            return len(fake.seen("GET")) == asked

        for what, raw in odd_messages():
            until(hits, 10, f"a hit before {what}")
            links = len(fake.seen("SUBSCRIBE"))
            link = next(connection for connection in fake.connections.values() if connection.subscribed)
            fake.hold("SUBSCRIBE")  # with a new link it would be emptied in any case
            link.send(raw)
            until(lambda: len(fake.seen("SUBSCRIBE")) == links + 1, 5, f"a new link after {what}")
            fake.answer("GET", b"-LOADING no\r\n")
            assert client.ask("GET " + text).code == UNAVAIL, what
            fake.forget("GET")
            fake.release()
            assert client.ask("GET " + text).cls == "OK"
            alive(daemon)
    assert daemon.memory() < 200 << 20 or daemon.sanitized


def test_null_empties_the_cache_and_leaves_the_link(start_daemon, start_fake):
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, cache=LONG)
    alive(daemon)
    with daemon.connect() as client:
        text = token()
        client.ask("STORE " + to_json(data(text)))
        for raw in (None, array([b"message", b"__redis__:invalidate", Raw(bulk(None))])):
            for _ in range(2):
                assert client.ask("GET " + text).cls == "OK"
            asked, links = len(fake.seen("GET")), len(fake.seen("SUBSCRIBE"))
            if raw is None:
                fake.announce()
            else:
                next(connection for connection in fake.connections.values() if connection.subscribed).send(raw)
            time.sleep(0.1)
            assert client.ask("GET " + text).cls == "OK" and len(fake.seen("GET")) == asked + 1
            assert client.ask("GET " + text).cls == "OK" and len(fake.seen("GET")) == asked + 1
            assert len(fake.seen("SUBSCRIBE")) == links
        # Nothing in it is nothing changed.
        fake.announce(b"elsewhere")
        next(connection for connection in fake.connections.values() if connection.subscribed).send(
            array([b"message", b"__redis__:invalidate", Raw(array([]))]))
        time.sleep(0.1)
        assert client.ask("GET " + text).cls == "OK" and len(fake.seen("GET")) == asked + 1


@pytest.mark.parametrize("word", ["READONLY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "MOVED"])
def test_a_redis_that_may_not_hold_the_truth_is_not_believed(start_daemon, start_fake, word):
    fake = start_fake()
    folder = make_folder()
    path, settings, told = recorder(folder)
    daemon = start_daemon(fake, workers=1, cache={**LONG, "stale-on-error": 60}, hooks={path: settings})
    alive(daemon)
    with daemon.connect() as client:
        text = token()
        client.ask("STORE " + to_json(data(text)))
        assert client.ask("GET " + text).cls == "OK"
        fake.answer("BEAT", f"-{word} no\r\n".encode())
        until(lambda: client.ask("GET " + text).code == UNAVAIL, 1 * SLOWNESS, "no answer")
        for line in ("GET " + text, "GETKEY " + key_of(text), "CHECK " + text, "GET " + token()):
            assert client.ask(line).code == UNAVAIL
        fake.forget("BEAT")
        until(lambda: client.ask("GET " + text).cls == "OK", 2, "trust")
        alive(daemon)
    assert log_count(daemon, f"SET of a beat was answered with {word}: another Redis may hold the tokens") == 1
    until(lambda: [problem.get("phase") for problem in heard(told, "problem") if problem["kind"] == "redis.invalidation"]
          == ["begin", "end"], 5, "the problem")
    shutil.rmtree(folder, ignore_errors=True)


def test_a_new_connection_is_not_believed_before_its_first_beat(start_daemon, start_fake):
    """It may be to another server, such as a replica that is behind."""
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, cache=LONG)
    alive(daemon)
    with daemon.connect() as client:
        text = token()
        client.ask("STORE " + to_json(data(text)))
        for _ in range(5):
            fake.answer("BEAT", b"-READONLY no\r\n")
            for connection in list(fake.connections.values()):
                if not connection.subscribed:
                    connection.close()
            client.send(f"GET {token()}\n" * 50 + f"GET {token()}\n" * 50)
            assert {answer.code for answer in client.answers(100)} == {UNAVAIL}
            fake.forget("BEAT")
            until(lambda: client.ask("GET " + text).cls == "OK", 5, "trust")


@pytest.mark.parametrize("word", ["OOM", "MISCONF", "NOPERM", "ERR"])
def test_a_redis_that_takes_no_beats_is_asked_each_time(start_daemon, start_fake, word):
    fake = start_fake()
    daemon = start_daemon(fake, workers=1, cache=LONG)
    alive(daemon)
    with daemon.connect() as client:
        text = token()
        client.ask("STORE " + to_json(data(text)))
        fake.answer("BEAT", f"-{word} no\r\n".encode())
        alive(daemon, 0)
        asked = len(fake.seen("GET"))
        for _ in range(5):
            assert client.ask("GET " + text).cls == "OK"
        assert len(fake.seen("GET")) == asked + 5
        until(lambda: log_count(daemon, f"SET of a beat was answered with {word}") == 1, 5, "the log")
        fake.forget("BEAT")
        alive(daemon)
        until(lambda: log_count(daemon, "the cache is used again") == 1, 5, "the log")
        time.sleep(0.6)
        assert log_count(daemon, "the cache is not used") == 1


@pytest.mark.parametrize("missing, said", [
    ("-client|tracking", "CLIENT TRACKING was answered with NOPERM: the Redis user \"tokenkeep\" may not use it; its ACL must have "
     "+client|tracking"),
    ("-subscribe", "SUBSCRIBE was answered with NOPERM: the Redis user \"tokenkeep\" may not use it; its ACL must have +subscribe"),
    ("resetchannels", "SUBSCRIBE was answered with NOPERM: the Redis user \"tokenkeep\" may not use the channel; its ACL must have "
     "&__redis__:invalidate"),
], ids=["tracking", "subscribe", "channel"])
def test_an_acl_that_does_not_allow_it(start_daemon, start_redis, missing, said):
    folder = make_folder()
    path, settings, told = recorder(folder)
    redis = start_redis()
    redis.client().execute_command("ACL", "SETUSER", "tokenkeep", missing)
    daemon = start_daemon(redis, workers=1, cache=LONG, hooks={path: settings})
    daemon.wait_log("the cache is not used")
    assert said in daemon.stderr()
    with daemon.connect() as client:
        fields = data()
        assert client.ask("STORE " + to_json(fields)).last == "OK"
        assert client.ask("LIST USER alice").last == "OK 1"
        assert client.ask("VERIFYALL FIX").last.startswith("OK 1 0")
        other = client.ask("ISSUE " + to_json(data(token=..., username="bob"))).text
        assert client.ask("DELETE USER bob").last == "OK 1" and client.ask("GET " + other).last == NO
        before = daemon.stats()["cache-hits"]
        assert all(client.ask("GET " + fields["token"]).cls == "OK" for _ in range(3))
        stats = daemon.stats()
        assert stats["cache-hits"] == before and stats["invalidation-links"] == 0 and stats["cache-bypassed"] >= 3
        redis.client().execute_command("ACL", "SETUSER", "tokenkeep", *acl_rules().split())
        alive(daemon)
        assert client.ask("GET " + fields["token"]).cls == "OK" and client.ask("GET " + fields["token"]).cls == "OK"
        assert daemon.stats()["cache-hits"] == before + 1
    assert log_count(daemon, "the cache is not used") == 1
    until(lambda: log_count(daemon, "the cache is used again") == 1, 5, "the log")
    until(lambda: [problem.get("phase") for problem in heard(told, "problem") if problem["kind"] == "redis.invalidation"]
          == ["begin", "end"], 5, "the problem")
    assert "secret" not in daemon.stderr()
    shutil.rmtree(folder, ignore_errors=True)


# Answers past their time

def cached_past_its_time(start_daemon, start_redis, **settings):
    redis = start_redis()
    daemon = start_daemon(redis, workers=1, cache={"ttl": 0.5, "negative-ttl": 0.5, "stale-on-error": 30, **settings},
                          redis_options={"connect-timeout": 0.3, "command-timeout": 0.5}, audit={"reads": True})
    alive(daemon)
    fields = data(expires=int(time.time()) + 5)
    with daemon.connect() as client:
        assert client.ask("STORE " + to_json(fields)).last == "OK"
        time.sleep(0.1)
        assert client.ask("GET " + fields["token"]).cls == "OK"
    return redis, daemon, fields


def test_stale_on_error(start_daemon, start_redis):
    redis, daemon, fields = cached_past_its_time(start_daemon, start_redis)
    with daemon.connect() as client:
        redis.kill()
        time.sleep(0.7)
        assert client.ask("GET " + fields["token"]).cls == "OK"
        assert client.ask("CHECK " + fields["token"]).last == "OK alice"
        # Yes or nothing.
        assert client.ask("GET " + token(key=key_of(fields["token"]))).code == UNAVAIL
        assert client.ask("GET " + token()).code == UNAVAIL
        assert daemon.stats()["cache-stale-answers"] == 2
        until(lambda: time.time() > fields["expires"] + 1, 10, "the token to expire")
        assert client.ask("GET " + fields["token"]).code == UNAVAIL
        assert daemon.stats()["cache-stale-answers"] == 2
    daemon.wait_record(event="token.get", result="ok", command="GET", stale=True)
    daemon.wait_record(event="token.get", result="ok", command="CHECK", stale=True)
    assert [record.get("stale") for record in daemon.records(event="token.get", result="ok")] == [None, True, True]


def test_stale_on_error_ends_with_a_change(start_daemon, start_redis):
    """Also with one that nobody knows the outcome of."""
    redis, daemon, fields = cached_past_its_time(start_daemon, start_redis)
    with daemon.connect() as client:
        redis.stop()
        try:
            time.sleep(0.7)
            assert client.ask("GET " + fields["token"]).cls == "OK"
            client.ask("DELETE " + key_of(fields["token"]))
            assert client.ask("GET " + fields["token"]).code == UNAVAIL
        finally:
            redis.cont()


def test_stale_on_error_is_for_outages(start_daemon, start_redis):
    """Neither a lost link nor a token that is gone from Redis calls for it."""
    redis, daemon, fields = cached_past_its_time(start_daemon, start_redis)
    name = b"token:" + key_of(fields["token"]).encode()
    with daemon.connect() as client:
        for other in redis.client().client_list():
            if other["name"].endswith("-inval"):
                redis.client().client_kill_filter(_id=other["id"])
        redis.client().delete(name)
        assert client.ask("GET " + fields["token"]).last == NO
        redis.kill()
        assert client.ask("GET " + fields["token"]).code == UNAVAIL
    assert daemon.stats()["cache-stale-answers"] == 0


def test_stale_on_error_is_off_by_default(start_daemon, start_redis):
    redis, daemon, fields = cached_past_its_time(start_daemon, start_redis, **{"stale-on-error": 0})
    with daemon.connect() as client:
        redis.kill()
        until(lambda: client.ask("GET " + fields["token"]).code == UNAVAIL, 2, "no answer")
