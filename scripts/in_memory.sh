#!/usr/bin/env bash
# Runs a command whose temporary files lie in memory, where there is room: `scripts/in_memory.sh python -m pytest ...`.
#
# The tests flush thousands of files, because the code that they try does; on a disk each flush takes up to 30 ms.
# The folder goes with the command; when that fails it stays, and is named.
set -uo pipefail
memory=/dev/shm
needed_kb=$((1024 * 1024))

may_run_programs() { # the tests start some there
  printf '#!/bin/sh\n' >"$1/probe" && chmod 700 "$1/probe" && "$1/probe" 2>/dev/null && rm "$1/probe"
}

free_kb=$(df --output=avail "$memory" 2>/dev/null | tail -1)
[ "${free_kb:-0}" -ge "$needed_kb" ] || exec "$@"
folder=$(mktemp -d "$memory/t.XXXX" 2>/dev/null) || exec "$@"
may_run_programs "$folder" || { rm -rf "$folder"; exec "$@"; }
TMPDIR=$folder "$@"
code=$?
if [ "$code" = 0 ]; then rm -rf "$folder"; else echo "files of what failed: $folder (in memory: remove them)" >&2; fi
exit "$code"
