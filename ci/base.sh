#!/usr/bin/env bash
# Build the stand-ins for what `make images` would pull: the base image, and the wheels this machine has on disk.
#
#     ci/base.sh             # for this machine's architecture
#     ci/base.sh arm64       # the base of another architecture (none of its programs run here)
#     ci/base.sh bare        # a machine with only the README's prerequisites, for ci/bare.sh
#
# Writes the build variables to source before `make images` (BASE_IMAGE, WHEELHOUSE_IMAGE, ...) into build/ci/environment,
# for another architecture into build/ci/environment-<architecture>:
#
#     set -a; . build/ci/environment; set +a; make images
#     set -a; . build/ci/environment-arm64; set +a; make images IMAGES=device
#
# The base is Debian bookworm with Python, as python:3.11-slim-bookworm is, built by mmdebstrap; it also contains this
# machine's certificate authorities and pip settings, needed to install anything behind a proxy.
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
export DOCKER_BUILDKIT=1
suite=bookworm
# The Debian mirror of this machine.
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Release: $suite" 'Created-By: Packages' | head -n 1)
own=$(dpkg --print-architecture)
arch=${1:-$own}
packages=python3,python3-venv,ca-certificates,tini
image=sim2edge-ci/base
if [ "$arch" = bare ]; then
  arch=$own
  packages=python3,python3-venv,ca-certificates,make,git # bash is in every base
  image=sim2edge-ci/bare
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Copy this machine's settings into the base; their digest is the image's label, so that an unchanged base is not rebuilt.
collect_settings() {
  mkdir -p "$work/context/etc/ssl/certs" "$work/context/usr/local/share"
  cp -L /etc/ssl/certs/ca-certificates.crt "$work/context/etc/ssl/certs/"
  if [ -d /usr/local/share/ca-certificates ]; then
    cp -rL /usr/local/share/ca-certificates "$work/context/usr/local/share/"
  fi
  if [ -f /etc/pip.conf ]; then cp -L /etc/pip.conf "$work/context/etc/pip.conf"; fi
}

fingerprint() { # of this script, the settings and the architecture
  { cat "$0" ci/settle.sh; echo "$arch $mirror $packages"; find "$work/context" -type f | sort | xargs cat; } | sha256sum | cut -c1-16
}

make_base() { # image
  local image=$1 print
  print=$(fingerprint)
  if [ "$("$docker" image inspect --format '{{index .Config.Labels "sim2edge.ci"}}' "$image" 2>/dev/null)" = "$print" ]; then
    echo "base: $image is up to date" >&2
    return
  fi
  # A foreign architecture is only unpacked: its scripts cannot run here, so the hooks create the links they would.
  local variant=minbase extra=()
  if [ "$arch" != "$own" ]; then
    variant=extract
    extra=(--include='?essential' --include=passwd,apt --extract-hook="$PWD/ci/settle.sh"
      --setup-hook='for part in bin sbin lib; do mkdir -p "$1/usr/$part"; ln -s "usr/$part" "$1/$part"; done')
  fi
  mmdebstrap --quiet --variant="$variant" --arch="$arch" --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "${extra[@]}" "$suite" "$work/context/base.tar" "$mirror"
  # Built, not imported: an import always has the architecture of this machine.
  cat >"$work/context/Dockerfile" <<'DOCKERFILE'
FROM scratch
ADD base.tar /
COPY etc /etc
COPY usr /usr
CMD ["python3"]
DOCKERFILE
  "$docker" build --quiet --platform "linux/$arch" --label "sim2edge.ci=$print" --tag "$image" "$work/context" >/dev/null
  echo "base: built $image" >&2
}

make_wheelhouse() { # image; prints its name if a wheel of the locked torch exists
  local image=$1 folder version
  version=$(sed -n 's/^torch==//p' requirements-stages.txt)
  for folder in $(echo "${UV_FIND_LINKS:-} ${PIP_FIND_LINKS:-}" | tr ',' ' '); do
    if compgen -G "$folder/torch-$version*.whl" >/dev/null; then
      printf 'FROM scratch\nCOPY torch-%s*.whl /\n' "$version" |
        "$docker" build --quiet --tag "$image" --file - "$folder" >/dev/null
      echo "$image"
      return
    fi
  done
}

collect_settings
make_base "$image:$suite-$arch"
[ "$image" = sim2edge-ci/base ] || exit 0
mkdir -p build/ci
if [ "$arch" = "$own" ]; then
  written=build/ci/environment
  wheelhouse=$(make_wheelhouse "sim2edge-ci/wheelhouse:1")
  {
    echo "BASE_IMAGE=sim2edge-ci/base:$suite-$arch"
    [ -z "$wheelhouse" ] || echo "WHEELHOUSE_IMAGE=$wheelhouse"
  } >"$written"
else
  written=build/ci/environment-$arch
  printf '%s\n' "PLATFORM=linux/$arch" "BASE_IMAGE=sim2edge-ci/base:$suite-$arch" \
    "BUILD_IMAGE=sim2edge-ci/base:$suite-$own" >"$written"
fi
echo "base: wrote $written: $(tr '\n' ' ' <"$written")" >&2
