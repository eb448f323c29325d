"""Simulate the LiDARs: directions of their beams, ray casting in MuJoCo, noise and lost returns."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import Lidar3dConfig, LidarConfig
from sim2edge.capture.seeds import Rng

if TYPE_CHECKING:
    import mujoco

Floats = NDArray[np.float64]


def cast_beams(
    model: "mujoco.MjModel", data: "mujoco.MjData", site: int, angles: Floats, groups: NDArray[np.uint8], reach: float
) -> Floats:
    """Return the exact distances along the beams of a scanner at a site, metres.

    They are inf without a hit within `reach`.
    """
    local = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    return _cast(model, data, site, local, groups, reach)


def cloud_directions(config: Lidar3dConfig) -> Floats:
    """Return the unit vectors (layers, columns, 3) of the 3D LiDAR's beams: x ahead, y left, z up.

    The lowest layer comes first, and half of the angle is below the horizon; columns run counter-clockwise from
    straight behind, and a full turn does not repeat its first.
    """
    half = np.radians(config.vertical_fov_deg) / 2
    elevation = np.linspace(-half, half, config.layers)[:, None]
    azimuth = -np.pi + 2 * np.pi / config.columns * np.arange(config.columns)
    flat = np.cos(elevation)
    upward = np.broadcast_to(np.sin(elevation), (config.layers, config.columns))
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), upward], axis=2)


def cast_cloud(
    model: "mujoco.MjModel",
    data: "mujoco.MjData",
    site: int,
    directions: Floats,
    groups: NDArray[np.uint8],
    reach: float,
) -> Floats:
    """Return exact distances (layers, columns) along directions (layers, columns, 3) of a site's frame; inf: no hit."""
    return _cast(model, data, site, directions.reshape(-1, 3), groups, reach).reshape(directions.shape[:2])


def _cast(
    model: "mujoco.MjModel", data: "mujoco.MjData", site: int, local: Floats, groups: NDArray[np.uint8], reach: float
) -> Floats:
    import mujoco  # imported late: other simulators work without MuJoCo

    beams = local @ data.site_xmat[site].reshape(3, 3).T
    hit, distance = np.full(len(local), -1, np.int32), np.zeros(len(local))
    mujoco.mj_multiRay(
        model, data, data.site_xpos[site], beams.ravel(), groups, 1, -1, hit, distance, None, len(local), reach
    )
    return np.where(hit < 0, np.inf, distance)


def disturb(ranges: Floats, config: LidarConfig, rng: Rng) -> Floats:
    """Return the measured ranges: with Gaussian noise, lost returns, and inf outside the scanner's limits."""
    noisy = ranges + rng.normal(0, config.noise_m, len(ranges))
    lost = rng.random(len(ranges)) < config.dropout
    outside = ~((noisy >= config.min_range_m) & (noisy <= config.max_range_m))
    return np.where(lost | outside, np.inf, noisy)


def disturb_cloud(cloud: Floats, config: Lidar3dConfig, rng: Rng) -> Floats:
    """Return the 3D LiDAR's measurement of exact distances (layers, columns).

    It has Gaussian noise, and inf beyond its range.
    """
    noisy = cloud + rng.standard_normal(cloud.shape) * config.noise_m
    return np.where((noisy > 0) & (noisy <= config.max_range_m), noisy, np.inf)
