"""Read the messages of a log, whatever file it is: MCAP, ROS 1 and ROS 2 bags, compressed or not.

    reader = LogReader(path, Limits(max_bytes=4 << 30, salvage=True))
    for schema, channel, message in reader:
        ...
    reader.cut          # what is known of a truncated log, when it was salvaged

`path` is a file, or the folder of a ROS 2 bag. The records are those of the MCAP library for every kind of file.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import zstandard
from mcap.records import Channel, Message
from pydantic import BaseModel, ConfigDict

from sim2edge.ingest.bad_log import DAMAGE, MAX_RECORD, BadLog, Truncated, words_of
from sim2edge.ingest.bag_folder import bag_files
from sim2edge.ingest.mcap_reader import MAGIC, Record, Stream, read_mcap
from sim2edge.ingest.ros1_bag import read_ros1_bag
from sim2edge.ingest.ros_types import CDR, ROS1, ROS1_MSG, ros2_name
from sim2edge.ingest.sqlite_bag import read_sqlite

COMPRESSED = (".zstd", ".zst")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How far a log is read."""

    max_bytes: int
    """Largest unpacked file."""
    salvage: bool = False
    """Whether a truncated log ends at its last whole chunk; otherwise it is refused."""


class Cut(BaseModel):
    """What was salvaged of a truncated log."""

    model_config = ConfigDict(frozen=True)

    reason: str
    messages: int
    seconds: float
    """Log time from the first message to the last."""
    bytes: int
    """Readable bytes, unpacked."""
    of_bytes: int
    """Bytes of the file as delivered."""


class LogReader:
    """Iterates over the messages of a log, with their channels and schemas."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._messages = 0
        self._span: tuple[int, int] | None = None
        self.cut: Cut | None = None

    def __iter__(self) -> Iterator[Record]:
        """Yield every message, in the order of the files.

        Raises:
            BadLog: a file is damaged, or of another kind; or it is truncated and must not be salvaged.
        """
        files = bag_files(self._path) if self._path.is_dir() else [self._path]
        for file in files:
            where = f"{file.name}: " if self._path.is_dir() else ""
            try:
                yield from map(self._count, _read_file(file, self._limits.max_bytes))
            except Truncated as error:
                self._salvage(error, where)
            except BadLog as error:
                raise BadLog(f"{where}{error}{self._counted(str(error))}") from error

    def _count(self, record: Record) -> Record:
        time_ns = record[2].log_time
        first, last = self._span or (time_ns, time_ns)
        self._span = min(first, time_ns), max(last, time_ns)
        self._messages += 1
        return record

    def _counted(self, reason: str) -> str:
        return f": {self._messages} messages were readable" if reason.startswith("damaged") else ""

    def _salvage(self, error: Truncated, where: str) -> None:
        first, last = self._span or (0, 0)
        seconds = round((last - first) / 1e9, 3)
        if not self._limits.salvage or not self._messages:
            hint = ": skip_bad=true keeps those" if self._messages else ""
            raise BadLog(f"{where}{error}: {self._messages} messages were readable ({seconds:g} s){hint}") from error
        self.cut = Cut(
            reason=f"{where}{error}",
            messages=self._messages,
            seconds=seconds,
            bytes=error.readable + (self.cut.bytes if self.cut else 0),
            of_bytes=error.size + (self.cut.of_bytes if self.cut else 0),
        )


def _read_file(path: Path, max_bytes: int) -> Iterator[Record]:
    for schema, channel, message in _records(path, max_bytes):
        named = schema
        if schema is not None and schema.encoding == ROS1_MSG and schema.name.count("/") == 1:
            named = replace(schema, name=ros2_name(schema.name))
        if channel.message_encoding == ROS1:  # `to_ros2` decodes it like CDR
            channel = replace(channel, message_encoding=CDR)
        yield named, channel, _unpacked(channel, message)


def _records(path: Path, max_bytes: int) -> Iterator[Record]:
    """Read a file by the ending of its name."""
    name = path.name
    for suffix in COMPRESSED:
        if name.endswith(suffix):
            return _read_compressed(path, name.removesuffix(suffix), max_bytes)
    if name.endswith(".db3"):
        return read_sqlite(path)
    return _read_plain(path)


def _read_plain(path: Path) -> Iterator[Record]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if path.suffix == ".bag":
            yield from read_ros1_bag(file, size)
        else:
            yield from read_mcap(file, size, _ends_as_mcap(path))


def _ends_as_mcap(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(len(MAGIC), path.stat().st_size), os.SEEK_END)
        return file.read() == MAGIC


def _read_compressed(path: Path, name: str, max_bytes: int) -> Iterator[Record]:
    """Read a file that is compressed as a whole; SQLite needs an unpacked copy, which is removed afterwards."""
    with path.open("rb") as packed:
        if packed.read(len(ZSTD_MAGIC)) != ZSTD_MAGIC:
            raise BadLog("not compressed by Zstandard: it does not begin as a frame")
        packed.seek(0)
        with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as stream:
            unpacked = _Bounded(stream, max_bytes)
            if name.endswith(".db3"):
                with _copy(unpacked) as copy:
                    yield from read_sqlite(copy)
            else:
                yield from read_mcap(unpacked, path.stat().st_size, ended=False)


@contextmanager
def _copy(stream: Stream) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sim2edge-") as folder:
        copy = Path(folder, "unpacked.db3")
        with copy.open("wb") as file:
            try:
                while block := stream.read(BLOCK):
                    file.write(block)
            except zstandard.ZstdError as error:
                raise BadLog(f"damaged ({words_of(error)})") from error
        yield copy


class _Bounded:
    """Reads an unpacked stream up to a limit, so that a small file cannot become a huge one."""

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self._stream, self._max_bytes, self._read = stream, max_bytes, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > self._max_bytes:
            raise BadLog(f"unpacks to more than max_file_mb={self._max_bytes // 1_000_000}")
        return data

    def tell(self) -> int:
        return self._read


def _unpacked(channel: Channel, message: Message) -> Message:
    """Unpack a message that is compressed by itself: no message in CDR begins like a frame of Zstandard."""
    if channel.message_encoding != CDR or not message.data.startswith(ZSTD_MAGIC):
        return message
    try:
        return replace(message, data=_unpack(message.data))
    except DAMAGE as error:
        raise BadLog(f"damaged ({channel.topic}: {words_of(error)})") from error


def _unpack(data: bytes) -> bytes:
    claimed = zstandard.frame_content_size(data)
    if claimed > MAX_RECORD:
        raise ValueError(f"a message claims {claimed} bytes")
    if claimed >= 0:
        return zstandard.ZstdDecompressor().decompress(data)
    with zstandard.ZstdDecompressor().stream_reader(data) as stream:
        content = bytearray()
        while block := stream.read(BLOCK):
            content += block
            if len(content) > MAX_RECORD:
                raise ValueError(f"a message of more than {MAX_RECORD} bytes")
    return bytes(content)
