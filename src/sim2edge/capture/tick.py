"""One moment of an episode: all that is logged of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.labels import FrameLabels
from sim2edge.episodes.moment import TICK_NS, Command, Pose


@dataclass(frozen=True)
class Tick:
    """What was sensed, decided and true at one moment."""

    index: int
    """From 0."""
    image: NDArray[np.uint8]
    """As the camera delivered it: RGB, height x width x 3."""
    instances: NDArray[np.int16] | None
    """The obstacle seen by each pixel, height x width, to be logged; None: not to be logged."""
    ranges: NDArray[np.float64]
    """The scan as reported, metres; inf where there was no return."""
    cloud: NDArray[np.float64] | None
    """The 3D scan as reported, layers x columns, metres; None without a 3D LiDAR."""
    pose: Pose
    """In the room."""
    odometry: Pose
    """Where the wheels say the robot is, in a frame of their own."""
    command: Command
    """Chosen by the driver on what was sensed."""
    applied: Command
    """What the motors got until the next tick."""
    labels: FrameLabels
    imu: NDArray[np.float64]
    """Reported samples (n, 6) of the time since the tick before, the last of them at this moment: angular velocity
    (rad/s) and specific force (m/s2) in the robot's frame; none at the start."""

    @property
    def time_ns(self) -> int:
        """Simulated time since the start, nanoseconds."""
        return self.index * TICK_NS
