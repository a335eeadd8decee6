-- Ends a pause. Returns 1 if the queue was paused, else 0.
local was_paused = redis.call('DEL', P .. 'paused')
if was_paused == 1 then wake_worker() end
return was_paused
