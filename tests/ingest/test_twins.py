"""A log that repeats another one is refused, within a delivery and between batches; an innocent one is not."""

import hashlib
import json

import pytest
from ingest.bags import pack, write_ros1, write_ros2
from ingest.foreign_logs import (
    BOX,
    FOXGLOVE_TOPICS,
    Sent,
    changed,
    header,
    jpeg,
    ranges,
    robot_drive,
    write_bag,
    write_foxglove,
)

from sim2edge import cli
from sim2edge.repeats import Fingerprint, Known, common_share
from sim2edge.withdrawal import Event, record

IMAGE = "/camera/image_raw/compressed"
TICKS = 12


def drive(pictures=lambda tick: tick, ticks: int = TICKS, later_s: float = 0.0) -> list[Sent]:
    """A drive with other pictures, at another time."""
    seen = -1

    def change(sent: Sent) -> Sent:
        nonlocal seen
        topic, schema, time_ns, content = sent
        time_ns += round(later_s * 1e9)
        if "header" in content:
            content = content | {"header": header(time_ns)}
        if topic == IMAGE:
            seen += 1
            content = content | {"data": jpeg(pictures(seen))}
        return topic, schema, time_ns, content

    return changed(change, ticks)


@pytest.fixture
def refused(ingest, s3, partition):
    def run(*words: object, batch: str = partition) -> str:
        result = ingest(*words, batch=batch)
        assert result.code == cli.EXIT_BAD_INPUT, result.out
        assert result.err.count("\n") == 1
        assert list(s3.list(f"inbox/{batch}")) == []
        return result.err

    return run


def test_the_same_log_eight_times(folder, refused):
    for number in range(8):
        write_bag(folder / f"drive-{number}.mcap", robot_drive(TICKS))
    said = refused(folder)
    assert "drive-1.mcap: is the same file as drive-0.mcap: deliver each log once; 6 more of 8 logs are bad" in said


REWRITTEN = {
    "other chunks": lambda folder: write_bag(folder / "b.mcap", robot_drive(TICKS), chunk_size=2000),
    "packed": lambda folder: pack(write_bag(folder / "b.mcap", robot_drive(TICKS), chunk_size=2000)),
    "ROS 1": lambda folder: write_ros1(folder / "b.bag", robot_drive(TICKS), "lz4"),
    "SQLite": lambda folder: write_ros2(folder / "b", robot_drive(TICKS)),
    "sorted by time": lambda folder: write_bag(folder / "b.mcap", sorted(robot_drive(TICKS), key=lambda sent: sent[2])),
}


@pytest.mark.parametrize("write", REWRITTEN.values(), ids=REWRITTEN)
def test_the_same_messages_in_another_file(folder, refused, write):
    write_bag(folder / "a.mcap", robot_drive(TICKS))
    write(folder)
    assert ": has the same messages as a.mcap: deliver each log once (skip_bad=true" in refused(folder)


PICTURES = {
    "at another time": drive(later_s=900),
    "a part": drive(lambda tick: tick + 4, ticks=6, later_s=900),
    "half": drive(lambda tick: tick if tick < 7 else tick + 500, later_s=900),
    "backwards": drive(lambda tick: TICKS - 1 - tick, later_s=900),
}


@pytest.mark.slow
@pytest.mark.parametrize("sent", PICTURES.values(), ids=PICTURES)
def test_the_same_pictures_with_other_stamps(folder, refused, sent):
    write_bag(folder / "a.mcap", robot_drive(TICKS))
    write_bag(folder / "b.mcap", sent)
    assert "of its pictures in common with a.mcap: deliver each log once" in refused(folder)


INNOCENT = {
    "other pictures": drive(lambda tick: tick + 500, later_s=900),
    "a robot that stands in the same place first": drive(lambda tick: 0 if tick < 6 else tick + 500, later_s=900),
    "a camera that sees nothing move": drive(lambda tick: 0, later_s=900),
    "a few common pictures": drive(lambda tick: tick if tick < 4 else tick + 500, later_s=900),
}


@pytest.mark.slow
@pytest.mark.parametrize("sent", INNOCENT.values(), ids=INNOCENT)
def test_an_innocent_log_is_taken(folder, ingest, sent):
    write_bag(folder / "a.mcap", drive(lambda tick: 0 if tick < 6 else tick))
    write_bag(folder / "b.mcap", sent)
    assert ingest(folder).committed


def test_two_robots_that_see_the_same_still_scene_are_not_twins(folder, ingest):
    write_bag(folder / "a.mcap", drive(lambda tick: 0))
    turned = ranges(99)
    moved = [(*each[:3], each[3] | {"ranges": turned}) if each[0] == "/scan" else each for each in drive(lambda _: 0)]
    write_bag(folder / "b.mcap", moved)
    assert ingest(folder).committed


def test_skip_bad_takes_a_repeated_log_once(folder, ingest, fetch):
    write_bag(folder / "a.mcap", robot_drive(TICKS))
    write_ros1(folder / "b.bag", robot_drive(TICKS))
    manifest, _ = fetch(ingest(folder, "skip_bad=true"))
    assert manifest.summary["refused"] == {"b.bag": "has the same messages as a.mcap: deliver each log once"}
    assert manifest.summary["episodes"] == 1


def test_a_log_of_another_batch_is_refused_and_both_are_named(folder, ingest, refused, partition, tmp_path):
    write_bag(folder / "a.mcap", robot_drive(TICKS))
    assert ingest(folder, batch=f"{partition}.1").committed
    again = tmp_path / "again"
    again.mkdir()
    write_ros1(again / "x.bag", robot_drive(TICKS))
    write_bag(again / "y.mcap", drive(lambda tick: tick + 500))
    said = refused(again, batch=f"{partition}.2")
    assert f"x.bag: has the same messages as a.mcap of batch '{partition}.1': leave it out, or withdraw" in said
    (again / "x.bag").unlink()
    assert ingest(again, batch=f"{partition}.2").committed


def test_the_stage_refuses_what_a_producer_uploaded_by_hand(folder, ingest, s3, partition):
    path = write_bag(folder / "a.mcap", robot_drive(TICKS))
    assert ingest(folder, batch=f"{partition}.1").committed
    data = path.read_bytes()
    listed = {"path": "z.mcap", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    s3.put(f"inbox/{partition}.2/z.mcap", data)
    ready = {"version": 1, "batch": f"{partition}.2", "files": [listed]}
    s3.put(f"inbox/{partition}.2/READY.json", json.dumps(ready).encode())
    result = ingest(batch=f"{partition}.2")
    assert result.code == cli.EXIT_BAD_INPUT
    assert f"z.mcap: is the same file as a.mcap of batch '{partition}.1'" in result.err
    assert s3.read_ref(f"refs/batches/{partition}.2") is None


def test_a_withdrawn_batch_does_not_count(folder, ingest, s3, partition):
    write_bag(folder / "a.mcap", robot_drive(TICKS))
    assert ingest(folder, batch=f"{partition}.1").committed
    record(s3, f"{partition}.1", Event(at="2026-11-30T12:00:00Z", by="me", reason="wrong camera", action="withdraw"))
    assert ingest(folder, batch=f"{partition}.2").committed


def test_the_same_batch_again_is_a_hit_and_other_settings_are_no_repetition(folder, ingest):
    write_foxglove(folder / "a.mcap", labels={"floor": "tile", "boxes": [BOX]})
    assert ingest(folder, *FOXGLOVE_TOPICS).committed
    assert ingest(folder, *FOXGLOVE_TOPICS).committed["cached"]
    assert ingest(folder, *FOXGLOVE_TOPICS, "jpeg_quality=80", "--replace").committed


def sketch(numbers, name: str = "a") -> Fingerprint:
    digests = sorted(f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in numbers)
    return Fingerprint(
        file=name, sha256=name[0] * 64, messages=name[0] * 32, pictures=len(digests), sketch=tuple(digests[:128])
    )


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_share_is_estimated_from_sketches(share):
    start = round(10_001 - 2000 * share)
    long, short = sketch(range(1, 10_001)), sketch(range(start, start + 2000), "b")
    assert common_share(short, long) == pytest.approx(share, abs=0.2)


@pytest.mark.slow
def test_ten_thousand_logs_with_a_common_picture_are_quick():
    known = Known()
    for number in range(10_000):
        found = sketch([7, *range(number * 50 + 100, number * 50 + 110)], f"{number % 10}")
        found = found.model_copy(update={"sha256": f"{number:064x}", "messages": f"{number:032x}"})
        assert known.find(found) is None
        known.add(found, str(number))
