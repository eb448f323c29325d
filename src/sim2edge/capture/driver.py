"""The driver: heads for a point on its way and keeps clear of what the LiDAR sees.

`decide` is a dynamic-window search (Fox, Burgard, Thrun 1997): it tries arcs, drops those that come too near to a
LiDAR point, and takes the one that leads best to the target. `Driver` gives it targets: goal after goal, each reached
over the occupancy grid, until the episode ends.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.occupancy import Occupancy
from sim2edge.capture.seeds import Rng
from sim2edge.capture.simulator import Command
from sim2edge.capture.specs import ROBOT_RADIUS_M, Pose

SIGHT_M = 1.6
"""LiDAR points farther than this do not matter to the next second."""
MARGIN_M = 0.05
"""Least distance between the chassis and a LiDAR point on an arc."""
COMFORT_M = 0.2
"""Distance beyond which more is no better."""
LOOKAHEAD_M = 0.7
GOAL_REACHED_M = 0.35
TURN_RAD_S = 1.4
HORIZON_S = np.linspace(0.2, 1.2, 6)
BRAKING = 1
"""Index in the horizon up to which an arc has to be free wherever the target is."""


def arcs(speed: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Commands (n, 2: m/s and rad/s) worth trying, and where each leads (n, times, 3: x, y, yaw; robot's frame)."""
    grid = np.meshgrid(speed * np.array([0.0, 0.4, 0.7, 1.0]), np.linspace(-TURN_RAD_S, TURN_RAD_S, 15))
    commands = np.stack([part.ravel() for part in grid], axis=1)
    # Standing still is never the way on.
    commands = commands[np.abs(commands).sum(axis=1) > 0]
    linear, angular = commands[:, :1], commands[:, 1:]
    yaw = angular * HORIZON_S
    straight = np.abs(angular) < 1e-6
    radius = linear / np.where(straight, 1, angular)
    x = np.where(straight, linear * HORIZON_S, radius * np.sin(yaw))
    y = np.where(straight, 0, radius * (1 - np.cos(yaw)))
    return commands, np.stack([x, y, yaw], axis=2)


def decide(points: NDArray[np.float64], target: tuple[float, float], speed: float) -> Command:
    """Choose the next command from LiDAR points (n, 2) and a target, both in the robot's frame, metres."""
    commands, path = arcs(speed)
    away = np.linalg.norm(path[..., :2] - target, axis=2)
    left = np.minimum(away.min(axis=1), math.hypot(*target))
    # What comes after the arc has passed the target does not matter: it will not be driven.
    driven = np.arange(len(HORIZON_S)) <= np.maximum(away.argmin(axis=1), BRAKING)[:, None]
    gap = np.full(len(commands), COMFORT_M)
    if len(points):
        reach = np.linalg.norm(path[:, :, None, :2] - points, axis=3).min(axis=2)
        gap = np.minimum(gap, np.where(driven, reach, np.inf).min(axis=1) - ROBOT_RADIUS_M)
    soon = path[:, 0]
    bearing = np.arctan2(target[1] - soon[:, 1], target[0] - soon[:, 0]) - soon[:, 2]
    error = np.abs((bearing + math.pi) % math.tau - math.pi)
    cost = 0.5 * error + 2 * left + 0.5 * (1 - gap / COMFORT_M) - 0.3 * commands[:, 0] / speed
    # A round robot can always turn on the spot.
    cost[(gap < MARGIN_M) & (commands[:, 0] > 0)] = np.inf
    best = commands[int(cost.argmin())]
    return Command(float(best[0]), float(best[1]))


def lidar_points(ranges: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The LiDAR points within `SIGHT_M`, at most about 120 of them (n, 2: x ahead, y left)."""
    stride = max(1, len(ranges) // 120)
    near, turn = ranges[::stride], angles[::stride]
    near, turn = near[near < SIGHT_M], turn[near < SIGHT_M]
    return np.stack([near * np.cos(turn), near * np.sin(turn)], axis=1)


class Driver:
    """Chains goals over one room until the episode ends."""

    def __init__(self, grid: Occupancy, speed: float, rng: Rng) -> None:
        self._grid = grid
        self._speed = speed
        self._rng = rng
        self._steps: NDArray[np.int32] | None = None
        self._goal = (0.0, 0.0)
        self.goals_reached = 0

    def drive(self, pose: Pose, ranges: NDArray[np.float64], angles: NDArray[np.float64]) -> Command:
        """The command for the next tick."""
        if self._steps is not None and math.dist(pose[:2], self._goal) < GOAL_REACHED_M:
            self.goals_reached += 1
            self._steps = None
        if self._steps is None:
            self._choose_goal(pose)
        assert self._steps is not None  # noqa: S101 (set just above; tells the type checker)
        x, y = self._grid.ahead(self._steps, pose.x_m, pose.y_m, LOOKAHEAD_M)
        distance, bearing = math.dist(pose[:2], (x, y)), math.atan2(y - pose.y_m, x - pose.x_m) - pose.yaw_rad
        target = (distance * math.cos(bearing), distance * math.sin(bearing))
        return decide(lidar_points(ranges, angles), target, self._speed)

    def _choose_goal(self, pose: Pose) -> None:
        goals = self._grid.goals(*pose)
        if not len(goals):
            goals = np.argwhere(self._grid.reachable(pose.x_m, pose.y_m))
        self._goal = self._grid.position(goals[self._rng.integers(len(goals))])
        self._steps = self._grid.steps_to(*self._goal)
