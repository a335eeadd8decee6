#!/bin/sh
# Entry point of docker-compose.yml: `rudolph` with the given arguments. When `serve` or `worker` ends with exit code 78,
# this waits for SIGTERM instead of ending: 78 is a wrong setting, which a restart does not repair, and no restart
# policy of Docker excepts an exit code. The health check of the container fails meanwhile.
set -u
case ${1-} in
serve | worker) ;;
*) exec rudolph "$@" ;;
esac

child='' stopping=''
trap 'stopping=1; [ -z "$child" ] || kill -s TERM "$child" 2>/dev/null' TERM INT
rudolph "$@" &
child=$!
[ -z "$stopping" ] || kill -s TERM "$child"
wait "$child"
code=$?
# A signal ends `wait`, but not the child.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done

if [ "$code" = 78 ] && [ -z "$stopping" ]; then
    echo "error: Exit code 78. The setting above is wrong, so this container waits. Repair it, then restart it." >&2
    trap 'exit 78' TERM INT
    while :; do
        sleep 3600 &
        wait $!
    done
fi
exit "$code"
