"""The files that make a Debian system a virtual Pi: our device, network, a shell, a writer without flush."""

from collections.abc import Mapping
from pathlib import Path

from .machine import HOST

FRAMES = "/usr/local/share/frames"
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

BAD_WRITER = """#!/bin/bash
# Replaces a file as programs do that never heard of fsync: half of them are lost in a power cut. The tests' control.
mkdir -p /mnt/home/bad && cd /mnt/home/bad || exit 1
filler=$(printf '%8000s' x)
for ((n = 0; ; n++)); do
  printf '%s\\n%s\\n%s\\n' "$n" "$filler" "$n" >part && mv part file
  sleep 1
done
"""

BAD_WRITER_UNIT = """[Unit]
RequiresMountsFor=/mnt/home
[Service]
ExecStart=/usr/local/bin/bad-writer
Nice=10
[Install]
WantedBy=multi-user.target
"""

MANAGER = """[Manager]
RuntimeWatchdogSec=60
RebootWatchdogSec=60
DefaultTimeoutStartSec=600
DefaultDeviceTimeoutSec=600
"""
SLOW = "[Service]\nTimeoutStartSec=1800\nWatchdogSec=600\n"
"""The launcher reads every byte of the agent before it starts it: seconds on a Pi, minutes on an emulated one."""

JOURNAL = "[Journal]\nStorage=volatile\nForwardToConsole=no\n"


def credentials(environment: Mapping[str, str], port: int) -> bytes:
    """Return the variables of a device that finds the bus of `environment` on this machine's port."""
    bus = {**environment, "AWS_ENDPOINT_URL": f"http://{HOST}:{port}"}
    return "".join(f"{name}={text}\n" for name, text in bus.items()).encode()


def system_files(frames: Path) -> dict[str, bytes]:
    """Return what the system needs besides the device; its camera shows the pictures of a folder."""
    units = {
        "network.service": NETWORK,
        "shell.service": SHELL,
        "bad-writer.service": BAD_WRITER_UNIT,
    }
    return {
        **{f"{UNITS}/{name}": text.encode() for name, text in units.items()},
        "etc/systemd/system.conf.d/60-pi.conf": MANAGER.encode(),
        f"{UNITS}/sim2edge.service.d/slow.conf": SLOW.encode(),
        "etc/systemd/journald.conf.d/memory.conf": JOURNAL.encode(),
        "usr/local/bin/bad-writer": BAD_WRITER.encode(),
        **{f"{FRAMES[1:]}/{path.name}": path.read_bytes() for path in sorted(frames.glob("*.jpg"))},
    }
