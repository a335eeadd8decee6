-- Claims up to `limit` queued jobs for a worker: raises each attempt and starts a lease.
-- Returns a list of {id, attempt, solo, queued s, seconds to the deadline or '', encoded job}.
-- Takes only jobs that were accepted for `model`, if it is not ''. Another job is parked until a worker of its model
-- joins; a synchronous one fails, because its client waits.
-- Takes none while an operator has paused the queue or drains this worker.
-- `number` rises with every claim of a session: a repeated number gets the same jobs, an older one none.
local worker, session, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local limit, lease_s, model = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local MAX_DROPS = 100
local consumer = P .. 'consumer:' .. worker

local function describe(id)
  local job = redis.call('HMGET', job_key(id), 'attempt', 'solo', 'created', 'deadline')
  local left = job[4] and seconds(tonumber(job[4]) - NOW) or ''
  local input = redis.pcall('GET', P .. 'in:' .. id) -- another type than a string is an input that cannot be read
  return { id, job[1], job[2], seconds(NOW - tonumber(job[3])), left, type(input) == 'string' and input or '' }
end

local last = redis.call('HMGET', consumer, 'session', 'counter', 'answer')
if last[1] == session and number <= tonumber(last[2]) then
  local again = {}
  if number == tonumber(last[2]) then
    for id, attempt in string.gmatch(last[3], '(%S+) (%S+)') do
      if held_flag(id, attempt, worker) then again[#again + 1] = describe(id) end
    end
  end
  return again
end
if redis.call('EXISTS', P .. 'paused', P .. 'drain:' .. worker) > 0 then return {} end

local function take(id)
  local key = job_key(id)
  local attempt = redis.call('HINCRBY', key, 'attempt', 1)
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'started', seconds(NOW))
  redis.call('ZADD', P .. 'leases', seconds(NOW + lease_s), id)
  redis.call('HSET', P .. 'held:' .. worker, id, attempt)
  local tag = redis.call('HGET', key, 'tag')
  if tonumber(tag) > tonumber(redis.call('GET', P .. 'virtual') or '0') then
    redis.call('SET', P .. 'virtual', tag)
  end
  announce(id, attempt, 'running', '')
  return attempt
end

local function is_for_another_model(revision)
  return model ~= '' and revision and revision ~= '' and revision ~= model
end

write_even_when_full()
local taken, answer, drops = {}, {}, 0
while #taken < limit and drops < MAX_DROPS do
  local next_job = redis.call('ZPOPMIN', P .. 'ready')
  if #next_job == 0 then break end
  local id, score = next_job[1], next_job[2]
  local job = read_whole_job(id, 'state', 'solo', 'deadline', 'revision', 'sync')
  local is_solo = job[2] == '1'
  if job[1] ~= 'queued' then
    if not job[1] then skip_unreadable(id) end
    drops = drops + 1
  elseif job[3] and tonumber(job[3]) <= NOW then
    finish_flagged(id, 'expired')
    drops = drops + 1
  elseif redis.call('EXISTS', P .. 'in:' .. id) == 0 then
    finish(id, 'failed', 'input_lost', 'The input of the job is gone from Redis. Submit the job again.')
    drops = drops + 1
  elseif is_for_another_model(job[4]) then
    if job[5] == '1' then
      finish(id, 'failed', 'model_changed', 'The job was accepted for the model ' .. job[4] .. ', and the workers now have '
        .. model .. '. Send the request again.')
    else
      redis.call('ZADD', P .. 'parked', score, id)
    end
    drops = drops + 1
  elseif is_solo and #taken > 0 then
    redis.call('ZADD', P .. 'ready', score, id)
    break
  else
    taken[#taken + 1] = id
    answer[#answer + 1] = id .. ' ' .. take(id)
    if is_solo then break end
  end
end
if #taken > 0 then redis.call('EXPIRE', P .. 'held:' .. worker, CONSUMER_TTL_S) end
redis.call('HSET', consumer, 'session', session, 'counter', number, 'answer', table.concat(answer, ' '))
redis.call('EXPIRE', consumer, CONSUMER_TTL_S)
if redis.call('ZCARD', P .. 'ready') == 0 then redis.call('DEL', P .. 'wake') end

local described = {}
for index, id in ipairs(taken) do described[index] = describe(id) end
return described
