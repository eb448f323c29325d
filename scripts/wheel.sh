#!/usr/bin/env bash
# Builds the distribution, stages and Airflow provider, as a wheel: `scripts/wheel.sh FOLDER`. From a copy, for a build
# leaves its metadata beside what it builds, and Python run from the checkout would find us installed twice.
set -euo pipefail
folder=$(realpath -m "${1:?usage: scripts/wheel.sh FOLDER}")
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r pyproject.toml README.md src plugins "$copy"
.venvs/uv/bin/uv build --quiet --wheel --no-build-isolation --offline --python .venvs/airflow/bin/python --out-dir "$folder" "$copy"
