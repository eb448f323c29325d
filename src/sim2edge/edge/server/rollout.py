"""Spread a rollout over a window: when a device's turn comes, by a hash of its id and the release. Pure.

    rollout = Rollout(start=1_790_000_000, window_s=600)        # of `rings/<ring>.json`
    wait_s(rollout, "pi-7", "3f2a9c0d11e4b7a6", now, known_s=0)  # 0: it is the device's turn

Ten thousand devices that check every 30 s would all download within 30 s otherwise. The order differs from release to
release, so that no device is always the first to try one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_WINDOW_S = 7 * 86_400


@dataclass(frozen=True)
class Rollout:
    """When a ring got its release, Unix seconds, and the seconds over which its devices take it."""

    start: float = 0.0
    window_s: float = 0.0


def parse_rollout(ring: Mapping[str, Any]) -> Rollout:
    """Return the rollout that a ring's file describes; without a word about it, all devices take it at once.

    Raises:
        ValueError, TypeError: a field is no number.
    """
    return Rollout(float(ring.get("start", 0)), min(max(float(ring.get("window_s", 0)), 0.0), MAX_WINDOW_S))


def turn_s(device: str, release: str, window_s: float) -> float:
    """Return the seconds after the start at which a device's turn comes, evenly spread over the window."""
    digest = hashlib.sha256(f"{device}\0{release}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 * window_s


def wait_s(rollout: Rollout, device: str, release: str, now: float, known_s: float) -> float:
    """Return the seconds until a device's turn.

    Args:
        rollout: the ring's.
        device: its id.
        release: id of the release.
        now: the device's clock, Unix seconds; one that is slow by years does not lengthen the wait.
        known_s: seconds since the device has known of the release.
    """
    turn = turn_s(device, release, rollout.window_s)
    return max(0.0, min(rollout.start + turn - now, turn - known_s))
