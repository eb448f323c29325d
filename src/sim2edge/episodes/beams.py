"""The beams of a 2D LiDAR: their angles, and `lidar.csv`."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scanner(Protocol):
    """What says how a 2D LiDAR looks around."""

    @property
    def beams(self) -> int:
        """Beams a scan."""

    @property
    def fov_deg(self) -> float:
        """The angle that they span, centred ahead, degrees."""


def beam_angles(config: Scanner) -> Floats:
    """Return the angle of each beam, radians, counter-clockwise from straight ahead, centred on it.

    A full turn does not repeat its first beam at the end.
    """
    span = np.radians(config.fov_deg)
    step = span / config.beams if config.fov_deg == 360 else span / max(1, config.beams - 1)
    angles: Floats = -span / 2 + step * np.arange(config.beams)
    return angles


def write_csv(path: Path, times: list[float], scans: list[Floats]) -> None:
    """Write `lidar.csv`: a row a scan, ranges to a tenth of a millimetre."""
    header = ",".join(["time_s", *(f"r{beam:03d}" for beam in range(len(scans[0]) if scans else 0))])
    rows = (f"{time:.3f}," + ",".join(f"{r:.4f}" for r in scan) for time, scan in zip(times, scans, strict=True))
    path.write_text("\n".join([header, *rows]) + "\n", encoding="ascii")
