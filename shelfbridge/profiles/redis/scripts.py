"""What Redis does as one: each script touches one slot, and doing it twice is doing it once."""

APPLY = """
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
"""

COUNT = """
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
"""

FINISH = """
-- KEYS: events; ARGV: group, entries. Only what is acknowledged is deleted, and all of it
for i = 2, #ARGV do
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    redis.call('XDEL', KEYS[1], ARGV[i])
end
"""

SET_ASIDE = """
-- KEYS: events set_aside; ARGV: group, entry, reason, retention in seconds
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if entry then
    local oldest = math.max(0, (tonumber(redis.call('TIME')[1]) - tonumber(ARGV[4])) * 1000)
    redis.call('XADD', KEYS[2], 'MINID', '~', string.format('%d', oldest), '*',
        'reason', ARGV[3], 'entry', ARGV[2], unpack(entry[2]))
    redis.call('EXPIRE', KEYS[2], ARGV[4])
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
"""

FORGET = """
-- KEYS: recent bought latest seen forgotten; ARGV: earliest time up to which nothing is kept, retention
-- The latest event's time counts too; of a key that holds what is no profile there is none
local before = tonumber(redis.call('GET', KEYS[5]) or '-1')
local latest = tonumber(redis.pcall('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] or '-1')
local till = math.max(before, latest, tonumber(ARGV[1]))
if before < till then
    redis.call('SET', KEYS[5], string.format('%.17g', till))
    redis.call('EXPIREAT', KEYS[5], string.format('%d', math.ceil(till + tonumber(ARGV[2]))))
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
"""

LEAVE = """
-- KEYS: events; ARGV: group, consumer. One that has unfinished entries stays, or they would be lost
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""
