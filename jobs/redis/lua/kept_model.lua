-- Returns the description that keep_model stored last, or nil.
return redis.call('GET', P .. 'described')
