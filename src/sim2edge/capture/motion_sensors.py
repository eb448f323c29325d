"""Simulate the sensors of motion: the inertial measurement unit, and odometry from the wheels.

Each rate of the IMU has Gaussian noise and the episode's bias, each acceleration Gaussian noise, drawn anew for every
sample. Odometry drifts as wheels slip. Between two ticks both wheels turn evenly, so the robot moves on an arc; its
chord has the mean heading (Siegwart, Nourbakhsh: Introduction to Autonomous Mobile Robots, 5.2.4).
"""

import math

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import ImuConfig
from sim2edge.capture.seeds import Rng
from sim2edge.capture.specs import TRACK_M, WHEEL_RADIUS_M
from sim2edge.episodes.moment import Pose

RATE_HZ = 100
"""Samples per simulated second."""


def disturb_imu(samples: NDArray[np.float64], config: ImuConfig, bias: float, rng: Rng) -> NDArray[np.float64]:
    """Return measured samples (n, 6): angular velocity (rad/s; plus `bias` on each axis), specific force (m/s2)."""
    deviation = np.repeat([config.gyro_noise_rad_s, config.accelerometer_noise_m_s2], 3)
    reported: NDArray[np.float64] = samples + rng.standard_normal(samples.shape) * deviation
    reported[:, :3] += bias
    return reported


class Odometry:
    """Integrates wheel turns, from the pose (0, 0, 0) in the frame `odom`.

    `slip` is the share of the left and the right wheel's travel that encoders count but the robot does not move.
    """

    def __init__(self, slip: tuple[float, float]) -> None:
        self._metres = [WHEEL_RADIUS_M / (1 - share) for share in slip]
        self.pose = Pose(0.0, 0.0, 0.0)

    def advance(self, wheels: tuple[float, float]) -> Pose:
        """Return the pose after the wheels (left, right) turned this far, radians."""
        left, right = (turn * metres for turn, metres in zip(wheels, self._metres, strict=True))
        x, y, yaw = self.pose
        way, turn = (left + right) / 2, (right - left) / TRACK_M
        heading = yaw + turn / 2
        turned = (yaw + turn + math.pi) % math.tau - math.pi
        self.pose = Pose(x + way * math.cos(heading), y + way * math.sin(heading), turned)
        return self.pose
