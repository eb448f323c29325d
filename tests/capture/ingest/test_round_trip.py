"""Our own logs, ingested, give the same ticks back; and clean treats ingested batches as any other."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from capture.ingest.conftest import read_ticks
from capture.ingest.foreign_logs import BOX, FOXGLOVE_TOPICS, robot_drive, write_bag, write_foxglove

from sim2edge import cli
from sim2edge.clean.episode_log import POSE, TOPICS, read_log


@pytest.fixture
def own(batch, folder) -> Path:
    """The folders of a captured batch, as they are on the bus."""
    shutil.copytree(batch[2], folder, dirs_exist_ok=True)
    return folder


def poses(episode: Path) -> list[tuple[float, ...]]:
    """Time, place and heading of each tick."""
    stream = read_log(episode / "simulation.mcap")[POSE]
    found = [stream.read(number).pose for number in range(len(stream.times))]
    places = [(p.position.x, p.position.y, p.orientation.z, p.orientation.w) for p in found]
    return [(time / 1e9, *place) for time, place in zip(stream.times, places, strict=True)]


def test_our_own_episodes_come_back_byte_for_byte(own, ingest, fetch, partition):
    manifest, made = fetch(ingest(own))
    sources = sorted(path.parent for path in own.rglob("*.mcap"))
    assert manifest.summary["episodes"] == manifest.summary["successes"] == len(sources) == 2
    for index, source in enumerate(sources):
        episode = made / f"{partition}.{index:04d}"
        before, after = read_ticks(source), read_ticks(episode)
        for topic in TOPICS:
            if topic == POSE:  # through a quaternion and back: the last bit of the yaw may differ
                np.testing.assert_allclose(poses(episode), poses(source), rtol=0, atol=1e-14)
            else:
                assert after[topic] == before[topic], topic
        assert (episode / "lidar.csv").read_bytes() == (source / "lidar.csv").read_bytes()
        results = [json.loads((each / "result.json").read_text()) for each in (source, episode)]
        for name in ("frames", "duration_s", "path_length_m", "floor"):
            assert results[0][name] == results[1][name], name


def test_the_table_has_a_row_an_episode(own, ingest, fetch):
    _, made = fetch(ingest(own))
    rows = list(csv.DictReader((made / "aggregated_results.csv").open()))
    assert [row["simulator"] for row in rows] == ["ingest", "ingest"]


def test_it_can_be_reproduced_and_traced(own, ingest, capsys):
    reference = ingest(own).committed["reference"]
    assert cli.main(["reproduce", reference]) == 0
    assert "10 of 10 files identical" in capsys.readouterr().out
    assert cli.main(["lineage", reference]) == 0
    assert "ingest v1" in capsys.readouterr().out


def clean(partition: str, capsys, *words: str) -> tuple[int, str]:
    code = cli.main(["clean", "--partition", partition, *words])
    return code, capsys.readouterr().err


def quarantine(s3, partition: str, into: Path) -> tuple[list[str], list[dict]]:
    frames = s3.open(s3.read_ref(f"refs/frames/{partition}").target)
    folder = s3.fetch(frames, into).folder
    rows = pq.read_table(folder / "frames.parquet").to_pylist()
    return (folder / "quarantine.csv").read_text().splitlines()[1:], rows


def test_clean_leaves_an_unlabelled_episode_out_with_the_reason(folder, ingest, s3, partition, capsys, tmp_path):
    write_foxglove(folder / "a.mcap")
    write_bag(folder / "b.mcap", robot_drive())
    said = ingest(folder, "floor=wood", *map(beside_ros, FOXGLOVE_TOPICS))
    assert said.code == 0, said.err
    assert any(line.startswith("b.mcap: without ground truth") for line in said.lines)
    assert clean(partition, capsys) == (0, "")
    aside, rows = quarantine(s3, partition, tmp_path / "frames")
    assert aside == [f"{partition}.0001,,failed: unlabelled"]
    assert {row["episode_id"] for row in rows} == {f"{partition}.0000"}
    code, _ = clean(partition, capsys, "only_successful=false")
    assert code == 0
    aside, rows = quarantine(s3, partition, tmp_path / "more")
    assert aside == [f"{partition}.0001,,unreadable: no messages on /labels"]
    assert {row["episode_id"] for row in rows} == {f"{partition}.0000"}


def beside_ros(word: str) -> str:
    """A topic's own name, and the usual one of ROS 2 after it."""
    key, _, name = word.partition("=")
    usual = {"topics.image": "/camera/image_raw/compressed", "topics.scan": "/scan", "topics.command": "/cmd_vel"}
    return f"{key}=[{name}, {usual[key]}]" if key in usual else word


def test_clean_refuses_a_batch_without_any_ground_truth(folder, ingest, partition, capsys):
    write_bag(folder / "b.mcap", robot_drive())
    assert ingest(folder, "floor=wood").code == 0
    code, err = clean(partition, capsys)
    assert code == cli.EXIT_BAD_INPUT
    assert "all 1 episodes failed (unlabelled 1)" in err


def test_labels_without_a_floor_take_the_configs(folder, ingest, partition, capsys, s3, tmp_path):
    write_foxglove(folder / "a.mcap", labels={"boxes": [BOX]})
    assert ingest(folder, "floor=carpet", *FOXGLOVE_TOPICS).code == 0
    assert clean(partition, capsys) == (0, "")
    _, rows = quarantine(s3, partition, tmp_path / "frames")
    assert {row["floor"] for row in rows} == {"carpet"}
