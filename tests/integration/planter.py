# SPDX-License-Identifier: MIT
"""Values put into a daemon's Redis, and read from it, behind the daemon's back."""
from sealed import pack, seal, unpack, unseal
from tokens import key_of, to_stored


class Planter:
    def __init__(self, daemon, client=None):
        self.daemon, self.client = daemon, client or daemon.redis.client()

    def name(self, key):
        return (self.daemon.prefix + key).encode()

    def plant_bytes(self, key, value):
        self.client.set(self.name(key), value)

    def plant_plain(self, key, plain, **how):
        """Seals a plaintext with the daemon's first key, or with the key `sealing`, and else as `how` says (see
        sealed.seal)."""
        sealing = how.pop("sealing", self.daemon.keys[0])
        name = how.pop("name", self.name(key))
        value = seal(sealing, name, plain, **how)
        self.client.set(self.name(key), value)
        return value

    def plant(self, fields, **how):
        """Plants token data (a dictionary as in JSON) under its own key."""
        return self.plant_plain(key_of(fields["token"]), pack(to_stored(fields)), **how)

    def names(self):
        """Every Redis key, but for those that the daemon itself uses to see whether Redis still answers, and for its index
        by user."""
        index = (self.daemon.prefix + "u.").encode()
        return {name for name in self.client.keys() if b".hb." not in name and not name.startswith(index)}

    def value(self, key):
        return self.client.get(self.name(key))

    def stored(self, key):
        """What is stored, opened and decoded."""
        value = self.value(key)
        assert value is not None, f"nothing under {self.name(key)}"
        plain = unseal(self.daemon.keys[0], self.name(key), value)
        assert plain is not None, "the stored value does not open"
        return unpack(plain)
