"""Read a foreign log once: its topics, and the times and values of the mapped ones, without the pictures.

    log = read_source(path, config)
    log.streams["scan"].values[0]       # already resampled to our beams

Of images only the sizes are kept, so that memory stays small; `pictures` reads the chosen images again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mcap.records import Channel, Message, Schema

from sim2edge.episodes.formats import beam_angles
from sim2edge.ingest.config import REQUIRED, ROLES, IngestConfig, Role
from sim2edge.ingest.images import Picture, Size, size_of, to_jpeg
from sim2edge.ingest.lidar import bring_to_beams
from sim2edge.ingest.mcap_reader import LATEST_NS, BadLog, read_messages
from sim2edge.ingest.messages import Understanding, reader_for


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

    @property
    def labelled(self) -> bool:
        """Whether the log has ground truth."""
        return "labels" in self.streams


def read_source(path: Path, config: IngestConfig) -> SourceLog:
    """Read a log and choose the topic of each role.

    Raises:
        BadLog: it cannot be read, lacks a topic, or has an unsupported one.
    """
    listener = _Listener(config)
    for schema, channel, message in read_messages(path):
        listener.hear(schema, channel, message)
    log = SourceLog(path, listener.topics, _choose(listener.streams, config))
    _check_images(log.streams["image"])
    if not log.streams["scan"].usable:
        raise BadLog(f"{log.streams['scan'].topic}: ranges: nothing but NaN in all scans")
    return log


class _Listener:
    """Distributes messages to streams."""

    def __init__(self, config: IngestConfig) -> None:
        self.topics: dict[str, Topic] = {}
        self.streams: dict[str, Stream] = {}
        self._roles: dict[str, Role] = {topic: role for role in ROLES for topic in config.topics.of(role)}
        self._readers: dict[tuple[int, str], Understanding] = {}
        angles = tuple(beam_angles(config.lidar).tolist())
        turned, reach = np.radians(config.lidar.yaw_deg), config.lidar.max_range_m
        self._keep: dict[Role, Any] = {
            "image": partial(_checked_size, most=config.max_pixels),
            "scan": partial(bring_to_beams, angles=angles, yaw_rad=float(turned), max_range_m=reach),
        }

    def hear(self, schema: Schema | None, channel: Channel, message: Message) -> None:
        """Add one message; an error in a topic matters only if the topic is chosen in the end."""
        known = self.topics.setdefault(channel.topic, Topic(schema.name if schema else "", channel.message_encoding))
        known.messages += 1
        role = self._roles.get(channel.topic)
        if role is None:
            return
        stream = self.streams.setdefault(channel.topic, Stream(channel.topic))
        if stream.problem is None:
            try:
                self._add(stream, role, schema, channel, message)
            except BadLog as error:
                stream.problem = str(error)

    def _add(self, stream: Stream, role: Role, schema: Schema | None, channel: Channel, message: Message) -> None:
        key = channel.id, channel.topic
        if key not in self._readers:
            self._readers[key] = reader_for(role, schema, channel, self._keep.get(role, lambda value: value))
        number = len(stream.values)
        stamp_ns, value = self._readers[key](message.data, number)
        if message.log_time >= LATEST_NS:
            raise BadLog(f"{stream.topic}: message {number}: a log time that no clock shows")
        stream.log_times.append(message.log_time)
        stream.stamps.append(stamp_ns if stamp_ns is None else min(max(0, stamp_ns), LATEST_NS))
        stream.values.append(value)


def _checked_size(picture: Picture, most: int) -> Size | None:
    size = size_of(picture)
    if size and size[0] * size[1] > most:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels, more than max_pixels={most}")
    return size


def _choose(streams: Mapping[str, Stream], config: IngestConfig) -> dict[Role, Stream]:
    """Return the stream of each role: that of its first topic with messages."""
    chosen: dict[Role, Stream] = {}
    for role in ROLES:
        names = config.topics.of(role)
        stream = next((streams[name] for name in names if name in streams), None)
        if stream is None and role in REQUIRED:
            raise BadLog(f"no messages on {' or '.join(names) or 'any topic'}: topics.{role} names where it is")
        if stream is not None and stream.problem:
            raise BadLog(stream.problem)
        if stream is not None:
            chosen[role] = stream
    return chosen


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
    """Yield the images with the given numbers, counted within their topic, as JPEG, in the given order.

    The file may have them in another order; those read early are kept until their turn.

    Raises:
        BadLog: one cannot be decoded.
    """
    topic, wanted, turn = log.streams["image"].topic, set(numbers), iter(numbers)
    readers: dict[int, Understanding] = {}
    early: dict[int, bytes] = {}
    number, due = -1, next(turn, None)
    for schema, channel, message in read_messages(log.path):
        if channel.topic != topic:
            continue
        number += 1
        if number not in wanted:
            continue
        if channel.id not in readers:
            readers[channel.id] = reader_for("image", schema, channel, partial(to_jpeg, quality=quality))
        early[number] = readers[channel.id](message.data, number)[1]
        while due in early:
            yield early.pop(due)
            due = next(turn, None)
