"""Read one episode's `simulation.mcap`: the messages of each topic in the order they were logged.

log = read_log(folder / "simulation.mcap")
log["/lidar/scan"].times_ns, log["/lidar/scan"].read(0).ranges
"""

import io
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel, Schema
from mcap_protobuf.decoder import DecoderFactory
from numpy.typing import NDArray

from sim2edge.lines import join_lines

IMAGE, SCAN, POSE, CONTROL, LABELS = "/camera/image", "/lidar/scan", "/robot/pose", "/robot/control", "/labels"

SCHEMAS = {IMAGE: "foxglove.CompressedImage", SCAN: "foxglove.LaserScan", POSE: "foxglove.PoseInFrame"}
"""Protobuf schemas by topic; the other topics are JSON."""

TOPICS = (IMAGE, SCAN, POSE, CONTROL, LABELS)

DAMAGE = (
    *(McapError, DecodeError, zstandard.ZstdError, struct.error),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, EOFError, MemoryError),
)
"""Exceptions of the libraries on damaged files, whose sizes, names and types they do not verify."""


class Unreadable(Exception):
    """The log is damaged or not the log of an episode; the message is short."""


@dataclass
class Stream:
    """The messages of one topic."""

    decode: Callable[[bytes], Any]
    times: list[int] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """Log times, nanoseconds, in the order of the file."""
        return np.asarray(self.times, dtype=np.int64)

    def read(self, index: int) -> Any:
        """Decode message `index`: a protobuf message, or the bytes of a JSON one.

        Raises:
            Unreadable: the bytes do not match the schema.
        """
        with _damage():
            return self.decode(self.messages[index])


def read_log(path: Path, absent: Collection[str] = ()) -> Mapping[str, Stream]:
    """Read every message of the topics that frames are built from; those in `absent` may be missing.

    Raises:
        Unreadable: the file is truncated, damaged, or lacks a topic.
    """
    log: dict[str, Stream] = {}
    for topic, stream, time_ns, data in _messages(path):
        kept = log.setdefault(topic, stream)
        kept.times.append(time_ns)
        kept.messages.append(data)
    missing = [topic for topic in TOPICS if topic not in log and topic not in absent]
    if missing:
        raise Unreadable(f"no messages on {', '.join(missing)}")
    return log


def first_scan(path: Path) -> Any:
    """Return the first `foxglove.LaserScan` of the log.

    Raises:
        Unreadable: the log is damaged or has no scan.
    """
    for topic, stream, _, data in _messages(path):
        if topic == SCAN:
            with _damage():
                return stream.decode(data)
    raise Unreadable(f"no messages on {SCAN}")


def _messages(path: Path) -> Iterator[tuple[str, Stream, int, bytes]]:
    """Yield topic, a new stream that can decode it, log time in nanoseconds, and bytes of every message needed."""
    streams: dict[int, Stream] = {}
    factory = DecoderFactory()
    data = path.read_bytes()  # outside of _damage: a disk error is not a damaged log
    with _damage():
        reader = make_reader(io.BytesIO(data), validate_crcs=True)
        for schema, channel, message in reader.iter_messages(TOPICS, log_time_order=False):
            if channel.id not in streams:
                streams[channel.id] = Stream(_decoder(factory, schema, channel))
            yield channel.topic, streams[channel.id], message.log_time, message.data


def _decoder(factory: DecoderFactory, schema: Schema | None, channel: Channel) -> Callable[[bytes], Any]:
    name = SCHEMAS.get(channel.topic)
    if name is None:
        if channel.message_encoding != "json":
            raise Unreadable(f"{channel.topic} is {channel.message_encoding or 'not encoded'}, expected json")
        return bytes
    decode = factory.decoder_for(channel.message_encoding, schema)
    if decode is None or schema is None or schema.name != name:
        raise Unreadable(
            f"{channel.topic} is {schema.name if schema else 'without schema'}, expected {name} (protobuf)"
        )
    return decode


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        text = join_lines(error, 160) or "ends too early"
        raise Unreadable(f"damaged or truncated ({type(error).__name__}: {text})") from error
