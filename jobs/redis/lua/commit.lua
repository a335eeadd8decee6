-- Makes an outcome the one result of a job, if `attempt` still holds or no other worker has claimed the job.
-- Returns 'accepted' or 'fenced'. The same outcome again is accepted.
local job_id, attempt, digest, state = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local outcome, code, message = ARGV[5], ARGV[6], ARGV[7]
local worker, model, compute_s = ARGV[8], ARGV[9], ARGV[10]
local job = redis.call('HMGET', job_key(job_id), 'state', 'attempt', 'result_digest', 'started')
if not job[1] then return 'fenced' end
if is_terminal(job[1]) then
  if job[3] == digest then return 'accepted' end
  return 'fenced'
end
if job[2] ~= attempt or attempt == '0' then return 'fenced' end

write_even_when_full()
finish(job_id, state, code, message, outcome, digest)
redis.call('HSET', job_key(job_id), 'model', model, 'compute', compute_s, 'worker', worker)

-- The service time is the time between two results of one busy worker, so that a batch counts as parallel.
local consumer = P .. 'consumer:' .. worker
local last = tonumber(redis.call('HGET', consumer, 'committed') or '0')
local service = math.max(0, NOW - math.max(last, tonumber(job[4])))
local mean = tonumber(redis.call('GET', P .. 'service') or service)
redis.call('SET', P .. 'service', string.format('%.6f', mean + 0.1 * (service - mean)))
redis.call('HSET', consumer, 'committed', seconds(NOW))
redis.call('EXPIRE', consumer, CONSUMER_TTL_S)
return 'accepted'
