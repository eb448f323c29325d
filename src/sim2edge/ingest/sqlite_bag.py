"""Read the messages of a SQLite file of a ROS 2 bag (`.db3`) in the order they were written.

    for schema, channel, message in read_sqlite(path):

The file is opened read-only and never changed. A file that was cut is read up to the first missing page. The journal of
a recorder that was killed (`.db3-wal` beside it) is not read: its messages would be missing without a word.
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
JOURNAL = "-wal"
"""What SQLite appends to the name of a file for what is not yet in it."""
MESSAGES = "SELECT topic_id, timestamp, data FROM messages ORDER BY rowid"
Topics = dict[int, tuple[Schema, Channel]]


def read_sqlite(path: Path) -> Iterator[Record]:
    """Yield every message with its channel and schema.

    Raises:
        Truncated: the file has fewer pages than its header says, or a journal beside it has more messages.
        BadLog: it is not SQLite, not of a bag, or damaged.
    """
    missing, size = _missing(path), path.stat().st_size
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
        if missing:
            raise Truncated(missing, read, size) from error
        if isinstance(error, BadLog):
            raise
        raise BadLog(f"damaged ({words_of(error)})") from error
    if missing:
        raise Truncated(missing, read, size)


def _missing(path: Path) -> str:
    """Return in words what the file lacks; empty: nothing."""
    claimed, size = _claimed_size(path), path.stat().st_size
    if size < claimed:
        return f"{size} of {claimed} bytes"
    journal = path.with_name(path.name + JOURNAL)
    if journal.is_file() and journal.stat().st_size:
        how = f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`"
        return f"{journal.name} beside it has messages that are not in the file: {how} takes them over"
    return ""


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
