#!/bin/sh
# Print in one line which of the README's prerequisites this machine lacks, and exit with 2; print nothing if none.
# Plain sh, because bash may be missing; `make` calls it before anything else.
missing=""
need() { missing="${missing:+$missing, }$1"; }

case "$(uname -s) $(uname -m)" in
  "Linux x86_64" | "Linux amd64") ;;
  *) need "Linux on x86-64 (this is $(uname -s) on $(uname -m))" ;;
esac
for program in bash git; do
  command -v "$program" >/dev/null || need "$program"
done
# Part of every distribution, but not of every container image.
for program in flock sha256sum timeout; do
  command -v "$program" >/dev/null || need "$program (coreutils, util-linux)"
done
python=$(command -v python3.11 || command -v python3)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  need "Python 3.11"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  need "venv of Python 3.11 (Debian: python3.11-venv)"
fi

[ -z "$missing" ] && exit 0
echo "make: this machine lacks: $missing" >&2
exit 2
