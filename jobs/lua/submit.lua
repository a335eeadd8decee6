-- Accepts a job whole or not at all. Replays give the first answer, by id or by idempotency key.
-- Gives {'ok', id, '1' or '0'}, {'conflict', id}, {'tenant', retry after} or {'full', retry after}.
local id, idem, digest, body, tenant = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local task, priority, rows, deadline = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11]
local ttl, synchronous, revision = ARGV[12], ARGV[13], ARGV[14]
local bytes = #body
local ARRIVALS = 512 -- as fine as a double is beside 10·2^40

local known = redis.call('HGET', job_key(id), 'digest')
if known then
  if known == digest then return { 'ok', id, '1' } end
  return { 'conflict', id }
end
if idem ~= '' then
  local other = redis.call('GET', P .. idem)
  local other_digest = other and redis.call('HGET', job_key(other), 'digest')
  if other_digest then
    if other_digest == digest then return { 'ok', other, '0' } end
    return { 'conflict', other }
  end
end
local refused = refusal(tenant, bytes, tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17]),
  tonumber(ARGV[18]))
if refused then return refused end

-- Start-time fair queueing: a tenant's jobs are spaced by their rows in virtual time, and a tenant that
-- was away starts at the present. So nobody's flood moves another's next job further than one turn. The
-- fraction makes those that are equal come in their order of arrival. The first write may grow memory: a full
-- Redis refuses it, and with it the whole script.
local tenant_key = P .. 'tenant:' .. tenant
local virtual = tonumber(redis.call('GET', P .. 'virtual') or '0')
local tag = math.max(virtual, tonumber(redis.call('HGET', tenant_key, 'tag') or '0'))
local arrival = redis.call('INCR', P .. 'sequence')
local score = string.format('%.9f', priority * PRIORITY_STEP + tag + arrival % ARRIVALS / ARRIVALS)
redis.call('HSET', job_key(id), 'state', 'queued', 'digest', digest, 'tenant', tenant, 'task', task,
  'priority', tostring(priority), 'rows', tostring(rows), 'tag', string.format('%.0f', tag),
  'score', score, 'bytes', tostring(bytes), 'ttl', ttl, 'idem', idem, 'sync', synchronous,
  'revision', revision, 'attempt', '0', 'solo', '0', 'solo_crashes', '0', 'losses', '0', 'cancel', '',
  'worker', '', 'created', seconds(NOW))
redis.call('SET', P .. 'in:' .. id, body)
if idem ~= '' then redis.call('SET', P .. idem, id) end
if deadline ~= '' then
  local ends = seconds(NOW + tonumber(deadline))
  redis.call('HSET', job_key(id), 'deadline', ends)
  redis.call('ZADD', P .. 'deadlines', ends, id)
end
redis.call('HINCRBY', tenant_key, 'jobs', 1)
redis.call('HINCRBY', tenant_key, 'bytes', bytes)
redis.call('HSET', tenant_key, 'tag', string.format('%.0f', tag + math.max(rows, 1)))
redis.call('PERSIST', tenant_key)
redis.call('INCRBY', P .. 'bytes', bytes)
redis.call('ZADD', P .. 'ready', score, id)
announce(id, '0', 'queued', '')
wake_worker()
return { 'ok', id, '1' }
