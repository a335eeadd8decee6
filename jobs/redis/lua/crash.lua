-- Requeues the jobs of a crashed batch, each to run alone. A job that crashed its worker twice while it ran
-- alone becomes a dead letter. Without `held` all jobs of the worker count as the batch.
-- Returns the ids of the dead letters.
local worker, code, message, held = ARGV[1], ARGV[2], ARGV[3], { unpack(ARGV, 4) }
local MAX_SOLO_CRASHES = 2
if #held == 0 then held = redis.call('HGETALL', P .. 'held:' .. worker) end
write_even_when_full()
local is_alone, dead = #held == 2, {}
for i = 1, #held, 2 do
  local id = held[i]
  local flag = held_flag(id, held[i + 1], worker)
  if flag and flag ~= '' then
    finish_flagged(id, flag)
  elseif flag then
    local key = job_key(id)
    local crashes = 0
    if is_alone and redis.call('HGET', key, 'solo') == '1' then
      crashes = redis.call('HINCRBY', key, 'solo_crashes', 1)
    end
    redis.call('HSET', key, 'solo', '1')
    if crashes >= MAX_SOLO_CRASHES then
      finish(id, 'dead', code, message)
      dead[#dead + 1] = id
    else
      requeue(id, 'crashed')
    end
  end
end
return dead
