-- SPDX-License-Identifier: MIT
-- Run by: tokenkeep policy test FOLDER
local service = { username = "bot-7", token_type = "service" }
local person = { username = "alice", token_type = "session" }
local outside = "service tokens are good inside alone"

return {
    policy = "service_networks.lua",
    settings = { inside = "10.0.0.0/8 192.0.2.7 fd00::/8" },
    cases = {
        { name = "from a network", request = { command = "get", address = "10.1.2.3" }, token = service,
          want = true },
        { name = "from a single address", request = { command = "get", address = "192.0.2.7" }, token = service,
          want = true },
        { name = "from the address beside it", request = { command = "get", address = "192.0.2.8" }, token = service,
          want = outside },
        { name = "from a network of IPv6", request = { command = "get", address = "fd00::1" }, token = service,
          want = true },
        { name = "from another", request = { command = "get", address = "2001:db8::1" }, token = service,
          want = outside },
        { name = "IPv4 written as IPv6", request = { command = "get", address = "::ffff:10.1.2.3" }, token = service,
          want = true },
        { name = "CHECK as GET", request = { command = "check", address = "11.0.0.1" }, token = service,
          want = outside },
        { name = "people are good everywhere", request = { command = "get", address = "11.0.0.1" }, token = person,
          want = true },
        { name = "a unix socket counts as 127.0.0.1, which is not inside", request = { command = "get", user = "root" },
          token = service, want = outside },
    },
}
