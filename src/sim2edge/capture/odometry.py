"""Integrate odometry: the robot's pose estimated from its wheels alone, drifting as wheels slip.

Between two ticks both wheels turn evenly, so the robot moves on an arc; its chord has the mean heading (Siegwart,
Nourbakhsh: Introduction to Autonomous Mobile Robots, 5.2.4).
"""

import math

from sim2edge.capture.specs import TRACK_M, WHEEL_RADIUS_M
from sim2edge.episodes.moment import Pose


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
