"""Check the sensors of a log against its motion, once the messages of its ticks are chosen.

notes = check_sensors(log, ticks, looks)        # raises BadLog
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim2edge.ingest.align import Aligned
from sim2edge.ingest.config import Role
from sim2edge.ingest.decodable import Look
from sim2edge.ingest.label_check import labels_note
from sim2edge.ingest.sensor_check import (
    Motion,
    check_contrast,
    check_frozen,
    check_moves,
    check_one_sender,
    check_steady,
    motion_of_commands,
    motion_of_poses,
    scan_key,
)
from sim2edge.ingest.source_log import SourceLog, Stream


def check_sensors(log: SourceLog, ticks: Aligned, looks: Sequence[Look]) -> tuple[str, ...]:
    """Return notes on what the sensors of a log show; `looks` are at the pictures of the ticks.

    Raises:
        BadLog: a topic has two senders, the camera is dark, the pose never changes, or a sensor is frozen.
    """
    streams = log.streams
    chosen = {role: [streams[role].values[number] for number in ticks.chosen[role].tolist()] for role in streams}
    images = streams["image"]
    check_one_sender(images.topic, images.frames)
    notes = [*(log.scanner.seen.notes if log.scanner else ())]
    notes.append(check_contrast(images.topic, [look.contrast for look in looks]))
    if "labels" in streams:
        notes.append(labels_note(chosen["labels"], images.values[ticks.chosen["image"][0]]))
    if "pose" in streams and streams["pose"].topic not in log.topics:
        notes.append(f"no topic has poses: taken from {streams['pose'].topic}")
    motion = _motion(streams, chosen)
    if motion is not None:
        check_frozen(images.topic, "image", [look.key for look in looks], motion)
    if motion is not None and "scan" in streams:
        check_frozen(streams["scan"].topic, "scan", [scan_key(ranges) for ranges in chosen["scan"]], motion)
    return tuple(filter(None, notes))


def _motion(streams: Mapping[Role, Stream], chosen: Mapping[Role, Sequence[Any]]) -> Motion | None:
    """Return how the robot moves by its poses, which are checked, or else by its commands; None without either."""
    if "pose" not in streams:
        return motion_of_commands(chosen["command"]) if "command" in streams else None
    poses = streams["pose"]
    check_one_sender(poses.topic, poses.frames)
    _check_jumps(poses)
    if "command" in streams:
        check_moves(poses.topic, chosen["pose"], chosen["command"])
    return motion_of_poses(chosen["pose"])


def _check_jumps(poses: Stream) -> None:
    """Check the poses of a topic in the order in which they were sent."""
    usable = poses.usable
    times = np.array(poses.stamps if poses.stamped else poses.log_times, dtype=np.int64)[usable]
    order = np.argsort(times, kind="stable")
    check_steady(poses.topic, [poses.values[usable[number]] for number in order.tolist()], times[order])
