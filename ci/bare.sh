#!/usr/bin/env bash
# Run the README's commands on a bare machine: a container with only the README's prerequisites.
#
#     ci/bare.sh start                  # a fresh clone of HEAD, installed; then the network is cut
#     ci/bare.sh run make demo KEEP=0   # a command in that clone, as a user without root
#     ci/bare.sh stop
#
# The package index is reachable only while `make install` runs: a demo or a test that downloads anything fails. Programs
# of this machine are not visible inside; of its settings only pip's and the certificate authorities are copied.
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
name=sim2edge-bare-$(pwd | cksum | cut -d' ' -f1) # one per checkout
image=sim2edge-ci/bare:bookworm-$(dpkg --print-architecture)
user=somebody
home=/home/$user

stop() { "$docker" rm --force --volumes "$name" >/dev/null 2>&1 || true; }

inside() { # command...; PYTEST_ADDOPTS is passed on, to rerun failed tests
  "$docker" exec --user "$user" --workdir "$home/sim2edge" --env "HOME=$home" --env "PYTHONUNBUFFERED=1" \
    --env "PYTEST_ADDOPTS=${PYTEST_ADDOPTS:-}" "${links[@]/#/--env=}" "$name" "$@"
}

# This machine's wheel folders, with the locked build of torch: mounted, and passed to pip.
links=() mounts=()
for variable in PIP_FIND_LINKS UV_FIND_LINKS; do
  [ -z "${!variable:-}" ] || links+=("$variable=${!variable}")
done
for folder in $(echo "${PIP_FIND_LINKS:-} ${UV_FIND_LINKS:-}" | tr ',' ' '); do
  [ ! -d "$folder" ] || mounts+=(--volume "$folder:$folder:ro")
done

start() {
  [ -z "$(git status --porcelain)" ] || echo "bare: uncommitted changes are not tested" >&2
  ci/base.sh bare
  stop
  # Shared memory as on a machine; a container's default is 64 MB and noexec.
  "$docker" run --detach --init --name "$name" --tmpfs /dev/shm:exec,mode=1777,size=4g "${mounts[@]}" "$image" \
    sleep infinity >/dev/null
  "$docker" exec "$name" useradd --create-home --shell /bin/bash "$user"
  clone=$(mktemp -d)
  trap 'rm -rf "$clone"' EXIT
  git clone --quiet --depth 1 "file://$PWD" "$clone/sim2edge" # from a shallow clone too
  tar --create --directory "$clone" --owner "$user:1000" --group "$user:1000" sim2edge |
    "$docker" exec --interactive "$name" tar --extract --directory "$home"
  inside make install
  "$docker" network disconnect bridge "$name"
  [ "$(inside ls /sys/class/net)" = lo ] || { echo "bare: the network is not cut: $(inside ls /sys/class/net)" >&2; exit 1; }
  echo "bare: in $name: $(inside git log -1 --format='%h %s'), $("$docker" exec "$name" python3 --version), no network from here on"
}

run() {
  # A signal ends only the docker client: restarting the container ends the command inside, too.
  trap '"$docker" restart --time 5 "$name" >/dev/null; exit 143' TERM INT
  inside "$@" &
  wait $!
}

case "${1:-}" in
  start) start ;;
  run) shift && run "$@" ;;
  stop) stop ;;
  *) echo "usage: ci/bare.sh start|run COMMAND...|stop" >&2; exit 2 ;;
esac
