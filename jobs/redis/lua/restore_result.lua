-- Ends a job with an outcome that a client has seen, if a failover has undone its end.
-- Returns the state afterwards, or nil if there is no such job.
local job_id, digest, state, outcome = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local code, message, worker, model = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local found = read_job(job_id, 'state')[1]
if not found then return false end
if is_terminal(found) then return found end
write_even_when_full()
finish(job_id, state, code, message, outcome, digest)
redis.call('HSET', job_key(job_id), 'model', model, 'worker', worker)
return state
