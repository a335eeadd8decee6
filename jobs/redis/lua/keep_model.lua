-- Keeps the description of a worker whose model the API checks requests against. Returns 1.
local worker_info = ARGV[1]
write_even_when_full()
redis.call('SET', P .. 'described', worker_info)
return 1
