"""Configure a Webots `Lidar` so that its columns are our beams, and read its range image.

Webots renders a scan: each column is a pixel whose centre is half a column inside the field of view, columns run from
left to right and layers from top to bottom. Our beams run counter-clockwise, layers from the lowest, and the outermost
beams are on the edges of the field of view.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import Lidar3dConfig, LidarConfig

HAIR_RAD = 1e-6
"""Subtracted from the vertical field of view, so that rounding up to whole rows does not add one."""


@dataclass(frozen=True)
class Scanner:
    """Settings of a `Lidar` node. Every `stride`-th column is a beam, the leftmost first."""

    columns: int
    layers: int
    fov_rad: float
    vertical_fov_rad: float
    yaw_rad: float
    """Rotation of the device on the robot that aligns its columns with our beams."""
    stride: int


def scanner_2d(config: LidarConfig) -> Scanner:
    """Return the settings for one layer."""
    step = _step(config.beams, config.fov_deg)
    stride = _min_stride(config.beams, config.fov_deg)
    # The angle of a single layer is irrelevant, but Webots requires more than a column's.
    return _scanner(config.beams, config.fov_deg, 1, 2 * step / stride, stride)


def scanner_3d(config: Lidar3dConfig) -> Scanner:
    """Return the settings for several layers over a full turn."""
    vertical = math.radians(config.vertical_fov_deg) - HAIR_RAD
    # Webots requires layers < vertical angle * columns / angle, strictly.
    stride = math.floor(config.layers * _step(config.columns, 360) / vertical) + 1
    return _scanner(config.columns, 360, config.layers, vertical, stride)


def _step(beams: int, fov_deg: float) -> float:
    return math.radians(fov_deg) / (beams if fov_deg == 360 else max(1, beams - 1))


def _min_stride(beams: int, fov_deg: float) -> int:
    """Return the columns per beam for which the outermost columns do not overlap behind the robot."""
    left = math.tau - math.radians(fov_deg)
    return 1 if fov_deg == 360 else max(1, math.ceil(_step(beams, fov_deg) / left - 1e-9))


def _scanner(beams: int, fov_deg: float, layers: int, vertical: float, stride: int) -> Scanner:
    step = _step(beams, fov_deg)
    if fov_deg == 360:
        return Scanner(stride * beams, layers, math.tau, vertical, step / (2 * stride) - step, stride)
    columns = stride * (beams - 1) + 1
    return Scanner(columns, layers, columns * step / stride, vertical, 0.0, stride)


def read_ranges(image: "list[float]", scanner: Scanner) -> NDArray[np.float64]:
    """Return the ranges (layers, beams) of a range image, metres: lowest layer first, beams counter-clockwise.

    Raises:
        ValueError: the image does not have this scanner's size.
    """
    expected = scanner.layers * scanner.columns
    if len(image) != expected:
        raise ValueError(f"the range image has {len(image)} values, not {expected}")
    rows = np.array(image, np.float64).reshape(scanner.layers, scanner.columns)
    return np.ascontiguousarray(rows[::-1, :: scanner.stride][:, ::-1])
