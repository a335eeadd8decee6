-- The loader puts this part before every script but initialise.
-- KEYS[1] is the epoch's key. The last ARGV is the epoch that the caller knows; it is removed here, so that
-- ARGV then holds the arguments of the Python signature in jobs/redis/scripts.py.
local P = string.sub(KEYS[1], 1, -#'epoch' - 1) -- prefix of all keys
local CALLERS_EPOCH = table.remove(ARGV)
local EPOCH = redis.call('GET', KEYS[1])
if not EPOCH then return redis.error_reply('NOEPOCH the data of this queue are gone') end
if EPOCH ~= CALLERS_EPOCH then return redis.error_reply('NEWEPOCH ' .. EPOCH) end

local CLOCK = redis.call('TIME')
local NOW = tonumber(CLOCK[1]) + tonumber(CLOCK[2]) / 1000000
local DEAD_TTL_S = 7 * 86400
local ENDED_FOR_S = 300 -- the end of a deleted record stays known for this long
local CONSUMER_TTL_S = 86400
local TENANT_TTL_S = 3600
local MAX_EVENTS = 8192
local MAX_WAKE_TOKENS = 64
local PRIORITY_STEP = 1099511627776 -- 2^40

local function seconds(time) return string.format('%.6f', time) end

local function job_key(id) return P .. 'job:' .. id end

-- Redis refuses commands that may grow memory only until a script has written once. A script that must pass
-- on a full server (every script but submit) therefore first deletes a key that does not exist.
local function write_even_when_full() redis.call('DEL', P .. 'nothing') end

local function announce(id, attempt, state, reason)
  -- Without an error: clients find the state of a job by polling, so a damaged stream must not stop the jobs.
  redis.pcall('XADD', P .. 'ev', 'MAXLEN', '~', MAX_EVENTS, '*',
    'j', id, 'a', attempt or '0', 's', state, 'r', reason or '')
end

local function wake_worker()
  -- Without an error: idle workers look for jobs every second.
  redis.pcall('LPUSH', P .. 'wake', '1')
  redis.pcall('LTRIM', P .. 'wake', 0, MAX_WAKE_TOKENS - 1)
end

-- Seconds since this server process has the queue; very many on the first one. The process changes with a
-- failover and with a restart. After both, writes that it has not received may be missing.
local function primary_age()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local boot = redis.call('HMGET', P .. 'boot', 'run_id', 'since')
  if boot[1] ~= run_id then
    boot[2] = boot[1] and NOW or 0
    redis.call('HSET', P .. 'boot', 'run_id', run_id, 'since', seconds(boot[2]))
  end
  return NOW - tonumber(boot[2])
end

-- Fields of a job; none if there is no such job or its key holds something else: one damaged record must not
-- stop a script that serves other jobs too.
local function read_job(id, ...)
  local fields = redis.pcall('HMGET', job_key(id), ...)
  return fields.err and {} or fields
end

-- As read_job, but also none for a record that the scripts could not finish or requeue: a field that they need is
-- missing, or a number is not one.
local function read_whole_job(id, ...)
  local NEEDED, NUMBERS = 8, 6
  local fields = read_job(id, 'bytes', 'ttl', 'score', 'attempt', 'tag', 'created', 'tenant', 'idem', 'deadline', ...)
  for i = 1, NEEDED do
    if not fields[i] or (i <= NUMBERS and not tonumber(fields[i])) then return {} end
  end
  if fields[9] and not tonumber(fields[9]) then return {} end
  return { unpack(fields, NEEDED + 2) }
end

-- Counts a record that cannot be read; the API reports the number. The record stays, for an operator.
local function skip_unreadable(id)
  if redis.call('EXISTS', job_key(id)) == 1 then redis.call('INCRBY', P .. 'unreadable', 1) end
end

-- The id of a process is its slot (host and index) and eight random digits. A fixed id counts no restarts.
local function slot_of(worker) return string.match(worker, '^(.+)%-' .. string.rep('%x', 8) .. '$') or worker end

-- Without an error: a damaged count must not stop a job.
local function count(name, field) redis.pcall('HINCRBY', P .. name, field, 1) end

local function drop_lease(id, worker)
  redis.call('ZREM', P .. 'leases', id)
  if worker and worker ~= '' then redis.call('HDEL', P .. 'held:' .. worker, id) end
end

-- Puts a running job back at its old position. Its attempt stays, so that its last holder may still commit
-- while no other worker has claimed it.
local function requeue(id, reason)
  local job = redis.call('HMGET', job_key(id), 'worker', 'score', 'attempt')
  drop_lease(id, job[1])
  redis.call('ZADD', P .. 'ready', job[2], id)
  redis.call('HSET', job_key(id), 'state', 'queued', 'worker', '')
  count('requeued', reason)
  announce(id, job[3], 'queued', reason)
  wake_worker()
end

local function release_quota(tenant, bytes)
  local key = P .. 'tenant:' .. tenant
  -- Without an error: a damaged count must not keep a job from its end.
  redis.pcall('HINCRBY', key, 'bytes', -bytes)
  local jobs = redis.pcall('HINCRBY', key, 'jobs', -1)
  if type(jobs) == 'number' and jobs <= 0 then redis.call('EXPIRE', key, TENANT_TTL_S) end
  redis.pcall('DECRBY', P .. 'bytes', bytes)
end

-- The only way into a terminal state. Removals come first, so that it passes on a full server.
local function finish(id, state, code, message, result, result_digest)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'worker', 'tenant', 'bytes', 'ttl', 'idem', 'attempt')
  drop_lease(id, job[1])
  redis.call('ZREM', P .. 'ready', id)
  redis.call('ZREM', P .. 'parked', id)
  redis.call('ZREM', P .. 'deadlines', id)
  release_quota(job[2], tonumber(job[3]))
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

-- Ends a job that no worker computes any more, by its cancel flag: 'cancelled' or 'expired'.
local function finish_flagged(id, flag)
  if flag == 'expired' then
    finish(id, 'expired', 'deadline_exceeded', 'The deadline of the job passed before it was finished.')
  else
    finish(id, 'cancelled', 'cancelled', 'The job was cancelled.')
  end
end

-- The job's cancel flag ('' for none) if `attempt` of `worker` still holds the job, else nil.
local function held_flag(id, attempt, worker)
  local job = read_job(id, 'state', 'attempt', 'worker', 'cancel')
  if job[1] == 'running' and job[2] == attempt and job[3] == worker then return job[4] or '' end
  return nil
end

local function is_terminal(state) return state ~= 'queued' and state ~= 'running' end

-- Seconds after which a refused client may try again: jobs ahead × mean service time ÷ live workers.
local function retry_after(num_jobs)
  local mean = tonumber(redis.call('GET', P .. 'service') or '1')
  local workers = redis.call('ZCOUNT', P .. 'workers', seconds(NOW), '+inf')
  local wait = math.ceil(num_jobs * mean / math.max(workers, 1))
  return math.max(1, math.min(120, wait))
end

-- Returns nil if one more job of `bytes` fits, else the refusal that the script returns. The last tenth of
-- the queue is reserved for tenants with fewer waiting jobs than that, so that one tenant cannot fill it.
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
