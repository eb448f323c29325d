"""Bags of ROS 1 and ROS 2 in all containers give what the same drive in MCAP gives; others are refused."""

import json
import sqlite3
import tempfile
from contextlib import closing

import pytest
import yaml
import zstandard
from ingest.bags import pack, serialised, write_ros1, write_ros2
from ingest.foreign_logs import robot_drive, write_bag
from mcap.writer import Writer
from rosbags import rosbag1
from rosbags.rosbag1 import Reader

from sim2edge import cli
from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.log_files import choose_files, group_logs
from sim2edge.ingest.ros_types import ros2_name
from sim2edge.ingest.source_log import pictures
from sim2edge.ingest.understand import understand
from sim2edge.manifest import File

TICKS = 6


def content_of(path, **settings) -> tuple:
    """All that becomes of a log."""
    episode = understand(path, IngestConfig(**settings))
    streams = {
        role: (each.topic, each.stamps, each.log_times, [repr(value) for value in each.values])
        for role, each in episode.log.streams.items()
    }
    topics = {name: (topic.schema, topic.messages) for name, topic in episode.log.topics.items()}
    return topics, streams, list(pictures(episode.log, episode.ticks.chosen["image"].tolist(), 92))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return content_of(write_bag(tmp_path_factory.mktemp("mcap") / "a.mcap", robot_drive(TICKS)))


@pytest.fixture(autouse=True)
def no_scratch_left(tmp_path, monkeypatch):
    scratch = tmp_path / "temporary"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("mode", ["", "file", "message"])
def test_a_ros_2_bag_is_the_same_drive(tmp_path, expected, storage, mode):
    bag = write_ros2(tmp_path / "drive", robot_drive(TICKS), storage, mode)
    assert content_of(bag) == expected


@pytest.mark.parametrize("compression", ["", "bz2", "lz4"])
def test_a_ros_1_bag_is_the_same_drive(tmp_path, expected, compression):
    bag = write_ros1(tmp_path / "drive.bag", robot_drive(TICKS), compression, chunk_bytes=4096)
    assert content_of(bag) == expected


@pytest.mark.parametrize("suffix", [".zstd", ".zst"])
def test_a_compressed_mcap_is_the_same_drive(tmp_path, expected, suffix):
    assert content_of(pack(write_bag(tmp_path / "a.mcap", robot_drive(TICKS)), suffix)) == expected


def test_a_loose_file_of_a_bag_is_a_log(tmp_path, expected):
    bag = write_ros2(tmp_path / "drive", robot_drive(TICKS))
    (bag / "metadata.yaml").unlink()
    assert content_of(bag / "drive.db3") == expected


def write_old_sqlite(path, sent) -> None:
    """A file of ROS 2 Foxy: no definitions, no schema's version."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)")
    database.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)")
    topics: dict[str, int] = {}
    for topic, kind, time_ns, data in serialised(path.parent, sent):
        if topic not in topics:
            topics[topic] = len(topics) + 1
            database.execute("INSERT INTO topics VALUES(?, ?, ?, 'cdr')", (topics[topic], topic, kind))
        database.execute("INSERT INTO messages VALUES(NULL, ?, ?, ?)", (topics[topic], time_ns, data))
    database.commit()
    database.close()


def test_a_bag_without_definitions_has_those_of_the_standard_types(tmp_path, expected):
    write_old_sqlite(tmp_path / "old.db3", robot_drive(TICKS))
    assert content_of(tmp_path / "old.db3") == expected


def test_types_named_as_in_ros_1_are_those_of_ros_2(tmp_path, expected):
    """Files of ROS 2 Crystal, and some writers of MCAP."""
    write_old_sqlite(tmp_path / "old.db3", robot_drive(TICKS))
    with sqlite3.connect(tmp_path / "old.db3") as database:
        database.execute("UPDATE topics SET type = replace(type, '/msg/', '/')")
    database.close()
    assert content_of(tmp_path / "old.db3") == expected


def test_the_first_ros_had_another_name_for_transforms():
    assert ros2_name("tf/tfMessage") == "tf2_msgs/msg/TFMessage"
    assert ros2_name("sensor_msgs/Image") == ros2_name("sensor_msgs/msg/Image") == "sensor_msgs/msg/Image"


def write_converted(path, bag) -> None:
    """An MCAP file of a ROS 1 bag's own messages and definitions, as `mcap convert drive.bag drive.mcap` writes it."""
    with path.open("wb") as file, rosbag1.Reader(bag) as reader:
        writer, channels = Writer(file), {}
        writer.start("ros1", "mcap go")
        for each in reader.connections:
            name = each.msgtype.replace("/msg/", "/")
            schema = writer.register_schema(name, "ros1msg", each.msgdef.data.encode())
            channels[each.id] = writer.register_channel(each.topic, "ros1", schema)
        for each, time_ns, data in reader.messages():
            writer.add_message(channels[each.id], time_ns, data, time_ns)
        writer.finish()


def test_an_mcap_converted_from_ros_1_is_the_same_drive(tmp_path, expected):
    write_converted(tmp_path / "drive.mcap", write_ros1(tmp_path / "drive.bag", robot_drive(TICKS)))
    assert content_of(tmp_path / "drive.mcap") == expected


def split_bag(folder, ticks: int = TICKS) -> list[str]:
    """A bag of two files, of ROS 2's own naming; the names of the files."""
    sent = list(robot_drive(ticks))
    half = next(at for at, each in enumerate(sent) if each[2] >= sent[0][2] + ticks // 2 * 10**8)
    first = write_ros2(folder, sent[:half])
    second = write_ros2(folder.parent / "second", sent[half:])
    (first / f"{folder.name}.db3").rename(first / "drive_0.db3")
    (second / "second.db3").rename(first / "drive_1.db3")
    about = yaml.safe_load((first / "metadata.yaml").read_text())
    about["rosbag2_bagfile_information"]["relative_file_paths"] = ["drive_0.db3", "drive_1.db3"]
    (first / "metadata.yaml").write_text(yaml.dump(about))
    for path in (second / "metadata.yaml", second):
        path.unlink() if path.is_file() else path.rmdir()
    return ["drive_0.db3", "drive_1.db3"]


def test_the_files_of_a_bag_are_one_log(folder, ingest, fetch, partition, s3, expected):
    split_bag(folder / "monday" / "drive")
    write_ros1(folder / "tuesday.bag", robot_drive(3))
    manifest, made = fetch(ingest(folder))
    assert manifest.summary["episodes"] == 2
    logs = json.loads((made / "ingest_report.json").read_text())["logs"]
    assert [(log["file"], log["ticks"]) for log in logs] == [("monday/drive", TICKS), ("tuesday.bag", 3)]
    assert content_of(folder / "monday" / "drive") == expected
    listed = [key.rpartition("/")[2] for key in s3.list(f"inbox/{partition}")]
    assert sorted(listed) == ["READY.json", "drive_0.db3", "drive_1.db3", "metadata.yaml", "tuesday.bag"]


@pytest.mark.slow
def test_the_folder_itself_may_be_the_bag(folder, ingest, fetch):
    split_bag(folder / "bag")
    _, made = fetch(ingest(folder / "bag"))
    (log,) = json.loads((made / "ingest_report.json").read_text())["logs"]
    assert (log["file"], log["ticks"]) == ("drive_0.db3", TICKS)


def test_files_are_grouped_by_their_names_alone():
    files = [File(path=path, bytes=1, sha256="0" * 64) for path in (
        "a.mcap", "b/metadata.yaml", "b/b_0.mcap", "b/b_1.mcap", "b/c.bag", "d/x_0.db3", "d/x_1.db3", "e/metadata.yaml",
    )]  # fmt: skip
    logs = group_logs(files)
    assert [log.source.path for log in logs] == ["a.mcap", "b", "b/c.bag", "d/x_0.db3", "d/x_1.db3"]
    assert all(log.path == log.source.path for log in logs)
    assert logs[1].source.bytes == 3
    chosen, others = choose_files([file.path for file in files])
    assert others == ["e/metadata.yaml"]
    assert len(chosen) == 7


FOREIGN = {
    "a.db3": (b"\x89PNG" * 40, "a.db3: not a SQLite file of a ROS 2 bag: it does not begin as one"),
    "a.bag": (b"SQLite format 3\0" + bytes(200), "a.bag: not a ROS 1 bag: it does not begin with '#ROSBAG V2.0'"),
    "b.bag": (b"#ROSBAG V1.2\n" + bytes(200), "b.bag: not a ROS 1 bag"),
    "a.mcap.zstd": (b"\x89MCAP0\r\n" + bytes(60), "a.mcap.zstd: not compressed by Zstandard"),
    "a.mcap.zst": (zstandard.compress(b"hello" * 100), "a.mcap.zst: not an MCAP file"),
    "a.db3.zstd": (zstandard.compress(b"hello" * 100), "a.db3.zstd: not a SQLite file of a ROS 2 bag"),
    "c.db3": (b"", "c.db3: not a SQLite file"),
    "c.bag": (b"", "c.bag: not a ROS 1 bag"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_with_a_logs_name(folder, ingest, s3, partition, name):
    content, message = FOREIGN[name]
    (folder / name).write_bytes(content)
    result = ingest(folder)
    assert result.code == cli.EXIT_BAD_INPUT
    assert result.err.startswith(f"sim2edge: {message}")
    assert result.err.count("\n") == 1
    assert list(s3.list(f"inbox/{partition}")) == []


def test_a_database_of_something_else(tmp_path):
    with sqlite3.connect(tmp_path / "a.db3") as database:
        database.execute("CREATE TABLE readings(id INTEGER)")
    with pytest.raises(BadLog, match="a SQLite file that is not of a ROS 2 bag: it has no tables 'topics' and"):
        understand(tmp_path / "a.db3", IngestConfig())


@pytest.fixture
def unclosed(folder):
    """The bag of a recorder that was killed: its last messages are in the journal only."""
    path = write_ros2(folder.parent / "drive", robot_drive(TICKS)) / "drive.db3"
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp, data FROM messages")
    database.commit()
    for suffix in ("", "-wal"):
        (folder / f"a.db3{suffix}").write_bytes(path.with_name(f"drive.db3{suffix}").read_bytes())
    database.close()
    return folder


def test_a_database_with_messages_in_its_journal(unclosed, ingest):
    refused = ingest(unclosed)
    assert refused.code == 2
    assert "a.db3: truncated (a.db3-wal beside it has messages that are not in the file: `sqlite3 a.db3" in refused.err
    result = ingest(unclosed, "skip_bad=true")
    assert any("a.db3-wal beside it has messages" in line for line in result.lines)


def test_a_database_whose_journal_was_taken_over(unclosed, expected):
    with closing(sqlite3.connect(unclosed / "a.db3")) as database:
        assert database.execute("SELECT count(*) FROM messages").fetchone()[0] == 2 * len(list(robot_drive(TICKS)))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("DELETE FROM messages WHERE id > (SELECT count(*) / 2 FROM messages)")
        database.commit()
    (unclosed / "a.db3-wal").write_bytes(b"")
    assert content_of(unclosed / "a.db3") == expected


def test_a_damaged_database_is_one_line(tmp_path):
    path = write_ros2(tmp_path / "drive", robot_drive(TICKS)) / "drive.db3"
    data = bytearray(path.read_bytes())
    for at in range(4096 * 8, 4096 * 10):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(
        BadLog, match=r"^drive\.db3: damaged \(DatabaseError: database disk image is malformed\)"
    ) as told:
        understand(path.parent, IngestConfig())
    assert "\n" not in str(told.value)


METADATA = [
    ("{", "metadata.yaml: not YAML"),
    ("a: 1", "metadata.yaml: has no 'rosbag2_bagfile_information': not that of a ROS 2 bag: move it elsewhere"),
    ("rosbag2_bagfile_information: 3", "metadata.yaml: content: Input should be"),
    ("rosbag2_bagfile_information: {relative_file_paths: []}", "metadata.yaml: relative_file_paths: "),
]


@pytest.mark.parametrize(("text", "message"), METADATA)
def test_metadata_that_is_wrong(tmp_path, text, message):
    bag = write_ros2(tmp_path / "drive", robot_drive(2))
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(BadLog) as told:
        understand(bag, IngestConfig())
    assert str(told.value).startswith(message)


def test_metadata_and_files_that_differ(tmp_path):
    bag = write_ros2(tmp_path / "drive", robot_drive(2))
    (bag / "drive.db3").rename(bag / "other.db3")
    with pytest.raises(BadLog, match=r"relative_file_paths: 'drive\.db3' is not in the folder"):
        understand(bag, IngestConfig())
    (bag / "drive.db3").write_bytes((bag / "other.db3").read_bytes())
    with pytest.raises(BadLog, match=r"'other\.db3' is beside metadata\.yaml, which does not list it: move it"):
        understand(bag, IngestConfig())


@pytest.mark.parametrize("name", ["a.mcap.zst", "a.db3.zstd", "a.db3.zst"])
def test_a_small_file_must_not_unpack_to_a_huge_one(tmp_path, name):
    start = b"\x89MCAP0\r\n" if ".mcap" in name else b"SQLite format 3\0"
    (tmp_path / name).write_bytes(zstandard.compress(start + bytes(3_000_000)))
    with pytest.raises(BadLog, match="unpacks to more than max_file_mb=1"):
        understand(tmp_path / name, IngestConfig(max_file_mb=1))


def test_a_message_must_not_claim_to_be_huge(tmp_path):
    bomb = zstandard.compress(bytes(1000))
    claimed = bomb[:4] + b"\xa0" + (1 << 31).to_bytes(4, "little") + bomb[8:]
    path = write_ros2(tmp_path / "drive", robot_drive(2)) / "drive.db3"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE messages SET data = ? WHERE id = 3", (claimed,))
    with pytest.raises(BadLog, match=r"damaged \(/.*: a message claims 2147483648 bytes\)"):
        understand(path, IngestConfig())


def test_ros_1_in_mcap_is_the_same_drive(tmp_path, expected):
    source = write_ros1(tmp_path / "a.bag", robot_drive(TICKS))
    with Reader(source) as bag, (tmp_path / "b.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start("ros1")
        channels: dict[int, int] = {}
        for connection, time_ns, data in bag.messages():
            if connection.id not in channels:
                kind, definition = connection.msgtype.replace("/msg/", "/"), connection.msgdef.data.encode()
                schema = writer.register_schema(kind, "ros1msg", definition)
                channels[connection.id] = writer.register_channel(connection.topic, "ros1", schema)
            writer.add_message(channels[connection.id], time_ns, bytes(data), time_ns)
        writer.finish()
    assert content_of(tmp_path / "b.mcap") == expected


VECTOR_IDL = "module geometry_msgs { module msg { struct Vector3 { double x; double y; double z; }; }; };"
TWIST_IDL = "module geometry_msgs { module msg { struct Twist { V linear; V angular; }; }; };".replace(
    "V ", "geometry_msgs::msg::Vector3 "
)


def test_definitions_in_idl_are_read(tmp_path, expected):
    bag = write_ros2(tmp_path / "drive", robot_drive(TICKS))
    parts = {"geometry_msgs/msg/Vector3": VECTOR_IDL, "geometry_msgs/msg/Twist": TWIST_IDL}
    text = "".join(f"{'=' * 80}\nIDL: {name}\n{idl}\n" for name, idl in parts.items())
    with sqlite3.connect(bag / "drive.db3") as database:
        database.execute(
            "UPDATE message_definitions SET encoding = 'ros2idl', encoded_message_definition = ? WHERE topic_type = ?",
            (text, "geometry_msgs/msg/Twist"),
        )
    assert content_of(bag) == expected
