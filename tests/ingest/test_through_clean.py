"""Ingested batches through the real clean stage: it takes them as any other, and leaves out what has no truth."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from ingest.foreign_logs import BOX, FOXGLOVE_TOPICS, picture, ranges, robot_drive, write_bag, write_foxglove

from sim2edge import cli


def clean(partition: str, capsys, *words: str) -> tuple[int, str]:
    code = cli.main(["clean", "--partition", partition, *words])
    return code, capsys.readouterr().err


def quarantine(s3, partition: str, into: Path) -> tuple[list[str], list[dict]]:
    frames = s3.open(s3.read_ref(f"refs/frames/{partition}").target)
    folder = s3.fetch(frames, into).folder
    rows = pq.read_table(folder / "frames.parquet").to_pylist()
    return (folder / "quarantine.csv").read_text().splitlines()[1:], rows


def test_a_labelled_batch_becomes_frames(folder, ingest, partition, s3, capsys, tmp_path):
    write_foxglove(folder / "farm.mcap")
    assert ingest(folder, *FOXGLOVE_TOPICS, "jpeg_quality=100").code == 0
    assert clean(partition, capsys, "height=48", "width=64") == (0, "")
    aside, rows = quarantine(s3, partition, tmp_path / "frames")
    assert (aside, len(rows)) == ([], 12)
    np.testing.assert_allclose(rows[5]["lidar"], ranges(5, 360), rtol=1e-6)
    assert rows[5]["boxes"][0]["class"] == "chair"
    shown = cv2.imdecode(np.frombuffer(rows[5]["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(shown.astype(int) - picture(5)).mean() < 4


def test_a_labelled_log_with_a_camera_only_becomes_frames(folder, ingest, partition, s3, capsys, tmp_path):
    write_foxglove(folder / "car.mcap")
    assert ingest(folder, *FOXGLOVE_TOPICS, "topics.scan=[]", "topics.pose=[]", "topics.command=[]").code == 0
    assert clean(partition, capsys, "height=48", "width=64") == (0, "")
    aside, rows = quarantine(s3, partition, tmp_path / "frames")
    assert (aside, len(rows)) == ([], 12)
    assert {row[name] for row in rows for name in ("lidar", "x_m", "linear_m_s")} == {None}


def test_clean_judges_the_times_of_the_source(folder, ingest, partition, s3, capsys, tmp_path):
    write_foxglove(folder / "a.mcap", 40, scan_late=lambda tick: 45_000_000 if tick % 3 == 1 else 3_000_000)
    assert ingest(folder, *FOXGLOVE_TOPICS).code == 0
    assert clean(partition, capsys, "tolerance_s=0.04") == (0, "")
    aside, rows = quarantine(s3, partition, tmp_path / "strict")
    late = [f"{partition}.0000,{tick},lidar_out_of_sync: none within 0.04 s of the image" for tick in range(1, 40, 3)]
    assert (aside, len(rows)) == (late, 27)
    assert clean(partition, capsys, "tolerance_s=0.05", "--replace") == (0, "")
    aside, rows = quarantine(s3, partition, tmp_path / "lenient")
    assert (aside, len(rows)) == ([], 40)


def test_scans_of_two_ticks_and_commands_that_hold_become_frames(folder, ingest, partition, s3, capsys, tmp_path):
    write_foxglove(folder / "a.mcap", scan_late=lambda tick: None if tick % 2 else 30_000_000, command_every=4)
    assert ingest(folder, *FOXGLOVE_TOPICS, "tolerance_s=0.08").code == 0
    assert clean(partition, capsys, "tolerance_s=0.08") == (0, "")
    aside, rows = quarantine(s3, partition, tmp_path / "frames")
    assert (aside, len(rows)) == ([], 12)
    np.testing.assert_allclose(rows[5]["lidar"], ranges(4, 360), rtol=1e-6)


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
    code, _ = clean(partition, capsys, "only_successful=false", "--replace")
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
