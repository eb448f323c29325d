#!/usr/bin/env bash
# Builds the stand-ins for the services' images that cannot be pulled, from Debian's packages (ci/base.sh comes first).
#
#     ci/services.sh && set -a && . ci/compose.env && set +a && make up
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
export DOCKER_BUILDKIT=1
# shellcheck source=/dev/null
. build/ci/environment
for target in postgres redis prometheus alertmanager blackbox-exporter statsd-exporter; do
  "$docker" build --quiet --build-arg "BASE_IMAGE=$BASE_IMAGE" --target "$target" --tag "sim2edge-ci/$target:1" \
    ci/services >/dev/null
  echo "services: sim2edge-ci/$target:1"
done
