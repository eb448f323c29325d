"""Read a foreign log once: its topics, and the times and values of the mapped ones, without the pictures.

    log = read_source(path, config)
    log.streams["scan"].values[0]       # already resampled to our beams

Of images only the sizes are kept, so that memory stays small; `pictures` reads the chosen images again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mcap.records import Channel, Message, Schema

from sim2edge.ingest.classes import check_classes, rename
from sim2edge.ingest.config import ROLES, IngestConfig, Role
from sim2edge.ingest.images import Picture, Size, size_of, to_jpeg
from sim2edge.ingest.label_check import drop_wrong_labels
from sim2edge.ingest.mcap_reader import LATEST_NS, BadLog
from sim2edge.ingest.messages import Understanding, reader_for, transforms_reader
from sim2edge.ingest.read_log import Cut, Limits, LogReader
from sim2edge.ingest.roles import choose_streams
from sim2edge.ingest.scans import ROBOT_FRAMES, Scanner, finish_scans
from sim2edge.ingest.steering import to_command
from sim2edge.ingest.transforms import TRANSFORMS, TransformTree, bare
from sim2edge.ingest.tree_poses import poses_of

T = TypeVar("T")


@dataclass
class Topic:
    """A topic of the file."""

    schema: str
    encoding: str
    messages: int = 0


@dataclass
class Stream:
    """The messages of a mapped topic, in the order of the file."""

    topic: str
    log_times: list[int] = field(default_factory=list)
    """Nanoseconds."""
    stamps: list[int | None] = field(default_factory=list)
    """Nanoseconds; None: the message has no stamp."""
    values: list[Any] = field(default_factory=list)
    """The converted value of each message; None: unusable."""
    frames: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many messages have each frame and child frame."""
    problem: str | None = None
    """Why the topic cannot be used; reading it stopped at that message."""

    @property
    def stamped(self) -> bool:
        """Whether most messages have stamps that are not zero, the value of unset stamps."""
        if len(self.stamps) == 1:
            return self.stamps[0] is not None
        return sum(map(bool, self.stamps)) > len(self.stamps) / 2

    @property
    def usable(self) -> list[int]:
        """The numbers of the messages with a usable value."""
        return [number for number, value in enumerate(self.values) if value is not None]


@dataclass(frozen=True)
class SourceLog:
    """The content of a log that ingest uses."""

    path: Path
    topics: Mapping[str, Topic]
    streams: Mapping[Role, Stream]
    """The topic chosen for each role."""
    scanner: Scanner | None
    limits: Limits
    cut: Cut | None = None
    """What was salvaged, if the log is truncated."""
    digests: list[bytes] = field(default_factory=list)
    """Digests of the pictures as sent, filled when they are looked at (`decodable.py`)."""

    @property
    def labelled(self) -> bool:
        """Whether the log has ground truth."""
        return "labels" in self.streams

    @property
    def absent(self) -> tuple[Role, ...]:
        """The roles that the log has no topic for."""
        return tuple(role for role in ROLES if role not in self.streams)


def limits_of(config: IngestConfig) -> Limits:
    """Return how far logs are read."""
    return Limits(max_bytes=config.max_file_mb * 1_000_000, salvage=config.skip_bad)


def read_source(path: Path, config: IngestConfig) -> SourceLog:
    """Read a log and choose the topic of each role.

    Raises:
        BadLog: it cannot be read, serves no recipe, or has an unsupported topic.
    """
    listener = _Listener(config)
    reader = LogReader(path, limits_of(config))
    for schema, channel, message in reader:
        listener.hear(schema, channel, message)
    _add_tree_poses(listener.streams, listener.tree, config)
    streams = choose_streams(listener.streams, listener.topics, config)
    _check_images(streams["image"])
    if "labels" in streams:
        labels, images = streams["labels"], streams["image"]
        check_classes(labels.topic, labels.values)
        labels.values = drop_wrong_labels(labels.topic, labels.values, images.values[images.usable[0]])
    scanner = _finish_scans(streams, listener.tree, config)
    return SourceLog(path, listener.topics, streams, scanner, limits_of(config), reader.cut)


def _add_tree_poses(streams: dict[str, Stream], tree: TransformTree, config: IngestConfig) -> None:
    """Take the poses from the transform tree, if no topic has them and the config does not leave them out."""
    names = config.topics.pose
    if not names or any(name in streams for name in names):
        return
    found = poses_of(tree, config.frames.base or ROBOT_FRAMES)
    if found is not None:
        streams[names[0]] = Stream(found.name, found.log_times, found.stamps, list(found.poses))


def _finish_scans(streams: Mapping[Role, Stream], tree: TransformTree, config: IngestConfig) -> Scanner | None:
    """Replace the scans by their ranges along our beams, and return their scanner."""
    if "scan" not in streams:
        return None
    scans, poses = streams["scan"], streams.get("pose")
    if config.frames.scan:
        _keep_frame(scans, bare(config.frames.scan))
    bases = sorted({child for _, child in poses.frames if child}) if poses else []
    scans.values, scanner = finish_scans(scans.topic, scans.values, tree, bases, config)
    return scanner


def _keep_frame(scans: Stream, frame: str) -> None:
    """Remove the scans of other scanners that share the topic."""
    kept = [number for number, scan in enumerate(scans.values) if scan is None or scan.frame == frame]
    if not any(scans.values[number] for number in kept):
        frames = ", ".join(sorted({scan.frame for scan in scans.values if scan is not None}))
        raise BadLog(f"{scans.topic}: no scan is in the frame '{frame}' of frames.scan, only in: {frames}")
    scans.log_times = [scans.log_times[number] for number in kept]
    scans.stamps = [scans.stamps[number] for number in kept]
    scans.values = [scans.values[number] for number in kept]


class _Listener:
    """Distributes messages to streams."""

    def __init__(self, config: IngestConfig) -> None:
        self.topics: dict[str, Topic] = {}
        self.streams: dict[str, Stream] = {}
        self._roles: dict[str, Role] = {topic: role for role in ROLES for topic in config.topics.of(role)}
        self.tree = TransformTree()
        self._readers: dict[tuple[int, str], Understanding] = {}
        self._keep: dict[Role, Any] = {
            "image": partial(_checked_size, most=config.max_pixels),
            "command": partial(to_command, wheelbase_m=config.wheelbase_m),
            "labels": partial(rename, names=config.classes.map),
        }

    def hear(self, schema: Schema | None, channel: Channel, message: Message) -> None:
        """Add one message; an error in a topic matters only if the topic is chosen in the end."""
        known = self.topics.setdefault(channel.topic, Topic(schema.name if schema else "", channel.message_encoding))
        known.messages += 1
        role = self._roles.get(channel.topic)
        if role is None:
            self._hear_transforms(schema, channel, message)
            return
        stream = self.streams.setdefault(channel.topic, Stream(channel.topic))
        if stream.problem is None:
            try:
                self._add(stream, role, schema, channel, message)
            except BadLog as error:
                stream.problem = str(error)

    def _hear_transforms(self, schema: Schema | None, channel: Channel, message: Message) -> None:
        """Add a message with transforms to the tree; an error matters only if the tree is needed."""
        if schema is None or schema.name not in TRANSFORMS or self.tree.problem:
            return
        try:
            key = channel.id, channel.topic
            if key not in self._readers:
                self._readers[key] = transforms_reader(schema, channel)
            number = self.topics[channel.topic].messages - 1
            for transform in self._readers[key](message.data, number)[1]:
                self.tree.add(transform, message.log_time)
        except BadLog as error:
            self.tree.problem = str(error)

    def _add(self, stream: Stream, role: Role, schema: Schema | None, channel: Channel, message: Message) -> None:
        key = channel.id, channel.topic
        if key not in self._readers:
            reader = reader_for(role, schema, channel, self._keep.get(role, lambda value: value))
            self._readers[key] = replace(reader, frames=stream.frames)
        number = len(stream.values)
        stamp_ns, value = self._readers[key](message.data, number)
        if message.log_time >= LATEST_NS:
            raise BadLog(f"{stream.topic}: message {number}: a log time that no clock shows")
        stream.log_times.append(message.log_time)
        stream.stamps.append(stamp_ns if stamp_ns is None else min(max(0, stamp_ns), LATEST_NS))
        stream.values.append(value)
        if role == "pose" and self.tree.keep_motion:
            self.tree.forget_motion()


def _checked_size(picture: Picture, most: int) -> Size | None:
    size = size_of(picture)
    if size and size[0] * size[1] > most:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels, more than max_pixels={most}")
    return size


def _check_images(images: Stream) -> None:
    usable = images.usable
    if not usable:
        raise BadLog(f"{images.topic}: none of {len(images.values)} images is whole")
    first = images.values[usable[0]]
    for number in usable:
        if images.values[number] != first:
            here = "{} x {}".format(*images.values[number])
            raise BadLog(f"{images.topic}: message {number}: the image is {here}, before {first[0]} x {first[1]}")


def pictures(log: SourceLog, numbers: Sequence[int], quality: int) -> Iterator[bytes]:
    """Yield the images with the given numbers, counted within their topic, as JPEG, in that order.

    Raises:
        BadLog: one cannot be decoded.
    """
    return each_picture(log, numbers, partial(to_jpeg, quality=quality))


def each_picture(log: SourceLog, numbers: Sequence[int], convert: Callable[[Picture], T]) -> Iterator[T]:
    """Yield `convert` of each image with the given numbers, counted within their topic, in that order.

    The file may have them in another order; those read early are kept until their turn.

    Raises:
        BadLog: the log cannot be read, or `convert` raises a ValueError.
    """
    topic, wanted, turn = log.streams["image"].topic, set(numbers), iter(numbers)
    readers: dict[int, Understanding] = {}
    early: dict[int, T] = {}
    number, due = -1, next(turn, None)
    for schema, channel, message in LogReader(log.path, log.limits):
        if channel.topic != topic:
            continue
        number += 1
        if number not in wanted:
            continue
        if channel.id not in readers:
            readers[channel.id] = reader_for("image", schema, channel, convert)
        early[number] = readers[channel.id](message.data, number)[1]
        while due in early:
            yield early.pop(due)
            due = next(turn, None)
