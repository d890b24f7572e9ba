-- Places of a window, lowest first, and behind them the newest that it has; nothing where it has
-- not all of them.
-- KEYS: the window. ARGV: the first place wanted, '1' for upwards from there, how many.
local last = redis.pcall('LINDEX', KEYS[1], -1)
if type(last) ~= 'string' or #last < 8 then
    return {}
end
local head = struct.unpack('>I8', last)
local from, limit = tonumber(ARGV[1]), tonumber(ARGV[3])
local low, high = from, from + limit - 1
if ARGV[2] ~= '1' then
    high = math.min(from, head)
    low = math.max(high - limit + 1, 1)
end
if low < 1 or low > high or high > head then
    return {}
end
local values = redis.call('LRANGE', KEYS[1], low - head - 1, high - head - 1)
if #values ~= high - low + 1 then
    return {}
end
values[#values + 1] = last
return values
