#!/usr/bin/env bash
# Install, on a Debian machine, what `make test-pi` needs besides the environments: qemu for arm64 and what makes its disks.
#
#     ci/pi.sh && make test-pi CUTS=20
set -euo pipefail

packages=()
command -v qemu-system-aarch64 >/dev/null || packages+=(qemu-system-arm)
command -v mmdebstrap >/dev/null || packages+=(mmdebstrap)
command -v depmod >/dev/null || packages+=(kmod)
command -v cpio >/dev/null || packages+=(cpio)
command -v mke2fs >/dev/null || packages+=(e2fsprogs)
[ ${#packages[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "pi: installing ${packages[*]} needs root" >&2; exit 2; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${packages[@]}" >/dev/null
echo "pi: installed ${packages[*]}"
