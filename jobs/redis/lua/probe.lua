-- Calls every command that a script uses, and changes nothing: each call is for an absent key, or has an
-- argument that the server refuses after it has checked the rights of the user. Runs without the common part,
-- whose own commands may be refused. Returns the names of commands that the user may not run, and 'keys' if it
-- may not use the keys of the queue. Returns the error of a server that takes no writes now.
local P = string.sub(KEYS[1], 1, -#'epoch' - 1)
local KEY, ABSENT, SCRATCH = KEYS[1], P .. 'nothing', P .. 'probe'

local function is_refused(text)
  return string.find(text, "can't run this command", 1, true) or string.find(text, 'no permissions to run', 1, true)
    or string.find(text, 'Unknown', 1, true)
end
local function is_key_refused(text)
  return string.find(text, "can't access at least one of the keys", 1, true)
    or string.find(text, 'No permissions to access a key', 1, true)
end
local CANNOT_SERVE = { 'READONLY', 'LOADING', 'MISCONF', 'NOREPLICAS', 'MASTERDOWN', 'CLUSTERDOWN' }

local missing, cannot_serve, keys_refused = {}, nil, false
local function try(command, ...)
  local reply = redis.pcall(command, ...)
  local text = type(reply) == 'table' and reply.err
  if not text then return reply end
  if is_refused(text) then missing[#missing + 1] = command end
  keys_refused = keys_refused or is_key_refused(text)
  for _, word in ipairs(CANNOT_SERVE) do
    if string.find(text, word, 1, true) then cannot_serve = text end
  end
end

try('DECRBY', ABSENT, 'x')
try('DEL', ABSENT)
try('EXPIRE', ABSENT, 'x')
try('GET', KEY)
try('HDEL', ABSENT, 'x')
try('HGET', ABSENT, 'x')
try('HGETALL', ABSENT)
try('HINCRBY', ABSENT, 'x', 'x')
try('HMGET', ABSENT, 'x')
try('HSET', ABSENT, 'x', 'x', 'x')
try('INCRBY', ABSENT, 'x')
try('INFO', 'server')
try('LTRIM', ABSENT, 'x', 'x')
try('PERSIST', ABSENT)
try('PEXPIRE', ABSENT, 'x')
try('PTTL', ABSENT)
try('SET', ABSENT, 'x', 'x')
try('SISMEMBER', ABSENT, 'x')
try('TIME')
try('XADD', ABSENT, 'x', 'x', 'x')
try('XREAD', 'COUNT', '1', 'STREAMS', ABSENT, '0')
try('XREVRANGE', ABSENT, '+', '-', 'COUNT', '1')
try('ZADD', ABSENT, 'x', 'x')
try('ZCARD', ABSENT)
try('ZCOUNT', ABSENT, '0', '0')
try('ZPOPMIN', ABSENT)
try('ZRANGE', ABSENT, '0', '0')
try('ZRANGEBYSCORE', ABSENT, '0', '0')
try('ZRANK', ABSENT, 'x')
try('ZREM', ABSENT, 'x')
try('ZREMRANGEBYSCORE', ABSENT, 'x', 'x')
try('ZREVRANGE', ABSENT, '0', '0')
-- No argument of these two is wrong, so they need a key of another type: the epoch is a string. A queue without
-- an epoch gets such a key for a moment.
local typed = KEY
if try('EXISTS', KEY) ~= 1 then
  typed = SCRATCH
  redis.pcall('SET', SCRATCH, 'x', 'EX', '1')
end
if typed == KEY or redis.pcall('EXISTS', SCRATCH) == 1 then
  try('LPUSH', typed, 'x')
  try('SADD', typed, 'x')
end
if typed == SCRATCH then redis.pcall('DEL', SCRATCH) end

if cannot_serve then return redis.error_reply(cannot_serve) end
if keys_refused then missing[#missing + 1] = 'keys' end
return missing
