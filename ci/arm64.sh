#!/usr/bin/env bash
# Enable arm64 containers under emulation on this machine, and build the stand-in base their image needs.
#
#     ci/arm64.sh
#
# qemu comes from trixie: bookworm's own (7.2) crashes in ONNX Runtime. The kernel keeps the interpreter open (flag F),
# so containers need not contain it. Does nothing if arm64 programs run already.
set -euo pipefail
cd "$(dirname "$0")/.."

register=/proc/sys/fs/binfmt_misc
handler=$register/qemu-aarch64

if ! grep -qs '^enabled' "$handler"; then
  [ "$(id -u)" = 0 ] || { echo "arm64: registering the emulator needs root" >&2; exit 2; }
  # shellcheck source=/dev/null
  . /etc/os-release
  suite=""
  if [ "${VERSION_CODENAME:-}" = bookworm ]; then suite=/trixie; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "qemu-user$suite" "qemu-user-binfmt$suite" >/dev/null
  [ -e "$register/register" ] || mount -t binfmt_misc binfmt_misc "$register"
  if ! grep -qs '^enabled' "$handler"; then cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$register/register"; fi
fi
echo "arm64: $(qemu-aarch64 --version | head -n 1)"
ci/base.sh arm64
