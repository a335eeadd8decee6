#!/bin/sh
# Serve a demo checkpoint on its own port, measure it over HTTP, and stop the server in every case.
# Usage: quality.sh BIN RECIPE MODEL PORT [options of `python -m RECIPE quality`]
set -eu
bin=$1 recipe=$2 model=$3 port=$4
shift 4
data=$(mktemp -d)
# The server has its own queue and no quota, because the requests come from one address without pauses.
"$bin/rudolph" serve --host 127.0.0.1 --port "$port" --data-dir "$data" --model "$model" >"$data/serve.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$data"' EXIT INT TERM
for _ in $(seq 120); do
	if "$bin/python" -c "import httpx, sys; sys.exit(httpx.get('http://127.0.0.1:$port/health/ready').status_code != 200)" 2>/dev/null; then
		"$bin/python" -m "$recipe" quality --server "http://127.0.0.1:$port" --checkpoint "$model" "$@"
		exit 0
	fi
	kill -0 "$server" 2>/dev/null || break
	sleep 1
done
echo "the server did not become ready; its log:" >&2
cat "$data/serve.log" >&2
exit 1
