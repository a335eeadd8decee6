#!/bin/sh
# Starts Redis with two users: rudolph, with the rights that docs/security.md lists, and the default user, who may only
# send PING for health checks. Usage: redis.sh SETTINGS TARGET: adds the users to SETTINGS and writes TARGET.
set -eu
umask 077
: "${RUDOLPH_REDIS_PASSWORD:?is not set; without a password every container of the network could use the queue}"
{
    cat "$1"
    echo
    echo "user default on nopass resetchannels -@all +ping"
    printf '%s' "user rudolph on >$RUDOLPH_REDIS_PASSWORD "
    tr -s '\n ' ' ' <<'RIGHTS'
~{rudolph}:* resetchannels -@all +blpop +decrby +del +eval +evalsha +exists +expire +get +hdel
+hget +hgetall +hincrby +hmget +hset +incrby +info +lpush +ltrim +persist +pexpire +pttl +sadd +set
+sismember +time +wait +xadd +xread +xrevrange +zadd +zcard +zcount +zpopmin +zrange +zrangebyscore
+zrank +zrem +zremrangebyscore +zrevrange
RIGHTS
    echo
} >"$2"
# The variable must not be shown by commands that list the environment of processes.
unset RUDOLPH_REDIS_PASSWORD
exec redis-server "$2"
