-- Requeues jobs that a worker gives back, at their old position and uncharged. `held`: id, attempt, id, …
-- Returns how many were requeued.
local worker, held = ARGV[1], { unpack(ARGV, 2) }
local released = 0
write_even_when_full()
for i = 1, #held, 2 do
  local flag = held_flag(held[i], held[i + 1], worker)
  if flag and flag ~= '' then
    finish_flagged(held[i], flag)
  elseif flag then
    requeue(held[i], 'released')
    released = released + 1
  end
end
return released
