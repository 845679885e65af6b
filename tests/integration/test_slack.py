# SPDX-License-Identifier: MIT
"""slack.lua in the daemon: what becomes of problems on their way to a receiver that plays Slack."""
import datetime
import os
import re
import signal
import time

import pytest

from hooks import hook_file
from planter import Planter
from receiver import Receiver
from tokens import data, part, to_json, token
from waiting import SLOWNESS, until

PATH = "/services/T00000000/B00000000/NobodyMayReadThisAnywhere"
SECONDS = 20 * SLOWNESS


class Slack:
    """A receiver, and a daemon with slack.lua that knows its address."""

    def __init__(self, receiver, folder, start_daemon):
        self.receiver, self.folder, self.start_daemon = receiver, folder, start_daemon
        self.daemon = None
        self.webhook_file = os.path.join(folder, "webhook")

    def start(self, redis, hooks=None, address=None, **settings):
        with open(self.webhook_file, "w") as file:
            file.write((address or self.receiver.address) + PATH + "\n")
        os.chmod(self.webhook_file, 0o600)
        options = {"webhook_file": self.webhook_file, "group_interval": 2, **settings.pop("slack", {})}
        self.daemon = self.start_daemon(redis, hooks={"slack.lua": {}, **(hooks or {})}, slack=options, **settings)
        return self.daemon

    def messages(self, count=1):
        """Waits until so many were posted; returns all as Message."""
        return [Message(request) for request in self.receiver.wait(count, SECONDS)]

    def quiet(self, seconds):
        """Nothing is posted for so long."""
        before = len(self.receiver.requests)
        time.sleep(seconds)
        assert len(self.receiver.requests) == before, [request.body for request in self.receiver.requests[before:]]


class Message:
    """A message as Block Kit has it, checked and taken apart: `text`, `fields` by heading, `error`, `lost`."""

    def __init__(self, request):
        assert (request.method, request.path) == ("POST", PATH)
        assert request.headers["content-type"] == "application/json"
        self.request = request
        assert set(request.json) <= {"blocks", "attachments"}
        blocks = list(request.json["blocks"])
        self.lost = None
        if blocks[0]["type"] == "context":
            self.lost = int(re.fullmatch(r"Messages lost before this one: (\d+)", markdown(blocks.pop(0)["elements"][0]))[1])
        title, fields, divider = blocks
        assert set(title) == {"type", "text"} and title["type"] == "section"
        assert set(fields) == {"type", "fields"} and fields["type"] == "section"
        assert divider == {"type": "divider"}
        self.text = markdown(title["text"])
        self.fields = dict(re.fullmatch(r"\*(.+?)\*\n(.+)", markdown(field), re.DOTALL).groups() for field in fields["fields"])
        self.error = None
        if "attachments" in request.json:
            [attachment] = request.json["attachments"]
            [section] = attachment["blocks"]
            assert set(section) == {"type", "text"} and section["type"] == "section"
            self.error = re.fullmatch(r"\*Error\*\n```\n(.+)\n```", markdown(section["text"]), re.DOTALL)[1]

    def check_time(self):
        sent = datetime.datetime.strptime(self.fields["Time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
        assert abs((datetime.datetime.now(datetime.timezone.utc) - sent).total_seconds()) < 60


def markdown(text):
    assert set(text) == {"type", "text", "verbatim"}
    assert text["type"] == "mrkdwn" and text["verbatim"] is True
    assert not re.search(r"<|>|&(?!amp;|lt;|gt;)", text["text"])
    return text["text"]


@pytest.fixture
def slack(folder, start_daemon):
    result = Slack(Receiver(), folder, start_daemon)
    yield result
    result.receiver.close()
    if result.daemon is not None:
        assert "NobodyMayRead" not in result.daemon.stderr()
        assert "/services/" not in result.daemon.stderr()


def corrupt(daemon, key=None):
    """Asks for a token whose value is garbage; returns the key."""
    key = key or part()
    Planter(daemon).plant_bytes(key, b"no such value <& ever")
    assert daemon.ask(f"GET {token(key)}").last == "NO invalid"
    return key


def kill_worker(daemon):
    daemon.steady = None
    pid = daemon.workers()[0]
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in daemon.workers() and len(daemon.workers()) == daemon.workers_wanted, 20, "another worker")


def test_a_value_that_does_not_open(slack, redis_server):
    daemon = slack.start(redis_server)
    key = corrupt(daemon)
    [message] = slack.messages()
    assert message.text == "Error in tokenkeep: a stored value cannot be read; it counts as no token"
    assert set(message.fields) == {"Kind", "Time", "Redis key", "Process"}
    assert message.fields["Kind"] == "token.corrupt"
    assert message.fields["Redis key"] == "token:" + key
    assert message.fields["Process"] in ("worker 1", "worker 2")
    message.check_time()
    assert message.error and "no such value" not in message.error
    assert message.lost is None


def test_a_killed_worker(slack, redis_server):
    daemon = slack.start(redis_server, slack={"application": "tokens<eu>"})
    kill_worker(daemon)
    [message] = slack.messages()
    assert message.text.startswith("Error in tokens&lt;eu&gt;: ")
    assert message.fields["Kind"] == "worker.crash"
    assert message.fields["Process"] in ("worker 1", "worker 2")
    assert "Redis key" not in message.fields
    message.check_time()


def test_an_outage(slack, start_redis):
    redis = start_redis()
    daemon = slack.start(redis)
    begun = time.monotonic()
    redis.kill()
    until(lambda: daemon.ask(f"GET {token()}").last.startswith("ERR unavail"), 20, "the outage to be noticed")
    [message] = slack.messages()
    assert re.fullmatch(r"Error in tokenkeep: Redis \S+ is away", message.text)
    assert message.fields["Kind"] == "redis.away"
    assert message.error
    slack.quiet(2)
    redis.start()
    messages = slack.messages(2)
    assert len(messages) == 2
    seconds = int(re.fullmatch(r"Back to normal in tokenkeep after (\d+) s: Redis \S+ is back", messages[1].text)[1])
    assert 2 <= seconds <= time.monotonic() - begun
    assert messages[1].fields["Kind"] == "redis.away"
    slack.quiet(12)


def test_the_like_is_grouped(slack, redis_server):
    daemon = slack.start(redis_server, slack={"group_interval": 4}, workers=1)  # so that problems keep their order
    keys = [corrupt(daemon) for _ in range(6)]
    messages = slack.messages(2)
    assert messages[0].fields["Redis key"] == "token:" + keys[0] and "Count" not in messages[0].fields
    assert messages[1].fields["Redis key"] == "token:" + keys[-1] and messages[1].fields["Count"] == "5 in 4 s"
    assert 3 < messages[1].request.time - messages[0].request.time < 8
    slack.quiet(5)
    corrupt(daemon)
    assert "Count" not in slack.messages(3)[2].fields


def test_one_message_a_second(slack, redis_server, folder):
    hook = hook_file(folder, "many.lua", """
        return {
            start = function()
                for i = 1, 4 do
                    keep.problem { kind = "kind " .. i, message = "Number " .. i }
                end
            end,
        }""")
    slack.start(redis_server, hooks={hook: {}})
    messages = slack.messages(4)
    assert [message.fields["Kind"] for message in messages] == ["kind 1", "kind 2", "kind 3", "kind 4"]
    times = [message.request.time for message in messages]
    assert all(after - before > 0.95 for before, after in zip(times, times[1:]))
    assert len({message.request.connection for message in messages}) == 1


def test_a_failing_hook(slack, redis_server, folder):
    hook = hook_file(folder, "failing.lua", "return { start = function() error('<oh> & no') end }")
    slack.start(redis_server, hooks={hook: {}})
    [message] = slack.messages()
    assert message.fields["Kind"] == "hook.failed"
    assert "&lt;oh&gt; &amp; no" in message.error


def test_slack_fails_for_a_while(slack, redis_server):
    slack.receiver.script("nothing", "500", "200")
    daemon = slack.start(redis_server)
    corrupt(daemon)
    messages = slack.messages(3)
    assert messages[0].request.body == messages[1].request.body == messages[2].request.body
    times = [message.request.time for message in messages]
    assert 1.9 < times[1] - times[0] < 5 and 5.9 < times[2] - times[1] < 9
    daemon.wait_log("posting to Slack works again, 0 messages were lost")
    assert daemon.stderr().count("cannot post to Slack") == 1
    assert "hook slack.lua: cannot post to Slack: Server returned nothing (no headers, no data)" in daemon.stderr()


def test_retry_after(slack, redis_server):
    slack.receiver.script("429 4", "200")
    daemon = slack.start(redis_server)
    corrupt(daemon)
    messages = slack.messages(2)
    assert 3.9 < messages[1].request.time - messages[0].request.time < 8


def test_refused_for_good(slack, redis_server):
    """404 is not tried again, a redirect not followed; what was lost is told."""
    slack.receiver.script("404", "redirect", "200")
    daemon = slack.start(redis_server, slack={"group_interval": 1})
    for n in range(3):
        corrupt(daemon)
        slack.messages(n + 1)
        slack.quiet(3)
    messages = slack.messages(3)
    assert [message.lost for message in messages] == [None, 1, 2]
    daemon.wait_log("posting to Slack works again, 2 messages were lost")


def test_nobody_there(slack, redis_server):
    """A receiver that is gone, and comes back on the same port."""
    daemon = slack.start(redis_server)
    slack.receiver.close()
    corrupt(daemon)
    daemon.wait_log("cannot post to Slack: Couldn't connect to server")
    slack.receiver = Receiver(port=slack.receiver.port)
    slack.messages()
    daemon.wait_log("works again")


def test_tls(slack, redis_server, monkeypatch, folder):
    slack.receiver.close()
    slack.receiver = Receiver(tls=True, folder=folder)
    monkeypatch.setenv("SSL_CERT_FILE", slack.receiver.certificate)
    corrupt(slack.start(redis_server))
    slack.messages()


def test_tls_that_is_not_trusted(slack, redis_server, folder):
    slack.receiver.close()
    slack.receiver = Receiver(tls=True, folder=folder)
    daemon = slack.start(redis_server)
    corrupt(daemon)
    daemon.wait_log("cannot post to Slack: SSL peer certificate or SSH remote key was not OK")
    assert not slack.receiver.requests


def test_a_silent_slack_delays_nobody(slack, redis_server):
    slack.receiver.always("silent")
    daemon = slack.start(redis_server)
    corrupt(daemon)
    slack.messages()
    with daemon.connect() as client:
        for _ in range(200):
            begun = time.monotonic()
            assert client.ask("STORE " + to_json(data())).last == "OK"
            assert time.monotonic() - begun < 2 * SLOWNESS
    begun = time.monotonic()
    daemon.stop()
    assert time.monotonic() - begun < 8 * SLOWNESS


def test_what_waits_when_it_stops(slack, redis_server):
    daemon = slack.start(redis_server, slack={"group_interval": 3600})
    for _ in range(4):
        corrupt(daemon)
    slack.messages()
    daemon.stop()
    assert slack.messages(2)[1].fields["Count"].startswith("3 in ")


def test_webhooks_that_are_refused(slack, redis_server, start_daemon):
    """An address that may not be posted to fails the start, without being shown."""
    daemon = slack.start(redis_server, address="http://192.0.2.1", wait=False)
    assert daemon.process.wait(SECONDS) == 78
    daemon.ended = True
    assert "https, or http to 127.0.0.1" in daemon.stderr()
    assert "192.0.2.1" not in daemon.stderr()
