#!/usr/bin/env bash
# Runs a command with a limit of its own, and says so in a last line when it strikes: scripts/limit.sh MINUTES COMMAND...
#
# Interrupted first, as by Ctrl-C, so that pytest still says what failed until then; killed a minute later.
set -uo pipefail

minutes=$1
shift
timeout --foreground --signal=INT --kill-after=60 "${minutes}m" "$@"
code=$?
if [ $code -eq 124 ] || [ $code -eq 137 ]; then
  echo "NOT FINISHED: stopped at the limit of $minutes minutes (LIMIT=$minutes)" >&2
fi
exit $code
