-- worker, what it says of itself, ttl s.
write_even_when_full()
redis.call('SET', P .. 'worker:' .. ARGV[3], ARGV[4], 'PX', math.ceil(tonumber(ARGV[5]) * 1000))
redis.call('ZADD', P .. 'workers', seconds(NOW + tonumber(ARGV[5])), ARGV[3])
return 1
