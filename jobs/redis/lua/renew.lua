-- Extends the leases of a worker to `lease_s` from now. `held`: id, attempt, id, attempt, …
-- Returns {ids that are lost, ids that were cancelled or expired}.
local worker, lease_s, held = ARGV[1], tonumber(ARGV[2]), { unpack(ARGV, 3) }
local lost, cancelled = {}, {}
write_even_when_full()
for i = 1, #held, 2 do
  local id, attempt = held[i], held[i + 1]
  local flag = held_flag(id, attempt, worker)
  if not flag then
    local job = read_job(id, 'state', 'attempt')
    if job[2] == attempt and (job[1] == 'cancelled' or job[1] == 'expired') then
      cancelled[#cancelled + 1] = id
    elseif not job[1] or job[2] ~= attempt or not is_terminal(job[1]) then
      lost[#lost + 1] = id -- a job that this worker has just committed is in neither list
    end
  elseif flag ~= '' then
    finish_flagged(id, flag)
    cancelled[#cancelled + 1] = id
  else
    redis.call('ZADD', P .. 'leases', seconds(NOW + lease_s), id)
  end
end
return { lost, cancelled }
