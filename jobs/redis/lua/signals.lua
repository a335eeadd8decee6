-- Returns {age of the oldest queued job in s, age of the oldest job that has not ended in s, sequences that wait,
-- {tenant, waiting jobs, …}, {slot, starts, …}, {slot and reason, ends, …}, {reason, requeued jobs, …}}.
-- At most MAX_READ jobs of each kind are read: the first in line, and those whose leases end first. The sequences of a
-- longer queue are projected from them. The first in line are of all tenants alike, so the jobs of a tenant are then those
-- of its record, which also counts running and parked ones.
local MAX_READ = 1000

local function read(key)
  local created, sequences, tenants = NOW, 0, {}
  local ids = redis.call('ZRANGE', P .. key, 0, MAX_READ - 1)
  for _, id in ipairs(ids) do
    local job = read_job(id, 'created', 'rows', 'tenant')
    created = math.min(created, tonumber(job[1] or NOW) or NOW)
    sequences = sequences + (tonumber(job[2] or 1) or 1)
    if job[3] then tenants[job[3]] = (tenants[job[3]] or 0) + 1 end
  end
  return NOW - created, sequences, tenants, math.max(1, redis.call('ZCARD', P .. key) / math.max(1, #ids))
end

local waiting, sequences, tenants, factor = read('ready')
local by_tenant = {}
for tenant, jobs in pairs(tenants) do
  by_tenant[#by_tenant + 1] = tenant
  local held = factor > 1 and tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, 'jobs'))
  by_tenant[#by_tenant + 1] = string.format('%.0f', held or jobs)
end
local unfinished = math.max(waiting, (read('leases')))
return {
  seconds(waiting), seconds(unfinished), string.format('%.0f', sequences * factor), by_tenant,
  redis.call('HGETALL', P .. 'starts'), redis.call('HGETALL', P .. 'ends'), redis.call('HGETALL', P .. 'requeued'),
}
