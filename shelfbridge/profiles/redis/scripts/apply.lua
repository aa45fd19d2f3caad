-- KEYS: recent bought latest seen forgotten
-- ARGV: floor, retention, most recent, most bought; then of each event: id, mark, time, kind, quantity, product, member
-- Gives for each event whether it counts: 1 also for one that counted when its entry was delivered before
local recent, bought, latest, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local floor, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local forgotten = tonumber(redis.call('GET', KEYS[5]) or '-1')
local counts = {}
for i = 5, #ARGV, 7 do
    local id, mark, time, kind, quantity, product, member = unpack(ARGV, i, i + 6)
    local at = tonumber(time)
    local first = redis.call('ZSCORE', seen, id)
    if at < floor or at <= forgotten then
        counts[#counts + 1] = 0
    elseif first then
        counts[#counts + 1] = tonumber(first) == tonumber(mark) and 1 or 0
    else
        counts[#counts + 1] = 1
        redis.call('ZADD', seen, mark, id)
        redis.call('ZADD', recent, time, member)
        if kind == 'buy' then
            local times, pieces, since, last = 0, 0, at, at
            local held = redis.call('HGET', bought, product)
            if held then
                local t, p, s, l = string.match(held, '([^,]+),([^,]+),([^,]+),([^,]+)')
                times, pieces = tonumber(t), tonumber(p)
                since, last = math.min(at, tonumber(s)), math.max(at, tonumber(l))
            end
            local now = string.format('%d,%d,%.17g,%.17g', times + 1, pieces + tonumber(quantity), since, last)
            redis.call('HSET', bought, product, now)
            redis.call('ZADD', latest, string.format('%.17g', last), product)
        end
    end
end
redis.call('ZREMRANGEBYSCORE', recent, '-inf', '(' .. ARGV[1])
redis.call('ZREMRANGEBYRANK', recent, 0, -1 - tonumber(ARGV[3]))
-- An id may go when its event is too old to count again; an hour's grace for clocks
redis.call('ZREMRANGEBYSCORE', seen, '-inf', string.format('%.17g', (floor - 3600) * 1e6))
local function leave(products)
    for _, product in ipairs(products) do
        redis.call('HDEL', bought, product)
        redis.call('ZREM', latest, product)
    end
end
leave(redis.call('ZRANGEBYSCORE', latest, '-inf', '(' .. ARGV[1]))
leave(redis.call('ZRANGE', latest, 0, -1 - tonumber(ARGV[4])))
local newest = redis.call('ZRANGE', recent, -1, -1, 'WITHSCORES')[2]
if newest then
    for i = 1, 4 do
        redis.call('EXPIREAT', KEYS[i], string.format('%d', math.ceil(tonumber(newest) + retention)))
    end
end
return counts
