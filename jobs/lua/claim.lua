-- worker, session, counter, limit, lease → list of {id, attempt, solo, queued s, deadline left s, body}.
-- Claims of a session carry a rising counter: the same number gets the same answer, an older one nothing.
local worker, session, counter = ARGV[3], ARGV[4], tonumber(ARGV[5])
local limit, lease = tonumber(ARGV[6]), tonumber(ARGV[7])
local MAX_DROPS = 100
local consumer = P .. 'consumer:' .. worker

local function describe(id)
  local job = redis.call('HMGET', job_key(id), 'attempt', 'solo', 'created', 'deadline')
  local left = job[4] and seconds(tonumber(job[4]) - NOW) or ''
  return { id, job[1], job[2], seconds(NOW - tonumber(job[3])), left, redis.call('GET', P .. 'in:' .. id) }
end

local last = redis.call('HMGET', consumer, 'session', 'counter', 'answer')
if last[1] == session and counter <= tonumber(last[2]) then
  local again = {}
  if counter == tonumber(last[2]) then
    for id, attempt in string.gmatch(last[3], '(%S+) (%S+)') do
      if held_flag(id, attempt, worker) then again[#again + 1] = describe(id) end
    end
  end
  return again
end

local function take(id, score)
  local key = job_key(id)
  local attempt = redis.call('HINCRBY', key, 'attempt', 1)
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'started', seconds(NOW))
  redis.call('ZADD', P .. 'leases', seconds(NOW + lease), id)
  redis.call('HSET', P .. 'held:' .. worker, id, attempt)
  local tag = redis.call('HGET', key, 'tag')
  if tonumber(tag) > tonumber(redis.call('GET', P .. 'virtual') or '0') then
    redis.call('SET', P .. 'virtual', tag)
  end
  announce(id, attempt, 'running', '')
  return attempt
end

write_even_when_full()
local taken, answer, drops = {}, {}, 0
while #taken < limit and drops < MAX_DROPS do
  local next_job = redis.call('ZPOPMIN', P .. 'ready')
  if #next_job == 0 then break end
  local id, score = next_job[1], next_job[2]
  local job = redis.call('HMGET', job_key(id), 'state', 'solo', 'deadline')
  if job[1] ~= 'queued' then
    drops = drops + 1
  elseif job[3] and tonumber(job[3]) <= NOW then
    finish_flagged(id, 'expired')
    drops = drops + 1
  elseif redis.call('EXISTS', P .. 'in:' .. id) == 0 then
    finish(id, 'failed', 'input_lost', 'the input of the job is gone')
    drops = drops + 1
  elseif job[2] == '1' and #taken > 0 then
    redis.call('ZADD', P .. 'ready', score, id)
    break
  else
    local attempt = take(id, score)
    taken[#taken + 1] = id
    answer[#answer + 1] = id .. ' ' .. attempt
    if job[2] == '1' then break end
  end
end
if #taken > 0 then redis.call('EXPIRE', P .. 'held:' .. worker, CONSUMER_TTL_S) end
redis.call('HSET', consumer, 'session', session, 'counter', counter, 'answer', table.concat(answer, ' '))
redis.call('EXPIRE', consumer, CONSUMER_TTL_S)
if redis.call('ZCARD', P .. 'ready') == 0 then redis.call('DEL', P .. 'wake') end

local described = {}
for index, id in ipairs(taken) do described[index] = describe(id) end
return described
