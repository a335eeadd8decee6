-- tenant, bytes, max depth, max bytes, tenant's max jobs, tenant's max bytes, idempotency key → {'ok', free
-- places} or a refusal. Who names a job that is known already needs no place.
local max_depth, tenant_max_jobs = tonumber(ARGV[5]), tonumber(ARGV[7])
if ARGV[9] ~= '' and redis.call('EXISTS', P .. ARGV[9]) == 1 then return { 'ok', '1' } end
local refused = refusal(ARGV[3], tonumber(ARGV[4]), max_depth, tonumber(ARGV[6]), tenant_max_jobs,
  tonumber(ARGV[8]))
if refused then return refused end
local jobs = tonumber(redis.call('HGET', P .. 'tenant:' .. ARGV[3], 'jobs') or '0')
local reserve = math.floor(max_depth / 10)
local depth = redis.call('ZCARD', P .. 'ready')
local free = math.max(max_depth - reserve - depth, math.min(reserve - jobs, max_depth - depth))
return { 'ok', tostring(math.max(1, math.min(free, tenant_max_jobs - jobs))) }
