"""Find sensors that show always the same although the robot drives, over a whole log: pure functions.

    check_one_sender(topic, frames)                     # two cameras or two localisations on one topic
    check_steady(topic, poses, times_ns)                # poses that jump to and fro
    check_moves(topic, poses, commands)                 # a pose that never changes under commands
    check_frozen(topic, "pictures", keys, motion)       # the same picture or scan again and again
    note = check_contrast(topic, contrasts)             # pictures of one colour

A robot that only stands shows the same picture as well, so what is frozen counts only over a distance or a turn.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim2edge.episodes.moment import RATE_HZ, Command, Pose
from sim2edge.ingest.lidar import Floats, wrap
from sim2edge.ingest.mcap_reader import BadLog

STILL_M, STILL_RAD = 0.005, 0.005
"""Poses that differ by less over a whole log are of a robot that never moved."""
DRIVEN_M, DRIVEN_RAD = 1.0, 2.0
"""A robot that was commanded to drive and turn this far has moved."""
FROZEN_M, FROZEN_RAD, FROZEN_TICKS = 2.0, 1.0, 10
"""A sensor is frozen if it shows the same over so many ticks and such a distance, or such a turn."""
JUMP_M, JUMP_M_S, JUMP_SHARE = 0.2, 20.0, 0.1
"""Two senders: so many of the steps from a pose to the next are so long, and of such a speed."""
MIN_CONTRAST = 1.0
"""Standard deviation of the channels at an eighth of the size, below which an image is of one colour.
At that size the noise of a covered camera averages out, and a dark room keeps its shapes."""
BLANK_SHARE = 0.95
FEWEST_RETURNS = 10
"""A scan with fewer returns may well be repeated by chance."""


class Motion(NamedTuple):
    """How far a robot moves from each tick to the next."""

    path_m: Floats
    turn_rad: Floats
    source: str
    """What says so: poses or commands."""


def motion_of_poses(poses: Sequence[Pose]) -> Motion:
    """Return the motion from pose to pose."""
    found = np.array(poses, dtype=np.float64).reshape(-1, 3)
    steps = np.diff(found, axis=0)
    return Motion(np.hypot(steps[:, 0], steps[:, 1]), np.abs(wrap(steps[:, 2])), "the poses")


def motion_of_commands(commands: Sequence[Command]) -> Motion:
    """Return the motion that commands of one tick each ask for."""
    found = np.abs(np.array(commands, dtype=np.float64).reshape(-1, 2))[:-1] / RATE_HZ
    return Motion(found[:, 0], found[:, 1], "the commands")


def check_one_sender(topic: str, frames: Mapping[tuple[str, str], int]) -> None:
    """Check that the messages of a topic have the same frame and child frame.

    Raises:
        BadLog: they have several.
    """
    named = {" to ".join(filter(None, frame)): count for frame, count in frames.items() if any(frame)}
    if len(named) > 1:
        names = ", ".join(
            f"'{frame}' ({count})" for frame, count in sorted(named.items(), key=lambda item: -item[1])[:3]
        )
        raise BadLog(f"{topic}: messages in several frames, {names}: each sender needs a topic of its own")


def check_steady(topic: str, poses: Sequence[Pose], times_ns: NDArray[np.int64]) -> None:
    """Check that poses do not jump to and fro, as those of two senders on one topic do.

    Raises:
        BadLog: more than `JUMP_SHARE` of the steps are longer and faster than a robot's.
    """
    path = motion_of_poses(poses).path_m
    seconds = np.maximum(np.diff(times_ns) / 1e9, 1e-3)
    jumps = (path >= JUMP_M) & (path / seconds >= JUMP_M_S)
    if len(path) and jumps.mean() > JUMP_SHARE:
        middle = np.median(path[jumps])
        raise BadLog(
            f"{topic}: {jumps.sum()} of {len(path)} steps from a pose to the next are jumps, of {middle:.2f} m: "
            "do two senders share the topic?"
        )


def check_moves(topic: str, poses: Sequence[Pose], commands: Sequence[Command]) -> None:
    """Check that the pose of a robot changes if commands let it drive.

    Raises:
        BadLog: it does not.
    """
    asked, moved = motion_of_commands(commands), np.array(poses, dtype=np.float64)
    path, turn = asked.path_m.sum(), asked.turn_rad.sum()
    if path < DRIVEN_M and turn < DRIVEN_RAD:
        return
    spread = np.ptp(moved[:, :2], axis=0).max(), np.abs(wrap(moved[:, 2] - moved[0, 2])).max()
    if spread[0] < STILL_M and spread[1] < STILL_RAD:
        raise BadLog(f"{topic}: the pose never changes, but the commands ask for {path:.1f} m and {turn:.1f} rad")


def check_frozen(topic: str, what: str, keys: Sequence[Hashable | None], motion: Motion) -> None:
    """Check that what a sensor shows at each tick changes while the robot moves; a key of None is like no other.

    Raises:
        BadLog: it stays the same over a distance, or a turn; names the longest stretch.
    """
    start = 0
    for tick in range(1, len(keys) + 1):
        if tick < len(keys) and keys[tick] is not None and keys[tick] == keys[start]:
            continue
        path, turn = motion.path_m[start : tick - 1].sum(), motion.turn_rad[start : tick - 1].sum()
        if tick - start >= FROZEN_TICKS and (path >= FROZEN_M or turn >= FROZEN_RAD):
            raise BadLog(
                f"{topic}: the same {what} {tick - start} times in a row, from {start / RATE_HZ:.1f} s on, while "
                f"by {motion.source} the robot drives {path:.1f} m and turns {turn:.1f} rad: it is frozen"
            )
        start = tick


def scan_key(ranges: Floats) -> bytes | None:
    """Return the key of a scan along our beams for `check_frozen`; None if it has too few returns."""
    return ranges.tobytes() if np.isfinite(ranges).sum() >= FEWEST_RETURNS else None


def check_contrast(topic: str, contrasts: Sequence[float]) -> str:
    """Return a note about pictures of one colour, which clean leaves out; empty if there are none.

    Raises:
        BadLog: nearly all are.
    """
    blank = sum(contrast < MIN_CONTRAST for contrast in contrasts)
    if blank >= BLANK_SHARE * len(contrasts):
        raise BadLog(f"{topic}: {blank} of {len(contrasts)} images are of one colour: is the camera covered, or off?")
    return f"{blank} of {len(contrasts)} images are of one colour" if blank else ""
