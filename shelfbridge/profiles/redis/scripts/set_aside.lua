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
