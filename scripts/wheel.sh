#!/usr/bin/env bash
# Build the distribution, stages and Airflow provider, as a wheel: `scripts/wheel.sh FOLDER`. From a copy, because a build
# leaves metadata in its source folder, and Python run from the checkout would find the distribution twice.
set -euo pipefail
folder=$(realpath -m "${1:?usage: scripts/wheel.sh FOLDER}")
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r pyproject.toml README.md LICENSE src plugins "$copy"
.venvs/uv/bin/uv build --quiet --wheel --no-build-isolation --offline --python .venvs/airflow/bin/python --out-dir "$folder" "$copy"
