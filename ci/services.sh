#!/usr/bin/env bash
# Build the stand-ins for the services' images that cannot be pulled, from Debian's packages (run ci/base.sh first).
#
#     ci/services.sh && set -a && . ci/compose.env && set +a && make up
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
export DOCKER_BUILDKIT=1
# shellcheck source=/dev/null
. build/ci/environment
# In parallel: they mostly wait for packages.
builds=()
for target in postgres redis prometheus alertmanager blackbox-exporter statsd-exporter; do
  "$docker" build --quiet --build-arg "BASE_IMAGE=$BASE_IMAGE" --target "$target" --tag "sim2edge-ci/$target:1" \
    ci/services >/dev/null &
  builds+=($!)
done
for build in "${builds[@]}"; do wait "$build"; done
"$docker" image ls --filter 'reference=sim2edge-ci/*:1' --format 'services: {{.Repository}}'
