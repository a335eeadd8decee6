-- worker, lease, then id and attempt of each job held → {lost ids, ids cancelled or expired}.
local worker, lease = ARGV[3], tonumber(ARGV[4])
local lost, cancelled = {}, {}
write_even_when_full()
for i = 5, #ARGV, 2 do
  local id, attempt = ARGV[i], ARGV[i + 1]
  local flag = held_flag(id, attempt, worker)
  if not flag then
    local job = redis.call('HMGET', job_key(id), 'state', 'attempt')
    if job[2] == attempt and (job[1] == 'cancelled' or job[1] == 'expired') then
      cancelled[#cancelled + 1] = id
    elseif not job[1] or job[2] ~= attempt or not is_terminal(job[1]) then
      lost[#lost + 1] = id -- a job that this worker has just committed is neither
    end
  elseif flag ~= '' then
    finish_flagged(id, flag)
    cancelled[#cancelled + 1] = id
  else
    redis.call('ZADD', P .. 'leases', seconds(NOW + lease), id)
  end
end
return { lost, cancelled }
