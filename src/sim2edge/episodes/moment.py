"""Define the data of a moment: ticks of a fixed rate, poses, commands, labelled boxes. Light to import."""

import math
from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

RATE_HZ = 10
"""Control ticks, images and scans per simulated second."""
TICK_NS = 1_000_000_000 // RATE_HZ

Layout = Literal["rectangle", "l", "corridor", "two_rooms", "clutter"]

ROBOT_RADIUS_M = 0.175
"""Radius of the round chassis; the wheels are inside."""

LIDAR_HEIGHT_M = 0.15
"""Below seats and table tops, so that the LiDAR sees legs."""


class Pose(NamedTuple):
    """Position and heading in the room; the yaw is counter-clockwise from the room's x axis."""

    x_m: float
    y_m: float
    yaw_rad: float


class Command(NamedTuple):
    """The driver's command to the motors until the next tick."""

    linear_m_s: float
    angular_rad_s: float


class ImageBox(BaseModel):
    """One labelled obstacle, as written to `/labels`: pixel edges, `x_max` and `y_max` exclusive."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    label: str = Field(serialization_alias="class")
    instance: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    distance_m: float | None
    """None, as for the bearing: unknown, as in annotations of the image only."""
    bearing_rad: float | None
    occlusion: float = 0.0
    """Share of its silhouette in the image that is hidden, 0..1."""
    truncation: float = 0.0
    """Share of its silhouette that is outside the image, 0..1."""
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Middle of the 3D box, in the robot's frame."""
    size_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Full sides of the 3D box along the obstacle's own x, y and z."""
    yaw_rad: float = 0.0
    """Yaw of the 3D box, from the robot's x axis."""


class Box(ImageBox):
    """One labelled obstacle whose place is known."""

    distance_m: float
    bearing_rad: float


def path_length(path: list[Pose]) -> float:
    """Return the length of the path along the positions, metres."""
    return math.fsum(math.dist(one[:2], other[:2]) for one, other in pairwise(path))


def episode_id(batch: str, index: int) -> str:
    """Return `<batch>.<index, 4 digits>`; the last dot separates, so different (batch, index) give different ids.

    Raises:
        ValueError: the index does not fit in four digits.
    """
    if not 0 <= index <= 9999:
        raise ValueError(f"episode index {index} is not within 0..9999")
    return f"{batch}.{index:04d}"
