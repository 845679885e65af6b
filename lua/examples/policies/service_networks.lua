-- SPDX-License-Identifier: MIT
-- Tokens of services are good only for those who ask from given networks. Worked through in tokenkeep-policy(7).
--
--   policy "service_networks.lua" {
--       inside = "10.0.0.0/8 fd00::/8"   # networks, and single addresses
--   }

local inside

local function words(text)
    local list = {}
    for word in text:gmatch("%S+") do
        list[#list + 1] = word
    end
    return list
end

local policy = {}

function policy.load(settings)
    if not settings.inside then
        error('inside: name the networks, such as "10.0.0.0/8 fd00::/8"')
    end
    inside = keep.cidr(words(settings.inside))
end

-- Who asks over a unix socket has no address, and is on this machine.
function policy.get(request, token)
    if token.token_type == "service" and not inside(request.address or "127.0.0.1") then
        return false, "service tokens are good inside alone"
    end
    return true
end

policy.check = policy.get

return policy
