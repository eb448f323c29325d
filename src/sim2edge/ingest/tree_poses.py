"""Poses of a robot out of the transform tree, for logs in which no topic has them.

    found = poses_of(tree, robots)      # of odom -> base_link, or map -> odom -> base_link

Each transform of the link that moves gives a pose; of the other links the last one before it counts. Fixed links are
often sent, too, ahead of time and by several nodes, so that their stamps say nothing about the robot.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sim2edge.episodes.moment import Pose
from sim2edge.ingest.lidar import Floats, wrap
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.transforms import Edge, TransformTree

FIXED_FRAMES = ("odom", "map", "world", "room")
"""Frames in which a robot moves, in order of preference: those of odometry do not jump."""
MIN_POSES = 2
STILL = 1e-6
"""Metres or radians by which the numbers of a fixed link differ at most."""


class TreePoses(NamedTuple):
    """The poses of a robot, and where they are from."""

    name: str
    log_times: list[int]
    stamps: list[int | None]
    poses: list[Pose]


def poses_of(tree: TransformTree, robots: Sequence[str]) -> TreePoses | None:
    """Return the poses of the first robot's frame that moves in a fixed one; None if there is none.

    Raises:
        BadLog: a transform on the way is no rotation.
    """
    for robot in robots:
        for fixed in FIXED_FRAMES:
            path = _path(tree, robot, fixed)
            links = [tree.edge(parent, child) for child, parent in pairwise(path)]
            if links and max(link.count for link in links) >= MIN_POSES:
                return _compose(" -> ".join(reversed(path)), links)
    return None


def _path(tree: TransformTree, robot: str, fixed: str) -> list[str]:
    """Return the frames from the robot's up to the fixed one; none if it is not above."""
    try:
        path = tree.up(robot, fixed)
    except ValueError:
        return []
    return path if path[-1] == fixed else []


def _leads(link: Edge) -> tuple[bool, bool, int]:
    """Rank a link for giving the times of the poses: one that moves, else one that a single node sends."""
    numbers = np.array(link.numbers, dtype=np.float64).reshape(-1, 3)
    moves = bool((np.ptp(numbers, axis=0) > STILL).any()) if len(numbers) else False
    stamps = np.array(link.times, dtype=np.int64)[::2]
    return moves, bool((np.diff(stamps) >= 0).all()), link.count


def _compose(name: str, links: Sequence[Edge]) -> TreePoses:
    """Chain the links, from the robot upwards."""
    problem = next((link.problem for link in links if link.problem), "")
    if problem:
        raise BadLog(f"/tf ({name}): {problem}")
    often = max(links, key=_leads)
    stamps, times = (np.array(often.times, dtype=np.int64)[part::2] for part in (0, 1))
    x, y, yaw = np.zeros((3, len(times)))
    for link in links:
        found = np.array(link.numbers, dtype=np.float64).reshape(-1, 3)
        at = np.searchsorted(np.array(link.times, dtype=np.int64)[1::2], times, side="right") - 1
        there: Floats = found if link is often else found[np.maximum(at, 0)]
        cos, sin = np.cos(there[:, 2]), np.sin(there[:, 2])
        x, y, yaw = there[:, 0] + cos * x - sin * y, there[:, 1] + sin * x + cos * y, there[:, 2] + yaw
    poses = [Pose(*numbers) for numbers in np.stack([x, y, wrap(yaw)], axis=1).tolist()]
    sent: list[int | None] = [stamp if stamp >= 0 else None for stamp in stamps.tolist()]
    return TreePoses(f"/tf ({name})", times.tolist(), sent, poses)
