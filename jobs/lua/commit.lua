-- id, attempt, digest, state, outcome, code, message, worker, model, compute s → 'accepted' or 'fenced'.
local id, attempt, digest, state = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local outcome, code, message, worker = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local job = redis.call('HMGET', job_key(id), 'state', 'attempt', 'result_digest', 'started')
if not job[1] then return 'fenced' end
if is_terminal(job[1]) then
  if job[3] == digest then return 'accepted' end
  return 'fenced'
end
if job[2] ~= attempt or attempt == '0' then return 'fenced' end
-- Running under this attempt, or queued again and unclaimed: then the work is rescued.

write_even_when_full()
finish(id, state, code, message, outcome, digest)
redis.call('HSET', job_key(id), 'model', ARGV[11], 'compute', ARGV[12], 'worker', worker)

-- Time between results of one busy worker, so that batches count as what they are.
local consumer = P .. 'consumer:' .. worker
local last = tonumber(redis.call('HGET', consumer, 'committed') or '0')
local service = math.max(0, NOW - math.max(last, tonumber(job[4])))
local mean = tonumber(redis.call('GET', P .. 'service') or service)
redis.call('SET', P .. 'service', string.format('%.6f', mean + 0.1 * (service - mean)))
redis.call('HSET', consumer, 'committed', seconds(NOW))
redis.call('EXPIRE', consumer, CONSUMER_TTL_S)
return 'accepted'
