-- Returns {waiting, running, dead, input bytes, mean service s, live workers, {state, number, …}, parked,
-- unreadable records, {'since', s, 'reason', text} or {} if the queue is not paused}.
return {
  tostring(redis.call('ZCARD', P .. 'ready')), tostring(redis.call('ZCARD', P .. 'leases')),
  tostring(redis.call('ZCARD', P .. 'dead')), redis.call('GET', P .. 'bytes') or '0',
  redis.call('GET', P .. 'service') or '0',
  tostring(redis.call('ZCOUNT', P .. 'workers', seconds(NOW), '+inf')),
  redis.call('HGETALL', P .. 'totals'), tostring(redis.call('ZCARD', P .. 'parked')),
  redis.call('GET', P .. 'unreadable') or '0', redis.call('HGETALL', P .. 'paused'),
}
