-- A node's heartbeat, and its claim to slots. A slot goes to the higher epoch.
-- KEYS: the heartbeat, the slots. ARGV: node, epoch, what else the heartbeat says, time to live in
-- ms, first slot, last slot. Returns how many slots another holds at this epoch or a higher one.
local epoch, claim, refused = tonumber(ARGV[2]), ARGV[2] .. ' ' .. ARGV[1], 0
local function epoch_of(value)
    return value and tonumber(string.match(value, '^%d+')) or -1
end
local slots = {}
for slot = tonumber(ARGV[5]), tonumber(ARGV[6]) do
    slots[#slots + 1] = slot
end
local routes = redis.call('HMGET', KEYS[2], unpack(slots))
for index, slot in ipairs(slots) do
    if routes[index] ~= claim then
        if epoch_of(routes[index]) >= epoch then
            refused = refused + 1
        else
            redis.call('HSET', KEYS[2], slot, claim)
        end
    end
end
-- What a dead process of this node sent comes late.
if epoch_of(redis.call('GET', KEYS[1])) <= epoch then
    redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
end
if refused == 0 then
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return refused
