-- worker, then id and attempt of each job: back to the old place, uncharged. Gives how many went back.
local worker, released = ARGV[3], 0
write_even_when_full()
for i = 4, #ARGV, 2 do
  local flag = held_flag(ARGV[i], ARGV[i + 1], worker)
  if flag and flag ~= '' then
    finish_flagged(ARGV[i], flag)
  elseif flag then
    requeue(ARGV[i], 'released')
    released = released + 1
  end
end
return released
