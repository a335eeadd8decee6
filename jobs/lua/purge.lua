-- limit, minimum age s → number of dead letters removed for good, oldest first.
local limit, before = tonumber(ARGV[3]), seconds(NOW - tonumber(ARGV[4]))
local ids = redis.call('ZRANGEBYSCORE', P .. 'dead', '-inf', before, 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  local idem = redis.call('HGET', job_key(id), 'idem')
  redis.call('ZREM', P .. 'dead', id)
  if idem and idem ~= '' then redis.call('DEL', P .. idem) end
  redis.call('DEL', job_key(id), P .. 'in:' .. id, P .. 'res:' .. id)
end
return #ids
