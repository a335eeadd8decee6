-- What each live worker said of itself last.
local told = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', seconds(NOW), '+inf')) do
  local info = redis.call('GET', P .. 'worker:' .. worker)
  if info then told[#told + 1] = info end
end
return told
