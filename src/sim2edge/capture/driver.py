"""Drive the robot: head for a point on its path and keep clear of obstacles in the LiDAR scan.

`decide` is a dynamic-window search (Fox, Burgard, Thrun 1997): it tries arcs, drops those too near to a LiDAR point,
and takes the one that leads best to the target. The drivers differ in their targets and in how decisions reach motors:

expert   passes the checkpoints over the occupancy grid; knows walkers' poses and obstacles below the LiDAR
noisy    an expert whose motors are disturbed at times: its drives show recoveries (Laskey et al. 2017, DART)
explore  knows no map: keeps a direction for a while, then another
policy   a network whose input is the scan (`policy_driver.py`)
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.footprints import placed_footprints
from sim2edge.capture.occupancy import Occupancy
from sim2edge.capture.seeds import Rng
from sim2edge.capture.simulator import Observation
from sim2edge.capture.specs import EpisodeSpec, Obstacle
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, ROBOT_RADIUS_M, Command, Pose

Floats = NDArray[np.float64]

SIGHT_M = 1.6
"""Distance beyond which LiDAR points do not matter for the next second."""
MARGIN_M = 0.05
"""Smallest distance between the chassis and a LiDAR point on an arc."""
COMFORT_M = 0.2
"""Distance beyond which more clearance is no better."""
SAFE_M = 0.25
"""A driver is disturbed only while nothing is nearer than this to the chassis."""
DISTURBED_TICKS = 6
LOOKAHEAD_M = 0.7
GOAL_REACHED_M = 0.35
TURN_RAD_S = 1.4
HORIZON_S = np.linspace(0.2, 1.2, 6)
BRAKING = 1
"""Index in the horizon up to which an arc has to be free, wherever the target is."""


@lru_cache(maxsize=1)
def arcs(speed: float) -> tuple[Floats, Floats]:
    """Return candidate commands (n, 2: m/s and rad/s), and their paths (n, times, 3: x, y, yaw; robot's frame)."""
    grid = np.meshgrid(speed * np.array([0.0, 0.4, 0.7, 1.0]), np.linspace(-TURN_RAD_S, TURN_RAD_S, 15))
    commands = np.stack([part.ravel() for part in grid], axis=1)
    # Standing still never leads on.
    commands = commands[np.abs(commands).sum(axis=1) > 0]
    linear, angular = commands[:, :1], commands[:, 1:]
    yaw = angular * HORIZON_S
    straight = np.abs(angular) < 1e-6
    radius = linear / np.where(straight, 1, angular)
    x = np.where(straight, linear * HORIZON_S, radius * np.sin(yaw))
    y = np.where(straight, 0, radius * (1 - np.cos(yaw)))
    return commands, np.stack([x, y, yaw], axis=2)


def decide(points: Floats, target: tuple[float, float], speed: float) -> Command:
    """Choose the next command from LiDAR points (n, 2) and a target, both in the robot's frame, metres."""
    commands, path = arcs(speed)
    away = np.linalg.norm(path[..., :2] - target, axis=2)
    left = np.minimum(away.min(axis=1), math.hypot(*target))
    # The arc beyond the target does not matter: it will not be driven.
    driven = np.arange(len(HORIZON_S)) <= np.maximum(away.argmin(axis=1), BRAKING)[:, None]
    gap = np.full(len(commands), COMFORT_M)
    if len(points):
        gap = np.minimum(gap, np.where(driven, nearest(path, points), np.inf).min(axis=1) - ROBOT_RADIUS_M)
    soon = path[:, 0]
    bearing = np.arctan2(target[1] - soon[:, 1], target[0] - soon[:, 0]) - soon[:, 2]
    error = np.abs((bearing + math.pi) % math.tau - math.pi)
    cost = 0.5 * error + 2 * left + 0.5 * (1 - gap / COMFORT_M) - 0.3 * commands[:, 0] / speed
    # A round robot can always turn on the spot.
    cost[(gap < MARGIN_M) & (commands[:, 0] > 0)] = np.inf
    best = commands[int(cost.argmin())]
    return Command(float(best[0]), float(best[1]))


def nearest(path: Floats, points: Floats) -> Floats:
    """Return the distance (n, times) of each place of some arcs to the nearest of points (m, 2)."""
    away_x = path[..., :1] - points[:, 0]
    away_y = path[..., 1:2] - points[:, 1]
    away_x *= away_x
    away_y *= away_y
    away_x += away_y
    # One root at the end instead of one per pair: this takes most of a decision's time.
    return np.asarray(np.sqrt(away_x.min(axis=2)))


def lidar_points(ranges: Floats, angles: Floats) -> Floats:
    """Return the LiDAR points within `SIGHT_M`, at most about 120 of them (n, 2: x ahead, y left)."""
    stride = max(1, len(ranges) // 120)
    near, turn = ranges[::stride], angles[::stride]
    near, turn = near[near < SIGHT_M], turn[near < SIGHT_M]
    return np.stack([near * np.cos(turn), near * np.sin(turn)], axis=1)


class Decision(NamedTuple):
    """The driver's command, and the command applied to the motors: they differ under a disturbance."""

    command: Command
    applied: Command


class Driver(Protocol):
    """Makes a decision every tick."""

    @property
    def checkpoints_passed(self) -> int:
        """Number of the episode's checkpoints it has passed, in turn."""

    def drive(self, view: Observation, ranges: Floats, angles: Floats) -> Decision:
        """Return the decision for the next tick, from the ground truth and the scan (m) along the angles (rad)."""


class Expert:
    """Passes the checkpoints in turn, again and again, until the episode ends."""

    def __init__(self, spec: EpisodeSpec, grid: Occupancy) -> None:
        self._grid, self._speed, self._checkpoints = grid, spec.robot.speed_m_s, spec.checkpoints
        self._obstacles = spec.room.obstacles
        self._low = low_points(spec.room.obstacles)
        self._steps = grid.steps_to(*spec.checkpoints[0])
        self.checkpoints_passed = 0

    def drive(self, view: Observation, ranges: Floats, angles: Floats) -> Decision:
        """Head for the next checkpoint, see `Driver.drive`."""
        pose = view.pose
        if math.dist(pose[:2], self._goal()) < GOAL_REACHED_M:
            self.checkpoints_passed += 1
            self._steps = self._grid.steps_to(*self._goal())
        ahead = self._grid.ahead(self._steps, pose.x_m, pose.y_m, LOOKAHEAD_M)
        points = np.concatenate([lidar_points(ranges, angles), self.unseen(view)])
        x, y = to_robot(np.array([ahead]), pose)[0].tolist()
        command = decide(points, (x, y), self._speed)
        return Decision(command, command)

    def unseen(self, view: Observation) -> Floats:
        """Return points (n, 2) in the robot's frame, within `SIGHT_M`, of obstacles that the LiDAR may miss.

        These are low obstacles and the feet of walkers.
        """
        pairs = zip(self._obstacles, view.obstacles, strict=True)
        walkers = [outline_points(obstacle, pose) for obstacle, pose in pairs if obstacle.motion]
        return in_sight(np.concatenate([self._low, *walkers]), view.pose)

    def _goal(self) -> tuple[float, float]:
        return self._checkpoints[self.checkpoints_passed % len(self._checkpoints)]


class NoisyExpert:
    """An expert that is pushed off its path: for a share of the time, the motors get a random command."""

    def __init__(self, expert: Expert, speed: float, share: float, rng: Rng) -> None:
        self._expert, self._speed, self._share, self._rng = expert, speed, share, rng
        self._disturbance: Command | None = None
        self._ticks = 0

    @property
    def checkpoints_passed(self) -> int:
        """Number of checkpoints the expert has passed."""
        return self._expert.checkpoints_passed

    def drive(self, view: Observation, ranges: Floats, angles: Floats) -> Decision:
        """Disturb the expert's command at times, but not near an obstacle, see `Driver.drive`."""
        wanted = self._expert.drive(view, ranges, angles).command
        unseen = np.linalg.norm(self._expert.unseen(view), axis=1)
        nearest = min(float(ranges.min()), float(unseen.min(initial=SIGHT_M)))
        if self._ticks == 0 and self._rng.random() < self._share / (1 - self._share) / DISTURBED_TICKS:
            self._ticks = DISTURBED_TICKS
            turn = self._rng.uniform(-TURN_RAD_S, TURN_RAD_S)
            self._disturbance = Command(float(self._rng.uniform(0.2, 1) * self._speed), float(turn))
        if self._ticks == 0 or self._disturbance is None or nearest < ROBOT_RADIUS_M + SAFE_M:
            self._ticks = 0
            return Decision(wanted, wanted)
        self._ticks -= 1
        return Decision(wanted, self._disturbance)


class Explorer:
    """Keeps a random direction for some seconds and avoids obstacles in the scan, without a map."""

    def __init__(self, speed: float, rng: Rng) -> None:
        self._speed, self._rng = speed, rng
        self._heading, self._ticks = 0.0, 0
        self.checkpoints_passed = 0

    def drive(self, view: Observation, ranges: Floats, angles: Floats) -> Decision:
        """Keep the present direction or draw a new one, see `Driver.drive`."""
        if self._ticks == 0:
            self._heading, self._ticks = view.pose.yaw_rad + self._rng.uniform(-2, 2), int(self._rng.integers(15, 45))
        self._ticks -= 1
        turn = self._heading - view.pose.yaw_rad
        command = decide(lidar_points(ranges, angles), (2 * math.cos(turn), 2 * math.sin(turn)), self._speed)
        return Decision(command, command)


def low_points(obstacles: Sequence[Obstacle]) -> Floats:
    """Return points (n, 2) around the obstacles that are too low for the LiDAR, in the room's frame."""
    low = [outline_points(obstacle, obstacle.pose) for obstacle in obstacles if obstacle.top_m < LIDAR_HEIGHT_M]
    return np.concatenate([np.empty((0, 2)), *low])


def outline_points(obstacle: Obstacle, pose: Pose) -> Floats:
    """Return points (n, 2) at most 5 cm apart around the footprints of an obstacle at `pose`, in the room's frame."""
    return np.concatenate([_along(polygon) for polygon in placed_footprints(obstacle, pose)])


def _along(polygon: Floats) -> Floats:
    edges = np.roll(polygon, -1, axis=0) - polygon
    share = np.linspace(0, 1, 1 + math.ceil(np.linalg.norm(edges, axis=1).max() / 0.05))[:-1]
    return np.asarray((polygon[:, None] + share[:, None] * edges[:, None]).reshape(-1, 2))


def to_robot(points: Floats, pose: Pose) -> Floats:
    """Convert points (n, 2) of the room's frame to that of a robot at `pose`."""
    cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    return np.asarray((points - pose[:2]) @ np.array([[cos, -sin], [sin, cos]]))


def in_sight(points: Floats, pose: Pose) -> Floats:
    """Return the points (n, 2) of the room within `SIGHT_M` of a robot at `pose`, in its frame."""
    return to_robot(points[np.linalg.norm(points - pose[:2], axis=1) < SIGHT_M], pose)
