-- KEYS: levels counted settled
-- ARGV: seconds that counted and settled entries are remembered, level that is forgotten, retention,
-- how many entries are settled now, these; then of each event: entry, product, level
local levels, counted, settled = KEYS[1], KEYS[2], KEYS[3]
local now = tonumber(redis.call('TIME')[1])
local events = 6 + tonumber(ARGV[5])
for i = 6, events - 1 do
    redis.call('ZADD', settled, now, ARGV[i])
    redis.call('ZREM', counted, ARGV[i])
end
for i = events, #ARGV, 3 do
    local entry, product, level = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if not redis.call('ZSCORE', settled, entry) and redis.call('ZADD', counted, 'NX', now, entry) == 1 then
        local held = redis.call('ZSCORE', levels, product)
        if held then
            local one, other = tonumber(held), tonumber(level)
            local low, high = math.min(one, other), math.max(one, other)
            level = string.format('%.17g', high + math.log(1 + 2 ^ (low - high)) / math.log(2))
        end
        redis.call('ZADD', levels, level, product)
    end
end
redis.call('ZREMRANGEBYSCORE', counted, '-inf', now - tonumber(ARGV[1]))
redis.call('ZREMRANGEBYSCORE', settled, '-inf', now - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYSCORE', levels, '-inf', '(' .. ARGV[3])
redis.call('EXPIRE', counted, ARGV[1])
redis.call('EXPIRE', settled, ARGV[2])
redis.call('EXPIRE', levels, ARGV[4])
