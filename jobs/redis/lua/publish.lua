-- Adds an event to the stream if `attempt` still runs the job; else drops it. Returns 1 or 0.
local job_id, attempt, body, is_progress = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local LARGE_BYTES, MAX_AFTER_LARGE = 4096, 512
local job = redis.call('HMGET', job_key(job_id), 'state', 'attempt')
if job[1] ~= 'running' or job[2] ~= attempt then return 0 end
-- A large event shortens the stream further, so that partial images cannot fill the memory.
redis.pcall('XADD', P .. 'ev', 'MAXLEN', '~', #body > LARGE_BYTES and MAX_AFTER_LARGE or MAX_EVENTS, '*',
  'j', job_id, 'a', attempt, 'b', body)
if is_progress then redis.call('HSET', job_key(job_id), 'progress', body) end
return 1
