#!/bin/sh
# Prints the path of the first Python that can build this project: 3.11 or newer, with venv, pip and C headers.
# Each candidate is run, because a shim of a version manager may have no Python installed.
# If PYTHON=/path/to/python is set, it is the only candidate.
set -u

check='
import sys
if sys.version_info < (3, 11):
    sys.exit(f"is Python {sys.version_info[0]}.{sys.version_info[1]}, older than 3.11")
import os, sysconfig
try:
    import venv, ensurepip
except ImportError:
    sys.exit("has no venv and ensurepip (Debian and Ubuntu: install python3-venv)")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    sys.exit("has no C headers (Debian and Ubuntu: install python3-dev)")
print(sys.executable)
'

reasons=""
reason=""
# 3.11 first: the pinned versions were tested on it.
for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
    # Every match on PATH and in the usual folders, because the first one may be unusable.
    for directory in $(printf '%s' "${PATH:-}" | tr ':' ' ') /usr/local/bin /usr/bin ""; do
        case "$name" in
            */*) candidate=$name ;;
            *) candidate=${directory:+$directory/}$name ;;
        esac
        if [ ! -x "$candidate" ]; then
            [ -z "${PYTHON:-}" ] || reason="  $candidate is not an executable file"
            continue
        fi
        if answer=$("$candidate" -I -c "$check" 2>&1); then
            printf '%s\n' "$answer"
            exit 0
        fi
        reason="  $candidate $(printf '%s' "$answer" | tail -n 1)"
        case "$reasons" in *"$reason"*) ;; *) reasons="$reasons$reason
" ;; esac
    done
done
[ -n "$reasons" ] || reasons=${reason:+$reason
}

{
    echo "No usable Python found: 3.11 or newer is needed, with venv and C headers."
    printf '%s' "$reasons"
    echo "Install one (Debian and Ubuntu: apt-get install python3-venv python3-dev), or select it: make PYTHON=/path/to/python3.11 …"
} >&2
exit 1
