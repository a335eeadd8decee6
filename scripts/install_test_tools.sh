#!/bin/sh
# Installs what the tests need beside Python: curl, a Redis server, Chromium, Prometheus, a font of emoji, each only
# where missing.
# Only as root on a system with apt-get; elsewhere the tests that need them say so and skip.
set -u

missing=""
command -v curl >/dev/null 2>&1 || missing="$missing curl"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v prometheus >/dev/null 2>&1 && command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
[ -f /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ] || missing="$missing fonts-noto-color-emoji"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "note: not installed, so their tests skip:$missing" >&2
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing for the tests:$missing"
# policy-rc.d would be the other way to keep the packages from starting their services; RUNLEVEL needs no file.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# shellcheck disable=SC2086  # the list is meant to be split
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "note: apt-get failed, so their tests skip:$missing" >&2
fi
exit 0
