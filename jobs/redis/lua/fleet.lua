-- Returns {id, description, number of jobs that it holds, '1' if an operator drains it} of each worker whose
-- heartbeat is fresh.
local live = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', seconds(NOW), '+inf')) do
  local info = redis.pcall('GET', P .. 'worker:' .. worker)
  if type(info) == 'table' then info = '' end -- of another type than a string: a description that cannot be read
  local held = redis.pcall('HGETALL', P .. 'held:' .. worker)
  local drains = redis.call('EXISTS', P .. 'drain:' .. worker) == 1 and '1' or ''
  if info then live[#live + 1] = { worker, info, tostring(held.err and 0 or #held / 2), drains } end
end
return live
