-- Cancels a job: a queued one ends at once, a running one is flagged for its worker.
-- Returns the state afterwards, or nil if there is no such job.
local job_id = ARGV[1]
local state = redis.call('HGET', job_key(job_id), 'state')
if not state then return false end
if state == 'queued' then
  write_even_when_full()
  finish_flagged(job_id, 'cancelled')
  return 'cancelled'
end
if state == 'running' then
  write_even_when_full()
  redis.call('HSET', job_key(job_id), 'cancel', 'cancelled')
end
return state
