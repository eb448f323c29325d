"""Read the messages of an MCAP file in the order they were written, and explain why a file cannot be read.

    for schema, channel, message in read_mcap(file, size, ended):

The reader checks the CRCs, the end of the file, and the sizes that the file claims, before allocating memory for them.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from typing import IO, Any, Protocol, cast

import zstandard
from mcap.exceptions import EndOfFile, InvalidMagic
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap_protobuf.decoder import DecoderFactory as ProtobufDecoders
from mcap_ros2.decoder import DecoderFactory as Ros2Decoders

from sim2edge.ingest.bad_log import DAMAGE as DAMAGE
from sim2edge.ingest.bad_log import MAX_RECORD, Truncated
from sim2edge.ingest.bad_log import BadLog as BadLog
from sim2edge.ingest.bad_log import words_of as words_of
from sim2edge.ingest.ros_types import CDR, ROS1, named_as_ros2, to_ros2

MAGIC = b"\x89MCAP0\r\n"
LATEST_NS = 1 << 62
"""Later times (from year 2116) would overflow the arithmetic and come from no real clock."""

Record = tuple[Schema | None, Channel, Message]


class Stream(Protocol):
    """A file that is read forward only."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""

    def tell(self) -> int:
        """Return the number of bytes read."""


def read_mcap(file: Stream, size: int, ended: bool) -> Iterator[Record]:
    """Yield every message with its channel and schema, in the order of the file.

    `size` is that of the file as delivered, bytes; `ended`: it ends as an MCAP file does.

    Raises:
        Truncated: it ends before its end record.
        BadLog: it is not MCAP, or damaged.
    """
    exact = cast(IO[bytes], _Exact(file))
    reader = StreamReader(exact, emit_chunks=True, validate_crcs=True, record_size_limit=MAX_RECORD)
    whole = 0
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    try:
        for record in reader.records:
            for each in _flat(record):
                if isinstance(each, Schema):
                    schemas[each.id] = named_as_ros2(each)
                elif isinstance(each, Channel):
                    channels[each.id] = replace(each, message_encoding=CDR) if is_ros1(each) else each
                elif isinstance(each, Message):
                    channel = channels[each.channel_id]
                    yield schemas[channel.schema_id] if channel.schema_id else None, channel, each
            whole = file.tell()
    except InvalidMagic as error:
        if not whole:
            raise BadLog("not an MCAP file: it does not begin as one") from error
        raise Truncated("has no end", whole, size) from error
    except DAMAGE as error:
        if ended:
            raise BadLog(f"damaged ({words_of(error)})") from error
        raise Truncated(words_of(error), whole, size) from error


class _Exact:
    """Reads exactly as many bytes as asked for: the library would take fewer for a shorter field."""

    def __init__(self, file: Stream) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EndOfFile
        return data


def _flat(record: Any) -> Iterable[Any]:
    """Return the record, or those in a chunk."""
    if not isinstance(record, Chunk):
        return (record,)
    _check_unpacked(record)
    return breakup_chunk(record, validate_crc=True)


def _check_unpacked(chunk: Chunk) -> None:
    claimed = chunk.uncompressed_size
    if chunk.compression == "zstd":
        claimed = max(claimed, zstandard.frame_content_size(chunk.data))
    if claimed > MAX_RECORD:
        raise ValueError(f"a chunk claims {claimed} bytes")


def is_ros1(channel: Channel) -> bool:
    """Return whether the messages are of ROS 1, as `mcap convert` writes those of a bag: `to_ros2` decodes them."""
    return channel.message_encoding == ROS1


def decoder_of(schema: Schema | None, channel: Channel) -> Callable[[bytes], Any] | None:
    """Return a function that decodes the channel's messages by the schema in the file.

    None for unknown encodings.

    JSON stays bytes. The function raises one of `DAMAGE` for bytes that do not match the schema.

    Raises:
        BadLog: the schema cannot be read.
    """
    try:
        with redirect_stderr(io.StringIO()):  # the parser of ROS 2 definitions prints the errors it raises
            return _decoder(schema, channel)
    except Exception as error:  # schema parsers raise exceptions of many types
        raise BadLog(f"{channel.topic}: its schema cannot be read ({words_of(error)})") from error


def _decoder(schema: Schema | None, channel: Channel) -> Callable[[bytes], Any] | None:
    schema, convert = to_ros2(schema) if schema else (None, None)
    for factory in (Ros2Decoders(), ProtobufDecoders()):
        decode: Callable[[bytes], Any] | None = factory.decoder_for(channel.message_encoding, schema)
        if decode is not None and convert is not None:
            return partial(_converted, convert, decode)
        if decode is not None:
            return decode
    return bytes if channel.message_encoding == "json" else None


def _converted(convert: Callable[[bytes], bytes], decode: Callable[[bytes], Any], data: bytes) -> Any:
    return decode(convert(data))
