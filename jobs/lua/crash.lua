-- worker, code, message, then id and attempt of the batch, or nothing more for all that the worker holds.
-- The batch is re-run one by one; a job that crashed a worker twice while alone there is given up.
local worker, code, message = ARGV[3], ARGV[4], ARGV[5]
local MAX_SOLO_CRASHES = 2
local held = {}
if #ARGV > 5 then
  for i = 6, #ARGV, 2 do held[#held + 1] = { ARGV[i], ARGV[i + 1] } end
else
  local all = redis.call('HGETALL', P .. 'held:' .. worker)
  for i = 1, #all, 2 do held[#held + 1] = { all[i], all[i + 1] } end
end
write_even_when_full()
local alone, given_up = #held == 1, {}
for _, pair in ipairs(held) do
  local id = pair[1]
  local flag = held_flag(id, pair[2], worker)
  if flag and flag ~= '' then
    finish_flagged(id, flag)
  elseif flag then
    local key = job_key(id)
    local crashes = 0
    if alone and redis.call('HGET', key, 'solo') == '1' then
      crashes = redis.call('HINCRBY', key, 'solo_crashes', 1)
    end
    redis.call('HSET', key, 'solo', '1')
    if crashes >= MAX_SOLO_CRASHES then
      finish(id, 'dead', code, message)
      given_up[#given_up + 1] = id
    else
      requeue(id, 'crashed')
    end
  end
end
return given_up
