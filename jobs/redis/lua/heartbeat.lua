-- Stores a worker's description for `ttl_s` seconds, and holds the queue for its model for as long. A worker that
-- drains or leaves gives `model` ''. Returns {'', '1' if an operator drains this worker, else ''}, or
-- {the other model that holds the queue, ''}: then nothing is stored.
local worker, info, ttl_s, model = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local LEAVES_BELOW_S = 1
local MAX_SLOTS = 1000 -- of hosts that come and go
local holder = redis.call('GET', P .. 'model')
if model ~= '' and holder and holder ~= model then return { holder, '' } end
write_even_when_full()
local ttl_ms = math.ceil(ttl_s * 1000)
local slot = slot_of(worker)
local is_new = redis.call('EXISTS', P .. 'worker:' .. worker) == 0
if is_new and redis.call('HGET', P .. 'slots', slot) ~= worker then
  if #redis.call('HGETALL', P .. 'slots') >= 2 * MAX_SLOTS then redis.call('DEL', P .. 'slots', P .. 'starts') end
  redis.call('HSET', P .. 'slots', slot, worker)
  redis.call('HINCRBY', P .. 'starts', slot, 1)
end
redis.call('SET', P .. 'worker:' .. worker, info, 'PX', ttl_ms)
redis.call('ZADD', P .. 'workers', seconds(NOW + ttl_s), worker)
if model ~= '' then
  redis.call('SET', P .. 'model', model, 'PX', ttl_ms)
  if redis.call('GET', P .. 'last_model') ~= model then
    redis.call('SET', P .. 'last_model', model)
    -- Jobs that waited for this model; the claim parks the others again.
    local parked = redis.call('ZRANGE', P .. 'parked', 0, -1, 'WITHSCORES')
    for i = 1, #parked, 2 do redis.call('ZADD', P .. 'ready', parked[i + 1], parked[i]) end
    redis.call('DEL', P .. 'parked')
    if #parked > 0 then wake_worker() end
  end
elseif ttl_s < LEAVES_BELOW_S and redis.call('ZCOUNT', P .. 'workers', seconds(NOW + ttl_s + 0.001), '+inf') == 0 then
  redis.call('DEL', P .. 'model') -- the last worker leaves, so a worker of any model may join at once
end
if ttl_s < LEAVES_BELOW_S then redis.call('DEL', P .. 'drain:' .. worker) end
return { '', redis.call('EXISTS', P .. 'drain:' .. worker) == 1 and '1' or '' }
