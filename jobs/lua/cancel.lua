-- id → the state afterwards, or nothing if there is no such job.
local id = ARGV[3]
local state = redis.call('HGET', job_key(id), 'state')
if not state then return false end
if state == 'queued' then
  write_even_when_full()
  finish_flagged(id, 'cancelled')
  return 'cancelled'
end
if state == 'running' then
  write_even_when_full()
  redis.call('HSET', job_key(id), 'cancel', 'cancelled')
end
return state
