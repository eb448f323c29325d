"""Read the messages of an MCAP file in the order they were written, and explain why a file cannot be read.

    for schema, channel, message in read_messages(path):

The reader checks the CRCs, the end of the file, and the sizes that the file claims, before allocating memory for them.
"""

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap_protobuf.decoder import DecoderFactory as ProtobufDecoders
from mcap_ros2.decoder import DecoderFactory as Ros2Decoders

from sim2edge.lines import join_lines

MAGIC = b"\x89MCAP0\r\n"
MAX_RECORD = 1 << 30
"""Largest record or unpacked chunk, bytes: far above what writers produce."""
LATEST_NS = 1 << 62
"""Later times (from year 2116) would overflow the arithmetic and come from no real clock."""

DAMAGE = (
    *(McapError, DecodeError, zstandard.ZstdError, struct.error),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, EOFError, MemoryError),
    NotImplementedError,
)
"""Exceptions of the libraries on damaged files, whose sizes, names and types they do not verify."""


class BadLog(Exception):
    """A log cannot become an episode; the message names the topic or field and the reason."""


def read_messages(path: Path) -> Iterator[tuple[Schema | None, Channel, Message]]:
    """Yield every message with its channel and schema, in the order of the file.

    Raises:
        BadLog: it is not MCAP, truncated or damaged; the message counts the readable messages.
    """
    read = 0
    with path.open("rb") as file:
        ending = _check_ends(file)
        try:
            for message in _messages(file):
                yield message
                read += 1
        except DAMAGE as error:
            raise BadLog(f"{ending} ({words_of(error)}): {read} messages were readable") from error


def _check_ends(file: BinaryIO) -> str:
    """Check the file's start, and return the word for later errors: `damaged`, or `truncated` without a proper end."""
    if file.read(len(MAGIC)) != MAGIC:
        raise BadLog("not an MCAP file: it does not begin as one")
    file.seek(-len(MAGIC), os.SEEK_END)
    whole = file.read() == MAGIC
    file.seek(0)
    return "damaged" if whole else "truncated"


def _messages(file: BinaryIO) -> Iterator[tuple[Schema | None, Channel, Message]]:
    reader = StreamReader(file, emit_chunks=True, validate_crcs=True, record_size_limit=MAX_RECORD)
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    for record in _flat(reader):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
        elif isinstance(record, Message):
            channel = channels[record.channel_id]
            yield schemas[channel.schema_id] if channel.schema_id else None, channel, record


def _flat(reader: StreamReader) -> Iterator[Any]:
    """Yield the records, including those in chunks."""
    for record in reader.records:
        if isinstance(record, Chunk):
            _check_unpacked(record)
            yield from breakup_chunk(record, validate_crc=True)
        else:
            yield record


def _check_unpacked(chunk: Chunk) -> None:
    claimed = chunk.uncompressed_size
    if chunk.compression == "zstd":
        claimed = max(claimed, zstandard.frame_content_size(chunk.data))
    if claimed > MAX_RECORD:
        raise ValueError(f"a chunk claims {claimed} bytes")


def words_of(error: BaseException) -> str:
    """Return the error of a library in a few words."""
    text = join_lines(error, 160) or "ends too early"
    return text if type(error) in (ValueError, EndOfFile) else f"{type(error).__name__}: {text}"


def decoder_of(schema: Schema | None, channel: Channel) -> Callable[[bytes], Any] | None:
    """Return a function that decodes the channel's messages by the schema in the file.

    None for unknown encodings.

    JSON stays bytes. The function raises one of `DAMAGE` for bytes that do not match the schema.

    Raises:
        BadLog: the schema cannot be read.
    """
    for factory in (Ros2Decoders(), ProtobufDecoders()):
        try:
            with redirect_stderr(io.StringIO()):  # the parser of ROS 2 definitions prints the errors it raises
                decode: Callable[[bytes], Any] | None = factory.decoder_for(channel.message_encoding, schema)
        except Exception as error:  # schema parsers raise exceptions of many types
            raise BadLog(f"{channel.topic}: its schema cannot be read ({words_of(error)})") from error
        if decode is not None:
            return decode
    return bytes if channel.message_encoding == "json" else None
