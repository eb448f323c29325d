"""Compare two simulators on one episode: the observations of one against MuJoCo in the same poses.

Each figure has a limit; together they decide `sim2edge webots selftest`. The limits tolerate Webots' rendering of scans
(pixels, not exact rays) and its other physics engine, but no mistake: a beam, a channel or an axis out of place exceeds
them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.labels import Labeller
from sim2edge.capture.mujoco_simulator import MujocoSimulator
from sim2edge.capture.simulator import Advance, Observation
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.episodes.moment import Box, Command, Pose

NEAR_M = 0.05
SIZEABLE_PIXELS, SIZEABLE_SIDE = 100, 8
"""Visible pixels, and pixels of a box's shorter side, above which both have to see a box."""
PLACES = 5
"""Number of moments that are compared."""


@dataclass(frozen=True)
class Check:
    """One figure and its limit."""

    name: str
    value: float
    limit: float
    at_least: bool = True

    @property
    def passed(self) -> bool:
        """Whether the figure is within its limit; NaN never is."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """Return the check as a line for the terminal."""
        sign = ">=" if self.at_least else "<="
        return (
            f"{'ok    ' if self.passed else 'FAILED'}  {self.name}: {self.value:.4g} (has to be {sign} {self.limit:g})"
        )


@dataclass(frozen=True)
class Seen:
    """One moment, as observed by the simulator under test and by MuJoCo."""

    ours: Observation
    theirs: Observation
    our_boxes: tuple[Box, ...]
    their_boxes: tuple[Box, ...]


def see(spec: EpisodeSpec, config: CaptureConfig, views: Sequence[Observation]) -> list[Seen]:
    """Return some moments of an episode, each with MuJoCo's observation in the same poses."""
    chosen = np.unique(np.linspace(0, len(views) - 1, PLACES).astype(int))
    return [_see(spec, config, views[int(index)]) for index in chosen]


def _see(spec: EpisodeSpec, config: CaptureConfig, view: Observation) -> Seen:
    there = stand_at(spec, view.pose, view.obstacles)
    simulator = MujocoSimulator(config, "ray")
    simulator.reset(there)
    other = simulator.observe()
    simulator.close()
    labeller = Labeller(there, config)
    return Seen(view, other, labeller.label(view).boxes, labeller.label(other).boxes)


def stand_at(spec: EpisodeSpec, robot: Pose, obstacles: Sequence[Pose]) -> EpisodeSpec:
    """Return the episode frozen at one moment: everything at its pose then, without walkers."""
    moved = tuple(
        obstacle.model_copy(update={"x_m": pose.x_m, "y_m": pose.y_m, "yaw_rad": pose.yaw_rad, "motion": None})
        for obstacle, pose in zip(spec.room.obstacles, obstacles, strict=True)
    )
    return spec.model_copy(update={"room": spec.room.model_copy(update={"obstacles": moved}), "start": robot})


def sensor_checks(seen: Sequence[Seen]) -> Iterator[Check]:
    """Compare scanners, camera and labels."""
    ours, theirs = (np.stack([getattr(one, side).ranges for one in seen]) for side in ("ours", "theirs"))
    yield Check("scan: median difference, m", median_difference(ours, theirs), 0.02, at_least=False)
    yield Check(f"scan: share of beams within {NEAR_M:g} m", share_near(ours, theirs), 0.95)
    yield Check("scan: beams that it is turned by", float(abs(best_turn(ours, theirs))), 0, at_least=False)
    yield from _cloud_checks(seen)
    alike = np.mean([(one.ours.instances == one.theirs.instances).mean() for one in seen])
    yield Check("masks: share of pixels alike", float(alike), 0.97)
    overlaps = [overlap for one in seen for overlap in box_overlaps(one)]
    if overlaps:
        yield Check("labels: mean overlap of boxes (IoU)", float(np.mean(overlaps)), 0.85)
        yield Check("labels: least overlap of a sizeable box", float(np.min(overlaps)), 0.5)
    brightness = np.mean([one.ours.image.mean() for one in seen]) / np.mean([one.theirs.image.mean() for one in seen])
    yield Check("image: brightness, of MuJoCo's", float(brightness), 0.5)
    yield Check("image: brightness, of MuJoCo's", float(brightness), 2.0, at_least=False)
    yield Check("image: correlation of colours", float(np.mean([correlation(one) for one in seen])), 0.5)


def _cloud_checks(seen: Sequence[Seen]) -> Iterator[Check]:
    pairs = [(one.ours.cloud, one.theirs.cloud) for one in seen]
    ours, theirs = (np.array([pair[side] for pair in pairs if pair[side] is not None]) for side in (0, 1))
    if len(ours):
        yield Check("3D scan: median difference, m", median_difference(ours, theirs), 0.03, at_least=False)
        yield Check(f"3D scan: share of beams within {NEAR_M:g} m", share_near(ours, theirs), 0.85)


def motion_checks(
    spec: EpisodeSpec,
    config: CaptureConfig,
    poses: Sequence[Pose],
    commands: Sequence[Command],
    advances: Sequence[Advance],
) -> Iterator[Check]:
    """Check the robot's drive, and that its wheels and inertial unit agree."""
    replayed = replay(spec, config, commands)
    apart = float(np.hypot(poses[-1].x_m - replayed.x_m, poses[-1].y_m - replayed.y_m))
    yield Check("drive: distance to MuJoCo's robot after the same commands, m", apart, 0.15, at_least=False)
    imu = np.concatenate([advance.imu for advance in advances])
    yield Check("inertial unit: mean upward force, m/s2", float(imu[:, 5].mean()), 9.81 - 0.5)
    yield Check("inertial unit: mean upward force, m/s2", float(imu[:, 5].mean()), 9.81 + 0.5, at_least=False)
    turned = float(np.unwrap([pose.yaw_rad for pose in poses])[-1] - poses[0].yaw_rad)
    measured = float(imu[: -len(advances[-1].imu), 2].sum() / 100)
    yield Check("gyro: turn summed up against the robot's own, rad", abs(turned - measured), 0.1, at_least=False)


def replay(spec: EpisodeSpec, config: CaptureConfig, commands: Sequence[Command]) -> Pose:
    """Return the pose of MuJoCo's robot when the last of these commands is given."""
    simulator = MujocoSimulator(config, "ray")
    simulator.reset(spec)
    for command in commands[:-1]:
        simulator.step(command)
    pose = simulator.pose()
    simulator.close()
    return pose


def _difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the differences of ranges: 0 where neither hit anything, inf where only one did."""
    both = np.isinf(ours) & np.isinf(theirs)
    return np.where(both, 0.0, np.abs(np.where(both, 0.0, ours) - np.where(both, 0.0, theirs)))


def median_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Return the median difference of all beams, metres."""
    return float(np.median(_difference(ours, theirs)))


def share_near(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Return the share of beams that agree within `NEAR_M`."""
    return float((_difference(ours, theirs) <= NEAR_M).mean())


def best_turn(ours: NDArray[np.float64], theirs: NDArray[np.float64], most: int = 3) -> int:
    """Return the rotation in beams by which our scans (n, beams) fit best; it should be 0."""
    errors = {turn: _difference(np.roll(ours, turn, axis=1), theirs) for turn in range(-most, most + 1)}
    means = {turn: float(np.minimum(error, 1.0).mean()) for turn, error in errors.items()}
    return min(means, key=lambda turn: (means[turn], abs(turn)))


def box_overlaps(seen: Seen) -> Iterator[float]:
    """Yield the overlap (IoU) of boxes of one obstacle, 0 for a sizeable one that only one simulator saw."""
    ours, theirs = ({box.instance: box for box in boxes} for boxes in (seen.our_boxes, seen.their_boxes))
    for instance in sorted(ours.keys() | theirs.keys()):
        if instance in ours and instance in theirs:
            yield overlap(ours[instance], theirs[instance])
        elif _sizeable(*((ours[instance], seen.ours) if instance in ours else (theirs[instance], seen.theirs))):
            yield 0.0


def _sizeable(box: Box, view: Observation) -> bool:
    visible = int((view.instances == box.instance).sum())
    return visible >= SIZEABLE_PIXELS and min(box.x_max - box.x_min, box.y_max - box.y_min) >= SIZEABLE_SIDE


def overlap(one: Box, other: Box) -> float:
    """Return intersection over union of two boxes."""
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    common = max(0.0, width) * max(0.0, height)
    areas = sum((box.x_max - box.x_min) * (box.y_max - box.y_min) for box in (one, other))
    return common / (areas - common)


def correlation(seen: Seen) -> float:
    """Return the coarse correlation of both images' colours: shadows and noise hardly count, a swapped channel does."""
    small = [image[::4, ::4].astype(float).ravel() for image in (seen.ours.image, seen.theirs.image)]
    return float(np.corrcoef(small[0], small[1])[0, 1])
