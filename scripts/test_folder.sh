#!/usr/bin/env bash
# Names the folder for the files of the default tests: in memory where there is room, otherwise where files usually go.
#
# The tests flush thousands of files, because the code that they try does; on a disk each flush takes up to 30 ms.
set -euo pipefail
memory=/dev/shm
needed_kb=$((4 * 1024 * 1024))

free_kb=$(df --output=avail "$memory" 2>/dev/null | tail -1) || free_kb=0
if [ -w "$memory" ] && [ "$free_kb" -ge "$needed_kb" ]; then
  probe=$(mktemp "$memory/probe.XXXXXX")
  trap 'rm -f "$probe"' EXIT
  printf '#!/bin/sh\n' >"$probe"
  chmod 700 "$probe"
  if "$probe" 2>/dev/null; then echo "$memory"; exit; fi # tests start programs there
fi
echo "${TMPDIR:-/tmp}"
