#!/bin/sh
# Installs the clients for Node with the versions and hashes of package-lock.json. Without npm it says so and goes on.
# Usage: install_node_clients.sh SOURCE DIRECTORY
set -eu
source=$1
directory=$2

if [ -d "$directory/node_modules" ] && cmp -s "$source/package-lock.json" "$directory/package-lock.json"; then
    exit 0
fi
rm -rf "$directory"
mkdir -p "$directory"
if ! command -v npm >/dev/null 2>&1; then
    echo "NOTE: npm is not installed, so the clients for Node will be left out (Debian and Ubuntu: apt-get install npm)" >&2
    exit 0
fi
cp "$source/package.json" "$source/package-lock.json" "$directory"
npm ci --ignore-scripts --no-audit --no-fund --silent --prefix "$directory"
