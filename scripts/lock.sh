#!/usr/bin/env bash
# Compile the locks from pyproject.toml: requirements.txt (Airflow), requirements-stages.txt (stages, device, development)
# and containers/device-tflite/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venvs/uv/bin/uv
export UV_SYSTEM_CERTS=1
wheels=$(echo "${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}" | tr ',' ' ' | cut -d' ' -f1)

compile() {
  local lock=$1
  shift
  "$uv" pip compile --quiet --python-version 3.11 --no-annotate --no-header --no-emit-find-links \
    ${wheels:+--find-links "$wheels"} --output-file "$lock.new" pyproject.toml "$@"
  # The lock names torch's version only; the installer chooses the build for the machine.
  sed -E 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/; /^(nvidia-|triton==)/d' "$lock.new" >"$lock"
  rm "$lock.new"
}
compile requirements.txt --extra airflow --extra test --extra kubernetes-test --extra browser-test
compile requirements-stages.txt --extra stages --extra test --extra lint --extra sbom

# The device with tflite-runtime: the same pins except its overrides.
tflite=containers/device-tflite
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
grep -v '^numpy==' requirements-stages.txt >"$kept"
echo tflite-runtime | "$uv" pip compile --quiet --python-version 3.11 --no-annotate --no-header --constraint "$kept" \
  --override "$tflite/overrides.txt" --extra edge --output-file "$tflite/requirements.txt" pyproject.toml -
