"""Define the simulator interface, so that the same driver, sensors and logs run on every simulator.

MuJoCo implements it in this process (`mujoco_simulator.py`), Webots in its controller: `reset` starts a world built
from the spec, `step` is one `robot.step(100)`, `observe` reads camera, segmentation and range image. Frames: the room's
origin is the middle of its floor, x and y along its walls, z up; the robot faces along its own x, y is left.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.specs import EpisodeSpec
from sim2edge.episodes.moment import Command, Pose

NO_INSTANCE = -1
"""Value of `Observation.instances` without an obstacle."""

WALL = "wall"
"""Name of a wall in collisions."""


@dataclass(frozen=True)
class Observation:
    """The sensors' data at one tick, before camera effects and LiDAR noise."""

    image: NDArray[np.uint8]
    """RGB, height x width x 3."""
    instances: NDArray[np.int16]
    """The obstacle seen by each pixel, height x width; `NO_INSTANCE` for none."""
    ranges: NDArray[np.float64]
    """Distances along the beams, metres, counter-clockwise; inf without a hit."""
    cloud: NDArray[np.float64] | None
    """Distances of the 3D LiDAR, layers (lowest first) x columns (counter-clockwise), metres; None without one."""
    pose: Pose
    obstacles: tuple[Pose, ...]
    """Present pose of each obstacle, in the order of the room's."""


@dataclass(frozen=True)
class Advance:
    """The events and measurements of one tick."""

    touched: frozenset[str]
    """The objects touched by the robot: classes of obstacles, or `WALL`."""
    wheels: tuple[float, float]
    """Rotation of the left and the right wheel, radians."""
    imu: NDArray[np.float64]
    """Samples (n, 6): angular velocity (rad/s) and specific force (m/s2), robot's frame, without noise."""


class Simulator(Protocol):
    """A world with one robot in it."""

    name: str
    camera_backend: str

    def reset(self, spec: EpisodeSpec) -> None:
        """Build the episode's room and put the robot at its start, at rest, at time 0."""

    def observe(self) -> Observation:
        """Read all sensors at the present time."""

    def step(self, command: Command) -> Advance:
        """Advance by 1 / `RATE_HZ` seconds under `command`."""

    def close(self) -> None:
        """Release the simulator's resources; it cannot be used afterwards."""
