"""Datasets of drives without LiDAR, pose or command, and of boxes of unknown distance: null stays null."""

import json
from typing import Any

import pyarrow as pa
import pytest
from augment.frame_files import BEAMS, make_row, rows_of, write_batch
from augment.test_run import read, refused

from sim2edge.augment.split import SPLITS
from sim2edge.frames.columns import frames_schema

MOTION = ("lidar", "linear_m_s", "angular_rad_s", "x_m", "y_m", "yaw_rad")


def frames(batch: str, change=lambda row: row, episodes: int = 12) -> pa.Table:
    rows = [change(make_row(f"{batch}.{episode:04d}", frame)) for episode in range(episodes) for frame in range(6)]
    return pa.Table.from_pylist(rows, frames_schema())


def without_motion(row: dict[str, Any]) -> dict[str, Any]:
    return row | dict.fromkeys(MOTION)


def without_distances(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"boxes": [box | {"distance_m": None, "bearing_rad": None} for box in row["boxes"]]}


def all_rows(folder) -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in rows_of(folder, split)]


def test_drives_without_a_lidar_make_a_dataset_without_one(tmp_path, augment):
    folder = augment(write_batch(tmp_path, "one", table=frames("one", without_motion), lidar=None))
    rows = all_rows(folder)
    assert {row[name] for row in rows for name in MOTION} == {None}
    dataset = json.loads((folder / "dataset.json").read_text())
    assert [dataset[f"lidar_{name}"] for name in ("beams", "start_rad", "step_rad")] == [None, None, None]
    words = [row["augmentation"] for row in rows if row["augmentation"]]
    assert any("flip" in text for text in words)
    assert not any("lidar" in text for text in words)


def test_a_batch_without_a_lidar_is_not_set_aside(tmp_path, augment):
    blind = write_batch(tmp_path, "blind", table=frames("blind", without_motion, 24), lidar=None, frames=144)
    folder = augment(blind, write_batch(tmp_path, "one"))
    dataset = json.loads((folder / "dataset.json").read_text())
    assert "set_aside" not in dataset
    assert dataset["lidar_beams"] == BEAMS
    for row in all_rows(folder):
        assert (row["lidar"] is None) == row["episode_id"].startswith("blind")


def test_pictures_and_boxes_are_varied_alike_with_and_without_a_lidar(tmp_path, augment):
    (tmp_path / "a").mkdir()
    seen = augment(write_batch(tmp_path, "one"))
    blind = augment(write_batch(tmp_path / "a", "one", table=frames("one", without_motion), lidar=None))
    for one, other in zip(all_rows(seen), all_rows(blind), strict=True):
        assert (one["image"], one["boxes"]) == (other["image"], other["boxes"])


def test_two_lidars_do_not_fit_each_other_whatever_has_none(tmp_path, augment):
    other = {"beams": BEAMS, "start_rad": -3.0, "step_rad": 6.0 / (BEAMS - 1)}
    batches = [
        write_batch(tmp_path, "blind", table=frames("blind", without_motion), lidar=None),
        write_batch(tmp_path, "one"),
        write_batch(tmp_path, "two", episodes=2, lidar=other),
    ]
    for order in (batches, batches[::-1]):
        dataset = json.loads((augment(*order) / "dataset.json").read_text())
        assert [line.partition(":")[0] for line in dataset["set_aside"]] == ["frames/two/0000000000000000"]


def test_unknown_distances_stay_null(tmp_path, augment):
    folder = augment(write_batch(tmp_path, "one", table=frames("one", without_distances)))
    boxes = [box for row in all_rows(folder) for box in row["boxes"]]
    assert {(box["distance_m"], box["bearing_rad"]) for box in boxes} == {(None, None)}


def test_scans_as_earlier_versions_wrote_them_are_read(tmp_path, augment):
    (tmp_path / "a").mkdir()
    table = frames("one")
    fixed = table["lidar"].cast(pa.list_(pa.float32(), BEAMS))
    older = table.set_column(table.column_names.index("lidar"), "lidar", fixed)
    assert read(augment(write_batch(tmp_path, "one", table=older))) == read(augment(write_batch(tmp_path / "a", "one")))


@pytest.mark.parametrize(
    ("change", "lidar", "message"),
    [
        ({"lidar": [1.0] * 7}, {}, "row 9: lidar: 7 beams, stats.json has 36"),
        ({"lidar": [1.0] * 35 + [float("nan")]}, {}, "row 9: lidar: beam 35 is NaN"),
        ({}, {"lidar": None}, "row 0: lidar: 36 beams, stats.json has 0"),
    ],
)
def test_scans_that_cannot_be_are_named(tmp_path, augment, change, lidar, message):
    def one_row(row):
        if row["episode_id"] == "one.0001" and row["frame"] == 3:
            return row | change
        return row | {"lidar": None} if change and row["frame"] == 2 else row

    batch = write_batch(tmp_path, "one", table=frames("one", one_row), **lidar)
    assert refused(augment, batch).endswith(f"frames.parquet: {message}")
