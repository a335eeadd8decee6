-- id of a dead letter → it is queued again, alone, with a clean record. Gives the state afterwards.
local id = ARGV[3]
local key = job_key(id)
local job = redis.call('HMGET', key, 'state', 'tenant', 'bytes', 'score', 'idem', 'attempt')
if job[1] ~= 'dead' then return job[1] end
if redis.call('EXISTS', P .. 'in:' .. id) == 0 then return redis.error_reply('NOINPUT the input is gone') end
redis.call('HSET', key, 'state', 'queued', 'solo', '1', 'solo_crashes', '0', 'losses', '0', 'code', '',
  'message', '', 'worker', '', 'result_digest', '')
redis.call('HDEL', key, 'finished', 'progress', 'deadline')
redis.call('ZREM', P .. 'dead', id)
redis.call('PERSIST', key)
redis.call('PERSIST', P .. 'in:' .. id)
if job[5] ~= '' then redis.call('PERSIST', P .. job[5]) end
redis.call('HINCRBY', P .. 'tenant:' .. job[2], 'jobs', 1)
redis.call('HINCRBY', P .. 'tenant:' .. job[2], 'bytes', job[3])
redis.call('PERSIST', P .. 'tenant:' .. job[2])
redis.call('INCRBY', P .. 'bytes', job[3])
redis.call('ZADD', P .. 'ready', job[4], id)
announce(id, job[6], 'queued', 'retried')
wake_worker()
return 'queued'
