-- Takes units from a token bucket that refills evenly. A negative amount gives units back.
-- Returns {seconds to wait, or 0 if the units were taken; units left}.
local name, per_minute, amount = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. 'quota:' .. name
local rate = per_minute / 60
local bucket = redis.call('HMGET', key, 'left', 'seen')
local left = per_minute
if bucket[1] then
  left = math.min(per_minute, tonumber(bucket[1]) + math.max(0, NOW - tonumber(bucket[2])) * rate)
end
-- An amount above the bucket's size is granted once the bucket is full, and leaves a debt.
local needed, wait_s = math.min(amount, per_minute), 0
if left < needed then
  wait_s = (needed - left) / rate
else
  left = math.min(per_minute, left - amount)
end
write_even_when_full()
redis.call('HSET', key, 'left', string.format('%.6f', left), 'seen', seconds(NOW))
-- A full bucket needs no key.
redis.call('EXPIRE', key, math.ceil((per_minute - left) / rate) + 1)
return { seconds(wait_s), string.format('%.6f', left) }
