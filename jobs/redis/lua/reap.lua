-- Requeues up to `limit` jobs whose lease ran out, ends jobs past their deadline, deletes old records.
-- Returns the number of leases that ran out, or −1 during the grace after a restart of Redis: no worker
-- could renew while Redis was away.
local limit, grace_s = tonumber(ARGV[1]), tonumber(ARGV[2])
local LOSSES_BEFORE_SOLO = 5
write_even_when_full()
if primary_age() < grace_s then return -1 end

local reaped = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', seconds(NOW), 'LIMIT', 0, limit)) do
  local job = read_whole_job(id, 'state', 'cancel')
  if job[1] ~= 'running' then
    redis.call('ZREM', P .. 'leases', id) -- the record is lost or damaged, so there is nothing to requeue
    if not job[1] then skip_unreadable(id) end
  else
    if job[2] and job[2] ~= '' then
      finish_flagged(id, job[2])
    else
      -- A loss is not a crash, but a job that keeps losing its workers is run alone.
      if redis.call('HINCRBY', job_key(id), 'losses', 1) >= LOSSES_BEFORE_SOLO then
        redis.call('HSET', job_key(id), 'solo', '1')
      end
      requeue(id, 'lease_lost')
    end
    reaped = reaped + 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', seconds(NOW), 'LIMIT', 0, limit)) do
  redis.call('ZREM', P .. 'deadlines', id)
  local state = read_whole_job(id, 'state')[1]
  if state == 'queued' then
    finish_flagged(id, 'expired')
  elseif state == 'running' then
    redis.call('HSET', job_key(id), 'cancel', 'expired')
  end
end
redis.call('ZREMRANGEBYSCORE', P .. 'done', '-inf', seconds(NOW - ENDED_FOR_S))
redis.call('ZREMRANGEBYSCORE', P .. 'dead', '-inf', seconds(NOW - DEAD_TTL_S))
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', seconds(NOW))
return reaped
