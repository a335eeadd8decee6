-- state, limit → ids; queued ones in the order they will run, ended ones latest first.
local state, limit = ARGV[3], tonumber(ARGV[4])
if state == 'queued' then return redis.call('ZRANGE', P .. 'ready', 0, limit - 1) end
if state == 'running' then return redis.call('ZRANGE', P .. 'leases', 0, limit - 1) end
if state == 'dead' then return redis.call('ZREVRANGE', P .. 'dead', 0, limit - 1) end
local MAX_SCANNED = 5000
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', P .. 'done', 0, MAX_SCANNED - 1)) do
  if redis.call('HGET', job_key(id), 'state') == state then found[#found + 1] = id end
  if #found == limit then break end
end
return found
