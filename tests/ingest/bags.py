"""Writes the drives of `foreign_logs` as ROS 1 and ROS 2 bags, by the writers of rosbags."""

from collections.abc import Iterable
from pathlib import Path

import zstandard
from ingest.foreign_logs import Sent, write_bag
from mcap.reader import make_reader
from rosbags import rosbag1, rosbag2
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

MODES = {"": CompressionMode.NONE, "file": CompressionMode.FILE, "message": CompressionMode.MESSAGE}
PLUGINS = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}


def serialised(folder: Path, sent: Iterable[Sent]) -> list[tuple[str, str, int, bytes]]:
    """Topic, type, log time and CDR of each message."""
    path = write_bag(folder / "for-bags.mcap", list(sent))
    with path.open("rb") as file:
        found = [
            (channel.topic, schema.name, message.log_time, message.data)
            for schema, channel, message in make_reader(file).iter_messages(log_time_order=False)
        ]
    path.unlink()
    return found


def write_ros1(path: Path, sent: Iterable[Sent], compression: str = "", chunk_bytes: int = 1 << 20) -> Path:
    """A bag of ROS 1; `compression` is `bz2`, `lz4` or none."""
    definitions, store = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_HUMBLE)
    messages = serialised(path.parent, sent)
    writer = rosbag1.Writer(path)
    writer.chunk_threshold = chunk_bytes
    if compression:
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
    with writer:
        connections = {}
        for topic, kind, time_ns, data in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=definitions)
            writer.write(connections[topic], time_ns, store.cdr_to_ros1(data, kind))
    return path


def write_ros2(folder: Path, sent: Iterable[Sent], storage: str = "sqlite3", mode: str = "") -> Path:
    """A bag of ROS 2: a folder with `metadata.yaml`; `mode` is `file`, `message` or none."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    messages = serialised(folder.parent, sent)
    writer = rosbag2.Writer(folder, version=9, storage_plugin=PLUGINS[storage])
    if mode:
        writer.set_compression(MODES[mode], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, kind, time_ns, data in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], time_ns, data)
    return folder


def pack(path: Path, suffix: str = ".zstd") -> Path:
    """Compress a file as a whole, and remove it."""
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(zstandard.compress(path.read_bytes()))
    path.unlink()
    return packed
