#!/bin/sh
# The server under load on a GPU host that has no network.
#
#   sh bench/gpu_server.sh [WHEELS] [MODEL]
#
# WHEELS: folder of wheels that the Python of the host lacks (see docs/gpu.md); empty: install nothing.
# MODEL: folder of a checkpoint; empty: random weights of the 350M shape. Environment variables: PYTHON, DEVICE (cuda), SCALE (1, share of the requests), N (16), CONNECTIONS (32), OUTPUT.
set -eu

wheels=${1:-}
model=${2:-}
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
output=${OUTPUT:-bench/results/server-${device}.json}
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
stop() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    [ "$status" -eq 0 ] || tail -40 "$work/server.log" 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap stop EXIT INT TERM

if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl
    export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
fi
if [ -z "$model" ]; then
    model="$work/model"
    echo "making random weights of the 350M shape"
    "$python" -m bench.gpu_server make-model "$model"
fi

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url="http://127.0.0.1:$port"
"$python" -m cli serve --model "$model" --device "$device" --port "$port" --data-dir "$work/data" \
    >"$work/server.log" 2>&1 &
server=$!

seconds=0
until "$python" -c "import sys, httpx; sys.exit(httpx.get('$url/health/ready').status_code != 200)" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || { echo "The server did not start." >&2; exit 1; }
    seconds=$((seconds + 1))
    [ "$seconds" -lt 180 ] || { echo "The server is not ready after three minutes." >&2; exit 1; }
    sleep 1
done
"$python" -m bench.gpu_server load "$url" --scale "${SCALE:-1}" --n "${N:-16}" \
    --connections "${CONNECTIONS:-32}" --output "$output"
echo "written to $output"
