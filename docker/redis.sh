#!/bin/sh
# Starts Redis with two users: rudolph, with the rights that docs/security.md lists, and the default user, who may only
# send PING for health checks. Usage: redis.sh SETTINGS PASSWORD_FILE TARGET: adds the users to SETTINGS and writes TARGET.
set -eu
umask 077
password=$(cat "$2")
case $password in
'' | *[!A-Za-z0-9]*)
    echo "error: $2 must have a password of letters and digits. Make one with openssl rand -hex 24." >&2
    exit 78
    ;;
esac
{
    cat "$1"
    echo
    # Redis itself would refuse other hosts while the default user has no password. Its official image does not.
    echo "protected-mode no"
    echo "user default on nopass resetchannels -@all +ping"
    printf '%s' "user rudolph on >$password "
    tr -s '\n ' ' ' <<'RIGHTS'
~{rudolph}:* resetchannels -@all +blpop +decrby +del +eval +evalsha +exists +expire +get +hdel
+hget +hgetall +hincrby +hmget +hset +incrby +info +lpush +ltrim +persist +pexpire +pttl +sadd +set
+sismember +time +wait +xadd +xread +xrevrange +zadd +zcard +zcount +zpopmin +zrange +zrangebyscore
+zrank +zrem +zremrangebyscore +zrevrange
RIGHTS
    echo
} >"$3"
exec redis-server "$3"
