-- Asks a worker to finish what it runs and to end. Its next heartbeat returns that; it claims nothing from now on.
-- Returns 1, or 0 if no heartbeat of such a worker is fresh.
local worker = ARGV[1]
local DRAIN_TTL_S = 3600 -- a worker that dies first does not clear it
if redis.call('EXISTS', P .. 'worker:' .. worker) == 0 then return 0 end
write_even_when_full()
redis.call('SET', P .. 'drain:' .. worker, '1', 'EX', DRAIN_TTL_S)
return 1
