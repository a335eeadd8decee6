-- Returns the encoded outcome of a job, or nil. Writes the key's own expiry again: some servers let WAIT wait
-- only for the writes of its connection, so a plain read could not be confirmed.
local job_id = ARGV[1]
local key = P .. 'res:' .. job_id
local ttl_ms = redis.call('PTTL', key)
if ttl_ms > 0 then redis.call('PEXPIRE', key, ttl_ms) end
return redis.call('GET', key)
