#!/bin/sh
# Installs the published packages, each into its own folder. The parity tests compare results with them.
# Usage: install_reference.sh PYTHON DIRECTORY
set -eu
python=$1
directory=$2

fetch() { # fetch FOLDER PACKAGE...
    folder=$directory/$1
    shift
    rm -rf "$folder"
    "$python" -m pip --disable-pip-version-check --quiet install --no-deps --target "$folder" "$@"
}

echo "fetching the reference packages for the parity tests"
fetch rudolph-0.0.1rc8 rudolph==0.0.1rc8
fetch rudolph-0.0.1rc10 rudolph==0.0.1rc10
fetch shared rudalle==1.1.3 taming-transformers==0.0.1
