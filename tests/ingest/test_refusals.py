"""What ingest refuses: one line that names the file and the topic, exit code 2, and nothing delivered or committed."""

import math
import os
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest.foreign_logs import (
    HEIGHT,
    START_NS,
    WIDTH,
    Sent,
    changed,
    header,
    jpeg,
    robot_drive,
    twist,
    write_bag,
    write_foxglove,
)

from sim2edge import cli
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import pictures
from sim2edge.ingest.understand import understand

IMAGE, SCAN, ODOM, COMMAND = "/camera/image_raw/compressed", "/scan", "/odom", "/cmd_vel"


@pytest.fixture
def refused(ingest, s3, partition):
    """Run ingest, see that it refuses and leaves nothing, and return what it says."""

    def run(*words: object) -> str:
        result = ingest(*words)
        assert result.code == cli.EXIT_BAD_INPUT, result.out
        assert result.err.count("\n") == 1
        assert list(s3.list(f"inbox/{partition}")) == []
        assert list(s3.list(f"episodes/{partition}")) == []
        assert s3.read_ref(f"refs/batches/{partition}") is None
        return result.err

    return run


def without(*topics: str) -> list[Sent]:
    return changed(lambda sent: None if sent[0] in topics else sent)


def replaced(topic: str, *, at: int | None = None, schema: str | None = None, **content: object) -> list[Sent]:
    """A drive in which the messages of a topic (or message `at` alone) have other content."""
    seen = -1

    def change(sent: Sent) -> Sent:
        nonlocal seen
        if sent[0] != topic:
            return sent
        seen += 1
        if at not in (None, seen):
            return sent
        return topic, schema or sent[1], sent[2], sent[3] | content

    return changed(change)


def moved(topic: str, at: int, seconds: float) -> list[Sent]:
    """A drive in which the stamps of a topic jump from message `at` on."""
    seen = -1

    def change(sent: Sent) -> Sent:
        nonlocal seen
        if sent[0] != topic:
            return sent
        seen += 1
        later = sent[2] + round(seconds * 1e9) * (seen >= at)
        return topic, sent[1], sent[2], sent[3] | {"header": header(later)}

    return changed(change)


RAW = {"height": HEIGHT, "width": WIDTH, "step": 2 * WIDTH, "encoding": "yuv444", "data": bytes(2 * WIDTH * HEIGHT)}
CONTENT = [
    (without(IMAGE), "a.mcap: no messages on /camera/image or .* topics.image names where it is"),
    (without(IMAGE), r"; the file has /chatter \(std_msgs/msg/String\), /cmd_vel \(geometry_msgs/msg/Twist\), /odom"),
    ([], "no messages on .*; the file has no messages"),
    (replaced(SCAN, schema="std_msgs/msg/String", data="x"), "/scan: schema 'std_msgs/msg/String' is no scan"),
    (replaced(SCAN, ranges=[math.nan] * 180), "/scan: ranges: nothing but NaN in all scans"),
    (replaced(SCAN, at=3, ranges=[]), "/scan: message 3: ranges: 0 beams"),
    (replaced(SCAN, at=3, angle_increment=math.nan), "/scan: message 3: angles"),
    (replaced(IMAGE, data=b""), "none of 12 images is whole"),
    (replaced(IMAGE, data=jpeg(0)[:200]), "none of 12 images is whole"),
    (replaced(IMAGE, at=4, data=b"RIFF....WEBP", format="webp"), "message 4: format 'webp' is neither JPEG nor PNG"),
    (replaced(IMAGE, at=4, data=jpeg(0, height=50)), f"message 4: the image is 64 x 50, before {WIDTH} x {HEIGHT}"),
    (replaced(IMAGE, schema="sensor_msgs/msg/Image", **RAW), "message 0: encoding 'yuv444' is not one of: rgb8"),
    (replaced(COMMAND, at=2, **twist(math.inf, 0)), "/cmd_vel: message 2: the command is inf, 0: no robot's"),
    (moved(IMAGE, 6, -0.5), r"clock \(stamps\) jumps back by 0.400 s after message 5"),
    (moved(SCAN, 6, 5.0), r"/scan: the clock \(stamps\) jumps on by 5.100 s after message 5"),
    (
        [sent for sent in robot_drive(1) if sent[0] in (IMAGE, COMMAND)],
        "/cmd_vel: no stamps, and the other topics last 0 s, too short to place it by them: send commands with stamps",
    ),
    (moved(SCAN, 0, 60.0), "/scan: its stamps are of another clock than those of /odom: off by up to -60.000 s"),
]


@pytest.mark.parametrize(("sent", "message"), CONTENT, ids=[message[:40] for _, message in CONTENT])
def test_a_log_that_cannot_be_an_episode(folder, refused, sent, message):
    write_bag(folder / "a.mcap", sent)
    said = refused(folder)
    assert said.startswith("sim2edge: a.mcap: ")
    assert re.search(message, said), said


def test_a_pointer_of_git_lfs_is_no_log(folder, refused):
    (folder / "a.mcap").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2016\n")
    assert refused(folder) == (
        "sim2edge: a.mcap: only a pointer of Git LFS: fetch the file itself with 'git lfs pull'\n"
    )


def test_a_log_time_that_jumps_back_matters_where_stamps_are_missing(folder, refused):
    def change(sent: Sent) -> Sent:
        content = sent[3] | ({"header": header(0)} if "header" in sent[3] else {})
        return sent[0], sent[1], sent[2] - (10**9 if sent[2] > START_NS + 5 * 10**8 else 0), content

    write_bag(folder / "a.mcap", changed(change))
    assert "the clock (log_time) jumps back by 0.9" in refused(folder)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_log_says_how_much_was_readable(folder, refused, keep):
    whole = write_bag(folder / "a.mcap", robot_drive(40), chunk_size=4096)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * keep)])
    said = refused(folder)
    assert "a.mcap: truncated (" in said
    assert int(said.partition("): ")[2].split()[0]) > 50 * keep


def content_of(path) -> tuple:
    """All that becomes of a log."""
    config = IngestConfig()
    episode = understand(path, config)
    streams = {
        role: (s.topic, s.stamps, [repr(value) for value in s.values]) for role, s in episode.log.streams.items()
    }
    return streams, list(pictures(episode.log, episode.ticks.chosen["image"].tolist(), 92))


def test_a_flipped_byte_is_found_or_changes_nothing(folder):
    path = write_bag(folder / "a.mcap", robot_drive(3), chunk_size=2048)
    data, expected, found = path.read_bytes(), content_of(path), 0
    for at in range(8, len(data), 13):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        try:
            assert content_of(path) == expected, f"byte {at}"
        except BadLog:
            found += 1
    assert found > len(data) / 13 / 2


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"\x89PNG\r\n\x1a\n" + bytes(100), b"SQLite format 3\0"])
def test_what_is_no_mcap(folder, refused, content):
    (folder / "a.mcap").write_bytes(content)
    said = refused(folder)
    assert "a.mcap: not an MCAP file" in said or "(ends too early): 0 messages" in said


def test_a_folder_without_logs(folder, refused):
    assert "has no logs (.mcap, .mcap.zstd" in refused(folder)
    (folder / "bag.db3-wal").write_bytes(b"SQLite format 3\0")
    (folder / "metadata.yaml").write_bytes(b"{}")
    assert ".bag), but 'bag.db3-wal'" in refused(folder)
    assert "not a folder" in refused(folder / "missing")
    (folder / "labels.json").write_bytes(b"{}")
    assert refused(folder).strip().endswith("but 'bag.db3-wal'")
    (folder / "images").mkdir()
    (folder / "images" / "a.JPG").write_bytes(b"")
    assert refused(folder).strip().endswith(": pictures with COCO annotations are for `sim2edge annotate`")
    (folder / "images" / "7_cam_image_array_.jpg").write_bytes(b"")
    assert refused(folder).strip().endswith("like a tub of donkeycar without its manifest.json: copy the whole tub")


@pytest.mark.parametrize(
    "name",
    ["a b.mcap", "-rf.mcap", ".hidden.mcap", "a\nb.mcap", "a;b.mcap", "ä.mcap", "x" * 140 + ".mcap", "a\\b.mcap"],
)
def test_hostile_file_names(folder, refused, name):
    write_bag(folder / name, robot_drive(2))
    assert "not a valid name" in refused(folder)


def test_symbolic_links_are_not_followed(folder, refused, tmp_path):
    outside = write_bag(tmp_path / "outside" / "a.mcap", robot_drive(2))
    write_bag(folder / "b.mcap", robot_drive(2))
    (folder / "a.mcap").symlink_to(outside)
    assert "'a.mcap': a symbolic link" in refused(folder)
    (folder / "a.mcap").unlink()
    (folder / "deep").symlink_to(outside.parent)
    assert "'deep': a symbolic link" in refused(folder)


def test_a_pipe_is_no_log(folder, refused):
    os.mkfifo(folder / "a.mcap")
    assert "'a.mcap': not a plain file" in refused(folder)


def test_an_image_larger_than_the_limit(folder, refused):
    write_bag(folder / "a.mcap", robot_drive(2))
    assert "message 0: an image of 64 x 48 pixels, more than max_pixels=2000" in refused(folder, "max_pixels=2000")


def test_a_file_larger_than_the_limit(folder, refused):
    path = write_bag(folder / "a.mcap", robot_drive(2))
    os.truncate(path, 1_000_001)
    assert "a.mcap: 1.0 MB, more than max_file_mb=1" in refused(folder, "max_file_mb=1")


@pytest.mark.parametrize("batch", ["../x", "a/b", "", "A", "a" * 64, "a\nb", "refs/batches/x"])
def test_hostile_batch_ids(folder, ingest, batch):
    write_bag(folder / "a.mcap", robot_drive(2))
    for words in ([folder], []):
        result = ingest(*words, batch=batch)
        assert result.code == cli.EXIT_BAD_INPUT
        assert "partition '" in result.err


def test_a_topic_in_two_roles_and_an_unknown_one(folder, refused):
    write_bag(folder / "a.mcap", robot_drive(2))
    assert "'/odom' is named twice" in refused(folder, "topics.command=/odom")
    assert "topics.sonar: unknown key" in refused(folder, "topics.sonar=/x")


def test_labels_that_are_wrong_or_lack_a_floor(folder, refused):
    write_foxglove(folder / "a.mcap", labels={"boxes": []})
    words = ("topics.image=/front", "topics.scan=/laser", "topics.command=/drive", "topics.labels=/truth")
    assert "/truth: message 0: floor: missing: name it with floor=<name>" in refused(folder, *words)
    write_foxglove(folder / "a.mcap", labels={"floor": "tile", "boxes": [{"class": "chair"}]})
    assert "/truth: message 0: boxes.0.x_min: Field required" in refused(folder, *words)


def test_one_bad_log_refuses_the_batch_and_all_are_named(folder, refused):
    write_bag(folder / "a.mcap", robot_drive(2))
    for name in "bcdefg":
        write_bag(folder / f"{name}.mcap", without(IMAGE))
    said = refused(folder)
    assert said.startswith("sim2edge: b.mcap: no messages on /camera/image or ")
    assert "5 more of 7 logs are bad: c.mcap, d.mcap, e.mcap, ... (skip_bad=true ingests the others)" in said


def test_skip_bad_needs_a_good_one(folder, refused):
    write_bag(folder / "a.mcap", without(IMAGE))
    assert "skip_bad" not in refused(folder, "skip_bad=true")


def test_skip_bad_takes_the_others_and_tells(folder, ingest, fetch, partition):
    write_bag(folder / "a.mcap", without(IMAGE))
    write_bag(folder / "b.mcap", robot_drive(3))
    result = ingest(folder, "skip_bad=true")
    manifest, made = fetch(result)
    assert sorted(path.name for path in made.iterdir() if path.is_dir()) == [f"{partition}.0001"]
    assert list(manifest.summary["refused"]) == ["a.mcap"]
    assert any(line.startswith("a.mcap: refused: no messages on /camera/image") for line in result.lines)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damage_that_no_crc_guards_is_told_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "a.mcap"
    content = bytearray(write_bag(path, robot_drive(2), crcs=False).read_bytes())
    for at in data.draw(st.lists(st.integers(8, len(content) - 9), min_size=1, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(BadLog):
        content_of(path)
