# SPDX-License-Identifier: MIT
"""The rules of token data, field by field at their borders, through STORE and ISSUE, and their form in Redis."""
import json
import re
import time

import pytest

from tokens import data, key_of, part, secret_of, to_json, to_stored, token

FAR = 253402300799
ID_MAX = 2**63 - 1

# (field, value): what is taken as it is.
GOOD = [
    *(("username", name) for name in ["a", "a" * 64, "1a", "a1", "a-b-c", "1-a", "a-1", "abc123", "0-0-x"]),
    *(("token_type", kind) for kind in ["session", "user", "notebook", "internal", "service", "oidc"]),
    ("scopes", []), ("scopes", ["a"]), ("scopes", ["AZaz09:._-"]), ("scopes", ["-", ".", ":", "_"]),
    ("scopes", [f"s{number:04}" for number in range(1000)]),
    ("created", 1), ("created", FAR),
    ("expires", FAR),
    ("service", "x"), ("service", "x" * 64), ("service", "ä" * 64),
    ("name", "x"), ("name", "x" * 20000), ("name", "Zoë Ω 你好 \U0001f600"),
    ("name", 'quote " and \\ backslash / slash'),
    ("email", "x"), ("email", "alice@example.org"),
    ("uid", 1), ("uid", ID_MAX), ("gid", 1), ("gid", ID_MAX),
    ("groups", []), ("groups", [{"name": "a", "id": 1}]), ("groups", [{"name": "9x._-", "id": ID_MAX}]),
    ("groups", [{"name": "A1", "id": 2}, {"name": "b", "id": 2}]),
    ("groups", [{"name": f"g{number}", "id": number + 1} for number in range(500)]),
]


@pytest.mark.parametrize("field, value", GOOD, ids=lambda value: str(value)[:30])
def test_taken(daemon, planter, field, value):
    fields = data(**{field: value})
    answer = daemon.ask("STORE " + to_json(fields))
    assert answer.last == "OK"
    expected = {**fields, "scopes": sorted(fields["scopes"])}
    assert json.loads(daemon.ask("GET " + fields["token"]).text) == expected
    assert planter.stored(key_of(fields["token"])) == to_stored(fields)


# (field, value, path): what is refused, and which path the error names.
REFUSED = [
    *(("username", name, "username") for name in
      ["", "a" * 65, "A", "a_b", "a.b", "-a", "a-", "-", "a--b", "1", "123", "1-2", "é", "a b", "a\n", "a:b", 7, True,
       [], {}]),
    *(("token_type", kind, "token_type") for kind in ["", "Session", "admin", "sessions", " session", 1, [], {}]),
    ("scopes", "a", "scopes"), ("scopes", {}, "scopes"), ("scopes", 1, "scopes"), ("scopes", {"0": "a"}, "scopes"),
    ("scopes", [1], "scopes[0]"), ("scopes", ["a", None], "scopes[1]"), ("scopes", ["a", "b", ["c"]], "scopes[2]"),
    ("scopes", ["a b"], "scopes[0]"), ("scopes", ["a", "b/c"], "scopes[1]"), ("scopes", ["é"], "scopes[0]"),
    ("scopes", ["a\n"], "scopes[0]"),
    ("scopes", [f"s{number:04}" for number in range(1001)], "scopes"),
    *(("created", value, "created") for value in ["1700000000", 1.5, 1e9, True, [], {}, FAR + 1, ID_MAX, "now"]),
    *(("expires", value, "expires") for value in ["9999999999", 9999999999.5, True, [], {}, FAR + 1, ID_MAX, 1, 0, -1]),
    *(("service", value, "service") for value in ["", "x" * 65, "ä" * 65, 1, [], {}, False]),
    *((name, value, name) for name in ("name", "email") for value in ["", 1, [], {}, True]),
    *((name, value, name) for name in ("uid", "gid") for value in [0, -1, 1.0, "1", True, [], {}, ID_MAX + 1, 2**64]),
    ("groups", {}, "groups"), ("groups", "x", "groups"), ("groups", 1, "groups"),
    ("groups", [1], "groups[0]"), ("groups", ["a"], "groups[0]"), ("groups", [[]], "groups[0]"),
    ("groups", [None], "groups[0]"),
    ("groups", [{}], "groups[0].name"), ("groups", [{"name": "a"}], "groups[0].id"),
    ("groups", [{"id": 1}], "groups[0].name"),
    ("groups", [{"name": None, "id": 1}], "groups[0].name"), ("groups", [{"name": "a", "id": None}], "groups[0].id"),
    *(("groups", [{"name": "ok", "id": 1}, {"name": name, "id": 1}], "groups[1].name") for name in
      ["", "1", "123", "1.2", ".a", "_a", "-a", "a b", "a/b", "é", "a\n", 7, True, []]),
    *(("groups", [{"name": "ok", "id": value}], "groups[0].id") for value in [0, -1, "1", 1.0, True, []]),
    ("groups", [{"name": "a", "id": 1, "x": 1}], "groups[0].x"),
    ("groups", [{"name": "a", "id": 1, "gid": 1}], "groups[0].gid"),
    ("groups", [{"name": f"g{number}", "id": number + 1} for number in range(501)], "groups"),
    ("expire", FAR, "expire"), ("Expires", FAR, "Expires"), ("user", "x", "user"), ("x", None, "x"),
]


def names_path(text, path):
    """Whether the error names the path, as a whole."""
    return re.search(r"(?<![\w.\]])" + re.escape(path) + r"(?![\w\[]|\.\w)", text) is not None


def assert_refused(daemon, request, path):
    with daemon.connect() as client:
        answer = client.ask(request)
        assert answer.code == "ERR badreq"
        if path:
            assert names_path(answer.text, path), f"{answer.text!r} does not name {path}"
        assert client.ask("PING").last == "OK"


@pytest.mark.parametrize("field, value, path", REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("command", ["STORE", "ISSUE"])
def test_refused(daemon, command, field, value, path):
    fields = data(**{field: value})
    if command == "ISSUE":
        del fields["token"]
    assert_refused(daemon, f"{command} {to_json(fields)}", path)


@pytest.mark.parametrize("field", ["token", "username", "token_type", "scopes"])
@pytest.mark.parametrize("value", [..., None], ids=["absent", "null"])
def test_required(daemon, field, value):
    fields = {**data(), field: value}
    assert_refused(daemon, "STORE " + to_json({name: value for name, value in fields.items() if value is not ...}),
                   field)


@pytest.mark.parametrize("field", ["created", "expires", "service", "name", "email", "uid", "gid", "groups"])
def test_null_equals_absent(daemon, field):
    fields = data(**{field: None})
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    found = json.loads(daemon.ask("GET " + fields["token"]).text)
    assert (field in found) == (field == "created")


def test_null_in_every_optional_field(daemon):
    fields = data(created=None, expires=None, service=None, name=None, email=None, uid=None, gid=None, groups=None)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    assert list(json.loads(daemon.ask("GET " + fields["token"]).text)) == ["token", "username", "token_type", "scopes",
                                                                           "created"]


def test_scopes_are_sorted_and_not_repeated(daemon, planter):
    fields = data(scopes=["b", "a", "B", "b", "_", "-", "a:b", "a"])
    daemon.ask("STORE " + to_json(fields))
    assert json.loads(daemon.ask("GET " + fields["token"]).text)["scopes"] == ["-", "B", "_", "a", "a:b", "b"]
    assert planter.stored(key_of(fields["token"]))["scopes"] == ["-", "B", "_", "a", "a:b", "b"]


def test_the_most_of_everything(daemon):
    fields = data(scopes=[f"s{number:03}" for number in range(1000)],
                  groups=[{"name": f"g{number}", "id": number + 1} for number in range(500)],
                  expires=FAR, service="x" * 64, name="n" * 5000, email="e" * 5000, uid=ID_MAX, gid=ID_MAX)
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    assert json.loads(daemon.ask("GET " + fields["token"]).text) == fields


# The token itself

def test_token_as_an_object(daemon):
    held = token()
    fields = {**data(held), "token": {"key": key_of(held), "secret": secret_of(held)}}
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    assert json.loads(daemon.ask("GET " + held).text)["token"] == held


@pytest.mark.parametrize("value, path", [
    ("", "token"), ("x", "token"), ("gt-" + "a" * 22, "token"), ("gt-" + "a" * 22 + "." + "b" * 23, "token"),
    (7, "token"), (True, "token"), ([], "token"),
    ([part(), part()], "token"), ({}, None), ({"key": part()}, "token.secret"), ({"secret": part()}, "token.key"),
    ({"key": "x", "secret": part()}, "token.key"), ({"key": part(), "secret": "x"}, "token.secret"),
    ({"key": 1, "secret": part()}, "token.key"),
    ({"key": part(), "secret": part(), "x": 1}, "token.x"), ({"key": part(), "secret": None}, "token.secret")],
    ids=lambda value: re.sub(r"[\w-]{22}", "P", str(value)))
def test_token_refused(daemon, value, path):
    assert_refused(daemon, "STORE " + to_json({**data(), "token": value}), path)


# JSON that is not quite JSON

@pytest.mark.parametrize("text", [
    "x", "[]", "7", "null", "true", '"x"', "{", "}", "{}}", "{} {}", '{"a":1', "{'a':1}", '{"a":1,}', "{a:1}",
    '{"username":"a"', "[{}]", "{,}", '{"username"}',
    '{"username":nan}', '{"uid":0x10}', '{"uid":01}', '{"uid":+1}', '{"uid":1.}', '{"name":"\\x"}',
    '{"name":"\\ud800"}', '{"name":"\\u00"}',
    '{"name":"unended', "/* */{}", "{}//", "[" * 30000, '{"name":' * 5000 + "1" + "}" * 5000, "\ufeff{}"],
                         ids=lambda text: text[:20])
def test_bad_json(daemon, text):
    assert_refused(daemon, "STORE " + text, None)


@pytest.mark.parametrize("again, path", [
    ('"username":"alice"', "username"), ('"username":"bob"', "username"), ('"scopes":[]', "scopes"),
    ('"expires":null,"expires":253402300799', "expires"),
    ('"groups":[{"name":"a","id":1,"id":2}]', "groups[0].id"),
    ('"groups":[{"name":"a","id":1},{"name":"b","name":"b","id":2}]', "groups[1].name")])
def test_repeated_fields(daemon, again, path):
    assert_refused(daemon, "STORE " + to_json(data())[:-1] + "," + again + "}", path)


def test_json_may_have_spaces(daemon):
    fields = data(name="a  b")
    assert daemon.ask("STORE " + json.dumps(fields, separators=(" ,  ", "  :  ")) + " ").last == "OK"
    assert json.loads(daemon.ask("GET " + fields["token"]).text)["name"] == "a  b"


def test_json_may_have_escapes(daemon):
    fields = data(name="Zoë \U0001f600 \u2028/")
    escaped = json.dumps(fields, ensure_ascii=True).replace("/", "\\/")
    assert daemon.ask("STORE " + escaped).last == "OK"
    assert json.loads(daemon.ask("GET " + fields["token"]).text) == fields


@pytest.mark.parametrize("escape", ["\\u0000", "\\u0001", "\\n", "\\r\\n", "\\t", "\\u001b[31m", "\\u007f", "\\u0085",
                                    "\\u009b31m"])
@pytest.mark.parametrize("field", ["name", "email", "service"])
def test_control_characters_never_come_out(daemon, field, escape):
    """Taken or refused, the answer is one line without a control character; Client.answer looks at that."""
    fields = data()
    text = to_json(fields)[:-1] + f',"{field}":"a{escape}b"' + "}"
    with daemon.connect() as client:
        answer = client.ask("STORE " + text)
        assert answer.code in ("OK", "ERR badreq")
        found = client.ask("GET " + fields["token"])
        if answer.cls == "OK":
            assert json.loads(found.text)[field] == json.loads(f'"a{escape}b"')
            assert not any(0x80 <= ord(character) < 0xA0 for character in found.text)
        else:
            assert names_path(answer.text, field) or escape == "\\u0000"
            assert found.last == "NO invalid"


def test_refusals_quote_nothing(daemon):
    """Text that could not be parsed may hold a secret: neither the log nor the answer repeats it."""
    held = token()
    for text in (to_json(data(held))[:-1], to_json(data(held, username="SECRETIVE")),
                 to_json(data(held, expires="SECRETIVE")),
                 to_json(data(held)) + held):
        answer = daemon.ask("STORE " + text)
        assert answer.code == "ERR badreq"
        assert secret_of(held) not in answer.text and "SECRETIVE" not in answer.text
    assert secret_of(held) not in daemon.stderr() and "SECRETIVE" not in daemon.stderr()


# Times

def test_expiry_now_is_past(daemon):
    assert_refused(daemon, "STORE " + to_json(data(expires=int(time.time()))), "expires")


def test_the_stored_form_of_everything(daemon, planter):
    fields = data(expires=FAR, service="portal", name="Zoë", email="a@b", uid=1000, gid=1001,
                  groups=[{"name": "g", "id": 3}])
    assert daemon.ask("STORE " + to_json(fields)).last == "OK"
    value = planter.value(key_of(fields["token"]))
    assert value[0] == 1
    assert planter.stored(key_of(fields["token"])) == to_stored(fields)


def test_every_value_has_a_nonce_of_its_own(daemon, planter):
    fields = data()
    values = set()
    for _ in range(20):
        assert daemon.ask("STORE " + to_json(fields)).last == "OK"
        values.add(planter.value(key_of(fields["token"]))[9:33])
    assert len(values) == 20
