-- tenant, bytes, max depth, max bytes, tenant's max jobs, tenant's max bytes → {'ok'} or a refusal.
return refusal(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]),
  tonumber(ARGV[8])) or { 'ok' }
