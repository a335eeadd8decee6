"""The queue in Redis: connections, keys, Lua scripts and the embedded server."""
