#!/bin/sh
# Puts the server that ours is measured beside into a folder of its own; nothing else imports it.
# Usage: install_peers.sh PYTHON DIRECTORY
set -eu
python=$1
directory=$2

rm -rf "$directory"
"$python" -m pip --disable-pip-version-check --quiet install --target "$directory" litserve==0.2.19
