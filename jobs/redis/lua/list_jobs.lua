-- Returns up to `limit` ids of jobs in a state: queued ones in running order and then parked ones, ended ones
-- latest first.
local state, limit = ARGV[1], tonumber(ARGV[2])
if state == 'queued' then
  local queued = redis.call('ZRANGE', P .. 'ready', 0, limit - 1)
  for _, id in ipairs(redis.call('ZRANGE', P .. 'parked', 0, limit - 1)) do
    if #queued < limit then queued[#queued + 1] = id end
  end
  return queued
end
if state == 'running' then return redis.call('ZRANGE', P .. 'leases', 0, limit - 1) end
if state == 'dead' then return redis.call('ZREVRANGE', P .. 'dead', 0, limit - 1) end
local MAX_SCANNED = 5000
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', P .. 'done', 0, MAX_SCANNED - 1)) do
  if read_job(id, 'state')[1] == state then found[#found + 1] = id end
  if #found == limit then break end
end
return found
