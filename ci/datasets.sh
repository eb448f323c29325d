#!/usr/bin/env bash
# Install the libraries of LeRobot and donkeycar, each in an environment of its own, for tests/datasets.
#
#     ci/datasets.sh && make test-e2e-stages TESTS=tests/datasets
#
# The versions are pinned, and nothing else is installed: lerobot's own dependencies are several gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."

for name in lerobot donkeycar; do
  at=build/ci/datasets/$name
  sum=$(sha256sum "ci/datasets/$name.txt" | cut -d' ' -f1)
  [ "$(cat "$at/installed" 2>/dev/null)" = "$sum" ] && continue
  rm -rf "$at"
  python3.11 -m venv "$at"
  "$at/bin/pip" install --quiet --no-deps --disable-pip-version-check --requirement "ci/datasets/$name.txt"
  echo "$sum" >"$at/installed"
  echo "datasets: installed $name"
done
