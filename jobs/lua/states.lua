-- ids → the state of each, '' where there is no such job.
local states = {}
for i = 3, #ARGV do states[i - 2] = redis.call('HGET', job_key(ARGV[i]), 'state') or '' end
return states
