"""Hold the transform tree of a log: which frame is fixed to which, by which rotation, and whether it moves.

    tree = TransformTree()
    tree.add(Transform("base_link", "laser", stamp_ns, rotation, (x, y, z)), log_time_ns)
    tree.rotation("base_link", "laser")     # Found(rotation, path)

`tf2_msgs/msg/TFMessage`, `foxglove.FrameTransform` and `foxglove.FrameTransforms` are supported, on any topic.
"""

import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from sim2edge.ingest.mounting import IDENTITY, Quaternion, angle_between, inverse, multiply, unit, yaw_of

MAX_TURN_DEG = 3.0
"""A transform whose rotation differs by more over a log belongs to something that moves."""


class Transform(NamedTuple):
    """One message's transform from a child frame to its parent."""

    parent: str
    child: str
    stamp_ns: int | None
    rotation: Quaternion
    """Quaternion x, y, z, w as sent."""
    translation: tuple[float, float, float]
    """Metres."""


@dataclass
class Edge:
    """All transforms of a child frame to one of its parents."""

    rotation: Quaternion = IDENTITY
    """The first one."""
    turn_rad: float = 0.0
    """The largest angle between the first rotation and a later one."""
    problem: str = ""
    """What is wrong with one of the transforms."""
    count: int = 0
    times: "array[int]" = field(default_factory=lambda: array("q"))
    """Stamp (-1: none) and log time of each transform, alternating, nanoseconds."""
    numbers: "array[float]" = field(default_factory=lambda: array("d"))
    """x (m), y (m), and yaw (rad) of each transform, in turn."""


class Found(NamedTuple):
    """The rotation of a frame in another."""

    rotation: Quaternion
    path: tuple[str, ...]
    """The frames on the way, from the outer one to the inner one."""


class TransformTree:
    """The transforms of a log."""

    def __init__(self) -> None:
        self.keep_motion = True
        """Whether times and places are kept of every transform: needed when no topic has the robot's pose."""
        self.problem = ""
        """Why messages with transforms could not be read; matters only if the tree is needed."""
        self._parents: dict[str, dict[str, Edge]] = {}

    def __contains__(self, frame: str) -> bool:
        return frame in self._parents or any(frame in parents for parents in self._parents.values())

    def add(self, transform: Transform, log_time_ns: int) -> None:
        """Add a transform; one that is no rotation matters only if its frames are used in the end."""
        parents = self._parents.setdefault(transform.child, {})
        edge = parents.setdefault(transform.parent, Edge())
        try:
            rotation = unit(*transform.rotation)
        except ValueError as error:
            edge.problem = edge.problem or str(error)
            return
        if edge.count == 0:
            edge.rotation = rotation
        edge.count += 1
        edge.turn_rad = max(edge.turn_rad, angle_between(edge.rotation, rotation))
        if self.keep_motion:
            stamp = -1 if transform.stamp_ns is None else transform.stamp_ns
            edge.times.extend((stamp, log_time_ns))
            edge.numbers.extend((*transform.translation[:2], yaw_of(rotation)))

    def forget_motion(self) -> None:
        """Drop the times and places of all transforms: the log has the robot's pose elsewhere."""
        self.keep_motion = False
        for parents in self._parents.values():
            for edge in parents.values():
                edge.times, edge.numbers = array("q"), array("d")

    def up(self, frame: str, target: str = "") -> list[str]:
        """Return the frames from `frame` upwards: to `target` if it is above, else to the root.

        Raises:
            ValueError: a frame has two parents, or the tree goes round in circles.
        """
        path = [frame]
        while path[-1] != target and (parents := self._parents.get(path[-1])):
            if target not in parents and len(parents) > 1:
                raise ValueError(f"frame '{path[-1]}' has two parents: {_names(parents)}")
            parent = target if target in parents else next(iter(parents))
            if parent in path:
                raise ValueError(f"the transform tree goes round in circles: {' -> '.join([*path, parent])}")
            path.append(parent)
        return path

    def edge(self, parent: str, child: str) -> Edge:
        """Return the transforms from `child` to `parent`."""
        return self._parents[child][parent]

    def rotation(self, outer: str, inner: str) -> Found | None:
        """Return the rotation of the frame `inner` in the frame `outer`; None if nothing connects them.

        Raises:
            ValueError: the way is ambiguous, circular, or has a transform that moves or is no rotation.
        """
        inwards = self.up(inner, outer)
        if inwards[-1] == outer:
            return Found(self._along(inwards), tuple(reversed(inwards)))
        outwards = self.up(outer)
        shared = next((frame for frame in inwards if frame in outwards), None)
        if shared is None:
            return None
        inwards, outwards = inwards[: inwards.index(shared) + 1], outwards[: outwards.index(shared) + 1]
        rotation = multiply(inverse(self._along(outwards)), self._along(inwards))
        return Found(rotation, (*outwards, *reversed(inwards[:-1])))

    def _along(self, path: list[str]) -> Quaternion:
        """Return the rotation of the first frame of an upward path in its last."""
        rotation = IDENTITY
        for child, parent in pairwise(path):
            edge = self.edge(parent, child)
            if edge.problem:
                raise ValueError(f"the transform {parent} -> {child}: {edge.problem}")
            if math.degrees(edge.turn_rad) > MAX_TURN_DEG:
                turn = math.degrees(edge.turn_rad)
                raise ValueError(f"the transform {parent} -> {child} turns by up to {turn:.1f} degrees in this log")
            rotation = multiply(edge.rotation, rotation)
        return rotation


def _names(frames: Mapping[str, Edge]) -> str:
    return ", ".join(sorted(frames))


def bare(frame: str) -> str:
    """Return a frame's name without the leading slash of old drivers."""
    return frame.lstrip("/")


def ros_transforms(message: Any) -> Iterator[Transform]:
    """Yield the transforms of a `tf2_msgs/msg/TFMessage`."""
    for one in message.transforms:
        stamp = one.header.stamp
        yield Transform(
            parent=bare(one.header.frame_id),
            child=bare(one.child_frame_id),
            stamp_ns=int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec),
            rotation=_xyzw(one.transform.rotation),
            translation=_xyz(one.transform.translation),
        )


def foxglove_transform(one: Any) -> Iterator[Transform]:
    """Yield the transform of a `foxglove.FrameTransform`."""
    stamp = one.timestamp.seconds * 1_000_000_000 + one.timestamp.nanos if one.HasField("timestamp") else None
    yield Transform(
        parent=bare(one.parent_frame_id),
        child=bare(one.child_frame_id),
        stamp_ns=stamp,
        rotation=_xyzw(one.rotation) if one.HasField("rotation") else IDENTITY,
        translation=_xyz(one.translation),
    )


def foxglove_transforms(message: Any) -> Iterator[Transform]:
    """Yield the transforms of a `foxglove.FrameTransforms`."""
    for one in message.transforms:
        yield from foxglove_transform(one)


def _xyzw(q: Any) -> Quaternion:
    return float(q.x), float(q.y), float(q.z), float(q.w)


def _xyz(v: Any) -> tuple[float, float, float]:
    return float(v.x), float(v.y), float(v.z)


TRANSFORMS: Mapping[str, tuple[str, Callable[[Any], Iterator[Transform]]]] = {
    "tf2_msgs/msg/TFMessage": ("cdr", ros_transforms),
    "foxglove.FrameTransform": ("protobuf", foxglove_transform),
    "foxglove.FrameTransforms": ("protobuf", foxglove_transforms),
}
"""By schema name: the required encoding of messages, and the function that converts them."""
