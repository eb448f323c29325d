#!/usr/bin/env bash
# Run a command with a time limit, and print a last line when it is exceeded: scripts/limit.sh MINUTES COMMAND...
#
# First SIGINT, as by Ctrl-C, so that pytest still reports the failures so far; SIGKILL a minute later.
set -uo pipefail

minutes=$1
shift
timeout --foreground --signal=INT --kill-after=60 "${minutes}m" "$@"
code=$?
if [ $code -eq 124 ] || [ $code -eq 137 ]; then
  echo "NOT FINISHED: stopped at the limit of $minutes minutes (LIMIT=$minutes)" >&2
fi
exit $code
