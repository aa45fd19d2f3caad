-- KEYS: events; ARGV: group, entries. Only what is acknowledged is deleted, and all of it
for i = 2, #ARGV do
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    redis.call('XDEL', KEYS[1], ARGV[i])
end
