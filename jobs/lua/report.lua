-- id → {jobs ahead or '', fields and values…, result or nothing}, or nothing if there is no such job.
local fields = redis.call('HGETALL', job_key(ARGV[3]))
if #fields == 0 then return false end
local rank = redis.call('ZRANK', P .. 'ready', ARGV[3])
return { rank and tostring(rank) or '', fields, redis.call('GET', P .. 'res:' .. ARGV[3]) }
