-- Put before every script by the loader. KEYS[1] is the epoch, ARGV[1] the prefix of all keys, ARGV[2] the
-- epoch that the caller knows. Nothing runs on data that are not the caller's.
local P = ARGV[1]
local KNOWN_EPOCH = redis.call('GET', KEYS[1])
if not KNOWN_EPOCH then return redis.error_reply('NOEPOCH the data of this queue are gone') end
if KNOWN_EPOCH ~= ARGV[2] then return redis.error_reply('NEWEPOCH ' .. KNOWN_EPOCH) end

local CLOCK = redis.call('TIME')
local NOW = tonumber(CLOCK[1]) + tonumber(CLOCK[2]) / 1000000
local DEAD_TTL_S = 7 * 86400
local CONSUMER_TTL_S = 86400
local TENANT_TTL_S = 3600
local MAX_EVENTS = 8192
local MAX_WAKE_TOKENS = 64
local PRIORITY_STEP = 1099511627776 -- 2^40

local function seconds(time) return string.format('%.6f', time) end

local function job_key(id) return P .. 'job:' .. id end

-- Redis refuses commands that may grow memory only until a script has written once. What must pass on a
-- full server (everything but submitting) therefore begins with this removal of nothing.
local function write_even_when_full() redis.call('DEL', P .. 'nothing') end

local function announce(id, attempt, state, reason)
  redis.call('XADD', P .. 'ev', 'MAXLEN', '~', MAX_EVENTS, '*',
    'j', id, 'a', attempt or '0', 's', state, 'r', reason or '')
end

local function wake_worker()
  redis.call('LPUSH', P .. 'wake', '1')
  redis.call('LTRIM', P .. 'wake', 0, MAX_WAKE_TOKENS - 1)
end

local function let_go(id, worker)
  redis.call('ZREM', P .. 'leases', id)
  if worker and worker ~= '' then redis.call('HDEL', P .. 'held:' .. worker, id) end
end

-- A running job goes back to its old place. Its attempt stays, so that its last holder may still commit
-- as long as nobody else has claimed it.
local function requeue(id, reason)
  local job = redis.call('HMGET', job_key(id), 'worker', 'score', 'attempt')
  let_go(id, job[1])
  redis.call('ZADD', P .. 'ready', job[2], id)
  redis.call('HSET', job_key(id), 'state', 'queued', 'worker', '')
  announce(id, job[3], 'queued', reason)
  wake_worker()
end

local function settle_account(tenant, bytes)
  local key = P .. 'tenant:' .. tenant
  redis.call('HINCRBY', key, 'bytes', -bytes)
  if redis.call('HINCRBY', key, 'jobs', -1) <= 0 then redis.call('EXPIRE', key, TENANT_TTL_S) end
  redis.call('DECRBY', P .. 'bytes', bytes)
end

-- The only way into a terminal state. Removals come first, so that it passes on a full server.
local function finish(id, state, code, message, result, result_digest)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'worker', 'tenant', 'bytes', 'ttl', 'idem', 'attempt')
  let_go(id, job[1])
  redis.call('ZREM', P .. 'ready', id)
  redis.call('ZREM', P .. 'deadlines', id)
  settle_account(job[2], tonumber(job[3]))
  local ttl = tonumber(job[4])
  if state == 'dead' then
    ttl = DEAD_TTL_S
    redis.call('ZADD', P .. 'dead', seconds(NOW), id)
    redis.call('EXPIRE', P .. 'in:' .. id, ttl)
  else
    redis.call('DEL', P .. 'in:' .. id)
    redis.call('ZADD', P .. 'done', seconds(NOW + ttl), id)
  end
  redis.call('HSET', key, 'state', state, 'finished', seconds(NOW), 'code', code or '',
    'message', message or '', 'result_digest', result_digest or '', 'cancel', '')
  if result then redis.call('SET', P .. 'res:' .. id, result, 'EX', ttl) end
  redis.call('EXPIRE', key, ttl)
  if job[5] ~= '' then redis.call('EXPIRE', P .. job[5], ttl) end
  redis.call('HINCRBY', P .. 'totals', state, 1)
  announce(id, job[6], state, code)
end

-- What a cancel flag or a passed deadline does to a job, once nobody computes it any more.
local function finish_flagged(id, flag)
  if flag == 'expired' then
    finish(id, 'expired', 'deadline_exceeded', 'the deadline passed before the job was done')
  else
    finish(id, 'cancelled', 'cancelled', 'the job was cancelled')
  end
end

-- Does `attempt` of `worker` still hold the job? Gives the job's cancel flag, or nil.
local function held_flag(id, attempt, worker)
  local job = redis.call('HMGET', job_key(id), 'state', 'attempt', 'worker', 'cancel')
  if job[1] == 'running' and job[2] == attempt and job[3] == worker then return job[4] or '' end
  return nil
end

local function is_terminal(state) return state ~= 'queued' and state ~= 'running' end

local function retry_after(num_jobs)
  local mean = tonumber(redis.call('GET', P .. 'service') or '1')
  local workers = redis.call('ZCOUNT', P .. 'workers', seconds(NOW), '+inf')
  local wait = math.ceil(num_jobs * mean / math.max(workers, 1))
  return math.max(1, math.min(120, wait))
end

-- Is there room for one more job of so many bytes? Gives nil, or the refusal to return. The last tenth of the
-- queue is for tenants who have less than that waiting, so that one flood does not close it to everybody.
local function refusal(tenant, bytes, max_depth, max_bytes, tenant_max_jobs, tenant_max_bytes)
  local depth = redis.call('ZCARD', P .. 'ready')
  local used = redis.call('HMGET', P .. 'tenant:' .. tenant, 'jobs', 'bytes')
  local jobs, used_bytes = tonumber(used[1] or '0'), tonumber(used[2] or '0')
  if depth >= max_depth or tonumber(redis.call('GET', P .. 'bytes') or '0') + bytes > max_bytes then
    return { 'full', tostring(retry_after(depth)) }
  end
  if jobs >= tenant_max_jobs or used_bytes + bytes > tenant_max_bytes then
    return { 'tenant', tostring(retry_after(jobs)) }
  end
  local reserve = math.floor(max_depth / 10)
  if depth >= max_depth - reserve and jobs >= reserve and reserve > 0 then
    return { jobs >= depth and 'full' or 'tenant', tostring(retry_after(depth)) }
  end
  return nil
end
