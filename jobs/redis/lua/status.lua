-- Returns {jobs ahead or '', fields and values}, or nil if there is no such job.
local job_id = ARGV[1]
local fields = redis.call('HGETALL', job_key(job_id))
if #fields == 0 then return false end
local rank = redis.call('ZRANK', P .. 'ready', job_id)
return { rank and tostring(rank) or '', fields }
