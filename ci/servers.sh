#!/usr/bin/env bash
# Install, on a Debian machine, what `make test-e2e`, `make test-celery` and `make test-faults` need besides the environments: Redis,
# PostgreSQL, ip, nsenter, strace.
#
#     ci/servers.sh && make test-e2e test-celery
set -euo pipefail

packages=()
command -v redis-server >/dev/null || packages+=(redis-server)
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || packages+=(postgresql)
command -v ip >/dev/null || packages+=(iproute2)
command -v nsenter >/dev/null || packages+=(util-linux)
command -v strace >/dev/null || packages+=(strace)
[ ${#packages[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "servers: installing ${packages[*]} needs root" >&2; exit 2; }

# The tests start servers of their own: keep Debian from starting others on installation.
hold=/usr/sbin/policy-rc.d
if [ ! -e "$hold" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$hold"
  chmod 755 "$hold"
  trap 'rm -f "$hold"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${packages[@]}" >/dev/null
echo "servers: installed ${packages[*]}"
