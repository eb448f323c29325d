"""The 2D LiDAR: beam angles, ray casting in MuJoCo, noise and dropout, and `lidar.csv`."""

from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import LidarConfig
from sim2edge.capture.seeds import Rng

Floats = NDArray[np.float64]


def beam_angles(config: LidarConfig) -> Floats:
    """The angle of each beam, radians, counter-clockwise from straight ahead, centred on it.

    A full turn does not repeat its first beam at the end.
    """
    span = np.radians(config.fov_deg)
    step = span / config.beams if config.fov_deg == 360 else span / max(1, config.beams - 1)
    angles: Floats = -span / 2 + step * np.arange(config.beams)
    return angles


def cast_beams(
    model: mujoco.MjModel, data: mujoco.MjData, site: int, angles: Floats, groups: NDArray[np.uint8], reach: float
) -> Floats:
    """Exact distances along the beams of a scanner at a site, metres; inf where nothing is hit within `reach`."""
    local = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    beams = local @ data.site_xmat[site].reshape(3, 3).T
    hit, distance = np.full(len(angles), -1, np.int32), np.zeros(len(angles))
    mujoco.mj_multiRay(
        model, data, data.site_xpos[site], beams.ravel(), groups, 1, -1, hit, distance, None, len(angles), reach
    )
    return np.where(hit < 0, np.inf, distance)


def disturb(ranges: Floats, config: LidarConfig, rng: Rng) -> Floats:
    """What the scanner reports: Gaussian noise, lost returns, and inf outside its range."""
    noisy = ranges + rng.normal(0, config.noise_m, len(ranges))
    lost = rng.random(len(ranges)) < config.dropout
    outside = ~((noisy >= config.min_range_m) & (noisy <= config.max_range_m))
    return np.where(lost | outside, np.inf, noisy)


def write_csv(path: Path, times: list[float], scans: list[Floats]) -> None:
    """Write `lidar.csv`: a row a scan, ranges to a tenth of a millimetre."""
    header = ",".join(["time_s", *(f"r{beam:03d}" for beam in range(len(scans[0]) if scans else 0))])
    rows = (f"{time:.3f}," + ",".join(f"{r:.4f}" for r in scan) for time, scan in zip(times, scans, strict=True))
    path.write_text("\n".join([header, *rows]) + "\n", encoding="ascii")
