"""Move persons who walk to and fro, and wait while the robot is in their way: the same in every simulator.

    movers = Movers(room.obstacles)
    poses = movers.advance(0.005, robot_pose)      # the present pose of every obstacle

A walker turns around at either end. Its pose depends only on the time and on the robot's poses so far.
"""

import math
from collections.abc import Sequence

from sim2edge.capture.specs import Motion, Obstacle
from sim2edge.episodes.moment import ROBOT_RADIUS_M, Pose

PERSONAL_SPACE_M = 0.55
"""A walker stands still while the chassis is ahead of it and nearer to its middle than this, metres."""


class Movers:
    """The state of all walks in a room."""

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self._obstacles = obstacles
        self._travelled = [
            obstacle.motion.phase * 2 * walk_length(obstacle) if obstacle.motion else 0.0 for obstacle in obstacles
        ]
        self.moving = tuple(index for index, obstacle in enumerate(obstacles) if obstacle.motion)
        """Indices of the obstacles that walk."""

    def poses(self) -> tuple[Pose, ...]:
        """Return the present pose of every obstacle."""
        return tuple(
            pose_on_walk(obstacle, obstacle.motion, travelled) if obstacle.motion else obstacle.pose
            for obstacle, travelled in zip(self._obstacles, self._travelled, strict=True)
        )

    def advance(self, seconds: float, robot: Pose) -> tuple[Pose, ...]:
        """Advance the walks by some time, and return `poses()`."""
        for index in self.moving:
            obstacle, motion = self._obstacles[index], self._obstacles[index].motion
            if motion and not _in_the_way(pose_on_walk(obstacle, motion, self._travelled[index]), robot):
                self._travelled[index] += motion.speed_m_s * seconds
        return self.poses()


def walk_length(obstacle: Obstacle) -> float:
    """Return the distance between the ends of a walk, metres; 0 for an obstacle without one."""
    motion = obstacle.motion
    return math.dist((obstacle.x_m, obstacle.y_m), (motion.to_x_m, motion.to_y_m)) if motion else 0.0


def pose_on_walk(obstacle: Obstacle, motion: Motion, travelled_m: float) -> Pose:
    """Return a walker's pose after a distance travelled to and fro; it faces its direction of travel."""
    length = walk_length(obstacle)
    along = travelled_m % (2 * length)
    back = along > length
    share = (2 * length - along if back else along) / length
    heading = math.atan2(motion.to_y_m - obstacle.y_m, motion.to_x_m - obstacle.x_m)
    x = obstacle.x_m + share * (motion.to_x_m - obstacle.x_m)
    y = obstacle.y_m + share * (motion.to_y_m - obstacle.y_m)
    return Pose(x, y, heading + math.pi if back else heading)


def _in_the_way(walker: Pose, robot: Pose) -> bool:
    apart = math.dist(walker[:2], robot[:2])
    if apart > PERSONAL_SPACE_M + ROBOT_RADIUS_M:
        return False
    ahead = (robot.x_m - walker.x_m) * math.cos(walker.yaw_rad) + (robot.y_m - walker.y_m) * math.sin(walker.yaw_rad)
    return ahead > -ROBOT_RADIUS_M
