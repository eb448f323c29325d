#!/usr/bin/env bash
# Run a command with its temporary files in memory, if there is room: `scripts/in_memory.sh python -m pytest ...`.
#
# The tests flush thousands of files, because the code under test does; on a disk each flush takes up to 30 ms.
# The folder is removed when the command succeeds; when it fails, the folder is kept and printed.
set -uo pipefail
memory=/dev/shm
needed_kb=$((1024 * 1024))

may_run_programs() { # the tests start programs there: it must not be mounted noexec
  printf '#!/bin/sh\n' >"$1/probe" && chmod 700 "$1/probe" && "$1/probe" 2>/dev/null && rm "$1/probe"
}

free_kb=$(df --output=avail "$memory" 2>/dev/null | tail -1)
[ "${free_kb:-0}" -ge "$needed_kb" ] || exec "$@"
folder=$(mktemp -d "$memory/t.XXXX" 2>/dev/null) || exec "$@"
may_run_programs "$folder" || { rm -rf "$folder"; exec "$@"; }
TMPDIR=$folder "$@"
code=$?
if [ "$code" = 0 ]; then rm -rf "$folder"; else echo "files of the failed run: $folder (in memory: remove them)" >&2; fi
exit "$code"
