-- Deletes up to `limit` dead letters older than `min_age_s`, oldest first. Returns how many.
local limit, min_age_s = tonumber(ARGV[1]), tonumber(ARGV[2])
local before = seconds(NOW - min_age_s)
local ids = redis.call('ZRANGEBYSCORE', P .. 'dead', '-inf', before, 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  local suffix = read_job(id, 'idem')[1]
  redis.call('ZREM', P .. 'dead', id)
  redis.call('ZADD', P .. 'done', seconds(NOW), id)
  if suffix and suffix ~= '' then redis.call('DEL', P .. suffix) end
  redis.call('DEL', job_key(id), P .. 'in:' .. id, P .. 'res:' .. id)
end
return #ids
