-- tenant, bytes, max depth, max bytes, tenant's max jobs, tenant's max bytes, idempotency key → {'ok'} or a
-- refusal. Who names a job that is known already needs no room.
if ARGV[9] ~= '' and redis.call('EXISTS', P .. ARGV[9]) == 1 then return { 'ok' } end
return refusal(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]),
  tonumber(ARGV[8])) or { 'ok' }
