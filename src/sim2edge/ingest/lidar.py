"""Resample scans of any LiDAR to our beams: each beam takes the nearest one of the source.

A beam not covered by a source beam has no return; nor has one whose range is NaN, zero or outside the limits. A range
equal to the source's largest is no return: drivers that cannot send infinity send that.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim2edge.ingest.mounting import IDENTITY, Quaternion, Sitting

Floats = NDArray[np.float64]

MAX_BEAMS = 100_000
UNCOVERED = -1
SAME_ANGLE_RAD = 1e-3


@dataclass(frozen=True)
class Geometry:
    """Beam i points at `start_rad + i * step_rad`, counter-clockwise from ahead; a negative step turns clockwise."""

    start_rad: float
    step_rad: float
    beams: int


@dataclass(frozen=True)
class Scan:
    """One scan as measured, metres."""

    geometry: Geometry
    ranges: ArrayLike
    min_range_m: float = 0.0
    max_range_m: float = math.inf
    end_rad: float | None = None
    """Angle of the last beam as sent; None: the geometry was computed from it."""
    frame: str = ""
    """The frame that the scanner is fixed to."""
    rotation: Quaternion = IDENTITY
    """Of the scanner in that frame."""

    def __post_init__(self) -> None:
        g = self.geometry
        if not 1 <= g.beams <= MAX_BEAMS:
            raise ValueError(f"ranges: {g.beams} beams, expected 1 to {MAX_BEAMS}")
        if not (math.isfinite(g.start_rad) and math.isfinite(g.step_rad)) or (g.beams > 1 and g.step_rad == 0):
            raise ValueError(f"angles: from {g.start_rad:g} rad in steps of {g.step_rad:g} rad")


class Limits(NamedTuple):
    """The ranges that are returns: from `low_m` to `high_m`, and below `full_m`."""

    low_m: float
    high_m: float
    full_m: float
    """The largest range of the scanner, sent for no return."""


def limits_of(scan: Scan, max_range_m: float) -> Limits:
    """Return the limits of a scan; a largest range that is NaN, zero or negative is unset, as is a NaN smallest one."""
    low = scan.min_range_m if scan.min_range_m > 0 else 0.0
    full = scan.max_range_m if scan.max_range_m > 0 else math.inf
    return Limits(low, max_range_m, full)


def is_return(ranges: Floats, limits: Limits) -> NDArray[np.bool_]:
    """Return which ranges (m) are returns."""
    inside: NDArray[np.bool_] = (ranges > 0) & (ranges >= limits.low_m)
    return inside & (ranges <= limits.high_m) & (ranges < limits.full_m)


def geometry_from_span(start_rad: float, end_rad: float, beams: int) -> Geometry:
    """Return the geometry of a `foxglove.LaserScan`.

    Its end angle is that of the last beam, or a full turn after that of the first.
    """
    span = end_rad - start_rad
    steps = beams if abs(span - math.tau) < SAME_ANGLE_RAD else beams - 1
    return Geometry(start_rad, span / steps if steps > 0 else 0.0, beams)


def bring_to_beams(scan: Scan, angles: tuple[float, ...], sitting: Sitting, max_range_m: float) -> Floats | None:
    """Return the ranges along `angles` (rad, ahead of the robot), inf for no return; None if all ranges are NaN."""
    ranges = np.asarray(scan.ranges, dtype=np.float64)
    if np.isnan(ranges).all():
        return None
    chosen = nearest_beams(scan.geometry, angles, sitting)
    found = np.where(chosen == UNCOVERED, np.inf, ranges[np.maximum(chosen, 0)])
    return np.where(is_return(found, limits_of(scan, max_range_m)), found, np.inf)


@lru_cache(maxsize=64)
def nearest_beams(geometry: Geometry, angles: tuple[float, ...], sitting: Sitting) -> NDArray[np.int64]:
    """Return the index of the source beam nearest to each angle; `UNCOVERED` if it is more than half a step away."""
    own = geometry.start_rad + geometry.step_rad * np.arange(geometry.beams, dtype=np.float64)
    source = wrap(sitting.yaw_rad - own if sitting.flipped else sitting.yaw_rad + own)
    order = np.argsort(source, kind="stable")
    # Extended on either side, so that the nearest beam is found across the seam.
    around = np.concatenate([source[order[-1:]] - math.tau, source[order], source[order[:1]] + math.tau])
    indices = np.concatenate([order[-1:], order, order[:1]])
    wanted = wrap(np.array(angles))
    after = np.clip(np.searchsorted(around, wanted), 1, len(around) - 1)
    nearer = wanted - around[after - 1] <= around[after] - wanted
    at = np.where(nearer, after - 1, after)
    reach = abs(geometry.step_rad) / 2 + SAME_ANGLE_RAD
    return np.where(np.abs(around[at] - wanted) <= reach, indices[at], UNCOVERED)


def wrap(angles: Floats) -> Floats:
    """Return angles (rad) within -pi..pi."""
    wrapped: Floats = (angles + math.pi) % math.tau - math.pi
    return wrapped
