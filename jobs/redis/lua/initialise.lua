-- Makes the epoch on an empty server. Returns the queue's epoch, or an error if data were lost and
-- `accept_loss` is not '1'. Runs without the common part, which requires the epoch.
local new_epoch, accept_loss = ARGV[1], ARGV[2] == '1'
local P = string.sub(KEYS[1], 1, -#'epoch' - 1)
local epoch = redis.call('GET', KEYS[1])
if epoch then return epoch end
local lost = redis.call('GET', P .. 'lost')
local rest = redis.call('EXISTS', P .. 'ready', P .. 'leases', P .. 'dead', P .. 'done', P .. 'ev',
  P .. 'virtual', P .. 'totals', P .. 'parked')
if (lost or rest > 0) and not accept_loss then
  return redis.error_reply('NOEPOCH the data of this queue are gone')
end
redis.call('SET', KEYS[1], new_epoch)
if lost then redis.call('SADD', P .. 'forgiven', lost) end
redis.call('DEL', P .. 'lost')
return new_epoch
