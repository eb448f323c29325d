"""Decide whether a recording continues another one: it begins when and where the other ends."""

import math
from dataclasses import dataclass

MAX_GAP_S = 5.0
"""Longest pause, or overlap, between two pieces of a drive, seconds."""
SLACK_M = 0.3
"""Distance between both poses that odometry and pairing may cause, metres."""
MAX_SPEED_M_S = 1.5
"""How fast a robot may move in the pause, metres a second."""


@dataclass(frozen=True)
class Moment:
    """The first or the last frame of a recording."""

    time_s: float
    """Of the recording's clock, seconds."""
    x_m: float | None
    """None, as `y_m`: the recording has no poses."""
    y_m: float | None


def continues(last: Moment, first: Moment) -> bool:
    """Return whether a recording that begins at `first` continues one that ends at `last`."""
    gap = abs(first.time_s - last.time_s)
    if gap > MAX_GAP_S or last.x_m is None or last.y_m is None or first.x_m is None or first.y_m is None:
        return False
    return math.hypot(first.x_m - last.x_m, first.y_m - last.y_m) <= SLACK_M + MAX_SPEED_M_S * gap
