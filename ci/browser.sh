#!/usr/bin/env bash
# Install, on a Debian machine, what `make test-browser` needs besides the environments: Chromium and fonts.
#
#     ci/browser.sh && make test-browser
set -euo pipefail

[ ! -x /usr/bin/chromium ] || exit 0
[ "$(id -u)" = 0 ] || { echo "browser: installing chromium needs root" >&2; exit 2; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core fonts-liberation >/dev/null
echo "browser: installed $(/usr/bin/chromium --version)"
