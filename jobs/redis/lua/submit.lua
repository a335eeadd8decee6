-- Accepts a job whole or not at all. A repetition, by id or by idempotency key, gets the first answer.
-- `again`: the job was accepted before, and a failover may have undone that. Such a job is not refused
-- for lack of room. It is not stored if it has ended, nor if its idempotency key already has an equal job.
-- Returns {'ok', id, '1' if new or '0'}, {'conflict', id}, {'tenant', retry after s} or
-- {'full', retry after s}.
local job_id, idempotency_suffix, digest, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local tenant, task, priority, num_sequences = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local deadline_s, ttl_s, synchronous, model_revision = ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local max_depth, max_bytes = tonumber(ARGV[13]), tonumber(ARGV[14])
local tenant_max_jobs, tenant_max_bytes = tonumber(ARGV[15]), tonumber(ARGV[16])
local again = ARGV[17] == '1'
local ARRIVALS = 512 -- the finest fraction that a double keeps next to 10·2^40

local known = redis.call('HGET', job_key(job_id), 'digest')
if known then
  if known == digest then return { 'ok', job_id, '1' } end
  return { 'conflict', job_id }
end
if again and redis.call('ZRANK', P .. 'done', job_id) then return { 'ok', job_id, '0' } end
if idempotency_suffix ~= '' then
  local other = redis.call('GET', P .. idempotency_suffix)
  local other_digest = other and redis.call('HGET', job_key(other), 'digest')
  if other_digest then
    if other_digest == digest then return { 'ok', other, '0' } end
    if not again then return { 'conflict', other } end
    idempotency_suffix = '' -- another request has taken the key; this job stays accepted
  end
end
local refused = not again and refusal(tenant, #body, max_depth, max_bytes, tenant_max_jobs, tenant_max_bytes)
if refused then return refused end

-- Start-time fair queueing: a tenant's jobs are spaced by their sequences in virtual time, and a tenant without
-- jobs starts at the present. So a flood of one tenant delays the next job of another by one turn at most.
-- The fraction keeps jobs of equal tags in their order of arrival.
local tenant_key = P .. 'tenant:' .. tenant
local virtual = tonumber(redis.call('GET', P .. 'virtual') or '0')
local tag = math.max(virtual, tonumber(redis.call('HGET', tenant_key, 'tag') or '0'))
-- The first write may grow memory: a full Redis refuses it, and with it the whole script.
local arrival = redis.call('INCRBY', P .. 'sequence', 1)
local score = string.format('%.9f', priority * PRIORITY_STEP + tag + arrival % ARRIVALS / ARRIVALS)
redis.call('HSET', job_key(job_id), 'state', 'queued', 'digest', digest, 'tenant', tenant, 'task', task,
  'priority', tostring(priority), 'rows', tostring(num_sequences), 'tag', string.format('%.0f', tag),
  'score', score, 'bytes', tostring(#body), 'ttl', ttl_s, 'idem', idempotency_suffix, 'sync', synchronous,
  'revision', model_revision, 'attempt', '0', 'solo', '0', 'solo_crashes', '0', 'losses', '0', 'cancel', '',
  'worker', '', 'created', seconds(NOW))
redis.call('SET', P .. 'in:' .. job_id, body)
if idempotency_suffix ~= '' then redis.call('SET', P .. idempotency_suffix, job_id) end
if deadline_s ~= '' then
  local ends = seconds(NOW + tonumber(deadline_s))
  redis.call('HSET', job_key(job_id), 'deadline', ends)
  redis.call('ZADD', P .. 'deadlines', ends, job_id)
end
redis.call('HINCRBY', tenant_key, 'jobs', 1)
redis.call('HINCRBY', tenant_key, 'bytes', #body)
redis.call('HSET', tenant_key, 'tag', string.format('%.0f', tag + math.max(num_sequences, 1)))
redis.call('PERSIST', tenant_key)
redis.call('INCRBY', P .. 'bytes', #body)
redis.call('ZADD', P .. 'ready', score, job_id)
announce(job_id, '0', 'queued', '')
wake_worker()
return { 'ok', job_id, '1' }
