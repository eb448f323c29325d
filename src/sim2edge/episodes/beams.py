"""Compute the beam angles of a 2D LiDAR, and write `lidar.csv`."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scanner(Protocol):
    """The beams of a 2D LiDAR."""

    @property
    def beams(self) -> int:
        """Number of beams per scan."""

    @property
    def fov_deg(self) -> float:
        """Angle spanned by the beams, centred ahead, degrees."""


def beam_angles(config: Scanner) -> Floats:
    """Return the angle of each beam, radians, counter-clockwise from straight ahead, centred on it.

    A full turn does not repeat its first beam at the end.
    """
    span = np.radians(config.fov_deg)
    step = span / config.beams if config.fov_deg == 360 else span / max(1, config.beams - 1)
    angles: Floats = -span / 2 + step * np.arange(config.beams)
    return angles


def write_csv(path: Path, times: list[float], scans: list[Floats]) -> None:
    """Write `lidar.csv`: a row per scan, ranges to a tenth of a millimetre."""
    header = ",".join(["time_s", *(f"r{beam:03d}" for beam in range(len(scans[0]) if scans else 0))])
    rows = (f"{time:.3f}," + ",".join(f"{r:.4f}" for r in scan) for time, scan in zip(times, scans, strict=True))
    path.write_text("\n".join([header, *rows]) + "\n", encoding="ascii")
