#!/bin/sh
# Installs LitServe, the baseline of the server benchmark, into its own folder. Only the benchmark imports it.
# Usage: install_litserve.sh PYTHON DIRECTORY
set -eu
python=$1
directory=$2

rm -rf "$directory"
"$python" -m pip --disable-pip-version-check --quiet install --target "$directory" litserve==0.2.19
