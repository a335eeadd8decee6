-- Returns the seconds since this server process has the queue; very many on the first one. Writes a key that
-- does not exist, so that a replica refuses it.
write_even_when_full()
return seconds(primary_age())
