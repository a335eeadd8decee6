-- limit, grace s → number of jobs taken from workers that stopped renewing, or −1 while leases rest.
-- After a restart or a failover nobody could renew for a while, so the leases rest for one more.
local limit, grace = tonumber(ARGV[3]), tonumber(ARGV[4])
local LOSSES_BEFORE_SOLO = 5
write_even_when_full()
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local boot = redis.call('HMGET', P .. 'boot', 'run_id', 'since')
if boot[1] ~= run_id then
  boot[2] = boot[1] and NOW or 0
  redis.call('HSET', P .. 'boot', 'run_id', run_id, 'since', seconds(boot[2]))
end
if NOW < tonumber(boot[2]) + grace then return -1 end

local reaped = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', seconds(NOW), 'LIMIT', 0, limit)) do
  local flag = redis.call('HGET', job_key(id), 'cancel')
  if flag and flag ~= '' then
    finish_flagged(id, flag)
  else
    -- Not charged towards the dead letters, but a job that keeps losing its workers is tried alone.
    if redis.call('HINCRBY', job_key(id), 'losses', 1) >= LOSSES_BEFORE_SOLO then
      redis.call('HSET', job_key(id), 'solo', '1')
    end
    requeue(id, 'lease_lost')
  end
  reaped = reaped + 1
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', seconds(NOW), 'LIMIT', 0, limit)) do
  redis.call('ZREM', P .. 'deadlines', id)
  if redis.call('HGET', job_key(id), 'state') == 'queued' then
    finish_flagged(id, 'expired')
  else
    redis.call('HSET', job_key(id), 'cancel', 'expired')
  end
end
redis.call('ZREMRANGEBYSCORE', P .. 'done', '-inf', seconds(NOW))
redis.call('ZREMRANGEBYSCORE', P .. 'dead', '-inf', seconds(NOW - DEAD_TTL_S))
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', seconds(NOW))
return reaped
