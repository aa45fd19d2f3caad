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
