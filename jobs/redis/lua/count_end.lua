-- Counts the end of a worker process that its supervisor did not ask for, by slot and reason. Returns the count.
local worker, reason = ARGV[1], ARGV[2]
local MAX_ENTRIES = 4000 -- of hosts that come and go
write_even_when_full()
if #redis.call('HGETALL', P .. 'ends') >= 2 * MAX_ENTRIES then redis.call('DEL', P .. 'ends') end
return redis.call('HINCRBY', P .. 'ends', slot_of(worker) .. ' ' .. reason, 1)
