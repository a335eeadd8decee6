-- name, units a minute, amount → {seconds to wait or 0, units left}. A bucket that refills evenly.
-- Nothing is taken when there is too little; more than it holds is granted once it is full, and leaves a
-- debt. A negative amount is given back.
local key = P .. 'quota:' .. ARGV[3]
local per_minute, amount = tonumber(ARGV[4]), tonumber(ARGV[5])
local rate = per_minute / 60
local kept = redis.call('HMGET', key, 'left', 'seen')
local left = per_minute
if kept[1] then
  left = math.min(per_minute, tonumber(kept[1]) + math.max(0, NOW - tonumber(kept[2])) * rate)
end
local wanted, wait = math.min(amount, per_minute), 0
if left < wanted then
  wait = (wanted - left) / rate
else
  left = math.min(per_minute, left - amount)
end
write_even_when_full()
redis.call('HSET', key, 'left', string.format('%.6f', left), 'seen', seconds(NOW))
redis.call('EXPIRE', key, math.ceil((per_minute - left) / rate) + 1) -- full again is as good as forgotten
return { seconds(wait), string.format('%.6f', left) }
