#!/bin/sh
# All that a GPU has to show, in ten minutes: the doctor, the GPU tests, the benchmarks, the server under load.
#
#   sh scripts/gpu_visit.sh OUT [WHEELS] [MODEL]
#
# OUT: folder for all results. WHEELS: folder of wheels that the Python of the host lacks (docs/gpu.md); empty: install
# nothing. MODEL: folder of a checkpoint for the server; empty: random weights of the 350M shape.
# Environment variables: PYTHON (python3), DEVICE (cuda). DEVICE=cpu is a dry run of every step at toy sizes.
# A step that fails or takes too long does not stop the next. OUT/visit.txt has the exit code of each.
set -u

out=${1:?Name a folder for the results.}
wheels=${2:-}
model=${3:-}
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ -z "$wheels" ] || wheels=$(cd "$wheels" && pwd)
[ -z "$model" ] || model=$(cd "$model" && pwd)
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHON="$python" DEVICE="$device"

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
failed=0
# The limits hold for a GPU host.
[ "$device" = cuda ] && slower=1 || slower=10
: >"$out/visit.txt"

step() { # step NAME SECONDS COMMAND…: run it with its output in OUT/NAME.txt
    name=$1 limit=$(($2 * slower))
    shift 2
    echo "$name:"
    began=$(date +%s)
    timeout -k 10 "$limit" "$@" >"$out/$name.txt" 2>&1
    code=$?
    [ "$code" -eq 0 ] || failed=1
    echo "$name: exit code $code after $(($(date +%s) - began)) s" | tee -a "$out/visit.txt"
    tail -3 "$out/$name.txt"
}

if [ -n "$wheels" ]; then
    step install 60 "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
tests=tests/model/backends/cuda
sizes=
[ "$device" = cuda ] || sizes="--tiny --device $device"
if "$python" -c "import app.main, cli.main, workers.process" 2>"$out/packages.txt"; then
    tests="$tests tests/workers/engine/test_graphs.py"
    step doctor 50 "$python" -m cli doctor --device "$device"
else
    echo "doctor, server: not run: packages are missing, see OUT/packages.txt" | tee -a "$out/visit.txt"
    failed=1
fi
# shellcheck disable=SC2086 # lists of words
step tests 90 "$python" -m pytest $tests -m gpu -q -o filterwarnings=default -p no:cacheprovider
# shellcheck disable=SC2086
step bench 300 "$python" -m bench.gpu $sizes --output "$out/gpu.json" --max-s $((280 * slower))
if [ -s "$out/doctor.txt" ]; then
    export OUTPUT="$out/server.json" SCALE="${SCALE:-0.3}"
    step server 90 sh bench/gpu_server.sh "" "$model"
fi
exit "$failed"
