-- Returns {id, description} of each worker whose heartbeat is fresh.
local live = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', seconds(NOW), '+inf')) do
  local info = redis.pcall('GET', P .. 'worker:' .. worker)
  if type(info) == 'table' then info = '' end -- of another type than a string: a description that cannot be read
  if info then live[#live + 1] = { worker, info } end
end
return live
