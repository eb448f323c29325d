"""Read the messages of a SQLite file of a ROS 2 bag (`.db3`) in the order they were written.

    for schema, channel, message in read_sqlite(path):

The file is opened read-only and never changed. A file that was cut is read up to the first missing page.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from mcap.records import Channel, Message, Schema

from sim2edge.ingest.bad_log import DAMAGE, MAX_RECORD, BadLog, Truncated, words_of
from sim2edge.ingest.mcap_reader import Record
from sim2edge.ingest.ros_types import ROS2_MSG, known_definition, ros2_name

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
MESSAGES = "SELECT topic_id, timestamp, data FROM messages ORDER BY rowid"
Topics = dict[int, tuple[Schema, Channel]]


def read_sqlite(path: Path) -> Iterator[Record]:
    """Yield every message with its channel and schema.

    Raises:
        Truncated: the file has fewer pages than its header says.
        BadLog: it is not SQLite, not of a bag, or damaged.
    """
    claimed, size = _claimed_size(path), path.stat().st_size
    read = 0
    try:
        with closing(_open(path)) as database:
            topics = _read_topics(database)
            for topic_id, time_ns, data in database.execute(MESSAGES):
                if not isinstance(data, bytes) or not isinstance(time_ns, int):
                    raise ValueError(f"messages: data is {type(data).__name__}, timestamp {type(time_ns).__name__}")
                schema, channel = topics[topic_id]
                yield schema, channel, Message(channel.id, time_ns, data, time_ns, 0)
                read += len(data)
    except (BadLog, *DAMAGE) as error:
        if size < claimed:
            raise Truncated(f"{size} of {claimed} bytes", read, size) from error
        if isinstance(error, BadLog):
            raise
        raise BadLog(f"damaged ({words_of(error)})") from error
    if size < claimed:
        raise Truncated(f"{size} of {claimed} bytes", read, size)


def _claimed_size(path: Path) -> int:
    """Return the size that the header claims, bytes."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if not header.startswith(MAGIC):
        raise BadLog("not a SQLite file of a ROS 2 bag: it does not begin as one")
    if len(header) < HEADER_BYTES:
        raise Truncated("ends too early", 0, len(header))
    page = int.from_bytes(header[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_RECORD)
    database.execute("PRAGMA writable_schema=ON")  # else SQLite refuses a file with fewer pages than its header says
    database.execute("PRAGMA trusted_schema=OFF")
    return database


def _read_topics(database: sqlite3.Connection) -> Topics:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise BadLog("a SQLite file that is not of a ROS 2 bag: it has no tables 'topics' and 'messages'")
    definitions: dict[str, tuple[str, bytes]] = {}
    if "message_definitions" in tables:
        rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        definitions = {name: (encoding, str(text).encode()) for name, encoding, text in rows if text}
    topics: Topics = {}
    for number, topic, kind, encoding in database.execute("SELECT id, name, type, serialization_format FROM topics"):
        form, text = definitions.get(kind) or (ROS2_MSG, known_definition(ros2_name(kind)))
        schema = Schema(id=number, name=ros2_name(kind), encoding=form, data=text)
        channel = Channel(id=number, topic=topic, message_encoding=encoding, metadata={}, schema_id=number)
        topics[number] = schema, channel
    return topics
