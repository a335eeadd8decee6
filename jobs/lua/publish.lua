-- id, attempt, event, is progress → 1 if the attempt still holds and the event was told, else 0.
local id, attempt, body = ARGV[3], ARGV[4], ARGV[5]
local LARGE_BYTES, MAX_AFTER_LARGE = 4096, 512
local job = redis.call('HMGET', job_key(id), 'state', 'attempt')
if job[1] ~= 'running' or job[2] ~= attempt then return 0 end
redis.call('XADD', P .. 'ev', 'MAXLEN', '~', #body > LARGE_BYTES and MAX_AFTER_LARGE or MAX_EVENTS, '*',
  'j', id, 'a', attempt, 'b', body)
if ARGV[6] == '1' then redis.call('HSET', job_key(id), 'progress', body) end
return 1
