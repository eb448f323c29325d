#!/usr/bin/env bash
# Create one environment from its exact lock: `scripts/install.sh airflow` or `scripts/install.sh stages`.
#
# torch: a wheel of the pinned version in a folder of PIP_FIND_LINKS or UV_FIND_LINKS wins; otherwise uv chooses
# the build for this machine (TORCH_BACKEND=auto): CUDA if it has a GPU, else CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:?usage: scripts/install.sh airflow|stages}
case "$name" in
  airflow) lock=requirements.txt ;;
  stages) lock=requirements-stages.txt ;;
  *) echo "install: unknown environment '$name': airflow or stages" >&2; exit 2 ;;
esac
uv_version=0.13.8
venv=.venvs/$name
stamp=$venv/.installed
fingerprint=$(cat "$lock" "$0" pyproject.toml | sha256sum | cut -c1-16)
mkdir -p .venvs
exec 9>.venvs/.lock # of two concurrent commands, one installs and the other waits
flock 9
if [ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ]; then exit 0; fi

uv=.venvs/uv/bin/uv
if [ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
  "$(command -v python3.11 || command -v python3)" -m venv --clear .venvs/uv
  .venvs/uv/bin/pip install --quiet --disable-pip-version-check "uv==$uv_version"
fi
export UV_SYSTEM_CERTS=1 UV_LINK_MODE=${UV_LINK_MODE:-hardlink}

links=$(echo "${UV_FIND_LINKS:-} ${PIP_FIND_LINKS:-}" | tr ',' ' ')
torch_version=$(sed -n 's/^torch==//p' "$lock")
torch_source=(--torch-backend "${TORCH_BACKEND:-auto}")
for folder in $links; do
  if compgen -G "$folder/torch-$torch_version*.whl" >/dev/null; then torch_source=(--find-links "$folder"); fi
done
[ -n "$torch_version" ] || torch_source=()

echo "install: $venv from $lock"
"$uv" venv --quiet --clear --python 3.11 "$venv"
"$uv" pip install --quiet --python "$venv/bin/python" "${torch_source[@]}" --requirements "$lock"
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
echo "$fingerprint" >"$stamp"
