"""Read the messages of a ROS 1 bag (version 2.0) in the order they were written.

    for schema, channel, message in read_ros1_bag(file, size):

The records are read forward, not by the index at the end, so that a bag that was cut can be read up to its last whole
chunk. http://wiki.ros.org/Bags/Format/2.0
"""

import bz2
import io
from collections.abc import Iterator
from typing import Any

import lz4.frame
from mcap.records import Channel, Message, Schema
from rosbags.rosbag1.reader import Header, RecordType, normalize

from sim2edge.ingest.bad_log import DAMAGE, MAX_RECORD, BadLog, Truncated, words_of
from sim2edge.ingest.mcap_reader import Record, Stream
from sim2edge.ingest.ros_types import CDR, ROS1_MSG, ros2_name

VERSION = b"#ROSBAG V2.0\n"
MAX_HEADER = 1 << 20
Connections = dict[int, tuple[Schema, Channel]]


def read_ros1_bag(file: Stream, size: int) -> Iterator[Record]:
    """Yield every message with its channel and schema.

    The channels are those of ROS 2: `to_ros2` decodes their messages.

    Raises:
        Truncated: it ends before its index, or was not closed.
        BadLog: it is not a bag, damaged, or encrypted.
    """
    if file.read(len(VERSION)) != VERSION:
        raise BadLog("not a ROS 1 bag: it does not begin with '#ROSBAG V2.0'")
    connections: Connections = {}
    whole, index = file.tell(), 0
    try:
        while not index or whole < index:
            header, data = _read_record(file)
            operation = header.get_uint8("op")
            if operation == RecordType.BAGHEADER:
                _refuse_encrypted(header)
                index = header.get_uint64("index_pos") or size + 1
            elif operation == RecordType.CONNECTION:
                _add_connection(connections, header, data)
            elif operation == RecordType.CHUNK:
                yield from _chunk(connections, header, data)
            whole = file.tell()
    except EOFError as error:
        unclosed = index > size
        raise Truncated("was not closed" if unclosed else words_of(error), whole, size) from error
    except DAMAGE as error:
        if index <= size:
            raise BadLog(f"damaged ({words_of(error)})") from error
        raise Truncated(words_of(error), whole, size) from error


def _read_record(file: Any) -> tuple[Header, bytes]:
    length = int.from_bytes(_exact(file, 4), "little")
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length} bytes")
    header = Header.read(io.BytesIO(length.to_bytes(4, "little") + _exact(file, length)))
    length = int.from_bytes(_exact(file, 4), "little")
    if length > MAX_RECORD:
        raise ValueError(f"a record of {length} bytes")
    return header, _exact(file, length)


def _exact(file: Any, length: int) -> bytes:
    data: bytes = file.read(length)
    if len(data) < length:
        raise EOFError("ends too early")
    return data


def _refuse_encrypted(header: Header) -> None:
    if header.get("encryptor"):
        raise BadLog("an encrypted bag: decrypt it with `rosbag decrypt`")


def _add_connection(connections: Connections, header: Header, data: bytes) -> None:
    number = header.get_uint32("conn")
    about = Header.read(io.BytesIO(len(data).to_bytes(4, "little") + data))
    name = ros2_name(about.get_string("type"))
    schema = Schema(id=number + 1, name=name, encoding=ROS1_MSG, data=about["message_definition"])
    channel = Channel(
        id=number, topic=normalize(header.get_string("topic")), message_encoding=CDR, metadata={}, schema_id=number + 1
    )
    connections[number] = schema, channel


def _chunk(connections: Connections, header: Header, data: bytes) -> Iterator[Record]:
    content = _unpack(header.get_string("compression"), data, header.get_uint32("size"))
    chunk = io.BytesIO(content)
    try:
        while chunk.tell() < len(content):
            record, body = _read_record(chunk)
            operation = record.get_uint8("op")
            if operation == RecordType.CONNECTION:
                _add_connection(connections, record, body)
            elif operation == RecordType.MSGDATA:
                schema, channel = connections[record.get_uint32("conn")]
                time_ns = record.get_time("time")
                yield schema, channel, Message(channel.id, time_ns, body, time_ns, 0)
    except EOFError as error:
        raise ValueError("a record exceeds its chunk") from error


def _unpack(compression: str, data: bytes, size: int) -> bytes:
    """Return the content of a chunk, which must have the size that its header claims."""
    if size > MAX_RECORD:
        raise ValueError(f"a chunk claims {size} bytes")
    if compression == "none":
        content = data
    elif compression == "bz2":
        content = bz2.BZ2Decompressor().decompress(data, max_length=size + 1)
    elif compression == "lz4":
        content = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1)
    else:
        raise ValueError(f"compression '{compression[:40]}'")
    if len(content) != size:
        raise ValueError(f"a chunk has {len(content)} bytes, not the {size} it claims")
    return content
