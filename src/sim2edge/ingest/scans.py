"""Bring the scans of a log to our beams, once all of the log is read: only then is the scanner's mounting known.

    beams, scanner = finish_scans("/scan", scans, tree, bases, config)      # ranges by scan

The mounting is the rotation in the message (`foxglove.LaserScan.pose`) within the scanner's frame, and the rotation of
that frame in the robot's: by `lidar.yaw_deg` and `lidar.upside_down` if set, else by the transform tree, else none.
Where the scanner is on the robot (its translation) is ignored: ranges stay those from the scanner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sim2edge.episodes.formats import beam_angles
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.lidar import Floats, Scan, bring_to_beams
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.mounting import IDENTITY, Quaternion, Sitting, angle_between, multiply, rotation_of, upright
from sim2edge.ingest.scan_check import Seen, check_one_scanner, check_returns, check_units, drop_odd_angles
from sim2edge.ingest.transforms import MAX_TURN_DEG, TransformTree

ROBOT_FRAMES = ("base_link", "base_footprint", "base", "robot")
"""Usual names of the robot's frame, in order of preference."""
REMEDY = "lidar.yaw_deg and lidar.upside_down say how the scanner is mounted"


@dataclass(frozen=True)
class Mounting:
    """How the scanner of a log is mounted, and how that is known."""

    sitting: Sitting
    source: str

    def __str__(self) -> str:
        return f"{self.sitting} ({self.source})"


@dataclass(frozen=True)
class Scanner:
    """The scanner of a log."""

    mounting: Mounting
    seen: Seen


def finish_scans(
    topic: str, scans: Sequence[Scan | None], tree: TransformTree, bases: Sequence[str], config: IngestConfig
) -> tuple[list[Floats | None], Scanner]:
    """Return the ranges of each scan along our beams (m, inf for no return; None: not usable), and the scanner.

    `bases` are names of the robot's frame in this log, such as the child frame of its odometry.

    Raises:
        BadLog: the scans are not of one scanner, say nothing, or their mounting cannot be used.
    """
    scans = drop_odd_angles(topic, scans)
    usable = [scan for scan in scans if scan is not None]
    if not usable:
        raise BadLog(f"{topic}: none of {len(scans)} scans is usable")
    check_one_scanner(topic, usable)
    mounting = find_mounting(topic, usable, tree, bases, config)
    angles, reach = tuple(beam_angles(config.lidar).tolist()), config.lidar.max_range_m
    beams = [None if scan is None else bring_to_beams(scan, angles, mounting.sitting, reach) for scan in scans]
    read = [(scan, row) for scan, row in zip(scans, beams, strict=True) if scan is not None and row is not None]
    if not read:
        raise BadLog(f"{topic}: ranges: nothing but NaN in all scans")
    usable, rows = [scan for scan, _ in read], [row for _, row in read]
    check_units(topic, usable, reach)
    return beams, Scanner(mounting, check_returns(topic, usable, rows, reach))


def find_mounting(
    topic: str, scans: Sequence[Scan], tree: TransformTree, bases: Sequence[str], config: IngestConfig
) -> Mounting:
    """Return how the scanner of a topic is mounted on the robot.

    Raises:
        BadLog: not level, upright or upside down; or the transform tree moves, is ambiguous or lacks the robot.
    """
    first = scans[0]
    try:
        rotation, source = _frame_rotation(first.frame, tree, bases, config)
        sitting = upright(multiply(rotation, _own_rotation(scans)))
    except ValueError as error:
        raise BadLog(f"{topic}: the scanner's frame '{first.frame}': {error}; {REMEDY}") from error
    return Mounting(sitting, source)


def _own_rotation(scans: Sequence[Scan]) -> Quaternion:
    """Return the rotation in the messages: that of the first, if it stays."""
    first, before = scans[0].rotation, scans[0].rotation
    for scan in scans:
        if scan.rotation != before:
            before, turn = scan.rotation, math.degrees(angle_between(first, scan.rotation))
            if turn > MAX_TURN_DEG:
                raise ValueError(f"the pose in the messages turns by {turn:.1f} degrees in this log")
    return first


def _frame_rotation(
    frame: str, tree: TransformTree, bases: Sequence[str], config: IngestConfig
) -> tuple[Quaternion, str]:
    """Return the rotation of the scanner's frame on the robot, and how it is known."""
    lidar, named = config.lidar, config.frames.base
    if lidar.yaw_deg is not None or lidar.upside_down:
        return rotation_of(math.radians(lidar.yaw_deg or 0.0), lidar.upside_down), "set in the config"
    robots = named or tuple(dict.fromkeys((*bases, *ROBOT_FRAMES)))
    if frame in robots:
        return IDENTITY, f"scans are in the robot's frame {frame}"
    if tree.problem:
        raise ValueError(tree.problem)
    if frame not in tree:
        return IDENTITY, f"assumed: the log has no transform of '{frame}'"
    for robot in robots:
        found = tree.rotation(robot, frame) if robot in tree else None
        if found is not None:
            return found.rotation, f"transform tree: {' -> '.join(found.path)}"
    above = ", ".join(tree.up(frame))
    raise ValueError(
        f"no transform to {' or '.join(robots)}, only {above}: frames.base=<frame> names the robot's frame"
    )
