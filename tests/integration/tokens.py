# SPDX-License-Identifier: MIT
"""Made-up tokens and token data."""
import json
import secrets
import string

ALPHABET = string.ascii_letters + string.digits + "-_"
TOKEN = "gt-" + "a" * 22 + "." + "b" * 22  # never stored


def part():
    """22 characters, as a key or a secret has."""
    return "".join(secrets.choice(ALPHABET) for _ in range(22))


def token(key=None, secret=None):
    return f"gt-{key or part()}.{secret or part()}"


def key_of(text):
    return text[3:25]


def secret_of(text):
    return text[26:]


def data(text=None, **changes):
    """Token data with the required fields, and what the test changes; a field set to `...` is left out."""
    fields = {"token": text or token(), "username": "alice", "token_type": "session", "scopes": ["read:all"],
              "created": 1700000000}
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not ...}


def to_json(fields):
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def to_stored(fields):
    """The same as it stands in Redis: the token as an array of key and secret, scopes sorted."""
    stored = dict(fields)
    stored["token"] = [key_of(fields["token"]), secret_of(fields["token"])]
    stored["scopes"] = sorted(set(fields["scopes"]))
    return stored
