"""Split the assignment of devices to rings into the targets that the update repository signs: `devices/<bin>.json`.

    files(assignments)              target path to content, of all 16 bins that have a device
    bin_of("pi-7")                  the target that names the ring of pi-7

A device reads one of 16 small targets, so that enrolling one makes few others download anything.
"""

import json
from collections.abc import Mapping
from hashlib import sha256

FOLDER = "devices/"


def bin_of(device: str) -> str:
    """Return the path of the target with the ring of a device."""
    return f"{FOLDER}{sha256(device.encode()).hexdigest()[0]}.json"


def files(assignments: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of each target.

    Args:
        assignments: device to ring.
    """
    bins: dict[str, dict[str, str]] = {}
    for device, ring in assignments.items():
        bins.setdefault(bin_of(device), {})[device] = ring
    return {path: json.dumps(rings, sort_keys=True).encode() for path, rings in sorted(bins.items())}
