-- Pauses the queue: workers finish what they run and claim nothing. The reason replaces an earlier one.
-- Returns 1 if the queue was not paused, else 0.
local reason = ARGV[1]
local was_paused = redis.call('EXISTS', P .. 'paused') == 1
write_even_when_full()
if not was_paused then redis.call('HSET', P .. 'paused', 'since', seconds(NOW)) end
redis.call('HSET', P .. 'paused', 'reason', reason)
return was_paused and 0 or 1
