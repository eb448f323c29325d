"""Define a tick: all data logged of one moment of an episode."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.labels import FrameLabels
from sim2edge.episodes.moment import TICK_NS, Command, Pose


@dataclass(frozen=True)
class Tick:
    """Sensor data, decisions and ground truth of one moment."""

    index: int
    """Counted from 0."""
    image: NDArray[np.uint8]
    """Delivered by the camera: RGB, height x width x 3."""
    instances: NDArray[np.int16] | None
    """The obstacle seen by each pixel, height x width, to be logged; None: not to be logged."""
    ranges: NDArray[np.float64]
    """The scan as measured, metres; inf for no return."""
    cloud: NDArray[np.float64] | None
    """The 3D scan as measured, layers x columns, metres; None without a 3D LiDAR."""
    pose: Pose
    """In the room."""
    odometry: Pose
    """Pose estimated from the wheels, in a frame of its own."""
    command: Command
    """Chosen by the driver from the sensor data."""
    applied: Command
    """Applied to the motors until the next tick."""
    labels: FrameLabels
    imu: NDArray[np.float64]
    """Measured samples (n, 6) since the previous tick, the last of them at this moment: angular velocity (rad/s) and
    specific force (m/s2) in the robot's frame; none at the start."""

    @property
    def time_ns(self) -> int:
        """Simulated time since the start, nanoseconds."""
        return self.index * TICK_NS
