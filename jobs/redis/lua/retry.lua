-- Queues a dead letter again, alone and with its counts of crashes cleared. Another job is not changed.
-- Returns the state afterwards, or nil if there is no such job.
local job_id = ARGV[1]
local key = job_key(job_id)
local job = redis.call('HMGET', key, 'state', 'tenant', 'bytes', 'score', 'idem', 'attempt')
if job[1] ~= 'dead' then return job[1] end
if redis.call('EXISTS', P .. 'in:' .. job_id) == 0 then
  return redis.error_reply('NOINPUT the input of the job is gone')
end
redis.call('HSET', key, 'state', 'queued', 'solo', '1', 'solo_crashes', '0', 'losses', '0', 'code', '',
  'message', '', 'worker', '', 'result_digest', '')
redis.call('HDEL', key, 'finished', 'progress', 'deadline')
redis.call('ZREM', P .. 'dead', job_id)
redis.call('PERSIST', key)
redis.call('PERSIST', P .. 'in:' .. job_id)
if job[5] ~= '' then redis.call('PERSIST', P .. job[5]) end
redis.call('HINCRBY', P .. 'tenant:' .. job[2], 'jobs', 1)
redis.call('HINCRBY', P .. 'tenant:' .. job[2], 'bytes', job[3])
redis.call('PERSIST', P .. 'tenant:' .. job[2])
redis.call('INCRBY', P .. 'bytes', job[3])
redis.call('ZADD', P .. 'ready', job[4], job_id)
count('requeued', 'retried')
announce(job_id, job[6], 'queued', 'retried')
wake_worker()
return 'queued'
