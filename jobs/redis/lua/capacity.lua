-- Checks whether submit would accept a job now; writes nothing.
-- Returns {'ok', free places}, {'tenant', retry after s} or {'full', retry after s}.
local tenant, num_bytes = ARGV[1], tonumber(ARGV[2])
local max_depth, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local tenant_max_jobs, tenant_max_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local idempotency_suffix = ARGV[7]
-- The repetition of a known job needs no place.
if idempotency_suffix ~= '' and redis.call('EXISTS', P .. idempotency_suffix) == 1 then
  return { 'ok', '1' }
end
local refused = refusal(tenant, num_bytes, max_depth, max_bytes, tenant_max_jobs, tenant_max_bytes)
if refused then return refused end
local jobs = tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, 'jobs') or '0')
local reserve = math.floor(max_depth / 10)
local depth = redis.call('ZCARD', P .. 'ready')
local free = math.max(max_depth - reserve - depth, math.min(reserve - jobs, max_depth - depth))
return { 'ok', tostring(math.max(1, math.min(free, tenant_max_jobs - jobs))) }
