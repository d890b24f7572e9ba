-- Takes places of a conversation into its window, a list of values without a hole. Each value
-- begins with its place, big-endian.
-- KEYS: the window. ARGV: places kept, time to live in ms, the first place, then each place's
-- value, lowest first. Without values a window that ends below the first place goes.
local first, count = tonumber(ARGV[3]), #ARGV - 3
local last, head = redis.pcall('LINDEX', KEYS[1], -1), -1
if type(last) == 'string' and #last >= 8 then
    head = struct.unpack('>I8', last)
end
-- Older news, of a process that died or of a batch that was written again.
if head >= first + count - 1 then
    return
end
-- A hole, or no window: it begins anew.
if head < first - 1 then
    redis.call('DEL', KEYS[1])
    head = first - 1
end
for place = head + 1, first + count - 1 do
    redis.call('RPUSH', KEYS[1], ARGV[4 + place - first])
end
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[1]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
