#!/usr/bin/env bash
# Build the images, all in one cached build: `scripts/images.sh` or `scripts/images.sh train device`.
#
#     PLATFORM=linux/arm64 scripts/images.sh device     for a Raspberry Pi; its tag ends in -arm64
#     TORCH_BACKEND=cu128 scripts/images.sh train       with torch for GPUs
#
# Other variables: SIM2EDGE_TAG (default: the version), BASE_IMAGE, BUILD_IMAGE, WHEELHOUSE_IMAGE (see
# containers/Dockerfile), DOCKER. Then it lists each image with its size.
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
stages=$(sed -n 's/.*"name": "\([a-z0-9]*\)".*/\1/p' containers/images.json | tr '\n' ' ')
known="${stages}device device-tflite airflow mlflow s3 engine-proxy"
minimum_gb=15

fail() { echo "images: $1" >&2; exit 2; }

for name in "$@"; do
  case " $known stages devices services " in
    *" $name "*) ;;
    *) fail "'$name' is not an image: $known, or a group: stages, devices, services" ;;
  esac
done
if [ -n "${PLATFORM:-}" ]; then
  [ $# -gt 0 ] || set -- devices
  for name in "$@"; do
    case "$name" in device*) ;; *) fail "PLATFORM: only the device is built for another machine, not '$name'" ;; esac
  done
fi
answer=$("$docker" version --format '{{.Server.Version}}' 2>&1) || fail "no Docker engine answers: ${answer##*$'\n'}"
"$docker" buildx version >/dev/null 2>&1 || fail "'$docker' has no buildx plugin; see docs/images.md to build without"
root=$("$docker" info --format '{{.DockerRootDir}}')
if [ -d "$root" ]; then
  free_gb=$(df --output=avail -BG "$root" | tail -n 1 | tr -dc 0-9)
  [ "$free_gb" -ge "$minimum_gb" ] || fail "$root has $free_gb GB free; building all images needs $minimum_gb"
fi

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION=$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)
export VERSION REVISION SIM2EDGE_TAG=${SIM2EDGE_TAG:-$VERSION}

started=$(date +%s)
"$docker" buildx bake --file containers/bake.hcl --file containers/images.json --progress "${PROGRESS:-auto}" "$@"
echo "images: built in $(($(date +%s) - started)) s, revision $REVISION"
suffix=${PLATFORM:+-${PLATFORM#*/}}
"$docker" image ls --filter "reference=sim2edge/*:$SIM2EDGE_TAG$suffix" --format '{{.Repository}}:{{.Tag}}\t{{.Size}}' |
  sort | expand -t 40
