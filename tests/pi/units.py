"""The files that make a Debian system a virtual Pi: our device, network, a shell, a writer without flush."""

from collections.abc import Mapping
from pathlib import Path

from .machine import HOST

HOME = "/var/lib/home/device"
UNITS = "etc/systemd/system"

NETWORK = """[Unit]
BindsTo=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2'
[Install]
WantedBy=multi-user.target
"""

SHELL = """[Unit]
DefaultDependencies=no
BindsTo=dev-hvc0.device
After=dev-hvc0.device
[Service]
ExecStart=/bin/bash --norc --noediting
Environment=PS1= HOME=/root
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/hvc0
Restart=always
[Install]
WantedBy=multi-user.target
"""

DEVICE = """[Unit]
After=network.service var-lib-home.mount
RequiresMountsFor=/var/lib/home
StartLimitIntervalSec=0
[Service]
EnvironmentFile=/etc/sim2edge/bus.env
ExecStart=/usr/bin/python3 -m sim2edge device run --id pi --ring canary --home {home} --root /etc/sim2edge/root.json \
  --source /usr/local/share/frames --rate 4 --interval 5 --trial-inferences 5 --trial-seconds 300
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""

BAD_WRITER = """#!/bin/bash
# Replaces a file as programs do that never heard of fsync: half of them are lost in a power cut. The tests' control.
mkdir -p /var/lib/home/bad && cd /var/lib/home/bad || exit 1
filler=$(printf '%8000s' x)
for ((n = 0; ; n++)); do
  printf '%s\\n%s\\n%s\\n' "$n" "$filler" "$n" >part && mv part file
  sleep 1
done
"""

BAD_WRITER_UNIT = """[Unit]
RequiresMountsFor=/var/lib/home
[Service]
ExecStart=/usr/local/bin/bad-writer
Nice=10
[Install]
WantedBy=multi-user.target
"""

WATCHDOG = "[Manager]\nRuntimeWatchdogSec=30\nRebootWatchdogSec=60\n"
JOURNAL = "[Journal]\nStorage=volatile\nForwardToConsole=no\n"


def system_files(environment: Mapping[str, str], endpoint_port: int, root: bytes, frames: Path) -> dict[str, bytes]:
    """Return the files of a device that finds the bus of `environment` on this machine's port."""
    bus = {**environment, "AWS_ENDPOINT_URL": f"http://{HOST}:{endpoint_port}", "AWS_ALLOW_HTTP": "true"}
    units = {
        "network.service": NETWORK,
        "shell.service": SHELL,
        "sim2edge-device.service": DEVICE.format(home=HOME),
        "bad-writer.service": BAD_WRITER_UNIT,
    }
    return {
        **{f"{UNITS}/{name}": text.encode() for name, text in units.items()},
        "etc/systemd/system.conf.d/watchdog.conf": WATCHDOG.encode(),
        "etc/systemd/journald.conf.d/memory.conf": JOURNAL.encode(),
        "etc/sim2edge/bus.env": "".join(f"{name}={text}\n" for name, text in bus.items()).encode(),
        "etc/sim2edge/root.json": root,
        "usr/local/bin/bad-writer": BAD_WRITER.encode(),
        **{f"usr/local/share/frames/{path.name}": path.read_bytes() for path in sorted(frames.glob("*.jpg"))},
    }
