# SPDX-License-Identifier: MIT
"""The Redis user of tokenkeepd: the sample ACL allows what is needed and nothing more, --check finds out what is missing, and
a new password is taken without a reload. Nearly all other tests run with that ACL too."""
import os
import re
import time

import pytest

from daemon import run
from planter import Planter
from redis_server import ACL_USER, acl_rules
from sealed import new_key
from tokens import data, key_of, part, to_json, token
from waiting import until

RULES = acl_rules().split()
COMMANDS = [rule for rule in RULES if rule.startswith("+")]
# Without these a server works, or they are not asked for: database 0 is selected already, INFO only warns of an eviction policy,
# Redis before 7.0 has no NO-EVICT, ROLE is for who has sentinels, WAIT for who waits for replicas.
SPARE = {"+select", "+info", "+client|no-evict", "+role", "+wait"}


def store(daemon, **fields):
    text = token()
    answer = daemon.ask("STORE " + to_json(data(text, **fields)))
    assert answer.last == "OK", answer
    return text


def check(daemon):
    return run("--config", daemon.config_file, "--check")


def asked(redis):
    """The commands that Redis was asked for so far, as ACLs name them."""
    return {name.removeprefix("cmdstat_") for name in redis.client().info("commandstats")}


def test_check_tries_every_command(start_redis, start_daemon):
    """What a server asks of Redis, whatever it is asked itself, --check has tried; and what it has tried leaves no trace."""
    beside = {"info", "ping", "auth", "keys", "dbsize"}
    tried, used = start_redis(), start_redis()
    daemon = start_daemon(used, keys=[new_key(), new_key()])
    until(lambda: daemon.stats()["invalidation-links"] == 2, what="both links to be certain")
    for daemon.redis in (tried, used):
        daemon.write_config()
        if daemon.redis == tried:
            assert check(daemon).returncode == 0
    assert tried.client().dbsize() <= 3 and not [key for key in tried.client().keys() if b".hb." not in key]
    texts = [store(daemon, expires=int(time.time()) + 3600), store(daemon), store(daemon, username="bob")]
    assert daemon.ask("GET " + texts[0]).cls == "OK"
    assert daemon.ask("ISSUE " + to_json(data(token=...))).cls == "OK"
    assert daemon.ask("LIST").last == "OK 4"
    for key in used.client().keys("token:u.*"):
        used.client().zadd(key, {part(): 1})  # of long ago, and the token is gone
    assert daemon.ask("LIST USER alice").last == "OK 3"
    used.client().set("token:" + part(), b"unreadable")
    assert daemon.ask("VERIFYALL FIX").last == "OK 5 1"
    Planter(daemon).plant(data(username="eve"), sealing=daemon.keys[1])
    assert daemon.ask("REKEY").last == "OK 5 0 1" and daemon.ask("STATS KEYS").last == "OK 0 0"
    assert daemon.ask("DELETE " + key_of(texts[0])).last == "OK"
    assert daemon.ask("DELETE USER bob").last == "OK 1"
    assert daemon.ask("DELETEALL").last == "OK 3"
    assert "refuses" not in daemon.stderr()
    needed = asked(used) - beside
    assert needed <= asked(tried)
    assert {"+" + name for name in needed} <= set(COMMANDS), "conf/redis-acl lacks something"
    more = set(COMMANDS) - {"+" + name for name in needed | beside}
    assert more <= SPARE, f"conf/redis-acl allows more than is needed: {more}"


@pytest.fixture(scope="module")
def checked(session_folder):
    """A Redis whose ACL may be changed, and a configuration for it."""
    from daemon import Daemon
    from redis_server import RedisServer
    from waiting import free_port
    folders = [os.path.join(session_folder, name) for name in ("acl-redis", "acl")]
    for folder in folders:
        os.mkdir(folder)
    redis = RedisServer(folders[0])
    daemon = Daemon(folders[1], redis, redis_options={"connect-timeout": 1, "command-timeout": 1})
    daemon.verify, daemon.manage_tcp = (("127.0.0.1", free_port()) for _ in range(2))
    daemon.write_config()
    yield daemon
    redis.close()


def allow(daemon, *rules):
    daemon.redis.client().execute_command("ACL", "SETUSER", ACL_USER, "reset", "on", ">" + daemon.redis.login[1], *rules)


@pytest.mark.parametrize("missing", sorted(set(COMMANDS) - SPARE))
def test_check_names_the_command(checked, missing):
    allow(checked, *(rule for rule in RULES if rule != missing))
    done = check(checked)
    command = missing[1:].upper().replace("|", " ")
    assert done.returncode == 1
    assert re.search(rf'(: |link: |away: ){command} was answered with NOPERM: the Redis user "tokenkeep" may not use it; its ACL must '
                     rf"have {re.escape(missing)}\n", done.stderr), done.stderr


@pytest.mark.parametrize("rules, words", [
    (["resetkeys"], 'GET was answered with NOPERM: the Redis user "tokenkeep" may not use the key; its ACL must have ~token:*'),
    (["resetkeys", "~token:a*"], "may not use the key; its ACL must have ~token:*"),
    (["resetchannels"], "may not use the channel; its ACL must have &__redis__:invalidate"),
    (["-unlink"], 'EVAL was answered with ERR: the Redis user "tokenkeep" may not use a command of the script'),
    (["resetpass", ">other"], 'WRONGPASS: there is no Redis user "tokenkeep" who is on and has the password in redis.password-file'),
    (["off"], 'WRONGPASS: there is no Redis user "tokenkeep" who is on'),
])
def test_check_says_what_else_is_missing(checked, rules, words):
    allow(checked, *RULES, *rules)
    done = check(checked)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert checked.redis.login[1] not in done.stderr
    for key in checked.redis.client().keys("token:.check.*"):
        assert 0 < checked.redis.client().ttl(key) <= 60


def test_check_without_a_password(checked):
    """A Redis that wants one."""
    allow(checked, *RULES)
    client = checked.redis.client()
    client.execute_command("ACL", "SETUSER", "default", "resetpass", ">secret")
    try:
        options, checked.redis.login = checked.redis.login, None
        checked.write_config()
        done = check(checked)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "nopass")
        checked.redis.login = options
        checked.write_config()
    assert done.returncode == 1 and 'NOAUTH: the Redis user "default" must log in; give redis.password-file' in done.stderr


def test_a_server_says_what_it_is_refused(start_redis, start_daemon):
    """In the log and in the problem: the command, the user and the rule."""
    redis = start_redis()
    daemon = start_daemon(redis, workers=1)
    until(lambda: daemon.stats()["invalidation-links"] == 1, what="the link to be certain")
    redis.client().execute_command("ACL", "SETUSER", ACL_USER, "-zadd")
    assert daemon.ask("STORE " + to_json(data())).cls == "ERR"
    daemon.wait_log('Redis refuses ZADD: NOPERM: the Redis user "tokenkeep" may not use it; its ACL must have +zadd')


def test_another_database(start_redis, start_daemon, folder):
    """The ACL lets it be chosen."""
    redis = start_redis()
    password = os.path.join(folder, "password")
    with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(redis.login[1])
    daemon = start_daemon(redis.url + "?db=5", redis_options={"username": redis.login[0], "password-file": password})
    until(lambda: daemon.stats()["invalidation-links"] == 2, what="both links to be certain")
    assert redis.client(db=5).exists("token:" + key_of(store(daemon)))
    assert check(daemon).returncode == 0


def test_a_new_password(start_redis, start_daemon):
    """It is read before the next connection; what is there stays, and a wrong one is said to be."""
    redis = start_redis()
    daemon = start_daemon(redis)
    until(lambda: daemon.stats()["invalidation-links"] == 2, what="both links to be certain")
    file = os.path.join(daemon.folder, "redis-password")
    redis.client().execute_command("ACL", "SETUSER", ACL_USER, "resetpass", ">a-new-one")
    assert daemon.ask("GET " + token()).last == "NO invalid"
    redis.client().execute_command("CLIENT", "KILL", "USER", ACL_USER)
    daemon.wait_log('WRONGPASS: there is no Redis user "tokenkeep" who is on')
    with open(file, "w") as out:
        out.write("a-new-one\n")
    until(lambda: daemon.ask("GET " + token()).last == "NO invalid", what="Redis to be reached")
    until(lambda: daemon.stats()["invalidation-links"] == 2, what="both links to be certain")
    assert "the password has changed" in daemon.stderr() and "a-new-one" not in daemon.stderr()
    assert daemon.workers() == daemon.steady
