#!/usr/bin/env bash
# Install and start a Docker engine with buildx and compose on a Debian machine, with only apt and root.
#
#     ci/engine.sh
#
# Does nothing if an engine answers already. Bookworm's own engine is 20.10 without buildx or compose, so the packages
# come from trixie, from a source pinned so low that no other package is ever taken from it.
set -euo pipefail

docker=${DOCKER:-docker}
packages=(docker.io docker-cli docker-buildx docker-compose)
tools=(iptables mmdebstrap procps docker-registry) # the last: tests pull from a registry of their own
log=/var/log/sim2edge-dockerd.log

say() { echo "engine: $*" >&2; }
# Not `docker info`: it prints an empty version and succeeds if no engine listens.
answers() { timeout 20 "$docker" version --format '{{.Server.Version}}' 2>/dev/null; }
installed() { # programs...
  local program
  for program in "$@"; do command -v "$program" >/dev/null || return 1; done
}
has_plugins() { "$docker" compose version >/dev/null 2>&1 && "$docker" buildx version >/dev/null 2>&1; }

# The bookworm mirror of this machine.
debian_mirror() { apt-get indextargets --format '$(REPO_URI)' 'Release: bookworm' 'Created-By: Packages' | head -n 1; }

install_packages() {
  [ "$(id -u)" = 0 ] || { say "installing the engine needs root"; exit 2; }
  # shellcheck source=/dev/null
  . /etc/os-release
  local suite="" runtime=(containerd runc)
  if [ "${VERSION_CODENAME:-}" = bookworm ]; then
    suite=/trixie
    runtime=(containerd/bookworm runc/bookworm)
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 50\n' >/etc/apt/preferences.d/trixie
    if ! grep -rqs trixie /etc/apt/sources.list /etc/apt/sources.list.d; then
      echo "deb $(debian_mirror) trixie main" >/etc/apt/sources.list.d/trixie-docker.list
    fi
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # policy-rc.d keeps the package from starting the engine: it is started below, once, with our log.
  local policy=/usr/sbin/policy-rc.d made=""
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=yes
  fi
  apt-get install -y -qq --no-install-recommends "${packages[@]/%/$suite}" "${runtime[@]}" "${tools[@]}" >/dev/null
  [ -z "$made" ] || rm -f "$policy"
}

start_engine() {
  [ "$(id -u)" = 0 ] || { say "starting the engine needs root"; exit 2; }
  # A second engine would delete the networks of a slow one: wait for that one instead.
  if pgrep -x dockerd >/dev/null; then
    say "dockerd runs but does not answer yet"
  else
    if ! mountpoint -q /sys/fs/cgroup; then
      apt-get install -y -qq --no-install-recommends cgroupfs-mount >/dev/null && cgroupfs-mount
    fi
    rm -f /var/run/docker.pid
    setsid nohup dockerd >"$log" 2>&1 </dev/null &
  fi
  for _ in $(seq 120); do
    if answers >/dev/null; then return; fi
    sleep 0.5
  done
  say "dockerd did not answer within 60 s; $log ends with:"
  tail -n 15 "$log" >&2 || true
  exit 1
}

installed "$docker" dockerd mmdebstrap iptables docker-registry && has_plugins || install_packages
hash -r
answers >/dev/null || start_engine
has_plugins || { say "'$(command -v "$docker")' has no compose or buildx plugin; set DOCKER=/usr/bin/docker"; exit 2; }
echo "engine: $(answers), $("$docker" compose version), $("$docker" buildx version | cut -d' ' -f2)"
