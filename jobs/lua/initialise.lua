-- The only script without the common part, for it makes what that asks for: the epoch.
-- ARGV: prefix, new epoch, '1' if an operator accepts that older data are lost. Gives the epoch, or an error.
local P, accept = ARGV[1], ARGV[3] == '1'
local epoch = redis.call('GET', KEYS[1])
if epoch then return epoch end
local lost = redis.call('GET', P .. 'lost')
local rest = redis.call('EXISTS', P .. 'ready', P .. 'leases', P .. 'dead', P .. 'done', P .. 'ev',
  P .. 'virtual', P .. 'totals')
if (lost or rest > 0) and not accept then
  return redis.error_reply('NOEPOCH the data of this queue are gone')
end
redis.call('SET', KEYS[1], ARGV[2])
if lost then redis.call('SADD', P .. 'forgiven', lost) end
redis.call('DEL', P .. 'lost')
return ARGV[2]
